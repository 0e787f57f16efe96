package challenge

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/shardy-network/orchestrator/actors/admission/wasm"
)

func TestModuleMatchesItsLock(t *testing.T) {
	lock, err := os.ReadFile("challenge.lock")
	if err != nil {
		t.Fatal(err)
	}
	if want, got := string(lock), fmt.Sprintf("%x  challenge\n", sha256.Sum256(base)); got != want {
		t.Errorf("module is %s, lock says %s", got, want)
	}
	for _, tool := range []string{"clang-19", "wasm-ld-19"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("not rebuilt: %s is missing", tool)
		}
	}
	out := filepath.Join(t.TempDir(), "out.wasm")
	if text, err := exec.CommandContext(t.Context(), "./build.sh", out).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	rebuilt, err := os.ReadFile(out)
	if err != nil || !bytes.Equal(rebuilt, base) {
		t.Errorf("%v: the source gives another module", err)
	}
}

func TestEveryModuleIsAdmissible(t *testing.T) {
	for _, size := range []uint64{1 << 20, 32 << 20, 64 << 20, 100 << 20, 256 << 20, 1 << 30} {
		q, err := NewMemory(size, [NonceSize]byte{1})
		if err != nil {
			t.Fatal(err)
		}
		info, err := wasm.Lint(q.Module(), wasm.Limits{MemoryPages: 32768})
		if err != nil || info.Class != wasm.FloatVector {
			t.Errorf("%d bytes: %v, class %s", size, err, info.Class)
		}
		if room := uint64(info.MemoryPages) * pageBytes; room != size || q.Work() != size {
			t.Errorf("%d bytes: a memory of %d, work of %d", size, room, q.Work())
		}
	}
	q, _ := NewCompute(1, [NonceSize]byte{})
	if !bytes.Equal(q.Module(), base) {
		t.Error("a compute challenge runs the committed module")
	}
}

func TestSizes(t *testing.T) {
	for flop, rounds := range map[uint64]uint32{1: 1, FlopPerRound: 1, FlopPerRound + 1: 2, 1 << 32: 1024} {
		q, err := NewCompute(flop, [NonceSize]byte{})
		if err != nil || q.Size != rounds || q.Work() < flop {
			t.Errorf("%d FLOP: %v, %d rounds", flop, err, q.Size)
		}
	}
	q, err := NewMemory(64<<20, [NonceSize]byte{7})
	if err != nil || q.Work() != 64<<20 {
		t.Errorf("%v: %d bytes", err, q.Work())
	}
	want := "02000000" + "00fe0000" + "07" + strings.Repeat("00", 31)
	if got := fmt.Sprintf("%x", q.Input()); got != want {
		t.Errorf("input %s, want %s", got, want)
	}
	if q, err := NewMemory(MinMemory+1, q.Nonce); err != nil || q.Work() != MinMemory+pageBytes {
		t.Errorf("%v: %d bytes, want whole pages", err, q.Work())
	}
	for _, size := range []uint64{0, 1 << 62} {
		if _, err := NewCompute(size, q.Nonce); !errors.Is(err, ErrSize) {
			t.Errorf("%d FLOP: %v", size, err)
		}
		if _, err := NewMemory(size, q.Nonce); !errors.Is(err, ErrSize) {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
}

func TestMilliGFLOPS(t *testing.T) {
	for _, c := range []struct {
		work    uint64
		elapsed time.Duration
		want    uint64
	}{
		{1_000_000_000, time.Second, 1000},
		{1 << 32, time.Second, 4294},
		{1 << 32, 100 * time.Millisecond, 42949},
		{250_000_000, time.Second, 250},
		{1000, time.Hour, 0},
		{1, 0, 1},
		{1, -time.Second, 1},
		{1<<64 - 1, time.Microsecond, 1<<64 - 1},
		{1<<64 - 1, time.Second, 18_446_744_073_709},
	} {
		if got := MilliGFLOPS(c.work, c.elapsed); got != c.want {
			t.Errorf("%d FLOP in %s: %d, want %d", c.work, c.elapsed, got, c.want)
		}
	}
}
