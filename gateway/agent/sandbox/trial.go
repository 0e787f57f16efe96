package sandbox

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"time"
)

// CanaryFuel is a fuel limit that the interpreter uses up within about a second.
const CanaryFuel = 20_000_000

// Canary is what a trial found out about a module.
type Canary struct {
	Result  Result        // the same under compiler and interpreter
	Compile time.Duration // compilation of original and rewritten module together
}

// Trial is the part of module admission that needs an engine: it compiles the original, compiles the rewritten
// module, runs the canary input through it under compiler and interpreter with the given fuel, and compares
// status, fuel and output. The original must compile by itself because a module may name a local or a global
// that exists only after rewriting. A canary that traps or runs out of fuel passes: the caller judges Result.
//
// Errors: ErrCompile, ErrABI, ErrUnmetered, ErrDiverged for the module; the failures of the child otherwise.
func (s *Sandbox) Trial(ctx context.Context, original, rewritten, input []byte, fuel uint64) (Canary, error) {
	begin := time.Now()
	first, name := sha256.Sum256(original), sha256.Sum256(rewritten)
	known := s.Loaded(first)
	if err := s.Load(ctx, first, original); err != nil {
		return Canary{}, fmt.Errorf("original: %w", err)
	}
	if !known && first != name {
		defer s.Forget(first)
	}
	if err := s.Load(ctx, name, rewritten); err != nil {
		return Canary{}, fmt.Errorf("rewritten: %w", err)
	}
	canary := Canary{Compile: time.Since(begin)}
	task := Task{Module: name, Input: input, FuelLimit: fuel}
	var err error
	if canary.Result, err = s.Run(ctx, task); err != nil {
		return Canary{}, fmt.Errorf("compiler: %w", err)
	}
	task.Interpreter = true
	check, err := s.Run(ctx, task)
	if err != nil {
		return Canary{}, fmt.Errorf("interpreter: %w", err)
	}
	r := canary.Result
	if r.Status != check.Status || r.FuelUsed != check.FuelUsed || !bytes.Equal(r.Output, check.Output) {
		return Canary{}, fmt.Errorf("%w: compiler %s after %d units, interpreter %s after %d",
			ErrDiverged, r.Status, r.FuelUsed, check.Status, check.FuelUsed)
	}
	return canary, nil
}
