package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
)

// figures is one run's JSON line. Field names are those of the harness that measures the peers.
type figures map[string]any

// print writes the line.
func (f figures) print(w io.Writer) error {
	line, err := json.Marshal(f)
	if err != nil {
		return fmt.Errorf("encode figures: %w", err)
	}
	_, err = fmt.Fprintf(w, "%s\n", line)
	return err
}

// percentiles adds p50 to max of the values, which it sorts. Without values they are -1.
func (f figures) percentiles(ms []float64) {
	slices.Sort(ms)
	for _, p := range []struct {
		name string
		at   float64
	}{{"p50_ms", .5}, {"p90_ms", .9}, {"p99_ms", .99}, {"p999_ms", .999}, {"max_ms", 1}} {
		f[p.name] = round(percentile(ms, p.at), 3)
	}
}

// percentile of sorted values; -1 when there are none.
func percentile(sorted []float64, p float64) float64 {
	if len(sorted) == 0 {
		return -1
	}
	return sorted[min(len(sorted)-1, int(p*float64(len(sorted))))]
}

func round(x float64, digits int) float64 {
	r, err := strconv.ParseFloat(strconv.FormatFloat(x, 'f', digits, 64), 64)
	if err != nil {
		return 0 // not a number: a ratio of nothing
	}
	return r
}

// ratio is a/b, or 0 when there is nothing to divide by: JSON knows no infinity.
func ratio(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}

// costs adds what the run used between two samples, for each 1,000 jobs and for each second.
func (f figures) costs(before, after map[string]usage, m0, m1 machine, jobs int, seconds float64) {
	thousands := float64(jobs) / 1000
	perGroup := make(map[string]float64, len(after))
	var own, server, written float64
	for group, u := range after {
		spent := u.cpu - before[group].cpu
		own += spent
		perGroup[group] = round(ratio(spent, thousands), 4)
		if group != clientGroup && group != workerGroup {
			server += spent
			written += u.written - before[group].written
		}
	}
	f["cpu_s_per_1k"] = perGroup
	f["cpu_server_s_per_1k"] = round(ratio(server, thousands), 4)
	f["cpu_worker_s_per_1k"] = perGroup[workerGroup]
	f["written_bytes_per_job"] = round(ratio(written, float64(jobs)), 0)
	f["dev_written_bytes_per_job"] = round(ratio(m1.written-m0.written, float64(jobs)), 0)
	f["dev_flushes_per_s"] = round(ratio(m1.flushes-m0.flushes, seconds), 0)
	f["other_cpu_cores"] = round(ratio(m1.busy-m0.busy-own, seconds), 3)
	f["steal_cores"] = round(ratio(m1.steal-m0.steal, seconds), 3)
	f["own_cpu_cores"] = round(ratio(own, seconds), 3)
}

// sizes adds how much memory the groups take.
func (f figures) sizes(m *meter) {
	pss, rss := m.pss(), m.rss()
	f["pss_mib"], f["rss_mib"] = pss, rss
	f["pss_server_mib"], f["rss_server_mib"] = pss[serverGroup], rss[serverGroup]
}
