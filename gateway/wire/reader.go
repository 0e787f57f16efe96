package wire

import (
	"bytes"
	"crypto/sha256"

	workerv1 "github.com/shardy-network/orchestrator/proto/shardy/worker/v1"
)

// Incoming is a whole message: the meta and, for the kinds that carry one, the payload.
type Incoming[M any] struct {
	Message M
	Carries bool     // the kind has a payload, which may be empty
	Payload []byte   // as given to Feed: owned by its caller
	Sum     [32]byte // SHA-256 of the payload
}

// Reader holds the rule "a meta message that announces a payload is followed by exactly one payload". It sees one
// direction of one connection. The zero value is not usable.
type Reader[M any] struct {
	decode     func([]byte) (M, error)
	announces  func(M) (size uint64, sum []byte, ok bool)
	maxPayload uint64
	broken     error // sticky

	pending bool // the next message is the payload of meta
	meta    M
	size    uint64
	sum     []byte
}

// NewWorkerReader reads what a worker says; payloads are at most maxPayload bytes.
func NewWorkerReader(maxPayload uint64) *Reader[*workerv1.FromWorker] {
	return &Reader[*workerv1.FromWorker]{decode: DecodeFromWorker, announces: resultPayload, maxPayload: maxPayload}
}

// NewOrchestratorReader reads what the orchestrator says; payloads are at most maxPayload bytes.
func NewOrchestratorReader(maxPayload uint64) *Reader[*workerv1.FromOrchestrator] {
	return &Reader[*workerv1.FromOrchestrator]{decode: DecodeFromOrchestrator, announces: assignPayload, maxPayload: maxPayload}
}

func resultPayload(m *workerv1.FromWorker) (uint64, []byte, bool) {
	r := m.GetTaskResult()
	return r.GetOutputSize(), r.GetOutputSha256(), r != nil
}

func assignPayload(m *workerv1.FromOrchestrator) (uint64, []byte, bool) {
	a := m.GetTaskAssign()
	return a.GetInputSize(), a.GetInputSha256(), a != nil
}

// SetMaxPayload changes the limit for payloads announced from now on.
func (r *Reader[M]) SetMaxPayload(n uint64) { r.maxPayload = n }

// Pending reports whether the next message is a payload, and of how many bytes.
func (r *Reader[M]) Pending() (size uint64, payload bool) { return r.size, r.pending }

// Feed takes one WebSocket message. done says that in is whole; a meta that announces a payload is not yet.
//
// Errors are *Error, and final: MALFORMED (text, or not a message), TOO_LARGE, PAYLOAD_MISSING (another message where
// the payload should be) and PAYLOAD_MISMATCH (length or SHA-256). With the last two in.Message is the meta that the
// payload did not fit.
func (r *Reader[M]) Feed(binary bool, data []byte) (in Incoming[M], done bool, err error) {
	if r.broken != nil {
		return in, false, r.broken
	}
	in, done, err = r.feed(binary, data)
	r.broken = err
	return in, done, err
}

func (r *Reader[M]) feed(binary bool, data []byte) (in Incoming[M], done bool, err error) {
	if !binary {
		return in, false, Errorf(workerv1.ErrorCode_ERROR_CODE_MALFORMED, "text message; binary messages only")
	}
	if r.pending {
		return r.payload(data)
	}
	m, err := r.decode(data)
	if err != nil {
		return in, false, err
	}
	size, sum, ok := r.announces(m)
	if !ok {
		return Incoming[M]{Message: m}, true, nil
	}
	if size > r.maxPayload {
		in.Message = m
		return in, false, Errorf(workerv1.ErrorCode_ERROR_CODE_TOO_LARGE, "payload of %d bytes, limit %d", size, r.maxPayload)
	}
	r.pending, r.meta, r.size, r.sum = true, m, size, sum
	return in, false, nil
}

func (r *Reader[M]) payload(data []byte) (in Incoming[M], done bool, err error) {
	in = Incoming[M]{Message: r.meta, Carries: true, Payload: data}
	size, sum := r.size, r.sum
	var none M
	r.pending, r.meta, r.size, r.sum = false, none, 0, nil
	if uint64(len(data)) != size {
		return in, false, r.misfit(data, size)
	}
	in.Sum = sha256.Sum256(data)
	if !bytes.Equal(in.Sum[:], sum) {
		return in, false, Errorf(workerv1.ErrorCode_ERROR_CODE_PAYLOAD_MISMATCH, "payload has SHA-256 %x, announced %x", in.Sum, sum)
	}
	return in, true, nil
}

// misfit tells a missing payload from a wrong one: a peer that forgot it goes on with the next message.
func (r *Reader[M]) misfit(data []byte, size uint64) error {
	if len(data) > 0 && len(data) <= MaxMeta {
		if _, err := r.decode(data); err == nil {
			return Errorf(workerv1.ErrorCode_ERROR_CODE_PAYLOAD_MISSING, "a message instead of the announced payload of %d bytes", size)
		}
	}
	return Errorf(workerv1.ErrorCode_ERROR_CODE_PAYLOAD_MISMATCH, "payload of %d bytes, announced %d", len(data), size)
}

// End is called when the connection ends: an announced payload that never came is PAYLOAD_MISSING.
func (r *Reader[M]) End() error {
	if r.broken == nil && r.pending {
		r.broken = Errorf(workerv1.ErrorCode_ERROR_CODE_PAYLOAD_MISSING, "the connection ended before the announced payload of %d bytes", r.size)
	}
	return r.broken
}
