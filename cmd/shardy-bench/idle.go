package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

// heap is what the server says of its own memory.
type heap struct {
	Heap, Stack uint64 // bytes in use
	Goroutines  int
}

// readHeap answers the parent's "memory".
func readHeap() string {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	text, _ := json.Marshal(heap{m.HeapInuse, m.StackInuse, runtime.NumGoroutine()}) // numbers always encode
	return string(text)
}

// collect answers the parent's "collect": garbage is returned to the system. Every collection halves the stacks that
// are mostly empty, so it takes a few to come to where a process comes to that idles for some minutes.
func collect() string {
	for range 4 {
		runtime.GC()
	}
	debug.FreeOSMemory()
	return "ok"
}

// measureIdle connects many workers that have nothing to do and measures what each costs the one server process. The
// workers live in several processes, because a process may not have more than so many descriptors.
func measureIdle(ctx context.Context, cfg config) (f figures, err error) {
	cfg.n -= cfg.n % cfg.procs
	d, err := deploy(ctx, cfg, roster{cfg.procs, cfg.n / cfg.procs, false})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, d.close()) }()
	base, bare, err := d.serverMemory(ctx, true)
	if err != nil {
		return nil, err
	}
	cpu := d.meter.usage()[serverGroup].cpu
	begun := time.Now()
	if err := d.startIdle(ctx); err != nil {
		return nil, err
	}
	if err := d.awaitWorkers(ctx, cfg.n); err != nil {
		return nil, err
	}
	connecting := time.Since(begun).Seconds()
	spent := d.meter.usage()[serverGroup].cpu - cpu
	if err := pause(ctx, cfg.warm); err != nil {
		return nil, err
	}
	cpu, begun = d.meter.usage()[serverGroup].cpu, time.Now()
	if err := pause(ctx, cfg.dur); err != nil {
		return nil, err
	}
	idle := (d.meter.usage()[serverGroup].cpu - cpu) / time.Since(begun).Seconds()
	steady, _, err := d.serverMemory(ctx, false)
	if err != nil {
		return nil, err
	}
	clean, own, err := d.serverMemory(ctx, true)
	if err != nil {
		return nil, err
	}
	if err := d.profile(ctx, "inventory"); err != nil {
		return nil, err
	}
	st, err := d.client.system.GetStatus(ctx, &operatorv1.GetStatusRequest{})
	if err != nil {
		return nil, fmt.Errorf("get status: %w", err)
	}
	n := float64(cfg.n)
	return figures{
		"peer": "shardy", "variant": cfg.label(), "mode": cfg.mode, "n": cfg.n, "procs": cfg.procs,
		"connect_s": round(connecting, 2), "connects_per_s": round(n/connecting, 1),
		"server_cpu_us_per_connect": round(spent*1e6/n, 1), "server_cpu_cores_idle": round(idle, 4),
		"rss_base_mib": round(base/1048576, 1), "rss_mib_steady": round(steady/1048576, 1), "rss_mib_after_gc": round(clean/1048576, 1),
		"rss_bytes_per_conn_steady": round((steady-base)/n, 0), "rss_bytes_per_conn_after_gc": round((clean-base)/n, 0),
		"heap_inuse_per_conn": round((float64(own.Heap)-float64(bare.Heap))/n, 0), "stack_inuse_per_conn": round((float64(own.Stack)-float64(bare.Stack))/n, 0),
		"entities":            figureOf(st, "entities"),
		"goroutines_per_conn": round(float64(own.Goroutines-bare.Goroutines)/n, 2),
	}, nil
}

// figureOf is a figure of the server by its name.
func figureOf(st *operatorv1.GetStatusResponse, name string) uint64 {
	for _, c := range st.GetCounters() {
		if c.GetName() == name {
			return c.GetValue()
		}
	}
	return 0
}

// startIdle starts the processes whose workers idle.
func (d *deployment) startIdle(ctx context.Context) error {
	all, ctx := errgroup.WithContext(ctx)
	for i := range d.cfg.procs {
		w, err := spawn(roleIdle+strconv.Itoa(i), filepath.Join(d.dir, "idle"+strconv.Itoa(i)+".log"), "-role", roleIdle,
			"-id", strconv.Itoa(i), "-addr", d.addr, "-dir", d.dir, "-count", strconv.Itoa(d.cfg.n/d.cfg.procs), "-run", d.run)
		if err != nil {
			return err
		}
		d.workers = append(d.workers, w)
		d.meter.groups[workerGroup] = append(d.meter.groups[workerGroup], w.pid())
		all.Go(func() error {
			_, err := w.await(ctx)
			return err
		})
	}
	return all.Wait()
}

// serverMemory is the resident size of the server process alone, in bytes, and what its runtime says.
func (d *deployment) serverMemory(ctx context.Context, clean bool) (rss float64, own heap, err error) {
	if clean {
		if err := d.command(ctx, "collect"); err != nil {
			return 0, own, err
		}
	}
	text, err := d.server.ask(ctx, "memory")
	if err != nil {
		return 0, own, err
	}
	if err := json.Unmarshal([]byte(text), &own); err != nil {
		return 0, own, fmt.Errorf("%w %q: %w", errAnswer, text, err)
	}
	return procField(d.server.pid(), "status", "VmRSS:") * 1024, own, nil
}

// idle is the role of a process whose workers wait for work that never comes.
func idle(ctx context.Context, cfg config) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	const connecting = 64
	turn := make(chan struct{}, connecting)
	var alive, connected sync.WaitGroup
	connected.Add(cfg.count)
	for i := range cfg.count {
		turn <- struct{}{}
		var once sync.Once
		a, err := newAgent(cfg, i, nil, agentSize{runners: 1, prefetch: 1}, func() {
			once.Do(func() { <-turn; connected.Done() })
		})
		if err != nil {
			return err
		}
		alive.Go(func() { _ = a.Run(ctx) })
	}
	connected.Wait()
	serveAs("", func(string) string { return "ok" })
	cancel()
	alive.Wait()
	return nil
}
