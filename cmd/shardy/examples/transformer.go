package examples

import (
	"encoding/binary"
	"fmt"
	"math"
)

// Transformer sends batches of tokens through one transformer block with generated weights. Every chunk carries
// the weights.
type Transformer struct {
	Batches                      int
	Tokens, Width, Heads, Hidden int // Tokens a multiple of 4; Width and Hidden of 8; Width of Heads
	Seed                         uint64
}

// NewTransformer takes 128 tokens of width 256 in eight batches, or 32 of width 64 in two when quick.
func NewTransformer(quick bool) Transformer {
	if quick {
		return Transformer{Batches: 2, Tokens: 32, Width: 64, Heads: 4, Hidden: 256, Seed: 99}
	}
	return Transformer{Batches: 8, Tokens: 128, Width: 256, Heads: 8, Hidden: 1024, Seed: 99}
}

func (Transformer) Module() string { return "xf" }

func (t Transformer) Chunks() [][]byte {
	weights := floats(nil, t.Seed, 4*t.Width*t.Width+2*t.Width*t.Hidden)
	var chunks [][]byte
	for n := range t.Batches {
		var b []byte
		for _, v := range []int{t.Tokens, t.Width, t.Heads, t.Hidden} {
			b = binary.LittleEndian.AppendUint32(b, uint32(v))
		}
		b = floats(b, t.Seed+1+uint64(n), t.Tokens*t.Width)
		chunks = append(chunks, append(b, weights...))
	}
	return chunks
}

// floats appends n float32 in [-0.08, 0.08).
func floats(b []byte, seed uint64, n int) []byte {
	random := splitMix(seed)
	for range n {
		v := float32(int32(random()>>40)-1<<23) * (0.08 / (1 << 23))
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(v))
	}
	return b
}

// splitMix is SplitMix64 (Steele, Lea, Flood 2014): the same numbers on every machine.
func splitMix(seed uint64) func() uint64 {
	return func() uint64 {
		seed += 0x9E3779B97F4A7C15
		z := (seed ^ seed>>30) * 0xBF58476D1CE4E5B9
		z = (z ^ z>>27) * 0x94D049BB133111EB
		return z ^ z>>31
	}
}

func (t Transformer) OutputSizes() []int { return repeated(4*t.Tokens*t.Width, t.Batches) }

// Fuel allows eight units per multiplication.
func (t Transformer) Fuel() uint64 {
	products := t.Tokens * (4*t.Width*t.Width + 2*t.Width*t.Hidden + 2*t.Tokens*t.Width)
	return uint64(products)*8 + uint64(t.Tokens*t.Hidden)*1000
}

// Assemble returns the float32 outputs one batch after the other.
func (t Transformer) Assemble(outputs [][]byte) ([]byte, error) { return join(t, outputs) }

func (t Transformer) Describe(assembled []byte) (string, error) {
	var squares float64
	for i := 0; i+4 <= len(assembled); i += 4 {
		v := float64(math.Float32frombits(binary.LittleEndian.Uint32(assembled[i:])))
		squares += v * v
	}
	if math.IsNaN(squares) || math.IsInf(squares, 0) {
		return "", fmt.Errorf("%w: not finite", ErrOutput)
	}
	return fmt.Sprintf("%d batches of %d tokens through a block of width %d, root mean square %.6f",
		t.Batches, t.Tokens, t.Width, math.Sqrt(squares/float64(max(1, len(assembled)/4)))), nil
}
