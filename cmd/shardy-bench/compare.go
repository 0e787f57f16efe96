package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
)

var errNoFigures = errors.New("no figures")

// againstMesh is what -compare says to compare a server without a ledger with one that has one.
const againstMesh = "mesh"

// compareMesh runs this program without and with a ledger in turn (A B A B), so that both see the same machine, and prints
// every line and the median ratio over the pairs.
func compareMesh(ctx context.Context, cfg config, out io.Writer) error {
	var speed, cost []float64
	for range cfg.pairs {
		var pair [2]figures
		for mesh := range pair {
			one := cfg
			one.mesh = mesh
			f, err := measure(ctx, one)
			if err == nil {
				err = f.print(out)
			}
			if err != nil {
				return err
			}
			pair[mesh] = f
		}
		speed = append(speed, ratio(pair[1].number("jobs_per_s"), pair[0].number("jobs_per_s")))
		cost = append(cost, ratio(pair[1].number("cpu_server_s_per_1k"), pair[0].number("cpu_server_s_per_1k")))
	}
	return figures{
		"pairs": cfg.pairs, "mode": cfg.mode, "variant": cfg.label(),
		"mesh_to_none_jobs_per_s": round(median(speed), 3), "mesh_to_none_server_cpu": round(median(cost), 3),
	}.print(out)
}

// compare runs the ceiling of the peers' harness and this program in turn (A B A B), so that both see the same machine,
// and prints every line and the median ratio over the pairs.
func compare(ctx context.Context, cfg config, out io.Writer) error {
	var speed, cost []float64
	for range cfg.pairs {
		bare, err := ceiling(ctx, cfg)
		if err != nil {
			return err
		}
		own, err := measure(ctx, cfg)
		if err != nil {
			return err
		}
		if err := errors.Join(bare.print(out), own.print(out)); err != nil {
			return err
		}
		speed = append(speed, ratio(bare.number("jobs_per_s"), own.number("jobs_per_s")))
		cost = append(cost, ratio(own.number("cpu_server_s_per_1k"), bare.number("cpu_server_s_per_1k")))
	}
	return figures{
		"pairs": cfg.pairs, "mode": cfg.mode, "variant": cfg.label(),
		"ceiling_to_shardy_jobs_per_s": round(median(speed), 2), "shardy_to_ceiling_server_cpu": round(median(cost), 2),
	}.print(out)
}

// number is a figure as a float; 0 when it is none.
func (f figures) number(name string) float64 {
	v, _ := f[name].(float64)
	return v
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	if len(v) == 0 {
		return 0
	}
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}

// ceiling runs the harness's ceiling with the same load.
func ceiling(ctx context.Context, cfg config) (figures, error) {
	cmd := exec.CommandContext(ctx, cfg.compare, "-mode", cfg.mode, "-window", strconv.Itoa(cfg.window),
		"-rate", strconv.FormatFloat(cfg.rate, 'f', -1, 64), "-warm", cfg.warm.String(), "-dur", cfg.dur.String(),
		"-commit", "group", "-coalesce", "-uniform="+strconv.FormatBool(cfg.uniform), "-data", cfg.data)
	cmd.Stderr = os.Stderr
	text, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("run %s: %w", cfg.compare, err)
	}
	for line := range bytes.Lines(text) {
		f := figures{}
		if json.Unmarshal(line, &f) == nil && f["jobs_per_s"] != nil {
			return f, nil
		}
	}
	return nil, fmt.Errorf("%w from %s", errNoFigures, cfg.compare)
}
