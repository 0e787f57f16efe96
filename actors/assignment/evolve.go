package assignment

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/events"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// Evolve folds a fact into the state. It refuses facts of other rooms.
func Evolve(s State, fact events.Fact) (State, error) {
	switch f := fact.(type) {
	case *eventv1.AssignmentDispatched:
		s.Phase, s.Attempt, s.Worker, s.Group, s.Token = Dispatched, f.Attempt, f.Worker, f.Group, f.Token
		s.AckDeadlineUs, s.ExecutionDeadlineUs = f.AckDeadlineUs, 0
		s.ExecutionTimeoutMs, s.MaxAttempts = f.ExecutionTimeoutMs, f.MaxAttempts
	case *eventv1.TaskAcked:
		s.Phase, s.ExecutionDeadlineUs = Running, f.ExecutionDeadlineUs
	case *eventv1.AckTimedOut, *eventv1.ExecutionTimedOut, *eventv1.ResultRejected:
		// Why the attempt was lost; AssignmentStripped takes it away.
	case *eventv1.AssignmentStripped:
		s.Phase = Waiting
		if f.Counts {
			s.Counted++
			s.exclude()
		} else {
			s.Free++
		}
	case *eventv1.ResultReturned:
		s.Phase, s.Result = Returned, f
	case *eventv1.AssignmentDeadLettered:
		s.Phase, s.Failure = DeadLettered, f.Reason
	case *eventv1.AssignmentCancelled:
		s.Recalled = s.InFlight()
		s.Phase = Cancelled
	default:
		return s, fmt.Errorf("slot %s-%d: %w: %s", s.Job, s.Slot, actors.ErrUnknownFact, events.TypeOf(fact))
	}
	return s, nil
}

// exclude remembers the last holder, in a copy: an older State may still be looked at.
func (s *State) exclude() {
	if slices.ContainsFunc(s.Excluded, func(k []byte) bool { return bytes.Equal(k, s.Worker) }) {
		return
	}
	keep := s.Excluded
	if len(keep) >= MaxExcluded {
		keep = keep[1:]
	}
	excluded := make([][]byte, 0, len(keep)+1)
	s.Excluded = append(append(excluded, keep...), s.Worker)
}

// counts reports whether an attempt that was lost for this reason counts against MAX_DELIVERY_ATTEMPTS. Losses that the
// orchestrator brought about do not.
func counts(r eventv1.StripReason) bool {
	switch r {
	case eventv1.StripReason_STRIP_REASON_NOT_RESUMED, eventv1.StripReason_STRIP_REASON_UNDELIVERED,
		eventv1.StripReason_STRIP_REASON_DRAINED:
		return false
	}
	return true
}
