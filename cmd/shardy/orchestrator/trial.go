package orchestrator

import (
	"context"
	"errors"
	"fmt"

	"github.com/shardy-network/orchestrator/gateway/agent/sandbox"
	"github.com/shardy-network/orchestrator/gateway/operator"
)

// trial compiles and runs modules that want to be admitted, in a sandbox child of its own: a compile bomb must not
// hold up the referee.
type trial struct{ box *sandbox.Sandbox }

// refusals are the sandbox's errors that say something about the module, with their typed reasons. Everything else
// says something about this machine.
var refusals = []struct {
	err  error
	code string
}{
	{sandbox.ErrTimeout, "timeout"}, // before compile: an endless compilation is both
	{sandbox.ErrCompile, "compile"},
	{sandbox.ErrABI, "abi"},
	{sandbox.ErrUnmetered, "unmetered"},
	{sandbox.ErrDiverged, "diverged"},
	{sandbox.ErrMemory, "memory"},
	{sandbox.ErrStackOverflow, "stack_overflow"},
	{sandbox.ErrTooLarge, "too_large"},
}

// Trial tries a module with its canary.
func (t trial) Trial(ctx context.Context, original, rewritten, canary []byte) (operator.TrialResult, error) {
	found, err := t.box.Trial(ctx, original, rewritten, canary, sandbox.CanaryFuel)
	if err == nil {
		return operator.TrialResult{Fuel: found.Result.FuelUsed}, nil
	}
	for _, r := range refusals {
		if errors.Is(err, r.err) {
			return operator.TrialResult{}, &operator.ModuleRefusal{Code: r.code, Detail: err.Error()}
		}
	}
	return operator.TrialResult{}, fmt.Errorf("trial: %w", err)
}
