package orchestrator

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/shardy-network/orchestrator/gateway/agent/sandbox"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// referee runs disputed chunks in the orchestrator's own sandbox child, within a budget of processor time.
type referee struct {
	box    *sandbox.Sandbox
	blobs  store
	budget *cpuBudget
}

// Run answers with a verdict, or says why there is none. The sandbox's own failures are not a verdict.
func (r *referee) Run(ctx context.Context, spec *eventv1.JobSpec) *eventv1.RecordReferee {
	if !r.budget.open(time.Now()) {
		return &eventv1.RecordReferee{
			Outcome: eventv1.RefereeOutcome_REFEREE_OUTCOME_NO_BUDGET,
			Detail:  "the referee has used up its processor time of this minute",
		}
	}
	begin := time.Now()
	res, err := r.run(ctx, spec)
	r.budget.spend(time.Since(begin))
	if err != nil {
		return &eventv1.RecordReferee{Outcome: eventv1.RefereeOutcome_REFEREE_OUTCOME_FAILED, Detail: err.Error()}
	}
	sum := sha256.Sum256(res.Output)
	return &eventv1.RecordReferee{
		Outcome: eventv1.RefereeOutcome_REFEREE_OUTCOME_DECIDED,
		Status:  eventv1.ResultStatus(res.Status),
		Output:  &eventv1.BlobRef{Sha256: sum[:], Size: uint64(len(res.Output))},
		Fuel:    res.FuelUsed,
		Detail:  res.Detail,
	}
}

// run executes the chunk and keeps its output, so that the verdict's output can be read.
func (r *referee) run(ctx context.Context, spec *eventv1.JobSpec) (sandbox.Result, error) {
	if len(spec.GetModule()) != 32 || len(spec.GetInput().GetSha256()) != 32 {
		return sandbox.Result{}, errors.New("job names no module or input")
	}
	name := [32]byte(spec.Module)
	if !r.box.Loaded(name) {
		module, err := r.blobs.Get(ctx, name)
		if err != nil {
			return sandbox.Result{}, fmt.Errorf("module: %w", err)
		}
		if err := r.box.Load(ctx, name, module); err != nil {
			return sandbox.Result{}, err
		}
	}
	input, err := r.blobs.Get(ctx, [32]byte(spec.Input.Sha256))
	if err != nil {
		return sandbox.Result{}, fmt.Errorf("input: %w", err)
	}
	res, err := r.box.Run(ctx, sandbox.Task{
		Module: name, Input: input, FuelLimit: spec.FuelLimit, MaxOutput: spec.GetOutput().GetMaxBytes(),
	})
	if err != nil {
		return sandbox.Result{}, err
	}
	if _, err := r.blobs.Put(ctx, res.Output); err != nil {
		return sandbox.Result{}, fmt.Errorf("keep output: %w", err)
	}
	return res, nil
}

// cpuBudget is a bucket of processor time that fills once a minute's worth a minute. A run may overdraw it: the next
// one then waits for the debt to be paid.
type cpuBudget struct {
	perMinute time.Duration

	mu   sync.Mutex
	left time.Duration
	at   time.Time
}

func newCPUBudget(perMinute time.Duration) *cpuBudget {
	return &cpuBudget{perMinute: perMinute, left: perMinute}
}

func (b *cpuBudget) open(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.at.IsZero() {
		b.left = min(b.perMinute, b.left+time.Duration(float64(b.perMinute)*min(now.Sub(b.at).Minutes(), 1e6)))
	}
	b.at = now
	return b.left > 0
}

func (b *cpuBudget) spend(d time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.left -= d
}
