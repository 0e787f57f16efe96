package proof

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
)

// FreivaldsI8 checks products of int8 matrices (Freivalds 1977): it compares a(bx) with cx for a random vector x instead
// of ab with c, so it needs one multiplication for every element it reads.
//
// Input: u32 rows, inner, columns, zero, little-endian, then a (rows x inner) and b (inner x columns), one int8 each,
// row by row. Output: c (rows x columns), little-endian int32, row by row. It is the layout of the example matmul8.
//
// It computes modulo 2^64 with uniform 64-bit x. A row that is wrong anywhere passes with a probability of at most
// 2^-33: the difference of two int32 has at most 31 trailing zero bits. That holds against a worker who did not know the
// seed when it answered.
type FreivaldsI8 struct{}

const (
	maxSide  = 1 << 16 // with it no sum leaves the range of int32
	seedSize = 32
)

// product is a decoded claim c = a b.
type product struct {
	rows, inner, columns int
	a, b, c              []byte
}

func decodeProduct(input, output []byte) (product, error) {
	if len(input) < 16 {
		return product{}, fmt.Errorf("%w: input of %d bytes", ErrMalformed, len(input))
	}
	rows, inner := binary.LittleEndian.Uint32(input), binary.LittleEndian.Uint32(input[4:])
	columns, zero := binary.LittleEndian.Uint32(input[8:]), binary.LittleEndian.Uint32(input[12:])
	for _, side := range []uint32{rows, inner, columns} {
		if side == 0 || side > maxSide || zero != 0 {
			return product{}, fmt.Errorf("%w: header %d x %d x %d, %d", ErrMalformed, rows, inner, columns, zero)
		}
	}
	sizeA, sizeB, sizeC := uint64(rows)*uint64(inner), uint64(inner)*uint64(columns), 4*uint64(rows)*uint64(columns)
	if uint64(len(input)) != 16+sizeA+sizeB {
		return product{}, fmt.Errorf("%w: input of %d bytes, want %d", ErrMalformed, len(input), 16+sizeA+sizeB)
	}
	if uint64(len(output)) != sizeC {
		return product{}, fmt.Errorf("%w: output of %d bytes, want %d", ErrMalformed, len(output), sizeC)
	}
	return product{int(rows), int(inner), int(columns), input[16 : 16+sizeA], input[16+sizeA:], output}, nil
}

// Verify needs a seed of 32 bytes.
func (FreivaldsI8) Verify(e Evidence) error {
	if len(e.Seed) != seedSize {
		return fmt.Errorf("%w: %d bytes, want %d", ErrSeed, len(e.Seed), seedSize)
	}
	p, err := decodeProduct(e.Input, e.Output)
	if err != nil {
		return err
	}
	dice := rand.NewChaCha8([seedSize]byte(e.Seed))
	x := make([]uint64, p.columns)
	for j := range x {
		x[j] = dice.Uint64()
	}
	bx := make([]uint64, p.inner)
	for k := range bx {
		bx[k] = dotI8(p.b[k*p.columns:(k+1)*p.columns], x)
	}
	for i := range p.rows {
		want := dotI8(p.a[i*p.inner:(i+1)*p.inner], bx)
		if got := dotI32(p.c[4*i*p.columns:4*(i+1)*p.columns], x); got != want {
			return fmt.Errorf("%w: row %d is not that of the product", ErrRefuted, i)
		}
	}
	return nil
}

func dotI8(row []byte, x []uint64) (sum uint64) {
	x = x[:len(row)]
	for i, v := range row {
		sum += uint64(int64(int8(v))) * x[i]
	}
	return sum
}

func dotI32(row []byte, x []uint64) (sum uint64) {
	for i, v := range x {
		sum += uint64(int64(int32(binary.LittleEndian.Uint32(row[4*i:])))) * v
	}
	return sum
}
