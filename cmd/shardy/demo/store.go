package demo

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/shardy-network/orchestrator/cmd/shardy/orchestrator"
	"github.com/shardy-network/orchestrator/events"
	"github.com/shardy-network/orchestrator/events/kurrent"
	"github.com/shardy-network/orchestrator/events/pebblelog"
	"github.com/shardy-network/orchestrator/projections/audit"
)

// Store is where the demo's event log lives.
type Store string

// The places of a log.
const (
	Embedded Store = "embedded" // in the orchestrator's data folder
	Memory   Store = "memory"   // in the orchestrator's memory, read by others over EventStoreDB's protocol
	Server   Store = "server"   // on a log server of its own, over the same protocol
)

// startStore starts what the log needs beside the orchestrator, and returns the orchestrator's flags.
func (d *show) startStore(ctx context.Context) ([]string, error) {
	address := filepath.Join(d.dir, "log-address")
	switch d.cfg.Log {
	case Memory:
		return []string{"--log-listen", "127.0.0.1:0", "--log-address-file", address}, nil
	case Server:
		p, err := d.group.Start("log server", "log", "serve", "--data-dir", filepath.Join(d.dir, "log-server"),
			"--listen", "127.0.0.1:0", "--address-file", address)
		if err != nil {
			return nil, err
		}
		ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
		defer cancel()
		at, err := p.AwaitFile(ctx, address)
		if err != nil {
			return nil, fmt.Errorf("log server: %w", err)
		}
		d.logURL = plainURL(at)
		return []string{"--data-dir", d.dir, "--log", d.logURL}, nil
	default:
		return []string{"--data-dir", d.dir}, nil
	}
}

// plainURL is the connection string of a log server on this machine.
func plainURL(address string) string { return "esdb://" + address + "?tls=false" }

// audit decides everything again from the log: from the disk or the log server once the orchestrator has stopped, or
// from its memory while it still runs.
func (d *show) audit(ctx context.Context) (err error) {
	if d.cfg.Log == Memory {
		at, err := d.server.AwaitFile(ctx, filepath.Join(d.dir, "log-address"))
		if err != nil {
			return err
		}
		d.logURL = plainURL(at)
	} else if err := d.server.Stop(ctx); err != nil {
		return err
	}
	var log events.Log
	if d.logURL != "" {
		log, err = kurrent.Open(ctx, d.logURL, kurrent.Options{})
	} else {
		log, err = pebblelog.Open(orchestrator.LogDir(d.dir), pebblelog.Options{})
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	report, err := audit.Replay(ctx, log, audit.Options{})
	if err != nil {
		return fmt.Errorf("replay: %w", err)
	}
	d.sum.Events, d.sum.Replayed, d.sum.Divergences = int(report.Events), int(report.Commands), int(report.Divergences)
	return nil
}

// next tells how to look into what the demo leaves behind.
func (d *show) next() string {
	dir := d.sum.DataDir
	switch d.cfg.Log {
	case Memory:
		return "The log was in memory and is gone; the picture is kept.\n"
	case Server:
		return fmt.Sprintf("Where to look next:\n  shardy audit replay --data-dir %[1]s\n  shardy log serve --data-dir %[1]s      then any client of EventStoreDB\n", filepath.Join(dir, "log-server"))
	default:
		return fmt.Sprintf("Where to look next:\n  shardy audit replay --data-dir %[1]s\n  shardy serve --data-dir %[1]s      then open http://127.0.0.1:7420, or: shardy job list, shardy event read\n", dir)
	}
}
