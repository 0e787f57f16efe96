package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/shardy-network/orchestrator/actors/admission/wasm"
)

var shared struct {
	sync.Mutex
	box *Sandbox
}

// sharedSandbox saves the start of a child in tests that do not harm it. TestMain closes it.
func sharedSandbox(t *testing.T) *Sandbox {
	t.Helper()
	shared.Lock()
	defer shared.Unlock()
	if shared.box == nil {
		box, err := New(Config{MaxModules: 4})
		if err != nil {
			t.Fatal(err)
		}
		shared.box = box
	}
	return shared.box
}

// heartbeat measures the longest time the process did nothing between two ticks while it also collects garbage.
func heartbeat() (stop func() time.Duration) {
	quit, done := make(chan struct{}), make(chan struct{})
	var worst time.Duration
	go func() {
		defer close(done)
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for last, n := time.Now(), 0; ; n++ {
			select {
			case <-quit:
				return
			case now := <-tick.C:
				worst = max(worst, now.Sub(last))
				last = now
				if n%10 == 0 {
					runtime.GC()
				}
			}
		}
	}()
	return func() time.Duration {
		close(quit)
		<-done
		return worst
	}
}

func TestEndlessLoopIsKilledAndTheParentDoesNotNotice(t *testing.T) {
	s := open(t, Config{})
	name := load(t, s, spin.build())
	pid := s.child.cmd.Process.Pid
	stop := heartbeat()
	begin := time.Now()
	_, err := s.Run(t.Context(), Task{Module: name, Unmetered: true, Timeout: long})
	took, gap := time.Since(begin), stop()
	wantError(t, err, ErrTimeout)
	if took > 5*time.Second {
		t.Errorf("took %s to kill a task of %s", took, long)
	}
	if gap > long*3/4 {
		t.Errorf("parent stood still for %s", gap)
	}
	t.Logf("killed %s after its time, worst gap of the parent %s", took-long, gap)
	if _, err := os.Stat(fmt.Sprintf("/proc/%d", pid)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("child %d is still there: %v", pid, err)
	}
	works(t, s)
}

func TestCompileBombIsStopped(t *testing.T) {
	// 20,000 loops in one function: refused by the lint, half a minute and gigabytes for the compiler.
	body := []byte(strings.Repeat("\x03\x40\x20\x00\x0d\x00\x0b", 20_000))
	bomb := assembler{run: append(body, output(0, 0)...)}.build()
	_, err := wasm.Lint(bomb, wasm.Limits{})
	wantError(t, err, wasm.ErrComplex)

	s := open(t, Config{CompileTimeout: long})
	stop := heartbeat()
	err = s.Load(t.Context(), wasm.Name(bomb), bomb)
	gap := stop()
	wantError(t, err, ErrCompile, ErrTimeout)
	if gap > long*3/4 {
		t.Errorf("parent stood still for %s", gap)
	}
	works(t, s)
}

func TestModuleWithTooMuchMemoryIsRefused(t *testing.T) {
	s := open(t, Config{MaxModuleMemory: 1 << 20})
	greedy := echo
	greedy.pages = 17
	code := greedy.build()
	wantError(t, s.Load(t.Context(), wasm.Name(code), code), ErrCompile)
	works(t, s)
}

func TestStackOverflowIsNoVerdict(t *testing.T) {
	// shardy_run calls function 2, which calls itself: the lint refuses it, the engine must survive it.
	endless := assembler{run: append([]byte{0x10, 2}, output(0, 0)...), bodies: [][]byte{{0x10, 2}}}.build()
	_, err := wasm.Lint(endless, wasm.Limits{})
	wantError(t, err, wasm.ErrRecursion)
	s := open(t, Config{})
	name := load(t, s, endless)
	_, err = s.Run(t.Context(), Task{Module: name, Unmetered: true})
	wantError(t, err, ErrStackOverflow)
	works(t, s)
}

func TestModuleThatLiesIsRefused(t *testing.T) {
	s := open(t, Config{})
	good := echo.build()
	for name, code := range map[string][]byte{
		"not wasm":      []byte("hello"),
		"cut off":       good[:len(good)-4],
		"bad body":      assembler{run: []byte{0x6a}}.build(),
		"foreign local": assembler{run: append([]byte{0x20, 9, 0x1a}, output(0, 0)...)}.build(),
		"foreign fuel":  assembler{run: append([]byte{i64Const, 0, 0x24, 0}, output(0, 0)...)}.build(),
	} {
		t.Run(name, func(t *testing.T) { wantError(t, s.Load(t.Context(), wasm.Name(code), code), ErrCompile) })
	}
	empty := []byte("\x00asm\x01\x00\x00\x00")
	_, err := s.Run(t.Context(), Task{Module: load(t, s, empty), Unmetered: true})
	wantError(t, err, ErrABI)
	works(t, s)
}

func TestChildKilledFromOutside(t *testing.T) {
	s := open(t, Config{})
	name := load(t, s, spin.build())
	victim := s.child
	time.AfterFunc(50*time.Millisecond, victim.kill)
	_, err := s.Run(t.Context(), Task{Module: name, Unmetered: true})
	wantError(t, err, ErrKilled)
	works(t, s)

	// One that dies between two tasks is replaced before anybody notices, and knows its modules.
	s.child.kill()
	<-s.child.exited
	works(t, s)
	if !s.Loaded(name) {
		t.Error("module forgotten")
	}
}

func TestContextEndsATask(t *testing.T) {
	s := open(t, Config{})
	name := load(t, s, spin.build())
	stopped := errors.New("not needed any more")
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(50*time.Millisecond, func() { cancel(stopped) })
	_, err := s.Run(ctx, Task{Module: name, Unmetered: true})
	wantError(t, err, stopped)
	if s.child != nil {
		t.Error("child outlived its task")
	}
	works(t, s)
}

func TestCloseEndsATask(t *testing.T) {
	s := open(t, Config{})
	name := load(t, s, spin.build())
	begun := make(chan error, 1)
	go func() {
		_, err := s.Run(context.Background(), Task{Module: name, Unmetered: true})
		begun <- err
	}()
	for {
		s.mu.Lock()
		busy := s.abort != nil
		s.mu.Unlock()
		if busy {
			break
		}
		runtime.Gosched()
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	wantError(t, <-begun, ErrClosed)
	_, err := s.Run(t.Context(), Task{Module: name, Unmetered: true})
	wantError(t, err, ErrClosed)
	wantError(t, s.Load(t.Context(), name, spin.build()), ErrClosed)
}

func TestConcurrentCallsTakeTurns(t *testing.T) {
	s := open(t, Config{MaxModules: 2})
	var wrong atomic.Int32
	var group sync.WaitGroup
	for n := range 8 {
		group.Go(func() {
			a := echo
			a.pages = uint32(1 + n%3) // three modules in two places
			code := metered(t, a)
			input := fmt.Appendf(nil, "task %d", n)
			for range 5 {
				err := s.Load(t.Context(), wasm.Name(code), code)
				r, runErr := s.Run(t.Context(), Task{Module: wasm.Name(code), Input: input, FuelLimit: 1000})
				if errors.Is(runErr, ErrNotLoaded) {
					continue // another one took the place in between
				}
				if err != nil || runErr != nil || string(r.Output) != string(input) {
					wrong.Add(1)
				}
			}
		})
	}
	group.Wait()
	if wrong.Load() != 0 {
		t.Errorf("%d wrong answers", wrong.Load())
	}
	if n := len(s.child.loaded); n > 2 {
		t.Errorf("child holds %d modules", n)
	}
}

func TestWaitingForATurnCanBeGivenUp(t *testing.T) {
	s := open(t, Config{})
	<-s.turn
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err := s.Run(ctx, Task{})
	wantError(t, err, context.DeadlineExceeded)
	s.turn <- struct{}{}
}

func TestChildThatIsNoSandbox(t *testing.T) {
	for name, command := range map[string][]string{
		"missing": {"/no/such/program"},
		"mute":    {"/bin/sleep", "100"},
		"leaves":  {"/bin/false"},
		"babbles": {"/bin/echo", "hello, I am not a sandbox at all"},
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t, Config{Command: command, StartTimeout: soon})
			code := echo.build()
			wantError(t, s.Load(t.Context(), wasm.Name(code), code), ErrStart)
		})
	}
}

func TestTrial(t *testing.T) {
	s := open(t, Config{})
	original, rewritten := echo.build(), metered(t, echo)
	canary, err := s.Trial(t.Context(), original, rewritten, []byte("tweet"), CanaryFuel)
	if err != nil || canary.Result.Status != OK || string(canary.Result.Output) != "tweet" {
		t.Fatalf("%v %+v", err, canary)
	}
	if s.Loaded(wasm.Name(original)) || !s.Loaded(wasm.Name(rewritten)) {
		t.Error("a trial keeps the rewritten module and forgets the original")
	}
	canary, err = s.Trial(t.Context(), spin.build(), metered(t, spin), nil, CanaryFuel)
	if err != nil || canary.Result.Status != OutOfFuel || canary.Result.FuelUsed != CanaryFuel {
		t.Fatalf("%v %+v", err, canary)
	}
	_, err = s.Trial(t.Context(), []byte("junk"), rewritten, nil, CanaryFuel)
	wantError(t, err, ErrCompile)
	_, err = s.Trial(t.Context(), original, original, nil, CanaryFuel)
	wantError(t, err, ErrUnmetered)
}
