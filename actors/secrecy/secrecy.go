// Package secrecy says what of a job nobody may read before the job is decided, and takes it out of facts and commands.
//
// It promises that what it leaves of a fact or a command names no result and no answer of a ringer: the second replica
// of a job must not be able to copy the first. It knows no readers: who may see what anyway is for the doors to say. What
// is cut can no longer be encoded to the bytes that were recorded, so a door sends the bytes only when nothing was cut.
package secrecy

import (
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/events"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

// Ends reports whether no replica of a job in this state will be computed any more: only then may its results be seen.
// A dead letter may be requeued.
func Ends(s operatorv1.JobState) bool {
	return s == operatorv1.JobState_JOB_STATE_VERIFIED || s == operatorv1.JobState_JOB_STATE_CANCELLED ||
		s == operatorv1.JobState_JOB_STATE_DISCARDED
}

// JobOf is the job whose stream, or whose slot's stream, it is: the one that must be decided. Empty: none.
func JobOf(stream string) string {
	if id, ok := strings.CutPrefix(stream, actors.JobRoom+"-"); ok {
		return id
	}
	if id, ok := strings.CutPrefix(stream, actors.AssignmentRoom+"-"); ok {
		if job, _, err := actors.ParseSlotID(id); err == nil {
			return job
		}
	}
	return ""
}

// Holds reports whether a fact, or the command that it came of, holds results or answers. Either may be nil.
func Holds(f events.Fact, c *eventv1.Command) bool { return factHolds(f) || commandHolds(c) }

func factHolds(f events.Fact) bool {
	switch f := f.(type) {
	case *eventv1.JobSubmitted:
		return len(f.GetSpec().GetKnownChecksum()) > 0
	case *eventv1.ReplicaReturned, *eventv1.ResultReturned, *eventv1.ResultRejected, *eventv1.RefereeDecided:
		return true
	}
	return false
}

func commandHolds(c *eventv1.Command) bool {
	switch k := c.GetKind().(type) {
	case *eventv1.Command_SubmitJob:
		return len(k.SubmitJob.GetSpec().GetKnownChecksum()) > 0
	case *eventv1.Command_RecordReplica, *eventv1.Command_RecordReferee, *eventv1.Command_ReturnResult:
		return true
	}
	return false
}

// Cut takes results and answers out of a fact and its command, which MUST have been decoded for one reader alone.
func Cut(f events.Fact, c *eventv1.Command) {
	switch f := f.(type) {
	case *eventv1.JobSubmitted:
		f.Spec = WithoutAnswer(f.Spec)
	case *eventv1.ReplicaReturned:
		f.Output = nil
	case *eventv1.ResultReturned:
		f.Output, f.Proof = nil, nil
	case *eventv1.ResultRejected:
		f.Output = nil
	case *eventv1.RefereeDecided:
		f.Output = nil
	}
	switch k := c.GetKind().(type) {
	case *eventv1.Command_SubmitJob:
		if k.SubmitJob != nil {
			k.SubmitJob.Spec = WithoutAnswer(k.SubmitJob.Spec)
		}
	case *eventv1.Command_RecordReplica:
		if k.RecordReplica != nil {
			k.RecordReplica.Output = nil
		}
	case *eventv1.Command_RecordReferee:
		if k.RecordReferee != nil {
			k.RecordReferee.Output = nil
		}
	case *eventv1.Command_ReturnResult:
		if k.ReturnResult != nil {
			k.ReturnResult.Output, k.ReturnResult.Proof = nil, nil
		}
	}
}

// WithoutAnswer is a spec without the answer of a ringer: the same one where it has none, a copy otherwise.
func WithoutAnswer(spec *eventv1.JobSpec) *eventv1.JobSpec {
	if len(spec.GetKnownChecksum()) == 0 {
		return spec
	}
	out := proto.CloneOf(spec)
	out.KnownChecksum = nil
	return out
}
