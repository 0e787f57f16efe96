package examples

import (
	"encoding/binary"
	"fmt"
	"math"
)

// MonteCarlo prices an Asian call option.
type MonteCarlo struct {
	Paths, PerChunk, Steps                int
	Seed                                  uint64
	Spot, Strike, Rate, Volatility, Years float64
}

// NewMonteCarlo takes 400,000 paths in 20 chunks, or 20,000 in four when quick.
func NewMonteCarlo(quick bool) MonteCarlo {
	m := MonteCarlo{
		Paths: 400_000, PerChunk: 20_000, Steps: 64, Seed: 7,
		Spot: 100, Strike: 100, Rate: 0.05, Volatility: 0.2, Years: 1,
	}
	if quick {
		m.Paths, m.PerChunk = 20_000, 5_000
	}
	return m
}

func (MonteCarlo) Module() string { return "mc" }

func (m MonteCarlo) Chunks() [][]byte {
	var chunks [][]byte
	for first := 0; first < m.Paths; first += m.PerChunk {
		b := binary.LittleEndian.AppendUint64(nil, m.Seed)
		for _, v := range []int{first, min(m.PerChunk, m.Paths-first), m.Steps, 0} {
			b = binary.LittleEndian.AppendUint32(b, uint32(v))
		}
		for _, v := range []float64{m.Spot, m.Strike, m.Rate, m.Volatility, m.Years} {
			b = binary.LittleEndian.AppendUint64(b, math.Float64bits(v))
		}
		chunks = append(chunks, b)
	}
	return chunks
}

func (m MonteCarlo) OutputSizes() []int { return repeated(24, (m.Paths+m.PerChunk-1)/m.PerChunk) }

// Fuel allows 1,200 units per step.
func (m MonteCarlo) Fuel() uint64 { return uint64(m.PerChunk*m.Steps)*1200 + 1_000_000 }

// Assemble returns the outputs one after the other: sum and sum of squares as float64, paths as uint64.
func (m MonteCarlo) Assemble(outputs [][]byte) ([]byte, error) { return join(m, outputs) }

// Price returns the price and its standard error.
func (m MonteCarlo) Price(assembled []byte) (price, standardError float64, err error) {
	if len(assembled)%24 != 0 || len(assembled) == 0 {
		return 0, 0, fmt.Errorf("%w: %d bytes of sums", ErrOutput, len(assembled))
	}
	var sum, squares, paths float64
	for ; len(assembled) > 0; assembled = assembled[24:] {
		sum += math.Float64frombits(binary.LittleEndian.Uint64(assembled))
		squares += math.Float64frombits(binary.LittleEndian.Uint64(assembled[8:]))
		paths += float64(binary.LittleEndian.Uint64(assembled[16:]))
	}
	price = sum / paths
	return price, math.Sqrt((squares/paths - price*price) / paths), nil
}

func (m MonteCarlo) Describe(assembled []byte) (string, error) {
	price, deviation, err := m.Price(assembled)
	return fmt.Sprintf("option price %.4f +- %.4f over %d paths", price, deviation, m.Paths), err
}
