package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

// measureRestart leaves open jobs behind without any worker, kills the server, starts it and two workers again, and
// measures how long it takes until jobs are dispatched.
func measureRestart(ctx context.Context, cfg config) (f figures, err error) {
	d, err := deploy(ctx, cfg, roster{workerProcesses, cfg.agents, true})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, d.close()) }()
	l := newLoad(d.client)
	d.client.verified, d.client.failed = l.verified, l.fail
	begun := time.Now()
	pileUp(ctx, l, cfg.open, cfg.window)
	if n := l.failures.Load(); n > 0 {
		return nil, fmt.Errorf("%d of %d jobs were not accepted: %v", n, cfg.open, l.lastErr.Load())
	}
	f = figures{
		"peer": "shardy", "variant": cfg.label(), "mode": cfg.mode, "open": cfg.open,
		"accepted_per_s": round(float64(cfg.open)/time.Since(begun).Seconds(), 1), "disk_bytes_per_open_job": round(float64(d.meter.disk())/float64(cfg.open), 0),
	}
	d.server.kill()
	killed := time.Now()
	for range workerProcesses { // they knock until the server is back
		if err := d.startWorker(d.addr, 0); err != nil {
			return nil, err
		}
	}
	if err := d.startServer(ctx); err != nil {
		return nil, err
	}
	f["ready_s"] = round(time.Since(killed).Seconds(), 3)
	if err := d.startProfile(ctx); err != nil {
		return nil, err
	}
	return f, d.recovery(ctx, f, killed, l)
}

// pileUp submits n jobs without waiting for verdicts.
func pileUp(ctx context.Context, l *load, n, lanes int) {
	var all sync.WaitGroup
	for lane := range lanes {
		all.Go(func() {
			for i := lane; i < n; i += lanes {
				l.one(ctx, time.Now(), false)
			}
		})
	}
	all.Wait()
}

// recovery watches a server that came back: when it is admitted what it may dispatch to, when the first dispatch after
// the kill is in the log, and how fast the open jobs go from there.
func (d *deployment) recovery(ctx context.Context, f figures, killed time.Time, l *load) error {
	d.client = reconnected(d.client, d.addr)
	var once sync.Once
	first := make(chan float64, 1)
	see := func(e *operatorv1.Event) {
		if s := time.UnixMicro(e.GetTimeUs()).Sub(killed).Seconds(); s > 0 {
			once.Do(func() { first <- s })
		}
	}
	if err := d.client.watch(ctx); err != nil {
		return err
	}
	looking, stop := context.WithCancel(ctx) // a follower costs the server, too
	defer stop()
	if err := d.followFrom(looking, 0, see, "AssignmentDispatched"); err != nil {
		return err
	}
	select {
	case s := <-first:
		stop()
		f["dispatching_s"] = round(s, 3)
	case <-time.After(readyLimit):
		return errors.New("no dispatch after the restart")
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	from := l.done.Load()
	begun := time.Now()
	if err := pause(ctx, d.cfg.dur); err != nil {
		return err
	}
	if err := d.stopProfile(ctx); err != nil {
		return err
	}
	f["drained_per_s"] = round(float64(l.done.Load()-from)/time.Since(begun).Seconds(), 1)
	f["verified"], f["errors"], f["dups"] = l.done.Load(), l.failures.Load(), l.dups.Load()
	f.sizes(d.meter)
	return nil
}

// reconnected is a client of the same jobs with fresh connections.
func reconnected(c *client, addr string) *client {
	n := newClient(addr)
	n.spec, n.verified, n.failed, n.known, n.early = c.spec, c.verified, c.failed, c.known, c.early
	return n
}
