// Package wasm admits WebAssembly modules: Lint checks that a module is deterministic and bounded, Rewrite adds
// a fuel counter and, where asked, canonical NaNs, so that every machine computes the same bytes and spends the
// same fuel.
//
// Limits: it does not type-check. A module must also compile in an engine, the original before the rewritten
// one; and a loop-heavy module within all limits here may still take an engine seconds to compile, which is why
// engines run behind a time limit.
package wasm

import (
	"crypto/sha256"
	"errors"
	"fmt"
)

// RewriterVersion names the rules of Lint and Rewrite together. It changes whenever the same input may give
// other bytes or another verdict.
const RewriterVersion = 1

// FuelGlobal is the exported mutable i64 that Rewrite adds. The host sets it to the fuel limit after
// instantiation; what it has lost is the fuel used; once negative, the module traps.
const FuelGlobal = "__shardy_fuel"

// Reasons to refuse a module. Every error of this package is an *Error around one of them.
var (
	ErrMalformed   = errors.New("wasm: malformed module")
	ErrUnsupported = errors.New("wasm: not in core 2.0")
	ErrTooLarge    = errors.New("wasm: too large")
	ErrComplex     = errors.New("wasm: too complex")
	ErrImports     = errors.New("wasm: imports are not allowed")
	ErrMemory      = errors.New("wasm: exactly one memory of fixed size is required")
	ErrTable       = errors.New("wasm: table is not allowed")
	ErrStart       = errors.New("wasm: start function is not allowed")
	ErrExports     = errors.New("wasm: job interface is not exported")
	ErrSegment     = errors.New("wasm: segment lies outside its memory or table")
	ErrRecursion   = errors.New("wasm: calls may recurse")
	ErrThreads     = errors.New("wasm: threads are not allowed")
	ErrRelaxedSIMD = errors.New("wasm: relaxed SIMD is not deterministic")
	ErrReserved    = errors.New("wasm: export name is reserved")
)

// Error says what is wrong and where.
type Error struct {
	Kind   error  // one of the reasons above
	Offset int    // byte offset in the module, -1 when it concerns the whole
	Detail string // may be empty
}

func (e *Error) Error() string {
	text := e.Kind.Error()
	if e.Detail != "" {
		text += ": " + e.Detail
	}
	if e.Offset >= 0 {
		text += fmt.Sprintf(" (at byte %d)", e.Offset)
	}
	return text
}

// Unwrap returns the reason.
func (e *Error) Unwrap() error { return e.Kind }

func refuse(kind error, offset int, format string, args ...any) error {
	return &Error{Kind: kind, Offset: offset, Detail: fmt.Sprintf(format, args...)}
}

// Class tells what numbers a module computes with.
type Class byte

const (
	// Integer modules need no care about NaNs.
	Integer Class = 'I'
	// Float modules use scalar floating point.
	Float Class = 'F'
	// FloatVector modules use floating point in vectors, where canonical NaNs cost most.
	FloatVector Class = 'V'
)

func (c Class) String() string { return string(rune(c)) }

// Info describes a module that passed Lint.
type Info struct {
	Class        Class
	MemoryPages  uint32 // of 64 KiB; least and most
	Functions    int
	Loops        int // in all functions
	Instructions int
	CallDepth    int // functions on the longest chain of calls
	SIMD         bool
}

// Limits bounds a module. A zero field means its default.
type Limits struct {
	ModuleBytes      int    // 1 MiB
	RewrittenBytes   int    // 4 MiB, of what Rewrite returns
	MemoryPages      uint32 // 8192 of 64 KiB, which is 512 MiB
	Types            int    // 2,000
	Functions        int    // 2,000
	Globals          int    // 1,000
	Tables           int    // 4
	TableElements    uint32 // 10,000 in each table
	Exports          int    // 100
	Segments         int    // 10,000 of each kind
	BodyBytes        int    // 256 KiB in each function
	Locals           int    // 1,000 in each function, parameters included
	LoopsPerFunction int    // 1,000: engines take quadratic time
	Loops            int    // 4,000
	Nesting          int    // 500 blocks inside each other
	CallDepth        int    // 128 functions; interpreters stop at about 1,000 frames
	StackSlots       int    // 20,000 locals on the longest chain of calls; browsers have a stack of 1 MiB
}

func (l Limits) withDefaults() Limits {
	orDefault(&l.ModuleBytes, 1<<20)
	orDefault(&l.RewrittenBytes, 4<<20)
	orDefault(&l.MemoryPages, 8192)
	orDefault(&l.Types, 2000)
	orDefault(&l.Functions, 2000)
	orDefault(&l.Globals, 1000)
	orDefault(&l.Tables, 4)
	orDefault(&l.TableElements, 10_000)
	orDefault(&l.Exports, 100)
	orDefault(&l.Segments, 10_000)
	orDefault(&l.BodyBytes, 256<<10)
	orDefault(&l.Locals, 1000)
	orDefault(&l.LoopsPerFunction, 1000)
	orDefault(&l.Loops, 4000)
	orDefault(&l.Nesting, 500)
	orDefault(&l.CallDepth, 128)
	orDefault(&l.StackSlots, 20_000)
	return l
}

func orDefault[T int | uint32](field *T, value T) {
	if *field == 0 {
		*field = value
	}
}

// Name is how a module is called everywhere: the SHA-256 of its bytes, for an admitted one of the rewritten
// bytes.
func Name(module []byte) [32]byte { return sha256.Sum256(module) }
