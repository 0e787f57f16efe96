package wire

import (
	"google.golang.org/protobuf/proto"

	workerv1 "github.com/shardy-network/orchestrator/proto/shardy/worker/v1"
)

// DecodeFromWorker decodes what a worker says. Every error is an *Error.
func DecodeFromWorker(b []byte) (*workerv1.FromWorker, error) {
	if m, ok := fastFromWorker(b); ok && len(b) <= MaxMeta {
		return m, checkFromWorker(m)
	}
	m := new(workerv1.FromWorker)
	if err := decode(b, m); err != nil {
		return nil, err
	}
	return m, checkFromWorker(m)
}

// DecodeFromOrchestrator decodes what the orchestrator says. Every error is an *Error.
func DecodeFromOrchestrator(b []byte) (*workerv1.FromOrchestrator, error) {
	if m, ok := fastFromOrchestrator(b); ok && len(b) <= MaxMeta {
		return m, checkFromOrchestrator(m)
	}
	m := new(workerv1.FromOrchestrator)
	if err := decode(b, m); err != nil {
		return nil, err
	}
	return m, checkFromOrchestrator(m)
}

// AppendFromWorker encodes a message behind b. A message outside its bounds is an *Error.
func AppendFromWorker(b []byte, m *workerv1.FromWorker) ([]byte, error) {
	if err := checkFromWorker(m); err != nil {
		return b, err
	}
	begin := len(b)
	var err error
	switch k := m.GetKind().(type) {
	case *workerv1.FromWorker_TaskResult:
		b, err = appendInner(b, fieldTaskResult, k.TaskResult)
	case *workerv1.FromWorker_TaskAck:
		b, err = appendInner(b, fieldTaskAck, k.TaskAck)
	default:
		b, err = proto.MarshalOptions{}.MarshalAppend(b, m)
	}
	return encoded(b, begin, err)
}

// AppendFromOrchestrator encodes a message behind b. A message outside its bounds is an *Error.
func AppendFromOrchestrator(b []byte, m *workerv1.FromOrchestrator) ([]byte, error) {
	if err := checkFromOrchestrator(m); err != nil {
		return b, err
	}
	begin := len(b)
	var err error
	switch k := m.GetKind().(type) {
	case *workerv1.FromOrchestrator_TaskAssign:
		b, err = appendInner(b, fieldTaskAssign, k.TaskAssign)
	case *workerv1.FromOrchestrator_TaskSettled:
		b, err = appendInner(b, fieldTaskSettled, k.TaskSettled)
	default:
		b, err = proto.MarshalOptions{}.MarshalAppend(b, m)
	}
	return encoded(b, begin, err)
}

func decode(b []byte, m proto.Message) error {
	if len(b) > MaxMeta {
		return Errorf(workerv1.ErrorCode_ERROR_CODE_TOO_LARGE, "message of %d bytes, limit %d", len(b), MaxMeta)
	}
	// Unknown fields are dropped: a newer peer may say more than this version understands.
	if err := strict.Unmarshal(b, m); err != nil {
		return Errorf(workerv1.ErrorCode_ERROR_CODE_MALFORMED, "not a message of %s", Subprotocol)
	}
	return nil
}

// encoded judges what was appended from begin on.
func encoded(b []byte, begin int, err error) ([]byte, error) {
	if err != nil {
		return b[:begin], Errorf(workerv1.ErrorCode_ERROR_CODE_MALFORMED, "cannot encode: %v", err)
	}
	if len(b)-begin > MaxMeta {
		return b[:begin], Errorf(workerv1.ErrorCode_ERROR_CODE_TOO_LARGE, "message of %d bytes, limit %d", len(b)-begin, MaxMeta)
	}
	return b, nil
}
