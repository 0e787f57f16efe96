package job

import (
	"fmt"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/actors/quorum"
	"github.com/shardy-network/orchestrator/events"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// Evolve folds a fact into the state. It refuses facts of other rooms and facts about slots that the job does not have.
func Evolve(s State, fact events.Fact) (State, error) {
	switch f := fact.(type) {
	case *eventv1.JobSubmitted:
		s.Phase, s.Spec, s.Policy, s.SubmittedUs = Open, f.Spec, f.Policy, f.AtUs
		s.openRound(1, 0, f.Slots)
	case *eventv1.ReplicaReturned:
		return s.close(f.Slot, Slot{Phase: SlotReturned, Result: quorum.Result{
			Slot: f.Slot, Attempt: f.Attempt, Worker: f.Worker, Group: f.Group, Status: f.Status, Fuel: f.Fuel,
			Output: f.Output, Checksum: quorum.Checksum(f.Status, f.Fuel, f.Output), RunMs: f.RunMs,
		}})
	case *eventv1.ReplicaFailed:
		return s.close(f.Slot, Slot{Phase: SlotFailed})
	case *eventv1.ConsensusMismatch:
		// The tally of results that the state already has.
	case *eventv1.WaveOpened:
		s.Wave, s.WaveFirst, s.Pending = f.Wave, f.FirstSlot, f.Slots
		slots := make([]Slot, len(s.Slots)+int(f.Slots))
		copy(slots, s.Slots)
		s.Slots = slots
	case *eventv1.RefereeRequested:
		s.Refereeing = true
	case *eventv1.RefereeDecided:
		s.Refereeing = false
	case *eventv1.TaskVerified:
		s.Phase, s.DecidedUs, s.Verdict = Verified, f.AtUs, f
	case *eventv1.JobDeadLettered:
		s.Phase, s.DecidedUs, s.DeadLetter = DeadLettered, f.AtUs, f
	case *eventv1.JobRequeued:
		s.Phase, s.DecidedUs, s.DeadLetter = Open, 0, nil
		s.openRound(f.Round, f.FirstSlot, f.Slots)
	case *eventv1.JobDiscarded:
		s.Phase, s.DecidedUs, s.By, s.Reason = Discarded, f.AtUs, f.By, f.Reason
	case *eventv1.JobCancelled:
		s.Phase, s.DecidedUs, s.By, s.Reason = Cancelled, f.AtUs, f.By, f.Reason
		s.Refereeing = false
	default:
		return s, fmt.Errorf("job %s: %w: %s", s.ID, actors.ErrUnknownFact, events.TypeOf(fact))
	}
	return s, nil
}

func (s *State) openRound(round, first, slots uint32) {
	s.Round, s.Wave, s.First, s.WaveFirst, s.Pending = round, 1, first, first, slots
	s.Slots = make([]Slot, slots)
}

// close puts the slot's outcome into a copy of the slots: an older State may still be looked at.
func (s State) close(n uint32, outcome Slot) (State, error) {
	if at := s.slot(n); at == nil || at.Phase != SlotOpen {
		return s, fmt.Errorf("job %s: slot %d: %w", s.ID, n, ErrNoSlot)
	}
	slots := make([]Slot, len(s.Slots))
	copy(slots, s.Slots)
	slots[n-s.First] = outcome
	s.Slots = slots
	s.Pending--
	return s, nil
}
