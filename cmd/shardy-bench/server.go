package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"strings"

	"github.com/shardy-network/orchestrator/actors/policy"
	"github.com/shardy-network/orchestrator/cmd/shardy/examples"
	"github.com/shardy-network/orchestrator/cmd/shardy/orchestrator"
	"github.com/shardy-network/orchestrator/events/pebblelog"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// module is what jobs name, with an input for its trial run. No worker of a run executes it.
func module() (wasm, canary []byte) {
	return examples.Module("primes"), examples.New("primes", true).Chunks()[0]
}

// openLog opens the log of a server that has ended.
func openLog(dir string) (*pebblelog.Log, error) {
	return pebblelog.Open(orchestrator.LogDir(dir), pebblelog.Options{})
}

// rules is the policy of a run: the default one, but no ringers among the jobs, and signatures as asked for.
func rules(attest bool) *eventv1.Policy {
	p := policy.Default()
	p.RingerPerMillion = 0
	p.Standard.RequireAttestation = attest
	return p
}

// serve is the role of the server: the product, as any program starts it.
func serve(ctx context.Context, cfg config) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	mesh, err := meshOf(cfg)
	if err != nil {
		return err
	}
	o, err := orchestrator.New(ctx, orchestrator.Config{
		DataDir: cfg.dir, Listen: cfg.addr, Policy: rules(cfg.attest), Version: "shardy-bench", Mesh: mesh,
	})
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- o.Run(ctx) }()
	var p profiler
	serveAs(o.Addr(), func(line string) string {
		verb, rest, _ := strings.Cut(line, " ")
		switch verb {
		case "memory":
			return readHeap()
		case "collect":
			return collect()
		case "profile":
			return answer(p.start(rest))
		case "inventory":
			return answer(inventory(rest))
		case "profiled":
			return answer(p.stop())
		default:
			return "unknown " + verb
		}
	})
	cancel()
	return <-ended
}

func answer(err error) string {
	if err != nil {
		return err.Error()
	}
	return "ok"
}

// profiler writes profiles of a window of this process.
type profiler struct {
	dir string
	cpu *os.File
}

func (p *profiler) start(dir string) (err error) {
	p.dir = dir
	if p.cpu, err = os.Create(filepath.Join(dir, "cpu.pprof")); err != nil {
		return err
	}
	if err := p.write("allocs-before.pprof"); err != nil {
		return err
	}
	return pprof.StartCPUProfile(p.cpu)
}

func (p *profiler) stop() error {
	if p.cpu == nil {
		return errors.New("no profile was started")
	}
	pprof.StopCPUProfile()
	return errors.Join(p.cpu.Close(), p.write("allocs.pprof"))
}

// inventory writes what is on the heap, and what every goroutine does.
func inventory(dir string) error {
	var all error
	for _, name := range []string{"heap", "goroutine"} {
		f, err := os.Create(filepath.Join(dir, name+".pprof"))
		if err != nil {
			return errors.Join(all, err)
		}
		all = errors.Join(all, pprof.Lookup(name).WriteTo(f, 0), f.Close())
	}
	return all
}

// write saves what was allocated since the start of the process; the difference of two is that of a window.
func (p *profiler) write(name string) (err error) {
	f, err := os.Create(filepath.Join(p.dir, name))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	runtime.GC()
	if err := pprof.Lookup("allocs").WriteTo(f, 0); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}
