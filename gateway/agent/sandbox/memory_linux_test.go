package sandbox

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shardy-network/orchestrator/actors/admission/wasm"
)

// A compiler that runs out of memory takes its process with it, and nothing else.
func TestCompilerWithoutMemoryFailsAlone(t *testing.T) {
	body := []byte(strings.Repeat("\x03\x40\x20\x00\x0d\x00\x0b", 8_000))
	bomb := assembler{run: append(body, output(0, 0)...)}.build()
	s := open(t, Config{CompileTimeout: time.Minute})
	works(t, s)
	leave(t, s.child.cmd.Process.Pid, 16<<20)
	err := s.Load(t.Context(), wasm.Name(bomb), bomb)
	wantError(t, err, ErrMemory)
	t.Log(err)
	works(t, s)
}

func TestMemoryHogMeetsTheLimitOfTheProcess(t *testing.T) {
	s := open(t, Config{})
	hog := echo
	hog.pages = 8192
	name := load(t, s, metered(t, hog))
	leave(t, s.child.cmd.Process.Pid, 400<<20)
	_, err := s.Run(t.Context(), Task{Module: name, FuelLimit: 1000})
	wantError(t, err, ErrMemory)
	works(t, s)
}

// Memories of one size after another never add up.
func TestMemoriesAreGivenBack(t *testing.T) {
	s := open(t, Config{})
	works(t, s)
	leave(t, s.child.cmd.Process.Pid, 700<<20) // room for each of them, not for two
	for n := range 6 {
		a := echo
		a.pages = []uint32{8000, 4000, 7000}[n%3]
		r, err := s.Run(t.Context(), Task{Module: load(t, s, metered(t, a)), FuelLimit: 1000, Input: []byte("x")})
		if err != nil || r.Status != OK {
			t.Fatalf("%d pages: %v", a.pages, err)
		}
	}
}

// leave takes all address space from a process but what it has and some bytes more.
func leave(t *testing.T, pid int, more uint64) {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		t.Fatal(err)
	}
	var pages uint64
	if _, err := fmt.Sscan(string(b), &pages); err != nil {
		t.Fatal(err)
	}
	limit := pages*uint64(os.Getpagesize()) + more
	if err := unix.Prlimit(pid, unix.RLIMIT_AS, &unix.Rlimit{Cur: limit, Max: limit}, nil); err != nil {
		t.Fatal(err)
	}
}
