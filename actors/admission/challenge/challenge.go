// Package challenge holds the two measurements behind a worker's admission: a compute challenge, whose time gives a
// floating-point rate that no claim can exceed, and a memory challenge, which takes many times as long without the
// memory. Both are jobs for one module, seeded by a nonce, so nothing can be computed before the question is known.
//
// Limits: a worker that forwards its challenges to a faster machine passes with that machine's rate. Whoever checks an
// answer must have computed it once, with as much memory. Rates are those of this module in the worker's engine, one
// thread, about a third of what the hardware could do.
package challenge

import (
	"bytes"
	_ "embed" // the module
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"time"
)

//go:embed challenge.wasm
var base []byte

const (
	// FlopPerRound is the work of one round: a product of two 128 x 128 matrices.
	FlopPerRound = 2 * 128 * 128 * 128
	// MaxRounds bounds a compute challenge to about 5 minutes of the slowest admissible machine.
	MaxRounds = 1 << 14
	// BlockBytes is the unit of a memory challenge.
	BlockBytes = 1024
	// MinMemory and MaxMemory bound a memory challenge in bytes.
	MinMemory = 1 << 20
	MaxMemory = 1 << 30
	// Unfilled is the part of a memory challenge that holds the module's own data.
	Unfilled = 512 << 10
	// NonceSize is the size of a nonce in bytes.
	NonceSize = 32

	modeCompute = 1
	modeMemory  = 2

	pageBytes = 64 << 10
	basePages = 16 // of the committed module
)

// ErrSize refuses a challenge that is empty or too large.
var ErrSize = errors.New("challenge: size out of range")

// Kind is what a challenge measures.
type Kind uint8

const (
	Compute Kind = modeCompute
	Memory  Kind = modeMemory
)

// Question is one challenge.
type Question struct {
	Kind  Kind
	Nonce [NonceSize]byte
	Size  uint32 // rounds, or blocks of 1 KiB
}

// NewCompute asks for at least the given work in FLOP.
func NewCompute(flop uint64, nonce [NonceSize]byte) (Question, error) {
	rounds := flop / FlopPerRound
	if flop%FlopPerRound != 0 {
		rounds++
	}
	if rounds == 0 || rounds > MaxRounds {
		return Question{}, fmt.Errorf("%w: %d FLOP, want 1 to %d", ErrSize, flop, uint64(MaxRounds*FlopPerRound))
	}
	return Question{Kind: Compute, Nonce: nonce, Size: uint32(rounds)}, nil
}

// NewMemory asks for an instance of the given bytes, rounded up to whole pages of 64 KiB, all of it filled but
// [Unfilled]. A worker that can hold just these bytes can run it.
func NewMemory(size uint64, nonce [NonceSize]byte) (Question, error) {
	if size < MinMemory || size > MaxMemory {
		return Question{}, fmt.Errorf("%w: %d bytes, want %d to %d", ErrSize, size, MinMemory, MaxMemory)
	}
	pages := (size + pageBytes - 1) / pageBytes
	return Question{Kind: Memory, Nonce: nonce, Size: uint32((pages*pageBytes - Unfilled) / BlockBytes)}, nil
}

// Input is the chunk for the module.
func (q Question) Input() []byte {
	b := binary.LittleEndian.AppendUint32(nil, uint32(q.Kind))
	b = binary.LittleEndian.AppendUint32(b, q.Size)
	return append(b, q.Nonce[:]...)
}

// Work is FLOP for a compute challenge, bytes of the instance for a memory challenge.
func (q Question) Work() uint64 {
	if q.Kind == Memory {
		return uint64(q.Size)*BlockBytes + Unfilled
	}
	return uint64(q.Size) * FlopPerRound
}

// Fuel is a limit that the metered module stays below.
func (q Question) Fuel() uint64 {
	const fixed = 10_000_000
	if q.Kind == Memory {
		return fixed + uint64(q.Size)*16_000
	}
	return fixed + uint64(q.Size)*20_000_000
}

// Module returns the unmodified module, with exactly the memory that the question needs: memory challenges of the same
// size share a module. It computes with floating point in vectors (class V), never makes a NaN, and needs no canonical
// ones.
func (q Question) Module() []byte {
	if q.Kind != Memory {
		return bytes.Clone(base)
	}
	return withPages(uint32(q.Work() / pageBytes))
}

// withPages replaces the memory section of the committed module, whose form the tests hold.
func withPages(pages uint32) []byte {
	declared := []byte{5, 4, 1, 1, basePages, basePages} // section, size, one memory, bounded, least, most
	at := bytes.Index(base, declared)
	size := binary.AppendUvarint(nil, uint64(pages))
	section := append([]byte{5, byte(2 + 2*len(size)), 1, 1}, append(size, size...)...)
	return append(append(bytes.Clone(base[:at]), section...), base[at+len(declared):]...)
}

// MilliGFLOPS is the rate that an answer attests: work in FLOP over the time it took, in units of 1,000,000 FLOP per
// second, rounded down. A time of less than a microsecond counts as one.
func MilliGFLOPS(work uint64, elapsed time.Duration) uint64 {
	high, low := bits.Mul64(work, uint64(time.Second)/1_000_000)
	nanoseconds := uint64(max(elapsed, time.Microsecond))
	if high >= nanoseconds {
		return 1<<64 - 1
	}
	rate, _ := bits.Div64(high, low, nanoseconds)
	return rate
}
