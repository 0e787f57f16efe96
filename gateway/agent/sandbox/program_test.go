package sandbox

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/shardy-network/orchestrator/actors/admission/wasm"
)

// Value types of generated programs, by letter: i32, i64, f32, f64, v128.
type operation struct {
	takes, gives string
	code         string
}

const memoryArgument = "\x00\x10" // alignment 1, offset 16

// operations never trap: no divisions, no trapping conversions, addresses are constants.
var operations = func() []operation {
	table := []operation{
		{"", "i", "\x41\x2a"},
		{"", "i", "\x41\x7f"},
		{"", "l", "\x42\x80\x80\x80\x80\x78"},
		{"", "f", "\x43\x00\x00\xc0\x7f"},
		{"", "f", "\x43\x03\x00\xc0\xff"},
		{"", "f", "\x43\x00\x00\x80\x3f"},
		{"", "d", "\x44\x00\x00\x00\x00\x00\x00\xf0\xbf"},
		{"", "i", "\x41\x00\x28" + memoryArgument},
		{"", "f", "\x41\x00\x2a" + memoryArgument},
		{"", "d", "\x41\x08\x2b" + memoryArgument},
		{"", "v", "\x41\x10\xfd\x00" + memoryArgument},
		{"iii", "i", "\x1b"},
		{"ffi", "f", "\x1b"},
		{"vvi", "v", "\x1b"},
		{"i", "l", "\xac"},
		{"l", "i", "\xa7"},
		{"f", "d", "\xbb"},
		{"d", "f", "\xb6"},
		{"f", "i", "\xbc"},
		{"d", "l", "\xbd"},
		{"i", "f", "\xbe"},
		{"l", "d", "\xbf"},
		{"f", "i", "\xfc\x00"},
		{"d", "l", "\xfc\x07"},
		{"i", "v", "\xfd\x11"},
		{"f", "v", "\xfd\x13"},
		{"d", "v", "\xfd\x14"},
		{"v", "i", "\xfd\x1b\x02"},
		{"v", "f", "\xfd\x1f\x01"},
		{"v", "d", "\xfd\x21\x01"},
		{"vf", "v", "\xfd\x20\x03"},
		{"vd", "v", "\xfd\x22\x00"},
		{"vvv", "v", "\xfd\x52"},
		{"v", "v", "\xfd\x5e"},
		{"v", "v", "\xfd\x5f"},
		{"", "", "\x41\x80\x02\x41\x00\x41\xc0\x01\xfc\x0a\x00\x00"}, // memory.copy
		{"", "", "\x41\x80\x02\x41\x07\x41\xc0\x00\xfc\x0b\x00"},     // memory.fill
	}
	row := func(takes, gives, prefix string, opcodes ...byte) {
		for _, op := range opcodes {
			code := prefix + string([]byte{op})
			if prefix != "" && op >= 0x80 {
				code += "\x01"
			}
			table = append(table, operation{takes, gives, code})
		}
	}
	row("ii", "i", "", 0x6a, 0x6b, 0x6c, 0x71, 0x73, 0x74, 0x77, 0x48)
	row("ll", "l", "", 0x7c, 0x7d, 0x7e, 0x83, 0x86, 0x89)
	row("ff", "f", "", 0x92, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98)
	row("dd", "d", "", 0xa0, 0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6)
	row("f", "f", "", 0x8b, 0x8c, 0x8d, 0x8f, 0x90, 0x91)
	row("d", "d", "", 0x99, 0x9a, 0x9b, 0x9c, 0x9e, 0x9f)
	row("ff", "i", "", 0x5b, 0x5d)
	row("vv", "v", "\xfd", 0xe4, 0xe5, 0xe6, 0xe7, 0xe8, 0xe9, 0xea, 0xeb) // f32x4
	row("vv", "v", "\xfd", 0xf0, 0xf1, 0xf2, 0xf3, 0xf4, 0xf5, 0xf6, 0xf7) // f64x2
	row("v", "v", "\xfd", 0x67, 0x69, 0x74, 0x7a, 0xe0, 0xe1, 0xe3, 0xec, 0xed, 0xef)
	row("vv", "v", "\xfd", 0x41, 0x43, 0x47, 0x4e, 0x51, 0x6e, 0xae, 0xba)
	row("v", "v", "\xfd", 0xf8, 0xfa, 0xfc, 0xfe)
	return table
}()

// stores by type, and the size each writes.
var stores = map[byte]operation{
	'i': {code: "\x36"}, 'l': {code: "\x37"}, 'f': {code: "\x38"}, 'd': {code: "\x39"}, 'v': {code: "\xfd\x0b"},
}

// writer makes a random program that leaves all it computed in memory.
type writer struct {
	dice  *rand.Rand
	code  []byte
	stack []byte
	at    int64
}

func (w *writer) step() {
	op := operations[w.dice.IntN(len(operations))]
	n := len(w.stack) - len(op.takes)
	if n < 0 || string(w.stack[n:]) != op.takes {
		return
	}
	w.code = append(w.code, op.code...)
	w.stack = append(w.stack[:n], op.gives...)
}

// drain stores the operands. A store takes its address below the value, which a local of the right type allows.
func (w *writer) drain() {
	local := map[byte]byte{'i': 2, 'l': 3, 'f': 4, 'd': 5, 'v': 6}
	for len(w.stack) > 0 {
		top := w.stack[len(w.stack)-1]
		w.stack = w.stack[:len(w.stack)-1]
		w.code = append(w.code, 0x21, local[top])
		w.code = constant(w.code, i32Const, 1024+w.at%4096)
		w.code = append(append(append(w.code, 0x20, local[top]), stores[top].code...), 0, 0)
		w.at += 16
	}
}

// block writes steps, some of them in loops of a few turns and in both arms of an if.
func (w *writer) block(depth int) {
	for range 60 {
		w.step()
	}
	w.drain()
	if depth == 0 {
		return
	}
	counter := byte(7 + depth)
	w.code = append(constant(w.code, i32Const, 3), 0x21, counter, 0x03, 0x40)
	w.block(depth - 1)
	w.code = append(w.code, 0x20, counter, 0x41, 1, 0x6b, 0x22, counter, 0x0d, 0, 0x0b)
	w.code = append(w.code, 0x20, 2, 0x04, 0x40)
	w.block(depth - 1)
	w.code = append(w.code, 0x05)
	w.block(depth - 1)
	w.code = append(w.code, 0x0b)
}

// Random programs: they compile rewritten, metering changes nothing, and with canonical NaNs compiler and interpreter
// agree on every byte.
func TestRandomProgramsAreDeterministic(t *testing.T) {
	s := open(t, Config{MaxModules: 2})
	diverged := 0
	for seed := range uint64(60) {
		w := &writer{dice: rand.New(rand.NewPCG(seed, 3))}
		w.block(2)
		locals := []byte("\x06\x01\x7f\x01\x7e\x01\x7d\x01\x7c\x01\x7b\x03\x7f")
		module := assembler{locals: locals, run: append(w.code, output(0, 5120+64)...)}.build()
		plain := load(t, s, module)
		want, err := s.Run(t.Context(), Task{Module: plain, Unmetered: true})
		if err != nil || want.Status != OK {
			t.Fatalf("seed %d: %v %s %s", seed, err, want.Status, want.Detail)
		}
		code := wasmRewrite(t, module, false)
		got, err := s.Run(t.Context(), Task{Module: load(t, s, code), FuelLimit: CanaryFuel})
		if err != nil || string(got.Output) != string(want.Output) {
			t.Errorf("seed %d: metering changed the result: %v %s", seed, err, got.Detail)
		}
		if _, err := s.Trial(t.Context(), module, code, nil, CanaryFuel); errors.Is(err, ErrDiverged) {
			diverged++
		}
		if _, err := s.Trial(t.Context(), module, wasmRewrite(t, module, true), nil, CanaryFuel); err != nil {
			t.Errorf("seed %d: %v", seed, err)
		}
	}
	t.Logf("without canonical NaNs the engines disagree on %d of 60 programs", diverged)
	if diverged == 0 && runtime.GOARCH == "amd64" {
		t.Error("the programs do not show what canonical NaNs are for")
	}
}

func wasmRewrite(t *testing.T, module []byte, canonical bool) []byte {
	t.Helper()
	code, err := wasm.Rewrite(module, wasm.Options{CanonicalNaN: canonical})
	if err != nil {
		t.Fatal(fmt.Errorf("rewrite: %w", err))
	}
	return code
}
