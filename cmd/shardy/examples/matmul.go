package examples

import (
	"encoding/binary"
	"fmt"
)

// MatMul multiplies two generated int8 matrices, some rows of the first per chunk. Every chunk carries the
// second matrix whole, so that a verifier needs nothing but the chunk and its output.
type MatMul struct {
	Rows, Inner, Columns int // a is Rows x Inner, b is Inner x Columns
	RowsPerChunk         int
	Seed                 uint64
}

// NewMatMul multiplies 1024 x 1024 matrices, or 256 x 256 when quick, in eight chunks.
func NewMatMul(quick bool) MatMul {
	if quick {
		return MatMul{Rows: 256, Inner: 256, Columns: 256, RowsPerChunk: 32, Seed: 5}
	}
	return MatMul{Rows: 1024, Inner: 1024, Columns: 1024, RowsPerChunk: 128, Seed: 5}
}

func (MatMul) Module() string { return "matmul8" }

// A returns the first matrix, row by row; each byte is an int8.
func (m MatMul) A() []byte { return noise(m.Seed, m.Rows*m.Inner) }

// B returns the second matrix, row by row; each byte is an int8.
func (m MatMul) B() []byte { return noise(m.Seed+1, m.Inner*m.Columns) }

func noise(seed uint64, n int) []byte {
	random := splitMix(seed)
	b := make([]byte, 0, n+8)
	for len(b) < n {
		b = binary.LittleEndian.AppendUint64(b, random())
	}
	return b[:n]
}

func (m MatMul) counts() []int {
	var counts []int
	for at := 0; at < m.Rows; at += m.RowsPerChunk {
		counts = append(counts, min(m.RowsPerChunk, m.Rows-at))
	}
	return counts
}

func (m MatMul) Chunks() [][]byte {
	a, b := m.A(), m.B()
	var chunks [][]byte
	for _, rows := range m.counts() {
		chunk := make([]byte, 0, 16+rows*m.Inner+len(b))
		for _, v := range []int{rows, m.Inner, m.Columns, 0} {
			chunk = binary.LittleEndian.AppendUint32(chunk, uint32(v))
		}
		chunk = append(chunk, a[:rows*m.Inner]...)
		chunks = append(chunks, append(chunk, b...))
		a = a[rows*m.Inner:]
	}
	return chunks
}

func (m MatMul) OutputSizes() []int {
	var sizes []int
	for _, rows := range m.counts() {
		sizes = append(sizes, 4*rows*m.Columns)
	}
	return sizes
}

// Fuel allows six units per product and the turning of b.
func (m MatMul) Fuel() uint64 {
	return uint64(m.RowsPerChunk*m.Inner*m.Columns)*6 + uint64(m.Inner*m.Columns)*60 + 1_000_000
}

// Assemble returns the product row by row, each element a little-endian int32.
func (m MatMul) Assemble(outputs [][]byte) ([]byte, error) { return join(m, outputs) }

func (m MatMul) Describe(product []byte) (string, error) {
	if len(product) != 4*m.Rows*m.Columns {
		return "", fmt.Errorf("%w: %d bytes of product", ErrOutput, len(product))
	}
	var trace int64
	for i := range min(m.Rows, m.Columns) {
		trace += int64(int32(binary.LittleEndian.Uint32(product[4*(i*m.Columns+i):])))
	}
	return fmt.Sprintf("product of %d x %d and %d x %d int8 matrices, trace %d",
		m.Rows, m.Inner, m.Inner, m.Columns, trace), nil
}
