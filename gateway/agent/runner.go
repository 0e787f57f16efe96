package agent

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/shardy-network/orchestrator/gateway/agent/sandbox"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// Task is one chunk to run.
type Task struct {
	Job       string
	Slot      uint32
	Token     uint64
	Module    [32]byte
	Input     []byte
	FuelLimit uint64
	MaxOutput uint64        // bytes; 0: the runner's default
	Timeout   time.Duration // 0: the runner's default
}

// Result is what a module did with an input: deterministic, the same on every machine.
type Result struct {
	Status eventv1.ResultStatus
	Fuel   uint64
	Output []byte // status OK only
	Proof  []byte // of a further proof system; at most 64 KiB
}

// Runner runs modules. Its methods MUST be safe for concurrent use; as many Runs as Config.Runners come at once. An
// error of Run says that this worker could not run the task, and nothing about the module.
type Runner interface {
	// Load makes a module ready; its bytes have been checked against its name. Loading again is cheap.
	Load(ctx context.Context, name [32]byte, module []byte) error
	Run(ctx context.Context, t Task) (Result, error)
}

// SandboxPool runs tasks in sandboxes, each with a child process of its own.
type SandboxPool struct {
	free chan *sandbox.Sandbox
	all  []*sandbox.Sandbox

	mu      sync.Mutex
	modules map[[32]byte][]byte // guarded by mu; what a sandbox that has not seen a module yet loads
	order   [][32]byte          // oldest first; guarded by mu
}

// maxPoolModules bounds the modules that a pool remembers.
const maxPoolModules = 64

// NewSandboxPool returns a pool of n sandboxes. Close ends their processes.
func NewSandboxPool(n int, cfg sandbox.Config) (*SandboxPool, error) {
	if n < 1 || n > 4096 {
		return nil, fmt.Errorf("%w: %d sandboxes", ErrConfig, n)
	}
	p := &SandboxPool{free: make(chan *sandbox.Sandbox, n), modules: make(map[[32]byte][]byte)}
	for range n {
		s, err := sandbox.New(cfg)
		if err != nil {
			return nil, errors.Join(err, p.Close())
		}
		p.all = append(p.all, s)
		p.free <- s
	}
	return p, nil
}

// Load implements Runner: the module is compiled in one sandbox, which tells whether it can be; the others follow when
// they first need it.
func (p *SandboxPool) Load(ctx context.Context, name [32]byte, module []byte) error {
	s, err := p.take(ctx)
	if err != nil {
		return err
	}
	defer p.give(s)
	if err := s.Load(ctx, name, module); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, ok := p.modules[name]; ok {
		return nil
	}
	if len(p.order) == maxPoolModules {
		delete(p.modules, p.order[0])
		p.order = p.order[1:]
	}
	p.modules[name] = module
	p.order = append(p.order, name)
	return nil
}

// Run implements Runner.
func (p *SandboxPool) Run(ctx context.Context, t Task) (Result, error) {
	s, err := p.take(ctx)
	if err != nil {
		return Result{}, err
	}
	defer p.give(s)
	p.mu.Lock()
	module, ok := p.modules[t.Module]
	p.mu.Unlock()
	if !ok {
		return Result{}, fmt.Errorf("%w: %x", sandbox.ErrNotLoaded, t.Module)
	}
	if err := s.Load(ctx, t.Module, module); err != nil {
		return Result{}, err
	}
	r, err := s.Run(ctx, sandbox.Task{
		Module: t.Module, Input: t.Input, FuelLimit: t.FuelLimit, MaxOutput: t.MaxOutput, Timeout: t.Timeout,
	})
	if err != nil {
		return Result{}, err
	}
	return Result{Status: statusOf(r.Status), Fuel: r.FuelUsed, Output: r.Output}, nil
}

func statusOf(s sandbox.Status) eventv1.ResultStatus {
	switch s {
	case sandbox.OK:
		return eventv1.ResultStatus_RESULT_STATUS_OK
	case sandbox.Trap:
		return eventv1.ResultStatus_RESULT_STATUS_TRAP
	case sandbox.OutOfFuel:
		return eventv1.ResultStatus_RESULT_STATUS_OUT_OF_FUEL
	}
	return eventv1.ResultStatus_RESULT_STATUS_BAD_OUTPUT
}

func (p *SandboxPool) take(ctx context.Context) (*sandbox.Sandbox, error) {
	select {
	case s := <-p.free:
		return s, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (p *SandboxPool) give(s *sandbox.Sandbox) { p.free <- s }

// Close kills the children. Tasks under way fail.
func (p *SandboxPool) Close() error {
	var err error
	for _, s := range p.all {
		err = errors.Join(err, s.Close())
	}
	return err
}
