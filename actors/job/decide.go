package job

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/actors/policy"
	"github.com/shardy-network/orchestrator/events"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// Decide answers a command under rules version 1.
func Decide(s State, cmd *eventv1.Command) (actors.Decision, error) {
	if submit, ok := cmd.Kind.(*eventv1.Command_SubmitJob); ok {
		return s.submit(submit.SubmitJob, cmd.AtUs)
	}
	if s.Phase == Absent {
		return actors.Decision{}, ErrNotFound
	}
	switch k := cmd.Kind.(type) {
	case *eventv1.Command_RecordReplica:
		return s.recordReplica(k.RecordReplica, cmd.AtUs)
	case *eventv1.Command_RecordFailure:
		return s.recordFailure(k.RecordFailure, cmd.AtUs)
	case *eventv1.Command_RecordReferee:
		return s.recordReferee(k.RecordReferee, cmd.AtUs)
	case *eventv1.Command_CancelJob:
		return s.cancel(k.CancelJob, cmd.AtUs)
	case *eventv1.Command_RequeueJob:
		return s.requeue(k.RequeueJob, cmd.AtUs)
	case *eventv1.Command_DiscardJob:
		return s.discard(k.DiscardJob, cmd.AtUs)
	case *eventv1.Command_ReseekSlot:
		return s.reseek(k.ReseekSlot)
	case *eventv1.Command_ReopenJob:
		return s.reopenAgain(), nil
	default:
		return actors.Decision{}, fmt.Errorf("job: %w: %T", actors.ErrUnknownCommand, cmd.Kind)
	}
}

func (s State) submit(c *eventv1.SubmitJob, atUs int64) (actors.Decision, error) {
	if s.Phase != Absent {
		return s.submitAgain(c)
	}
	if err := Check(c.Spec, c.Policy); err != nil {
		return actors.Decision{}, err
	}
	if c.Spec.Replaces == s.ID {
		return actors.Decision{}, malformed("replaces: a job does not replace itself")
	}
	if c.FirstSlot > policy.MaxReplicas {
		return actors.Decision{}, malformed("first_slot %d: want at most %d", c.FirstSlot, policy.MaxReplicas)
	}
	return actors.Decision{
		Facts: []events.Fact{&eventv1.JobSubmitted{
			Spec: c.Spec, Policy: c.Policy, Slots: c.Policy.Redundancy, FirstSlot: c.FirstSlot, AtUs: atUs,
		}},
		Reply: SubmitReply{ID: s.ID},
	}, nil
}

// submitAgain answers a repeat. The policy is not compared: it may have changed since, and the job keeps its own.
func (s State) submitAgain(c *eventv1.SubmitJob) (actors.Decision, error) {
	if !proto.Equal(c.Spec, s.Spec) {
		return actors.Decision{}, ErrRequestConflict
	}
	d := actors.Decision{Reply: SubmitReply{ID: s.ID, Existing: true}}
	if s.Phase > Open {
		d.Effects = s.settle(nil)
	}
	return d, nil
}

func (s State) recordReplica(c *eventv1.RecordReplica, atUs int64) (actors.Decision, error) {
	repeated, err := s.mayClose(c.Slot, SlotReturned)
	if repeated || err != nil {
		return actors.Decision{}, err
	}
	if err := checkReplica(c); err != nil {
		return actors.Decision{}, err
	}
	fact := &eventv1.ReplicaReturned{
		Slot: c.Slot, Attempt: c.Attempt, Worker: c.Worker, Group: c.Group, Status: c.Status, Output: c.Output,
		Fuel: c.Fuel, RunMs: c.RunMs,
	}
	return s.closeSlot(fact, atUs)
}

func (s State) recordFailure(c *eventv1.RecordFailure, atUs int64) (actors.Decision, error) {
	repeated, err := s.mayClose(c.Slot, SlotFailed)
	if repeated || err != nil {
		return actors.Decision{}, err
	}
	if c.Reason == 0 || eventv1.SlotFailure_name[int32(c.Reason)] == "" {
		return actors.Decision{}, fmt.Errorf("%w: slot failure %d is unknown", ErrInvalid, c.Reason)
	}
	return s.closeSlot(&eventv1.ReplicaFailed{Slot: c.Slot, Reason: c.Reason}, atUs)
}

// mayClose refuses to close a slot that is not open, unless it was closed in the same way: that is a repeat.
func (s *State) mayClose(n uint32, as SlotPhase) (repeated bool, err error) {
	if s.Phase != Open {
		return false, ErrDecided
	}
	slot := s.slot(n)
	switch {
	case slot == nil:
		return false, ErrNoSlot
	case slot.Phase == as:
		return true, nil
	case slot.Phase != SlotOpen:
		return false, ErrSlotClosed
	}
	return false, nil
}

// closeSlot records a slot's end and, when it was the wave's last, what follows from it.
func (s State) closeSlot(fact events.Fact, atUs int64) (actors.Decision, error) {
	if s.Pending > 1 {
		return actors.Decision{Facts: []events.Fact{fact}}, nil
	}
	after, err := Evolve(s, fact)
	if err != nil {
		return actors.Decision{}, err
	}
	return actors.Decision{Facts: after.conclude(append(make([]events.Fact, 0, 3), fact), atUs)}, nil
}

func (s State) cancel(c *eventv1.CancelJob, atUs int64) (actors.Decision, error) {
	switch s.Phase {
	case Open:
	case DeadLettered:
		return actors.Decision{}, ErrDeadLettered
	default:
		return actors.Decision{}, ErrDecided
	}
	if err := checkReason(c.By, c.Reason); err != nil {
		return actors.Decision{}, err
	}
	return actors.Decision{Facts: []events.Fact{&eventv1.JobCancelled{By: c.By, Reason: c.Reason, AtUs: atUs}}}, nil
}

func (s State) requeue(c *eventv1.RequeueJob, atUs int64) (actors.Decision, error) {
	if err := s.deadIn(c.Round); err != nil {
		return actors.Decision{}, err
	}
	if s.Round >= MaxRounds {
		return actors.Decision{}, ErrTooManyRounds
	}
	if err := checkReason(c.By, c.Reason); err != nil {
		return actors.Decision{}, err
	}
	return actors.Decision{Facts: []events.Fact{&eventv1.JobRequeued{
		Round: s.Round + 1, FirstSlot: s.next(), Slots: s.Policy.Redundancy, By: c.By, Reason: c.Reason, AtUs: atUs,
	}}}, nil
}

// discard gives the dead letter up. Discarding it again for the same replacement is a repeat.
func (s State) discard(c *eventv1.DiscardJob, atUs int64) (actors.Decision, error) {
	if s.Phase == Discarded && c.ReplacedBy != "" && c.ReplacedBy == s.ReplacedBy {
		return actors.Decision{}, nil
	}
	if err := s.deadIn(c.Round); err != nil {
		return actors.Decision{}, err
	}
	if err := checkReason(c.By, c.Reason); err != nil {
		return actors.Decision{}, err
	}
	if c.ReplacedBy != "" && (events.CheckEntityID(c.ReplacedBy) != nil || c.ReplacedBy == s.ID) {
		return actors.Decision{}, malformed("replaced_by: not the id of another job")
	}
	return actors.Decision{Facts: []events.Fact{&eventv1.JobDiscarded{
		By: c.By, Reason: c.Reason, AtUs: atUs, ReplacedBy: c.ReplacedBy,
	}}}, nil
}

// deadIn refuses what is asked of a dead letter if the job is none, or if it is one of another round than was looked at.
func (s *State) deadIn(round uint32) error {
	switch {
	case s.Phase != DeadLettered:
		return ErrNotDeadLettered
	case round != 0 && round != s.Round:
		return ErrAnotherRound
	}
	return nil
}

// reopenAgain answers ReopenJob. Loading the job has repeated its effects; only its end is told again, because somebody
// who asks has missed it.
func (s *State) reopenAgain() actors.Decision {
	if s.Phase > Open {
		return actors.Decision{Effects: s.settle(nil)}
	}
	return actors.Decision{}
}

func (s State) reseek(c *eventv1.ReseekSlot) (actors.Decision, error) {
	if s.Phase != Open {
		return actors.Decision{}, ErrDecided
	}
	slot := s.slot(c.Slot)
	switch {
	case slot == nil:
		return actors.Decision{}, ErrNoSlot
	case slot.Phase != SlotOpen:
		return actors.Decision{}, ErrSlotClosed
	}
	if err := checkExcluded(c.Excluded); err != nil {
		return actors.Decision{}, err
	}
	return actors.Decision{Effects: []actors.Effect{s.seek([]uint32{c.Slot}, c.Excluded)}}, nil
}
