package sandbox

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/shardy-network/orchestrator/actors/admission/wasm"
)

// assembler writes small modules: one memory, shardy_alloc that returns a constant, shardy_run with a given body.
type assembler struct {
	pages  uint32
	alloc  []byte   // i32 on the stack at the end
	run    []byte   // i64 on the stack at the end
	locals []byte   // declaration of shardy_run's locals
	bodies [][]byte // further functions of type () -> (), from index 2
}

const (
	i32Const = 0x41
	i64Const = 0x42
)

// constant appends i32.const or i64.const.
func constant(b []byte, op byte, v int64) []byte {
	b = append(b, op)
	for {
		low := byte(v & 0x7f)
		v >>= 7
		if v == 0 && low&0x40 == 0 || v == -1 && low&0x40 != 0 {
			return append(b, low)
		}
		b = append(b, low|0x80)
	}
}

func number(b []byte, v int) []byte {
	for ; v >= 0x80; v >>= 7 {
		b = append(b, byte(v)|0x80)
	}
	return append(b, byte(v))
}

func sized(b []byte) []byte { return append(number(nil, len(b)), b...) }

func (a assembler) build() []byte {
	if a.pages == 0 {
		a.pages = 1
	}
	if a.alloc == nil {
		a.alloc = constant(nil, i32Const, 1024)
	}
	if a.locals == nil {
		a.locals = []byte{0}
	}
	out := []byte("\x00asm\x01\x00\x00\x00")
	section := func(id byte, data []byte) { out = append(append(out, id), sized(data)...) }
	section(1, []byte("\x03\x60\x01\x7f\x01\x7f\x60\x02\x7f\x7f\x01\x7e\x60\x00\x00"))
	functions := append(number(nil, 2+len(a.bodies)), 0, 1)
	for range a.bodies {
		functions = append(functions, 2)
	}
	section(3, functions)
	section(5, number(number([]byte{1, 1}, int(a.pages)), int(a.pages)))
	exports := []byte{3}
	for _, e := range []struct {
		name        string
		kind, index byte
	}{{"memory", 2, 0}, {"shardy_alloc", 0, 0}, {"shardy_run", 0, 1}} {
		exports = append(append(exports, sized([]byte(e.name))...), e.kind, e.index)
	}
	section(7, exports)
	code := number(nil, 2+len(a.bodies))
	code = append(code, sized(append(append([]byte{0}, a.alloc...), 0x0b))...)
	code = append(code, sized(append(append(append([]byte(nil), a.locals...), a.run...), 0x0b))...)
	for _, b := range a.bodies {
		code = append(code, sized(append(append([]byte{0}, b...), 0x0b))...)
	}
	section(10, code)
	return out
}

// output is an i64.const that names an output.
func output(at, size uint32) []byte {
	return constant(nil, i64Const, int64(uint64(at)<<32|uint64(size)))
}

// echo returns its input: at << 32 | length.
var echo = assembler{run: []byte{0x20, 0, 0xad, 0x42, 32, 0x86, 0x20, 1, 0xad, 0x84}}

// spin never ends.
var spin = assembler{run: append([]byte{0x03, 0x40, 0x0c, 0, 0x0b}, output(0, 0)...)}

func metered(t testing.TB, a assembler) []byte {
	t.Helper()
	code, err := wasm.Rewrite(a.build(), wasm.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return code
}

func open(t testing.TB, cfg Config) *Sandbox {
	t.Helper()
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// load returns the name of a module that the sandbox has compiled.
func load(t testing.TB, s *Sandbox, code []byte) [32]byte {
	t.Helper()
	name := wasm.Name(code)
	if err := s.Load(context.Background(), name, code); err != nil {
		t.Fatal(err)
	}
	return name
}

// works checks that the sandbox still serves: what a caller expects after any failure.
func works(t *testing.T, s *Sandbox) {
	t.Helper()
	name := load(t, s, metered(t, echo))
	r, err := s.Run(t.Context(), Task{Module: name, Input: []byte("still here"), FuelLimit: 1000})
	if err != nil || r.Status != OK || string(r.Output) != "still here" {
		t.Fatalf("sandbox does not work any more: %v %v %q", err, r.Status, r.Output)
	}
}

func wantError(t *testing.T, err error, kinds ...error) {
	t.Helper()
	for _, kind := range kinds {
		if !errors.Is(err, kind) {
			t.Fatalf("got error %v, want %v", err, kind)
		}
	}
}

const (
	soon = 300 * time.Millisecond
	long = 2 * time.Second // a process that a module held up would stand still as long
)
