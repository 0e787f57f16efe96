package job_test

import (
	"bytes"
	"crypto/sha256"
	"testing"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/actors/job"
	"github.com/shardy-network/orchestrator/actors/story"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

const id = "0123456789abcdefghjkmnpqrs"

func blob(text string) *eventv1.BlobRef {
	sum := sha256.Sum256([]byte(text))
	return &eventv1.BlobRef{Sha256: sum[:], Size: uint64(len(text))}
}

func key(n byte) []byte { return bytes.Repeat([]byte{n}, 32) }

func spec() *eventv1.JobSpec {
	return &eventv1.JobSpec{Module: key(7), Input: blob("input"), FuelLimit: 1000}
}

func rules() *eventv1.JobPolicy {
	return &eventv1.JobPolicy{
		Redundancy: 2, Margin: 2, MaxReplicas: 7, MaxAttempts: 5, AckTimeoutMs: 5000,
		MinExecutionTimeoutMs: 10_000, MaxExecutionTimeoutMs: 3600_000, ExecutionSlack: 4, RequireAttestation: true,
		Referee: eventv1.RefereeMode_REFEREE_MODE_ON_NO_QUORUM,
	}
}

func TestSmoke(t *testing.T) {
	story.Of(t, &job.Room, id).
		When(&eventv1.SubmitJob{Spec: spec(), Policy: rules()}).
		Then(&eventv1.JobSubmitted{Spec: spec(), Policy: rules(), Slots: 2, AtUs: story.Start}).
		Replies(job.SubmitReply{ID: id}).
		Effects(actors.Seek{Job: id, Spec: spec(), Policy: rules(), Slots: []uint32{0, 1}, SinceUs: story.Start}).
		When(&eventv1.RecordReplica{Slot: 0, Attempt: 1, Worker: key(1), Status: 1, Output: blob("x"), Fuel: 5}).ThenTypes("ReplicaReturned").
		When(&eventv1.RecordReplica{Slot: 1, Attempt: 1, Worker: key(2), Status: 1, Output: blob("x"), Fuel: 5}).ThenTypes("ReplicaReturned", "TaskVerified")
}
