package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/shardy-network/orchestrator/projections/audit"
)

// measureReplay makes a log with the closed loop, stops everything, and audits it.
func measureReplay(ctx context.Context, cfg config) (f figures, err error) {
	d, err := deploy(ctx, cfg, roster{workerProcesses, cfg.agents, true})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, d.close()) }()
	if err := d.startWorkers(ctx, workerProcesses); err != nil {
		return nil, err
	}
	run, err := d.underLoad(ctx)
	if err != nil {
		return nil, err
	}
	for _, w := range d.workers {
		w.stop()
	}
	d.server.stop()
	log, err := openLog(d.data())
	if err != nil {
		return nil, fmt.Errorf("open the run's log: %w", err)
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	report, err := audit.Replay(ctx, log, audit.Options{})
	if err != nil {
		return nil, err
	}
	f = figures{
		"peer": "shardy", "variant": cfg.label(), "mode": cfg.mode, "verified": run["verified"], "jobs_per_s": run["jobs_per_s"],
		"streams": report.Streams, "events": report.Events, "commands": report.Commands, "divergences": report.Divergences,
		"undecidable": report.Undecidable, "seconds": round(report.Seconds, 3), "events_per_s": round(report.EventsPerS, 0),
		"evidence": report.Evidence,
	}
	if first, ok := report.First(); ok {
		f["first"] = first.String()
	}
	return f, nil
}
