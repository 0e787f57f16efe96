package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// settleTime is how long the log may go on writing after the last verdict before its size is read.
const settleTime = 300 * time.Millisecond

// workerProcesses is how many worker processes share the load.
const workerProcesses = 2

// measureLoad is the workload of the peers: closed or open loop.
func measureLoad(ctx context.Context, cfg config) (f figures, err error) {
	d, err := deploy(ctx, cfg, roster{workerProcesses, cfg.agents, true})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, d.close()) }()
	if err := d.startWorkers(ctx, workerProcesses); err != nil {
		return nil, err
	}
	return d.underLoad(ctx)
}

// underLoad drives the load against a deployment and measures it.
func (d *deployment) underLoad(ctx context.Context) (figures, error) {
	l, err := d.newLoad(ctx)
	if err != nil {
		return nil, err
	}
	disk := d.meter.disk()
	begun := time.Now()
	stop := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() {
		if d.cfg.mode == "open" {
			l.open(ctx, d.cfg.rate, d.cfg.uniform, stop)
			return
		}
		l.closed(ctx, d.cfg.window, stop)
	})
	f, err := d.window(ctx, l)
	close(stop)
	l.drain(d.cfg.drain)
	if err != nil {
		return nil, err
	}
	running.Wait()
	if err := pause(ctx, settleTime); err != nil {
		return nil, err
	}
	if err := d.catchUp(ctx, f); err != nil {
		return nil, err
	}
	f["t"] = begun.Format(time.TimeOnly)
	f["submitted"], f["verified"] = l.submitted.Load(), l.done.Load()
	f["errors"], f["dups"] = l.failures.Load(), l.dups.Load()
	if text := l.lastErr.Load(); text != nil {
		f["last_err"] = text
	}
	f["disk_bytes_per_job"] = round(ratio(float64(d.meter.disk()-disk), float64(l.done.Load())), 0)
	if d.cfg.mode == "open" {
		f["rate"] = d.cfg.rate
		f.percentilesOf(l, true)
	} else {
		f["window"] = d.cfg.window
		f.percentilesOf(l, false)
	}
	return f, nil
}

// newLoad connects a load to the deployment's client.
func (d *deployment) newLoad(ctx context.Context) (*load, error) {
	l := newLoad(d.client)
	d.client.verified, d.client.failed = l.verified, l.fail
	return l, d.client.watch(ctx)
}

// window waits out the warm-up and the measured window, and says what that one cost.
func (d *deployment) window(ctx context.Context, l *load) (figures, error) {
	if err := pause(ctx, d.cfg.warm); err != nil {
		return nil, err
	}
	if err := d.startProfile(ctx); err != nil {
		return nil, err
	}
	paid, err := d.settled(ctx)
	if err != nil {
		return nil, err
	}
	before, m0, from := d.meter.usage(), readMachine(), time.Now().UnixNano()
	if err := pause(ctx, d.cfg.dur); err != nil {
		return nil, err
	}
	to, m1, after := time.Now().UnixNano(), readMachine(), d.meter.usage()
	paidAfter, err := d.settled(ctx)
	if err != nil {
		return nil, err
	}
	if err := d.stopProfile(ctx); err != nil {
		return nil, err
	}
	f := figures{"peer": "shardy", "variant": d.cfg.label(), "mode": d.cfg.mode, "attest": d.cfg.attest}
	f.sizes(d.meter)
	f[windowKey] = [2]int64{from, to}
	seconds := float64(to-from) / 1e9
	jobs, _ := l.latencies(from, to, false)
	f["dur_s"], f["jobs"], f["jobs_per_s"] = round(seconds, 2), jobs, round(float64(jobs)/seconds, 1)
	f.costs(before, after, m0, m1, jobs, seconds)
	f.settlement(paid, paidAfter, seconds)
	return f, nil
}

// windowKey holds the window's bounds until the last verdicts are in.
const windowKey = "window_ns"

func (f figures) percentilesOf(l *load, byDue bool) {
	w, _ := f[windowKey].([2]int64)
	delete(f, windowKey)
	_, ms := l.latencies(w[0], w[1], byDue)
	f.percentiles(ms)
}

func (d *deployment) startProfile(ctx context.Context) error { return d.profile(ctx, "profile") }

// profile has the server write profiles, if the run wants any.
func (d *deployment) profile(ctx context.Context, verb string) error {
	if d.cfg.profile == "" {
		return nil
	}
	dir, err := filepath.Abs(d.cfg.profile)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return d.command(ctx, verb+" "+dir)
}

func (d *deployment) stopProfile(ctx context.Context) error {
	if d.cfg.profile == "" {
		return nil
	}
	return d.command(ctx, "profiled")
}

var errAnswer = errors.New("the server answers")

// command asks the server for something that it answers with "ok".
func (d *deployment) command(ctx context.Context, line string) error {
	answer, err := d.server.ask(ctx, line)
	if err != nil {
		return err
	}
	if answer != "ok" {
		return fmt.Errorf("%w %q to %q", errAnswer, answer, line)
	}
	return nil
}
