package assignment

import (
	"slices"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/events"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// React says what follows from facts; without facts, what is open and has to be repeated after loading, for the process
// may have died between the append and its effects.
func React(s State, facts []events.Fact) []actors.Effect {
	if len(facts) == 0 {
		return s.open()
	}
	switch f := facts[len(facts)-1].(type) {
	case *eventv1.AssignmentDispatched:
		return []actors.Effect{actors.Deliver{Task: s.task()}, s.deadline()}
	case *eventv1.TaskAcked:
		return []actors.Effect{s.deadline()}
	case *eventv1.ResultReturned:
		return []actors.Effect{actors.Disarm{}, s.release(), s.tellJob()}
	case *eventv1.AssignmentStripped:
		return s.lost(f.Reason)
	case *eventv1.AssignmentDeadLettered:
		if f.Reason == eventv1.SlotFailure_SLOT_FAILURE_NO_ELIGIBLE_WORKER { // nobody held it
			return []actors.Effect{s.tellJob()}
		}
		return s.lost(stripReason(facts))
	case *eventv1.AssignmentCancelled:
		if !s.Recalled {
			return nil
		}
		return []actors.Effect{
			actors.Disarm{}, s.release(), actors.Recall{Worker: s.Worker, Token: s.Token, Reason: f.Reason},
		}
	}
	return nil
}

// stripReason is why the attempt behind a dead letter was lost.
func stripReason(facts []events.Fact) eventv1.StripReason {
	for _, f := range slices.Backward(facts) {
		if stripped, ok := f.(*eventv1.AssignmentStripped); ok {
			return stripped.Reason
		}
	}
	return eventv1.StripReason_STRIP_REASON_UNSPECIFIED
}

// lost follows an attempt that was taken away. Effects speak of the last holder, whom the state still knows.
func (s *State) lost(reason eventv1.StripReason) []actors.Effect {
	effects := append(make([]actors.Effect, 0, 5), actors.Disarm{}, s.release())
	if recalls(reason) {
		effects = append(effects, actors.Recall{Worker: s.Worker, Token: s.Token, Reason: recallText(reason)})
	}
	if delta := tally(reason); delta != nil {
		effects = append(effects, actors.CountWork{Worker: s.Worker, Delta: delta})
	}
	return append(effects, s.tellJob())
}

// recalls reports whether the worker may still be at work on an attempt that was lost for this reason. A rejected
// result was answered; one that gave up knows.
func recalls(reason eventv1.StripReason) bool {
	switch reason {
	case eventv1.StripReason_STRIP_REASON_RESULT_REJECTED, eventv1.StripReason_STRIP_REASON_WORKER_FAILED,
		eventv1.StripReason_STRIP_REASON_UNDELIVERED:
		return false
	}
	return true
}

var recallTexts = map[eventv1.StripReason]string{
	eventv1.StripReason_STRIP_REASON_ACK_TIMEOUT:       "not acknowledged in time",
	eventv1.StripReason_STRIP_REASON_EXECUTION_TIMEOUT: "not returned in time",
	eventv1.StripReason_STRIP_REASON_SOCKET_DROPPED:    "the connection was lost",
	eventv1.StripReason_STRIP_REASON_PROTOCOL:          "the session broke the protocol",
	eventv1.StripReason_STRIP_REASON_BANNED:            "the worker was banned",
	eventv1.StripReason_STRIP_REASON_DRAINED:           "the worker is being drained",
	eventv1.StripReason_STRIP_REASON_NOT_RESUMED:       "not resumed in time",
}

func recallText(r eventv1.StripReason) string { return recallTexts[r] }

// tally is what a lost attempt adds to its worker's record; nothing when it was not the worker's doing.
func tally(reason eventv1.StripReason) *eventv1.Tally {
	switch reason {
	case eventv1.StripReason_STRIP_REASON_ACK_TIMEOUT, eventv1.StripReason_STRIP_REASON_EXECUTION_TIMEOUT:
		return &eventv1.Tally{TimedOut: 1}
	case eventv1.StripReason_STRIP_REASON_SOCKET_DROPPED, eventv1.StripReason_STRIP_REASON_PROTOCOL:
		return &eventv1.Tally{Dropped: 1}
	case eventv1.StripReason_STRIP_REASON_WORKER_FAILED:
		return &eventv1.Tally{Failed: 1}
	case eventv1.StripReason_STRIP_REASON_RESULT_REJECTED:
		return &eventv1.Tally{Rejected: 1}
	}
	return nil
}

// open repeats a slot's open effects: after loading, and when the job asks for them. Receivers know repeats: a worker
// that holds nothing any more is released in vain.
func (s *State) open() []actors.Effect {
	switch {
	case s.InFlight():
		return []actors.Effect{
			actors.Hold{Job: s.Job, Holder: s.holder()}, actors.Deliver{Task: s.task(), Restored: true}, s.deadline(),
		}
	case s.Phase == Cancelled && s.Recalled:
		return []actors.Effect{s.release()}
	case s.Phase == Cancelled:
		return nil
	case s.Attempt == 0:
		return []actors.Effect{s.tellJob()}
	}
	return []actors.Effect{s.release(), s.tellJob()}
}

// deadline arms the attempt's deadline: the acknowledgement's, then the execution's.
func (s *State) deadline() actors.Effect {
	if s.Phase == Running {
		return actors.Arm{AtUs: s.ExecutionDeadlineUs, Command: &eventv1.Command{
			Kind: &eventv1.Command_ExpireExecution{ExpireExecution: &eventv1.ExpireExecution{Attempt: s.Attempt}},
		}}
	}
	return actors.Arm{AtUs: s.AckDeadlineUs, Command: &eventv1.Command{
		Kind: &eventv1.Command_ExpireAck{ExpireAck: &eventv1.ExpireAck{Attempt: s.Attempt}},
	}}
}

func (s *State) release() actors.Effect {
	return actors.Release{Job: s.Job, Holder: s.holder(), Returned: s.Phase == Returned}
}

func (s *State) task() actors.Task {
	return actors.Task{
		Job: s.Job, Slot: s.Slot, Attempt: s.Attempt, Token: s.Token, Worker: s.Worker, Group: s.Group,
		AckDeadlineUs: s.AckDeadlineUs, ExecutionTimeoutMs: s.ExecutionTimeoutMs, Acked: s.Phase == Running,
	}
}

// tellJob tells the job where the slot stands: it returned, it was given up, or it wants another worker.
func (s *State) tellJob() actors.Effect {
	cmd := new(eventv1.Command)
	switch s.Phase {
	case Returned:
		r := s.Result
		cmd.Kind = &eventv1.Command_RecordReplica{RecordReplica: &eventv1.RecordReplica{
			Slot: s.Slot, Attempt: s.Attempt, Worker: s.Worker, Group: s.Group,
			Status: r.Status, Output: r.Output, Fuel: r.Fuel, RunMs: r.RunMs,
		}}
	case DeadLettered:
		cmd.Kind = &eventv1.Command_RecordFailure{RecordFailure: &eventv1.RecordFailure{
			Slot: s.Slot, Reason: s.Failure,
		}}
	default:
		cmd.Kind = &eventv1.Command_ReseekSlot{ReseekSlot: &eventv1.ReseekSlot{Slot: s.Slot, Excluded: s.Excluded}}
	}
	return actors.Tell{To: actors.JobAddress(s.Job), Command: cmd}
}
