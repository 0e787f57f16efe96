package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

// The roles of child processes.
const (
	roleServer = "server"
	roleWorker = "worker"
	roleIdle   = "idle"
)

// deployment is a server with its workers and its client, all of one run.
type deployment struct {
	cfg     config
	run     string // names the run: keys are derived from it
	dir     string // everything of this run; data of the server in dir/server
	addr    string // of the server, host:port
	server  *child
	workers []*child
	client  *client
	meter   *meter
}

// roster is which workers a run has: so many of so many processes, owned by their process or by nobody.
type roster struct {
	processes, each int
	owned           bool
}

// deploy makes a deployment that knows the run's workers, starts the server, connects a client and admits the module
// that jobs name.
func deploy(ctx context.Context, cfg config, r roster) (*deployment, error) {
	dir, err := filepath.Abs(filepath.Join(cfg.data, "shardy-"+strconv.Itoa(os.Getpid())))
	if err != nil {
		return nil, err
	}
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o755)); err != nil {
		return nil, err
	}
	d := &deployment{cfg: cfg, run: rand.Text(), dir: dir, addr: "127.0.0.1:0", meter: &meter{groups: map[string][]int{}}}
	d.meter.dirs = []string{d.data()}
	err = enrol(ctx, d.data(), members(d.run, r.processes, r.each, r.owned))
	if err == nil {
		err = d.startServer(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, d.close())
	}
	d.client = newClient(d.addr)
	wasm, canary := module()
	if err := d.client.admit(ctx, wasm, canary); err != nil {
		return nil, errors.Join(err, d.close())
	}
	return d, nil
}

func (d *deployment) data() string { return filepath.Join(d.dir, "server") }

// startServer starts the server; a second time it comes back on the same address and folder.
func (d *deployment) startServer(ctx context.Context) error {
	var err error
	d.server, err = spawn(roleServer, filepath.Join(d.dir, "server.log"), "-role", roleServer,
		"-addr", d.addr, "-dir", d.data(), "-attest="+strconv.FormatBool(d.cfg.attest),
		"-mesh", strconv.Itoa(d.cfg.mesh), "-share", strconv.FormatFloat(d.cfg.share, 'f', -1, 64))
	if err != nil {
		return err
	}
	if d.addr, err = d.server.await(ctx); err != nil {
		return err
	}
	d.meter.groups[serverGroup] = []int{d.server.pid()}
	return nil
}

// startWorker starts one more worker process, which is an identity group of its own, and does not wait for its admission.
func (d *deployment) startWorker(addr string, hold time.Duration) error {
	id := len(d.workers)
	w, err := spawn(roleWorker+strconv.Itoa(id), filepath.Join(d.dir, "worker"+strconv.Itoa(id)+".log"), "-role", roleWorker,
		"-id", strconv.Itoa(id), "-addr", addr, "-dir", d.dir, "-run", d.run, "-agents", strconv.Itoa(d.cfg.agents),
		"-hold", hold.String(), "-attest="+strconv.FormatBool(d.cfg.attest))
	if err != nil {
		return err
	}
	d.workers = append(d.workers, w)
	d.meter.groups[workerGroup] = append(d.meter.groups[workerGroup], w.pid())
	return nil
}

// startWorkers starts worker processes and waits until all their connections are admitted.
func (d *deployment) startWorkers(ctx context.Context, n int) error {
	for range n {
		if err := d.startWorker(d.addr, 0); err != nil {
			return err
		}
	}
	return d.awaitWorkers(ctx, n*d.cfg.agents)
}

// awaitWorkers polls until so many connections are admitted.
func (d *deployment) awaitWorkers(ctx context.Context, n int) error {
	ctx, cancel := context.WithTimeoutCause(ctx, readyLimit, fmt.Errorf("%d workers were not admitted in time", n))
	defer cancel()
	for {
		st, err := d.client.system.GetStatus(ctx, &operatorv1.GetStatusRequest{})
		if err != nil {
			return fmt.Errorf("get status: %w", errors.Join(err, context.Cause(ctx)))
		}
		connected := 0
		for _, t := range st.GetWorkers() {
			if t.GetTier() > 0 {
				connected += int(t.GetConnected())
			}
		}
		if connected >= n {
			return nil
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
}

// close ends all processes and removes the run's folder.
func (d *deployment) close() error {
	for _, w := range d.workers {
		w.stop()
	}
	if d.server != nil {
		d.server.stop()
	}
	if d.cfg.keep {
		return nil
	}
	return os.RemoveAll(d.dir)
}

// pause waits, or returns why ctx ended.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
