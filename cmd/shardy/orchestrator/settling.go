package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/actors/proof"
	"github.com/shardy-network/orchestrator/events"
	"github.com/shardy-network/orchestrator/mesh/settlement"
	"github.com/shardy-network/orchestrator/projections"
	"github.com/shardy-network/orchestrator/projections/transparency"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

// openSettlement turns verdicts into payments and punishments, if there is a ledger to do so on.
func (o *Orchestrator) openSettlement(ctx context.Context, _ events.Position) (projections.Projection, error) {
	c := o.cfg.Mesh
	if c == nil || c.Observe {
		return nil, nil
	}
	s, err := settlement.Open(ctx, settlement.Config{
		Key: o.key, Ledger: settlement.On(o.node.Chain(), o.node), Log: o.log, File: o.meshDir("settlement"),
		Prices: c.Prices, Ahead: c.Ahead, Referee: o.recompute, Checkpoint: o.latestCheckpoint,
		AnchorEvery: c.AnchorEvery, Share: c.Share, Logger: o.cfg.Logger,
	})
	if err != nil {
		return nil, err
	}
	o.settlement = s
	work, stop := context.WithCancel(context.Background())
	var working sync.WaitGroup
	working.Go(func() {
		if err := s.Run(work); err != nil {
			o.cfg.Logger.Error("nothing is settled any more; jobs go on", "error", err)
		}
	})
	o.onClose(func() error {
		stop()
		working.Wait()
		return s.Close()
	})
	return s, nil
}

// latestCheckpoint is the newest signed head of the log, or nothing as long as none was signed.
func (o *Orchestrator) latestCheckpoint() ([]byte, error) {
	signed, err := o.tree.Latest()
	if errors.Is(err, transparency.ErrNone) {
		return nil, nil
	}
	return signed, err
}

// errNotComputed says that a job cannot be computed here now.
var errNotComputed = errors.New("not computed")

// recompute has the referee compute a job of the log once more: a punishment waits for its word.
func (o *Orchestrator) recompute(ctx context.Context, job string) (sum [32]byte, err error) {
	r := o.referee.Load()
	if r == nil {
		return sum, settlement.ErrBudget // the host is being built
	}
	spec, err := o.specOf(ctx, job)
	if err != nil {
		return sum, err
	}
	switch ruling := r.Run(ctx, spec); ruling.Outcome {
	case eventv1.RefereeOutcome_REFEREE_OUTCOME_DECIDED:
		return proof.Checksum(ruling.Status, ruling.Fuel, [32]byte(ruling.Output.Sha256)), nil
	case eventv1.RefereeOutcome_REFEREE_OUTCOME_NO_BUDGET:
		return sum, settlement.ErrBudget
	default:
		return sum, fmt.Errorf("%w: %s", errNotComputed, ruling.Detail)
	}
}

// specOf reads what a job was submitted as.
func (o *Orchestrator) specOf(ctx context.Context, job string) (*eventv1.JobSpec, error) {
	stream := actors.Address{Room: actors.JobRoom, ID: job}.Stream()
	for r, err := range o.log.Read(ctx, stream, events.Span{Limit: 1}) {
		if err != nil {
			return nil, err
		}
		f, err := events.Decode(r)
		if err != nil {
			return nil, err
		}
		if submitted, ok := f.(*eventv1.JobSubmitted); ok {
			return submitted.Spec, nil
		}
	}
	return nil, fmt.Errorf("%w: %s does not begin with its submission", events.ErrNotFound, stream)
}

// settled is how far verdicts have become transactions, as the API shows it.
func (o *Orchestrator) settled() *operatorv1.SettlementStatus {
	s := o.settlement.Status()
	out := &operatorv1.SettlementStatus{
		Position: uint64(s.Position), LogHead: uint64(max(o.seenHead(), s.Position)), Paid: s.Paid, Refused: s.Refused, Unpaid: s.Unpaid,
		Open: count(s.Open), Waiting: count(s.Waiting), Sent: count(s.Sent), Doubts: count(s.Doubts),
		Passed: s.Passed, Anchored: s.Anchored, Trouble: settlementTrouble(s),
	}
	if r := s.LastRefusal; r != nil {
		out.LastRefusal = fmt.Sprintf("%s of job %s at block %d: %s", r.Kind, r.Job, r.Height, r.Code)
	}
	return out
}

// settlementTrouble says why payments wait, or why there are none any more.
func settlementTrouble(s settlement.Status) string {
	switch {
	case s.Failed != nil:
		return s.Failed.Error()
	case s.Poor != nil:
		return fmt.Sprintf("the account has %d micro-units, the next payment needs %d", s.Poor.Balance, s.Poor.Needed)
	case s.Stale:
		return "the book is new: it waits for a block from after its own beginning"
	case s.Err != nil:
		return s.Err.Error()
	}
	return ""
}

// seenHead is the farthest that anybody who follows the log has seen it. It asks nobody.
func (o *Orchestrator) seenHead() (head events.Position) {
	for _, s := range o.runner.Status() {
		head = max(head, s.Head, s.Position)
	}
	return head
}
