package examples

import (
	"encoding/binary"
	"fmt"
)

// Primes counts the primes in [0, Below). The answer checks itself: pi(10^9) = 50,847,534.
type Primes struct {
	Below uint64 // at most 2^32
	Width uint64 // numbers per chunk
}

// NewPrimes counts below 10^9 in 20 chunks, or below 10^7 in ten when quick.
func NewPrimes(quick bool) Primes {
	if quick {
		return Primes{Below: 10_000_000, Width: 1_000_000}
	}
	return Primes{Below: 1_000_000_000, Width: 50_000_000}
}

func (Primes) Module() string { return "primes" }

func (p Primes) Chunks() [][]byte {
	var chunks [][]byte
	for low := uint64(0); low < p.Below; low += p.Width {
		b := binary.LittleEndian.AppendUint64(nil, low)
		chunks = append(chunks, binary.LittleEndian.AppendUint64(b, min(low+p.Width, p.Below)))
	}
	return chunks
}

func (p Primes) OutputSizes() []int { return repeated(32, int((p.Below+p.Width-1)/p.Width)) }

// Fuel allows 250 units per number.
func (p Primes) Fuel() uint64 { return p.Width*250 + 10_000_000 }

// Assemble returns the outputs one after the other: count, twins, last, sum, each a little-endian uint64.
func (p Primes) Assemble(outputs [][]byte) ([]byte, error) { return join(p, outputs) }

// Total adds up the counts of all chunks.
func (p Primes) Total(assembled []byte) (uint64, error) {
	if len(assembled)%32 != 0 {
		return 0, fmt.Errorf("%w: %d bytes of counts", ErrOutput, len(assembled))
	}
	var total uint64
	for ; len(assembled) > 0; assembled = assembled[32:] {
		total += binary.LittleEndian.Uint64(assembled)
	}
	return total, nil
}

func (p Primes) Describe(assembled []byte) (string, error) {
	total, err := p.Total(assembled)
	return fmt.Sprintf("%d primes below %d", total, p.Below), err
}
