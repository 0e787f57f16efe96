package events

import (
	"crypto/sha256"
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// Fact is a generated message that says what happened.
type Fact = proto.Message

// facts are all facts there are. A record's type is the fact's message name without its package.
var facts = []Fact{
	&eventv1.JobSubmitted{}, &eventv1.ReplicaReturned{}, &eventv1.ReplicaFailed{}, &eventv1.ConsensusMismatch{},
	&eventv1.WaveOpened{}, &eventv1.RefereeRequested{}, &eventv1.RefereeDecided{}, &eventv1.TaskVerified{},
	&eventv1.JobDeadLettered{}, &eventv1.JobRequeued{}, &eventv1.JobDiscarded{}, &eventv1.JobCancelled{},

	&eventv1.AssignmentDispatched{}, &eventv1.TaskAcked{}, &eventv1.AckTimedOut{}, &eventv1.ExecutionTimedOut{},
	&eventv1.AssignmentStripped{}, &eventv1.ResultReturned{}, &eventv1.ResultRejected{},
	&eventv1.AssignmentDeadLettered{}, &eventv1.AssignmentCancelled{},

	&eventv1.WorkerRegistered{}, &eventv1.ProfileReported{}, &eventv1.ChallengePassed{}, &eventv1.ChallengeFailed{},
	&eventv1.WorkerAdmitted{}, &eventv1.AdmissionRejected{}, &eventv1.TierChanged{}, &eventv1.WorkerConnected{},
	&eventv1.WorkerDisconnected{}, &eventv1.ReliabilityChanged{}, &eventv1.WorkerDrained{}, &eventv1.WorkerBanned{},
	&eventv1.WorkerReinstated{},

	&eventv1.PipelineSubmitted{}, &eventv1.StageStarted{}, &eventv1.JobsSettled{}, &eventv1.ChunksReopened{}, &eventv1.StageCompleted{},
	&eventv1.PipelineCompleted{}, &eventv1.PipelineFailed{}, &eventv1.PipelineCancelled{},

	&eventv1.ModuleAdmitted{}, &eventv1.ModuleRefused{}, &eventv1.PolicyChanged{}, &eventv1.ShardTaken{},
}

var factTypes = func() map[string]protoreflect.MessageType {
	m := make(map[string]protoreflect.MessageType, len(facts))
	for _, f := range facts {
		m[TypeOf(f)] = f.ProtoReflect().Type()
	}
	return m
}()

// ErrUnknownType refuses a record whose type no fact has. Its bytes stay readable in the record.
var ErrUnknownType = errors.New("unknown fact type")

// ErrMalformed refuses bytes that are not an encoded fact or envelope.
var ErrMalformed = errors.New("malformed record")

// TypeOf is the record type of a fact.
func TypeOf(f Fact) string { return string(f.ProtoReflect().Descriptor().Name()) }

// Types lists every fact's record type, in the order of the schema.
func Types() []string {
	names := make([]string, len(facts))
	for i, f := range facts {
		names[i] = TypeOf(f)
	}
	return names
}

// NewFact returns an empty fact of the given record type.
func NewFact(name string) (Fact, error) {
	t, ok := factTypes[name]
	if !ok {
		return nil, fmt.Errorf("%w: %q", ErrUnknownType, name)
	}
	return t.New().Interface(), nil
}

// Decode returns a record's fact.
func Decode(r Record) (Fact, error) {
	f, err := NewFact(r.Type)
	if err != nil {
		return nil, err
	}
	if err := proto.Unmarshal(r.Data, f); err != nil {
		return nil, fmt.Errorf("%w: %s at %s/%d: %w", ErrMalformed, r.Type, r.Stream, r.Rev, err)
	}
	return f, nil
}

// DecodeEnvelope returns a record's metadata.
func DecodeEnvelope(r Record) (*eventv1.Envelope, error) {
	e := new(eventv1.Envelope)
	if err := proto.Unmarshal(r.Meta, e); err != nil {
		return nil, fmt.Errorf("%w: envelope at %s/%d: %w", ErrMalformed, r.Stream, r.Rev, err)
	}
	return e, nil
}

// DigestSize is the length in bytes of the digest in an envelope.
const DigestSize = 16

// Digest is what an envelope keeps of its record's data: the first 16 bytes of the SHA-256.
func Digest(data []byte) [DigestSize]byte {
	sum := sha256.Sum256(data)
	return [DigestSize]byte(sum[:DigestSize])
}

// Origin is what the envelopes of one decision share.
type Origin struct {
	ID          CommandID
	Command     *eventv1.Command
	Correlation string
	Node        string
	Epoch       uint64
	Rules       uint32
}
