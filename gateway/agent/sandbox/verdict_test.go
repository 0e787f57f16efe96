package sandbox

import (
	"bytes"
	"fmt"
	"testing"
)

// What a module does with its input is the same under both engines, fuel included.
func TestVerdicts(t *testing.T) {
	const limit = 1_000_000
	zeroDivision := []byte{i32Const, 1, i32Const, 0, 0x6d, 0x1a}
	for _, c := range []struct {
		name   string
		module assembler
		input  []byte
		max    uint64
		status Status
		detail string
	}{
		{"echo", echo, []byte("hello"), 0, OK, ""},
		{"empty", echo, nil, 0, OK, ""},
		{"unreachable", assembler{run: []byte{0x00}}, nil, 0, Trap, "unreachable"},
		{"division", assembler{run: append(zeroDivision, output(0, 0)...)}, nil, 0, Trap, "integer divide by zero"},
		{"wild load", assembler{run: append(append(constant(nil, i32Const, -4), 0x28, 2, 0, 0x1a), output(0, 0)...)}, nil, 0, Trap, "out of bounds memory access"},
		{"endless loop", spin, nil, 0, OutOfFuel, "fuel limit 1000000 used up"},
		{"output behind the memory", assembler{run: output(65530, 7)}, nil, 0, BadOutput, "output [65530, +7) lies outside the memory"},
		{"output that wraps around", assembler{run: output(1<<32-1, 2)}, nil, 0, BadOutput, "output [4294967295, +2) lies outside the memory"},
		{"giant output", assembler{run: output(0, 1<<31)}, nil, 0, BadOutput, "output of 2147483648 bytes, limit 16777216"},
		{"output above the limit", assembler{run: output(0, 101)}, nil, 100, BadOutput, "output of 101 bytes, limit 100"},
		{"room behind the memory", assembler{alloc: constant(nil, i32Const, 65535), run: output(0, 0)}, []byte("xy"), 0, BadOutput, "shardy_alloc(2) returned 65535, outside the memory"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := sharedSandbox(t)
			name := load(t, s, metered(t, c.module))
			task := Task{Module: name, Input: c.input, FuelLimit: limit, MaxOutput: c.max}
			var results [2]Result
			for i, interpreter := range []bool{false, true} {
				task.Interpreter = interpreter
				r, err := s.Run(t.Context(), task)
				if err != nil {
					t.Fatal(err)
				}
				if r.Status != c.status || r.Detail != c.detail {
					t.Errorf("interpreter %v: %s %q, want %s %q", interpreter, r.Status, r.Detail, c.status, c.detail)
				}
				results[i] = r
			}
			if fmt.Sprint(results[0]) != fmt.Sprint(results[1]) {
				t.Errorf("engines disagree: %v, %v", results[0], results[1])
			}
			if used := results[0].FuelUsed; used == 0 || used > limit || c.status == OutOfFuel && used != limit {
				t.Errorf("%d units used", used)
			}
			if c.status == OK && !bytes.Equal(results[0].Output, c.input) {
				t.Errorf("output %q", results[0].Output)
			}
		})
	}
}

// An instance is fresh: nothing that a task left in memory is seen by the next.
func TestInstancesAreFresh(t *testing.T) {
	s := sharedSandbox(t)
	// Returns the eight bytes at 512, then overwrites them.
	leak := assembler{run: append(append(append(append(
		constant(nil, i32Const, 520), append(constant(nil, i32Const, 512), 0x29, 3, 0, 0x37, 3, 0)...,
	),
		append(constant(nil, i32Const, 512), constant(nil, i64Const, -1)...)...), 0x37, 3, 0), output(520, 8)...)}
	name := load(t, s, metered(t, leak))
	for range 3 {
		r, err := s.Run(t.Context(), Task{Module: name, FuelLimit: 1000})
		if err != nil || r.Status != OK || !bytes.Equal(r.Output, make([]byte, 8)) {
			t.Fatalf("%v %s %x", err, r.Status, r.Output)
		}
	}
}

func TestFuelLimitIsExact(t *testing.T) {
	s := sharedSandbox(t)
	name := load(t, s, metered(t, echo))
	r, err := s.Run(t.Context(), Task{Module: name, FuelLimit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	for limit, want := range map[uint64]Status{r.FuelUsed: OK, r.FuelUsed - 1: OutOfFuel, 0: OutOfFuel, MaxFuel: OK} {
		got, err := s.Run(t.Context(), Task{Module: name, FuelLimit: limit})
		if err != nil || got.Status != want || got.FuelUsed != min(limit, r.FuelUsed) {
			t.Errorf("limit %d: %v %s after %d units, want %s", limit, err, got.Status, got.FuelUsed, want)
		}
	}
}

func TestRefusals(t *testing.T) {
	s := sharedSandbox(t)
	plain, withCounter := load(t, s, echo.build()), load(t, s, metered(t, echo))
	_, err := s.Run(t.Context(), Task{Module: plain, FuelLimit: 10})
	wantError(t, err, ErrUnmetered)
	_, err = s.Run(t.Context(), Task{Module: withCounter, Unmetered: true})
	wantError(t, err, ErrUnmetered)
	_, err = s.Run(t.Context(), Task{Module: withCounter, Unmetered: true, FuelLimit: 1})
	wantError(t, err, ErrTask)
	_, err = s.Run(t.Context(), Task{Module: withCounter, FuelLimit: MaxFuel + 1})
	wantError(t, err, ErrTask)
	_, err = s.Run(t.Context(), Task{Module: withCounter, Timeout: -1})
	wantError(t, err, ErrTask)
	_, err = s.Run(t.Context(), Task{Module: withCounter, MaxOutput: 1 << 40})
	wantError(t, err, ErrTask)
	_, err = s.Run(t.Context(), Task{Module: withCounter, Input: make([]byte, 65<<20)})
	wantError(t, err, ErrTooLarge)
	_, err = s.Run(t.Context(), Task{Module: [32]byte{1}})
	wantError(t, err, ErrNotLoaded)
	wantError(t, s.Load(t.Context(), [32]byte{1}, []byte("x")), ErrDigest)
	wantError(t, s.Load(t.Context(), plain, make([]byte, 5<<20)), ErrTooLarge)
	r, err := s.Run(t.Context(), Task{Module: plain, Input: []byte("x"), Unmetered: true})
	if err != nil || r.Status != OK || r.FuelUsed != 0 || string(r.Output) != "x" {
		t.Errorf("unmetered run: %v %v", r, err)
	}
	works(t, s)
}
