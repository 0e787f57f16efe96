// Package sandbox runs WebAssembly modules in a child process that it kills and replaces when it overruns,
// so that no module can freeze, crash or starve the process that asked for the work.
//
// Limits: one Sandbox holds one child and runs one task at a time (concurrent calls wait for their turn);
// a running task is stopped only by killing the child; memory, processor and death-signal limits exist on
// Linux alone, elsewhere the time limits are the only guard.
package sandbox

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Status is what a module did with an input. Every value is deterministic: honest workers agree on it.
type Status uint8

const (
	// OK: shardy_run returned and its output lies inside the memory and below the output limit.
	OK Status = 1
	// Trap: the module trapped (unreachable, division by zero, access out of bounds, ...).
	Trap Status = 2
	// OutOfFuel: the fuel limit was used up. FuelUsed is then the limit.
	OutOfFuel Status = 3
	// BadOutput: the module returned a pointer outside its memory or more bytes than allowed.
	BadOutput Status = 4
)

func (s Status) String() string {
	switch s {
	case OK:
		return "ok"
	case Trap:
		return "trap"
	case OutOfFuel:
		return "out_of_fuel"
	case BadOutput:
		return "bad_output"
	}
	return fmt.Sprintf("status_%d", uint8(s))
}

// Task is one chunk through one loaded module, in a fresh instance.
type Task struct {
	Module [32]byte // SHA-256 of the bytes given to Load
	Input  []byte   // at most Config.MaxPayload bytes

	// FuelLimit is the fuel the instance may use; the module must have been rewritten by actors/admission/wasm.
	FuelLimit uint64
	// Unmetered runs a module that has no fuel counter: FuelUsed stays zero and Timeout is the only bound.
	// It exists for references and for the original of a trial. A metered module refuses it.
	Unmetered bool
	// MaxOutput is part of the verdict (BadOutput), so replicas must be given the same value.
	// Zero means DefaultMaxOutput. At most Config.MaxPayload.
	MaxOutput uint64
	// Timeout bounds the run, not the start of the child nor a compilation. Zero means Config.RunTimeout.
	Timeout time.Duration
	// Interpreter runs the module in wazero's interpreter, some 300 times slower.
	Interpreter bool
}

// Result is deterministic verdict material.
type Result struct {
	Status   Status
	FuelUsed uint64 // units; the limit itself when Status is OutOfFuel
	Output   []byte // set when Status is OK; owned by the caller
	Detail   string // for people; the same on every machine, but not part of any checksum
}

// Sandbox owns one child process at a time, started at first use and replaced after a failure.
// Its methods may be called from any goroutine; they take turns.
type Sandbox struct {
	cfg Config

	// turn holds one token; its holder alone talks to the child and touches the field.
	turn  chan struct{}
	child *child

	modules *moduleSet

	mu     sync.Mutex
	closed bool
	abort  context.CancelCauseFunc // ends the call that has the turn; nil between calls
}

// New returns a sandbox. It starts no process yet.
func New(cfg Config) (*Sandbox, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Sandbox{cfg: cfg, turn: make(chan struct{}, 1), modules: newModuleSet(cfg.MaxModules)}
	s.turn <- struct{}{}
	return s, nil
}

// Load compiles a module in the child and keeps it for later tasks. At most Config.MaxModules are kept, the
// least recently used one goes first. A module that was loaded survives the replacement of the child: it is
// compiled again at its next task. Loading a module again is free. The sandbox keeps the slice: it must not change.
//
// Errors: ErrTooLarge, ErrDigest (name is not the SHA-256 of the bytes), ErrCompile, ErrTimeout (with
// ErrCompile: the compilation took longer than Config.CompileTimeout) and the failures of the child.
func (s *Sandbox) Load(ctx context.Context, name [32]byte, module []byte) error {
	if len(module) > s.cfg.MaxModuleBytes {
		return fmt.Errorf("%w: module of %d bytes, limit %d", ErrTooLarge, len(module), s.cfg.MaxModuleBytes)
	}
	if sha256.Sum256(module) != name {
		return fmt.Errorf("%w: module is not %x", ErrDigest, name)
	}
	ctx, done, err := s.acquire(ctx)
	if err != nil {
		return err
	}
	defer done()
	return s.load(ctx, name, module)
}

// Run gives a task to the child and waits for its end. A nil error means that Result is a deterministic
// statement about the module and its input. Every other outcome is a failure of this worker: ErrTimeout,
// ErrMemory, ErrStackOverflow, ErrKilled, ErrCrashed, ErrCompile, ErrClosed or the cause of ctx; the child has
// then been killed and reaped. ErrTask, ErrTooLarge, ErrNotLoaded and ErrUnmetered refuse the task itself.
func (s *Sandbox) Run(ctx context.Context, t Task) (Result, error) {
	t, err := s.checkTask(t)
	if err != nil {
		return Result{}, err
	}
	ctx, done, err := s.acquire(ctx)
	if err != nil {
		return Result{}, err
	}
	defer done()
	module, ok := s.modules.use(t.Module)
	if !ok {
		return Result{}, fmt.Errorf("%w: %x", ErrNotLoaded, t.Module)
	}
	if err := s.load(ctx, t.Module, module); err != nil {
		return Result{}, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, t.Timeout, ErrTimeout)
	defer cancel()
	reply, err := s.exchange(ctx, frameRun, t.header(), t.Input)
	if err != nil {
		return Result{}, fmt.Errorf("run: %w", err)
	}
	return decodeVerdict(reply)
}

// Loaded reports whether a module can be run without loading it first. It does not wait for a turn, and another
// caller's Load may take the module's place right afterwards: Run then says ErrNotLoaded.
func (s *Sandbox) Loaded(name [32]byte) bool { return s.modules.has(name) }

// Forget drops a module from the set of loaded ones; the child frees it at the next Load.
func (s *Sandbox) Forget(name [32]byte) { s.modules.remove(name) }

// Close kills the child and refuses everything afterwards. A call under way returns ErrClosed. It is safe to
// call it more than once.
func (s *Sandbox) Close() error {
	s.mu.Lock()
	s.closed = true
	if s.abort != nil {
		s.abort(ErrClosed)
	}
	s.mu.Unlock()
	<-s.turn
	defer func() { s.turn <- struct{}{} }()
	s.drop()
	return nil
}

func (s *Sandbox) checkTask(t Task) (Task, error) {
	if t.MaxOutput == 0 {
		t.MaxOutput = DefaultMaxOutput
	}
	if t.Timeout == 0 {
		t.Timeout = s.cfg.RunTimeout
	}
	switch {
	case uint64(len(t.Input)) > s.cfg.MaxPayload:
		return t, fmt.Errorf("%w: input of %d bytes, limit %d", ErrTooLarge, len(t.Input), s.cfg.MaxPayload)
	case t.MaxOutput > s.cfg.MaxPayload:
		return t, fmt.Errorf("%w: output limit %d above %d", ErrTask, t.MaxOutput, s.cfg.MaxPayload)
	case t.Timeout < 0:
		return t, fmt.Errorf("%w: negative timeout", ErrTask)
	case t.FuelLimit > MaxFuel:
		return t, fmt.Errorf("%w: fuel limit %d above %d", ErrTask, t.FuelLimit, uint64(MaxFuel))
	case t.Unmetered && t.FuelLimit != 0:
		return t, fmt.Errorf("%w: unmetered task with a fuel limit", ErrTask)
	}
	return t, nil
}

// acquire waits for the turn. The returned context also ends when the sandbox is closed.
func (s *Sandbox) acquire(ctx context.Context) (context.Context, func(), error) {
	select {
	case <-s.turn:
	case <-ctx.Done():
		return nil, nil, context.Cause(ctx)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		s.turn <- struct{}{}
		return nil, nil, ErrClosed
	}
	ctx, cancel := context.WithCancelCause(ctx)
	s.abort = cancel
	return ctx, func() {
		s.mu.Lock()
		s.abort = nil
		s.mu.Unlock()
		cancel(nil)
		s.turn <- struct{}{}
	}, nil
}

// load makes sure that a live child has the module compiled. The caller has the turn.
func (s *Sandbox) load(ctx context.Context, name [32]byte, module []byte) error {
	if err := s.ready(ctx); err != nil {
		return err
	}
	if s.child.loaded[name] {
		s.modules.use(name)
		return nil
	}
	s.modules.makeRoom(name)
	if err := s.sweep(ctx); err != nil {
		return err
	}
	compile, cancel := context.WithTimeoutCause(ctx, s.cfg.CompileTimeout, ErrTimeout)
	defer cancel()
	_, err := s.exchange(compile, frameLoad, name[:], module)
	switch {
	case errors.Is(err, ErrTimeout):
		return fmt.Errorf("%w: %w after %s", ErrCompile, ErrTimeout, s.cfg.CompileTimeout)
	case err != nil:
		return fmt.Errorf("load: %w", err)
	}
	s.modules.put(name, module)
	s.child.loaded[name] = true
	return nil
}

// sweep makes the child drop what the set no longer holds. The caller has the turn.
func (s *Sandbox) sweep(ctx context.Context) error {
	for name := range s.child.loaded {
		if s.modules.has(name) {
			continue
		}
		if _, err := s.exchange(ctx, frameDrop, name[:]); err != nil {
			return fmt.Errorf("drop: %w", err)
		}
		delete(s.child.loaded, name)
	}
	return nil
}

// ready starts a child when there is none or the last one has died in the meantime.
func (s *Sandbox) ready(ctx context.Context) error {
	if s.child != nil && s.child.alive() {
		return nil
	}
	s.drop()
	if err := context.Cause(ctx); err != nil {
		return err
	}
	c, err := startChild(s.cfg)
	if err != nil {
		return err
	}
	s.child = c
	begin, cancel := context.WithTimeoutCause(ctx, s.cfg.StartTimeout, ErrTimeout)
	defer cancel()
	if _, err := s.exchange(begin, frameConfig, s.cfg.encode()); err != nil {
		return fmt.Errorf("%w: %w", ErrStart, err)
	}
	return nil
}

// exchange sends a request and returns the payload of its answer. After any failure but a plain refusal the
// child is gone. The caller has the turn.
func (s *Sandbox) exchange(ctx context.Context, kind byte, parts ...[]byte) ([]byte, error) {
	reply, err := s.child.roundTrip(ctx, kind, parts...)
	if err != nil && !isRefusal(err) {
		s.drop()
	}
	return reply, err
}

// drop kills and reaps the child, if any.
func (s *Sandbox) drop() {
	if s.child != nil {
		s.child.stop()
		s.child = nil
	}
}
