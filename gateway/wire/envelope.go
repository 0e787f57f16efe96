package wire

import (
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	workerv1 "github.com/shardy-network/orchestrator/proto/shardy/worker/v1"
)

// The envelope around a message is one field of a oneof, which the protobuf library handles by reflection. For the
// kinds that every task needs it is written and read here instead; the bytes are the same.

const (
	fieldTaskAck     = 6
	fieldTaskResult  = 8
	fieldTaskAssign  = 6
	fieldTaskSettled = 8
)

// appendInner encodes m as field num of an envelope.
func appendInner(b []byte, num protowire.Number, m proto.Message) ([]byte, error) {
	b = protowire.AppendTag(b, num, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(proto.Size(m)))
	return proto.MarshalOptions{UseCachedSize: true}.MarshalAppend(b, m)
}

// inner returns what an envelope holds when it is exactly one field of length-delimited content.
func inner(b []byte) (num protowire.Number, content []byte, ok bool) {
	num, kind, n := protowire.ConsumeTag(b)
	if n < 0 || kind != protowire.BytesType {
		return 0, nil, false
	}
	content, k := protowire.ConsumeBytes(b[n:])
	if k < 0 || n+k != len(b) {
		return 0, nil, false
	}
	return num, content, true
}

var strict = proto.UnmarshalOptions{DiscardUnknown: true, RecursionLimit: 16}

// fastFromWorker decodes the common kinds; ok is false for all others, and for what is malformed.
func fastFromWorker(b []byte) (m *workerv1.FromWorker, ok bool) {
	num, content, ok := inner(b)
	if !ok {
		return nil, false
	}
	switch num {
	case fieldTaskResult:
		v := &struct {
			m workerv1.FromWorker
			k workerv1.FromWorker_TaskResult
			r workerv1.TaskResult
		}{}
		v.k.TaskResult, v.m.Kind = &v.r, &v.k
		return &v.m, strict.Unmarshal(content, &v.r) == nil
	case fieldTaskAck:
		v := &struct {
			m workerv1.FromWorker
			k workerv1.FromWorker_TaskAck
			a workerv1.TaskAck
		}{}
		v.k.TaskAck, v.m.Kind = &v.a, &v.k
		return &v.m, strict.Unmarshal(content, &v.a) == nil
	}
	return nil, false
}

// fastFromOrchestrator is the same for the other direction.
func fastFromOrchestrator(b []byte) (m *workerv1.FromOrchestrator, ok bool) {
	num, content, ok := inner(b)
	if !ok {
		return nil, false
	}
	switch num {
	case fieldTaskAssign:
		v := &struct {
			m workerv1.FromOrchestrator
			k workerv1.FromOrchestrator_TaskAssign
			a workerv1.TaskAssign
		}{}
		v.k.TaskAssign, v.m.Kind = &v.a, &v.k
		return &v.m, strict.Unmarshal(content, &v.a) == nil
	case fieldTaskSettled:
		v := &struct {
			m workerv1.FromOrchestrator
			k workerv1.FromOrchestrator_TaskSettled
			s workerv1.TaskSettled
		}{}
		v.k.TaskSettled, v.m.Kind = &v.s, &v.k
		return &v.m, strict.Unmarshal(content, &v.s) == nil
	}
	return nil, false
}
