package job

import (
	"fmt"
	"math"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/actors/policy"
	"github.com/shardy-network/orchestrator/actors/quorum"
	"github.com/shardy-network/orchestrator/events"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// maxRoundSlots bounds the slots of one round. No decision comes near it: every wave but the last brings a result, there
// are at most [policy.MaxReplicas] results, and a wave opens no more slots than that.
const maxRoundSlots = policy.MaxReplicas * (policy.MaxReplicas + 1)

// Evolve folds a fact into the state. It refuses facts of other rooms, and facts that no decision can have made: a log
// may come from anywhere.
func Evolve(s State, fact events.Fact) (State, error) {
	if f, ok := fact.(*eventv1.JobSubmitted); ok {
		return s.submitted(f)
	}
	if s.Phase == Absent {
		if !known(fact) {
			return s, fmt.Errorf("job %s: %w: %s", s.ID, actors.ErrUnknownFact, events.TypeOf(fact))
		}
		return s, fmt.Errorf("job %s: %s: %w", s.ID, events.TypeOf(fact), ErrNotFound)
	}
	switch f := fact.(type) {
	case *eventv1.ReplicaReturned:
		return s.close(f.Slot, Slot{Phase: SlotReturned, Result: quorum.Result{
			Slot: f.Slot, Attempt: f.Attempt, Worker: f.Worker, Group: f.Group, Status: f.Status, Fuel: f.Fuel,
			Output: f.Output, Checksum: quorum.Checksum(f.Status, f.Fuel, f.Output), RunMs: f.RunMs,
		}})
	case *eventv1.ReplicaFailed:
		return s.close(f.Slot, Slot{Phase: SlotFailed, Failure: f.Reason})
	case *eventv1.ConsensusMismatch:
		// The tally of results that the state already has.
	case *eventv1.WaveOpened:
		return s.openWave(f)
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
		return s.openRound(f.Round, f.FirstSlot, f.Slots)
	case *eventv1.JobDiscarded:
		s.Phase, s.DecidedUs, s.By, s.Reason, s.ReplacedBy = Discarded, f.AtUs, f.By, f.Reason, f.ReplacedBy
	case *eventv1.JobCancelled:
		s.Phase, s.DecidedUs, s.By, s.Reason = Cancelled, f.AtUs, f.By, f.Reason
		s.Refereeing = false
	default:
		return s, fmt.Errorf("job %s: %w: %s", s.ID, actors.ErrUnknownFact, events.TypeOf(fact))
	}
	return s, nil
}

// known reports whether the fact is one of a job's.
func known(fact events.Fact) bool {
	switch fact.(type) {
	case *eventv1.ReplicaReturned, *eventv1.ReplicaFailed, *eventv1.ConsensusMismatch, *eventv1.WaveOpened,
		*eventv1.RefereeRequested, *eventv1.RefereeDecided, *eventv1.TaskVerified, *eventv1.JobDeadLettered,
		*eventv1.JobRequeued, *eventv1.JobDiscarded, *eventv1.JobCancelled:
		return true
	}
	return false
}

func (s State) submitted(f *eventv1.JobSubmitted) (State, error) {
	if s.Phase != Absent || f.Spec == nil || f.Policy == nil {
		return s, fmt.Errorf("job %s: submitted twice, or without spec and policy: %w", s.ID, ErrInvalid)
	}
	s.Phase, s.Spec, s.Policy, s.SubmittedUs = Open, f.Spec, f.Policy, f.AtUs
	return s.openRound(1, f.FirstSlot, f.Slots)
}

func (s State) openRound(round, first, slots uint32) (State, error) {
	if slots > maxRoundSlots || first < s.First || first > math.MaxUint32-2*maxRoundSlots {
		return s, fmt.Errorf("job %s: round of %d slots from %d: %w", s.ID, slots, first, ErrInvalid)
	}
	s.Round, s.Wave, s.First, s.WaveFirst, s.Pending = round, 1, first, first, slots
	s.Slots = make([]Slot, slots)
	return s, nil
}

func (s State) openWave(f *eventv1.WaveOpened) (State, error) {
	if f.FirstSlot != s.next() || f.Slots > maxRoundSlots || len(s.Slots)+int(f.Slots) > maxRoundSlots {
		return s, fmt.Errorf("job %s: wave of %d slots from %d: %w", s.ID, f.Slots, f.FirstSlot, ErrInvalid)
	}
	s.Wave, s.WaveFirst, s.Pending = f.Wave, f.FirstSlot, f.Slots
	slots := make([]Slot, len(s.Slots)+int(f.Slots))
	copy(slots, s.Slots)
	s.Slots = slots
	return s, nil
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
	if s.Pending > 0 {
		s.Pending--
	}
	return s, nil
}
