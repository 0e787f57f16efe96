package audit

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/shardy-network/orchestrator/events"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// Runner runs a module over an input where it can do no harm. An error means that nothing was learned.
type Runner interface {
	Run(ctx context.Context, module, input []byte, spec *eventv1.JobSpec) (Run, error)
}

// Run is what a module did. The output of a run that failed is empty.
type Run struct {
	Status eventv1.ResultStatus
	Fuel   uint64
	Output [32]byte // SHA-256
}

// Rerun is what came of running the module again.
type Rerun struct {
	Ran      bool   `json:"ran"`
	Why      string `json:"why,omitempty"` // not run, and why
	Status   string `json:"status,omitempty"`
	Fuel     uint64 `json:"fuel,omitempty"`
	Checksum string `json:"checksum,omitempty"` // hex
	Agrees   bool   `json:"agrees"`             // with the verdict
}

func (r *Rerun) agrees() bool { return r != nil && r.Ran && r.Agrees }

// rerun runs the module and holds the verdict, and every contradicted result, against it.
func (out *Checked) rerun(ctx context.Context, c *Case, contents held, runner Runner, found *findings) error {
	out.Rerun = &Rerun{}
	spec := out.Story.GetSpec()
	var module, input [32]byte
	if !fill(&module, spec.GetModule()) || !fill(&input, spec.GetInput().GetSha256()) {
		out.Rerun.Why = "the job names no module or input"
		return nil
	}
	code, err := contents.Get(ctx, module)
	if err == nil {
		var data []byte
		if data, err = contents.Get(ctx, input); err == nil {
			return out.ran(ctx, c, code, data, runner, found)
		}
	}
	if !errors.Is(err, events.ErrNotFound) {
		return err
	}
	out.Rerun.Why = "the bundle holds no module or no input"
	return nil
}

func (out *Checked) ran(ctx context.Context, c *Case, module, input []byte, runner Runner, found *findings) error {
	run, err := runner.Run(ctx, module, input, out.Story.GetSpec())
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		out.Rerun.Why = fmt.Sprintf("the sandbox gave no answer: %v", err)
		return nil
	}
	sum := runSum(run)
	r := out.Rerun
	r.Ran, r.Status, r.Fuel, r.Checksum = true, phrase(run.Status), run.Fuel, hex.EncodeToString(sum[:])
	for i := range out.Contradicted {
		x := &out.Contradicted[i]
		x.Refuted = x.Said != r.Checksum
		if !x.Refuted {
			found.add(&c.records[len(c.records)-1], Executed, "slot %d is contradicted, and it returned what the module gives", x.Slot)
		}
	}
	decided, ok := decidedSum(out.Story)
	if !ok {
		return nil
	}
	if r.Agrees = decided == sum; !r.Agrees {
		found.add(&c.records[len(c.records)-1], Executed, "decided %x, and the module gives %x (%s, %d fuel)", decided, sum, r.Status, r.Fuel)
	}
	return nil
}
