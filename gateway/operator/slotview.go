package operator

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/events"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

// maxShownSlots bounds the slots of one answer: those opened last.
const maxShownSlots = 64

// slotView folds a slot's facts into its state and the history of its attempts.
type slotView struct {
	slot     *operatorv1.Slot
	attempts []*operatorv1.Attempt
}

func newSlotView(slot uint32) *slotView {
	return &slotView{slot: &operatorv1.Slot{Slot: slot, State: "waiting"}}
}

func (v *slotView) last() *operatorv1.Attempt {
	if len(v.attempts) == 0 {
		v.attempts = append(v.attempts, &operatorv1.Attempt{Slot: v.slot.Slot})
	}
	return v.attempts[len(v.attempts)-1]
}

func (v *slotView) end(state, outcome string, atUs int64) {
	v.slot.State, v.slot.Detail = state, outcome
	if a := v.last(); a.EndedUs == 0 {
		a.EndedUs = atUs
		if a.Outcome == "" {
			a.Outcome = outcome
		}
	}
}

func (v *slotView) apply(f events.Fact, atUs int64) {
	switch f := f.(type) {
	case *eventv1.AssignmentDispatched:
		v.slot.State, v.slot.Attempt, v.slot.Worker, v.slot.Detail = "dispatched", f.Attempt, f.Worker, ""
		v.attempts = append(v.attempts, &operatorv1.Attempt{
			Slot: v.slot.Slot, Attempt: f.Attempt, Worker: f.Worker, DispatchedUs: atUs,
		})
	case *eventv1.TaskAcked:
		v.slot.State = "running"
	case *eventv1.AckTimedOut:
		v.last().Outcome = "ack_timed_out"
	case *eventv1.ExecutionTimedOut:
		v.last().Outcome = "execution_timed_out"
	case *eventv1.ResultRejected:
		v.last().Outcome, v.last().Rejected = "result_rejected", f.Reason
	case *eventv1.AssignmentStripped:
		why := "stripped_" + plain(f.Reason.String(), "STRIP_REASON_")
		if f.Detail != "" {
			why += ": " + f.Detail
		}
		v.end("waiting", why, atUs)
		v.slot.Worker = nil
	case *eventv1.ResultReturned:
		v.end("returned", "returned_"+plain(f.Status.String(), "RESULT_STATUS_"), atUs)
	case *eventv1.AssignmentDeadLettered:
		v.slot.State, v.slot.Detail = "dead_lettered", plain(f.Reason.String(), "SLOT_FAILURE_")
	case *eventv1.AssignmentCancelled:
		if v.slot.State == "waiting" {
			v.slot.State, v.slot.Detail = "cancelled", f.Reason
			return
		}
		v.end("cancelled", f.Reason, atUs)
	}
}

// plain is an enum value's name for people: JOB_STATE_OPEN becomes open.
func plain(name, prefix string) string { return strings.ToLower(strings.TrimPrefix(name, prefix)) }

// readSlots folds the slots [first, opened) of a job, or the last of them.
func (a *API) readSlots(ctx context.Context, job string, first, opened uint32) ([]*slotView, error) {
	first = max(min(first, opened), opened-min(opened, maxShownSlots))
	views := make([]*slotView, 0, opened-first)
	for slot := first; slot < opened; slot++ {
		v := newSlotView(slot)
		stream := actors.SlotAddress(job, slot).Stream()
		err := a.readFacts(ctx, stream, events.Span{}, func(f events.Fact, r events.Record) bool {
			v.apply(f, r.Time.UnixMicro())
			return true
		})
		if err != nil && !errors.Is(err, errNotFound) { // a slot without facts waits for its first worker
			return nil, fmt.Errorf("slot %d: %w", slot, err)
		}
		views = append(views, v)
	}
	return views, nil
}
