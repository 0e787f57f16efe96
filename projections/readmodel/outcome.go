package readmodel

import eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"

// Outcome is what became of a hand-over.
type Outcome uint8

// The outcomes. Those from OutcomeReturned on have ended, those from OutcomeRejected on are losses.
const (
	OutcomeDispatched Outcome = iota + 1
	OutcomeRunning
	OutcomeReturned
	OutcomeCancelled // no longer needed
	OutcomeRejected  // the result was refused
	OutcomeAckTimeout
	OutcomeExecutionTimeout
	OutcomeSocketDropped
	OutcomeWorkerFailed // the worker itself said that it could not run the task
	OutcomeProtocol     // the session was closed for a breach of the wire protocol
	OutcomeBanned
	OutcomeDrained
	OutcomeNotResumed  // after a restart of the orchestrator the worker did not have the task
	OutcomeUndelivered // the session was gone before delivery began
	OutcomeStripped    // for a reason that has no name here
)

var outcomeNames = [...]string{
	OutcomeDispatched: "dispatched", OutcomeRunning: "running", OutcomeReturned: "returned", OutcomeCancelled: "cancelled",
	OutcomeRejected: "rejected", OutcomeAckTimeout: "ack_timeout", OutcomeExecutionTimeout: "execution_timeout",
	OutcomeSocketDropped: "socket_dropped", OutcomeWorkerFailed: "worker_failed", OutcomeProtocol: "protocol",
	OutcomeBanned: "banned", OutcomeDrained: "drained", OutcomeNotResumed: "not_resumed",
	OutcomeUndelivered: "undelivered", OutcomeStripped: "stripped",
}

// Outcomes are all of them.
func Outcomes() []Outcome {
	all := make([]Outcome, 0, len(outcomeNames))
	for o := OutcomeDispatched; o <= OutcomeStripped; o++ {
		all = append(all, o)
	}
	return all
}

// String names the outcome as programs know it, for example "ack_timeout".
func (o Outcome) String() string {
	if o >= OutcomeDispatched && o <= OutcomeStripped {
		return outcomeNames[o]
	}
	return "unknown"
}

// Ended reports whether the worker no longer has the task.
func (o Outcome) Ended() bool { return o >= OutcomeReturned }

// Lost reports whether the hand-over came to nothing.
func (o Outcome) Lost() bool { return o >= OutcomeRejected }

func outcomeOf(r eventv1.StripReason) Outcome {
	switch r {
	case eventv1.StripReason_STRIP_REASON_ACK_TIMEOUT:
		return OutcomeAckTimeout
	case eventv1.StripReason_STRIP_REASON_EXECUTION_TIMEOUT:
		return OutcomeExecutionTimeout
	case eventv1.StripReason_STRIP_REASON_SOCKET_DROPPED:
		return OutcomeSocketDropped
	case eventv1.StripReason_STRIP_REASON_WORKER_FAILED:
		return OutcomeWorkerFailed
	case eventv1.StripReason_STRIP_REASON_RESULT_REJECTED:
		return OutcomeRejected
	case eventv1.StripReason_STRIP_REASON_PROTOCOL:
		return OutcomeProtocol
	case eventv1.StripReason_STRIP_REASON_BANNED:
		return OutcomeBanned
	case eventv1.StripReason_STRIP_REASON_DRAINED:
		return OutcomeDrained
	case eventv1.StripReason_STRIP_REASON_NOT_RESUMED:
		return OutcomeNotResumed
	case eventv1.StripReason_STRIP_REASON_UNDELIVERED:
		return OutcomeUndelivered
	}
	return OutcomeStripped
}
