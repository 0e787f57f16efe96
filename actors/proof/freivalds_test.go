package proof

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"
)

// multiply is the definition.
func multiply(a, b []byte, rows, inner, columns int) (input, output []byte) {
	for _, v := range []int{rows, inner, columns, 0} {
		input = binary.LittleEndian.AppendUint32(input, uint32(v))
	}
	input = append(append(input, a...), b...)
	for i := range rows {
		for j := range columns {
			var sum int32
			for k := range inner {
				sum += int32(int8(a[i*inner+k])) * int32(int8(b[k*columns+j]))
			}
			output = binary.LittleEndian.AppendUint32(output, uint32(sum))
		}
	}
	return input, output
}

func seedOf(n uint64) []byte { return binary.LittleEndian.AppendUint64(make([]byte, 24), n) }

func TestFreivaldsAcceptsProductsAndNothingElse(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		side := rapid.IntRange(1, 12)
		rows, inner, columns := side.Draw(t, "rows"), side.Draw(t, "inner"), side.Draw(t, "columns")
		a := rapid.SliceOfN(rapid.Byte(), rows*inner, rows*inner).Draw(t, "a")
		b := rapid.SliceOfN(rapid.Byte(), inner*columns, inner*columns).Draw(t, "b")
		input, output := multiply(a, b, rows, inner, columns)
		evidence := Evidence{Input: input, Output: output, Seed: seedOf(rapid.Uint64().Draw(t, "seed"))}
		if err := (FreivaldsI8{}).Verify(evidence); err != nil {
			t.Fatalf("true product: %v", err)
		}
		wrong := append([]byte(nil), output...)
		wrong[rapid.IntRange(0, len(wrong)-1).Draw(t, "at")] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
		evidence.Output = wrong
		if err := (FreivaldsI8{}).Verify(evidence); !errors.Is(err, ErrRefuted) {
			t.Fatalf("wrong product: %v", err)
		}
	})
}

// Forgeries that cheaper checks let through: two errors of one row that cancel, a flipped sign bit, all zeroes.
func TestFreivaldsCatchesForgeries(t *testing.T) {
	const side, trials = 16, 2000
	dice := rand.New(rand.NewPCG(1, 2))
	random := func() []byte {
		b := make([]byte, side*side)
		for i := range b {
			b[i] = byte(dice.Uint32())
		}
		return b
	}
	input, output := multiply(random(), random(), side, side, side)
	add := func(c []byte, at int, v int32) {
		binary.LittleEndian.PutUint32(c[4*at:], uint32(int32(binary.LittleEndian.Uint32(c[4*at:]))+v))
	}
	for name, forge := range map[string]func(c []byte){
		"one element": func(c []byte) { add(c, dice.IntN(side*side), 1) },
		"cancelling pair": func(c []byte) {
			at := side*dice.IntN(side) + dice.IntN(side-1)
			add(c, at, 1)
			add(c, at+1, -1)
		},
		"sign bit": func(c []byte) { c[4*dice.IntN(side*side)+3] ^= 0x80 },
		"zeroes":   func(c []byte) { clear(c) },
	} {
		for n := range uint64(trials) {
			wrong := append([]byte(nil), output...)
			forge(wrong)
			if err := (FreivaldsI8{}).Verify(Evidence{Input: input, Output: wrong, Seed: seedOf(n)}); !errors.Is(err, ErrRefuted) {
				t.Fatalf("%s, seed %d: %v", name, n, err)
			}
		}
	}
}

func TestFreivaldsRefusesMalformedEvidence(t *testing.T) {
	input, output := multiply([]byte{1, 2}, []byte{3, 4}, 1, 2, 1)
	header := func(rows, inner, columns, zero uint32) []byte {
		var b []byte
		for _, v := range []uint32{rows, inner, columns, zero} {
			b = binary.LittleEndian.AppendUint32(b, v)
		}
		return append(b, input[16:]...)
	}
	for name, c := range map[string]struct {
		e    Evidence
		kind error
	}{
		"no seed":         {Evidence{Input: input, Output: output}, ErrSeed},
		"short seed":      {Evidence{Input: input, Output: output, Seed: make([]byte, 8)}, ErrSeed},
		"no input":        {Evidence{Output: output, Seed: seedOf(1)}, ErrMalformed},
		"cut input":       {Evidence{Input: input[:len(input)-1], Output: output, Seed: seedOf(1)}, ErrMalformed},
		"cut output":      {Evidence{Input: input, Output: output[:3], Seed: seedOf(1)}, ErrMalformed},
		"no output":       {Evidence{Input: input, Seed: seedOf(1)}, ErrMalformed},
		"no rows":         {Evidence{Input: header(0, 2, 1, 0), Output: output, Seed: seedOf(1)}, ErrMalformed},
		"giant matrix":    {Evidence{Input: header(1<<31, 1<<31, 4, 0), Output: output, Seed: seedOf(1)}, ErrMalformed},
		"reserved word":   {Evidence{Input: header(1, 2, 1, 1), Output: output, Seed: seedOf(1)}, ErrMalformed},
		"other dimension": {Evidence{Input: header(2, 1, 1, 0), Output: output, Seed: seedOf(1)}, ErrMalformed},
	} {
		if err := (FreivaldsI8{}).Verify(c.e); !errors.Is(err, c.kind) {
			t.Errorf("%s: %v, want %v", name, err, c.kind)
		}
	}
}

func FuzzFreivalds(f *testing.F) {
	input, output := multiply([]byte{1, 2}, []byte{3, 4}, 1, 2, 1)
	f.Add(input, output)
	f.Fuzz(func(t *testing.T, input, output []byte) {
		err := FreivaldsI8{}.Verify(Evidence{Input: input, Output: output, Seed: seedOf(1)})
		if err != nil && !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrRefuted) {
			t.Error(err)
		}
	})
}

func BenchmarkFreivalds(b *testing.B) {
	const side = 512
	input := make([]byte, 16+2*side*side)
	for i := range 3 {
		binary.LittleEndian.PutUint32(input[4*i:], side)
	}
	output := make([]byte, 4*side*side)
	for b.Loop() {
		if err := (FreivaldsI8{}).Verify(Evidence{Input: input, Output: output, Seed: seedOf(1)}); err != nil {
			b.Fatal(err)
		}
	}
}
