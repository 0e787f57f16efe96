package gateway

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"slices"
	"unsafe"

	"github.com/shardy-network/orchestrator/actors/job"
	"github.com/shardy-network/orchestrator/actors/proof"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	workerv1 "github.com/shardy-network/orchestrator/proto/shardy/worker/v1"
)

// verdict is what the door's own checks say of a result. The zero value means that it is sound.
type verdict struct {
	reject eventv1.RejectReason
	detail string
}

func refuseResult(why eventv1.RejectReason, format string, args ...any) verdict {
	return verdict{why, fmt.Sprintf(format, args...)}
}

// checkResult measures a result whose length and digest are already known to be what was announced: status, size, type
// and shape, finite numbers, fuel, signature. It is pure and reads the payload once, if at all.
func checkResult(t *task, worker []byte, maxOutput uint64, m *workerv1.TaskResult, payload []byte, sum [32]byte, attested proof.Attested) verdict {
	spec := t.Spec
	switch m.GetStatus() {
	case eventv1.ResultStatus_RESULT_STATUS_OK:
		if v := checkOutput(spec.GetOutput(), maxOutput, m, payload); v.reject != 0 {
			return v
		}
	case eventv1.ResultStatus_RESULT_STATUS_TRAP, eventv1.ResultStatus_RESULT_STATUS_OUT_OF_FUEL,
		eventv1.ResultStatus_RESULT_STATUS_BAD_OUTPUT:
		if len(payload) > 0 {
			return refuseResult(eventv1.RejectReason_REJECT_REASON_LENGTH, "a failed run has no output, got %d bytes", len(payload))
		}
	default:
		return refuseResult(eventv1.RejectReason_REJECT_REASON_STATUS, "unknown status %d", m.GetStatus())
	}
	if m.GetFuel() > spec.GetFuelLimit() {
		return refuseResult(eventv1.RejectReason_REJECT_REASON_FUEL, "%d used, limit %d", m.GetFuel(), spec.GetFuelLimit())
	}
	return checkAttestation(t, worker, m, sum, attested)
}

func checkOutput(want *eventv1.OutputSpec, maxOutput uint64, m *workerv1.TaskResult, payload []byte) verdict {
	limit := maxOutput
	if want.GetMaxBytes() > 0 {
		limit = want.GetMaxBytes()
	}
	if uint64(len(payload)) > limit {
		return refuseResult(eventv1.RejectReason_REJECT_REASON_TOO_LARGE, "%d bytes, limit %d", len(payload), limit)
	}
	if m.GetDtype() != want.GetDtype() {
		return refuseResult(eventv1.RejectReason_REJECT_REASON_SHAPE, "element type %s, want %s", m.GetDtype(), want.GetDtype())
	}
	if v := checkShape(want, m.GetShape(), uint64(len(payload))); v.reject != 0 {
		return v
	}
	if want.GetAllowNonFinite() || allFinite(want.GetDtype(), payload) {
		return verdict{}
	}
	return refuseResult(eventv1.RejectReason_REJECT_REASON_NON_FINITE, "NaN or infinity")
}

// checkShape holds the claimed shape against the wanted one and against the payload's length.
func checkShape(want *eventv1.OutputSpec, shape []uint64, size uint64) verdict {
	element, _ := job.ElementSize(want.GetDtype())
	if element == 0 {
		if want.GetDtype() == eventv1.ElementType_ELEMENT_TYPE_UNSPECIFIED && len(shape) == 0 && len(want.GetShape()) == 0 {
			return verdict{}
		}
		return refuseResult(eventv1.RejectReason_REJECT_REASON_SHAPE, "a shape without an element type")
	}
	if len(shape) > job.MaxRank {
		return refuseResult(eventv1.RejectReason_REJECT_REASON_SHAPE, "rank %d, at most %d", len(shape), job.MaxRank)
	}
	if len(want.GetShape()) > 0 && !slices.Equal(want.GetShape(), shape) {
		return refuseResult(eventv1.RejectReason_REJECT_REASON_SHAPE, "shape %v, want %v", shape, want.GetShape())
	}
	if len(shape) == 0 { // any shape, none claimed: whole elements
		if size%element != 0 {
			return refuseResult(eventv1.RejectReason_REJECT_REASON_LENGTH, "%d bytes are not whole elements", size)
		}
		return verdict{}
	}
	total := element
	for _, dim := range shape {
		if dim == 0 {
			return refuseResult(eventv1.RejectReason_REJECT_REASON_SHAPE, "a dimension of zero")
		}
		high, low := bits.Mul64(total, dim)
		if high != 0 {
			return refuseResult(eventv1.RejectReason_REJECT_REASON_SHAPE, "shape %v overflows", shape)
		}
		total = low
	}
	if total != size {
		return refuseResult(eventv1.RejectReason_REJECT_REASON_LENGTH, "%d bytes, shape %v makes %d", size, shape, total)
	}
	return verdict{}
}

// checkAttestation verifies the signature where the policy asks for one, and wherever one is given.
func checkAttestation(t *task, worker []byte, m *workerv1.TaskResult, sum [32]byte, attested proof.Attested) verdict {
	if len(m.GetAttestation()) == 0 {
		if t.Policy.GetRequireAttestation() {
			return refuseResult(eventv1.RejectReason_REJECT_REASON_SIGNATURE, "no attestation")
		}
		return verdict{}
	}
	spec := t.Spec
	if len(spec.GetModule()) != 32 || len(spec.GetInput().GetSha256()) != 32 {
		return refuseResult(eventv1.RejectReason_REJECT_REASON_SIGNATURE, "the job names no module or no input")
	}
	statement := proof.Statement{
		Job: t.Job, Slot: t.Slot, Token: t.Token,
		Module: [32]byte(spec.GetModule()), Input: [32]byte(spec.GetInput().GetSha256()),
		Status: m.GetStatus(), Fuel: m.GetFuel(), Output: sum,
	}
	if !attested(statement, worker, m.GetAttestation()) {
		return refuseResult(eventv1.RejectReason_REJECT_REASON_SIGNATURE, "the attestation is not the worker's over this result")
	}
	return verdict{}
}

const (
	exp32 = 0x7f800000
	exp64 = 0x7ff0000000000000
)

// allFinite reports whether no element of a float payload is NaN or infinite: whether no exponent is all ones.
func allFinite(t eventv1.ElementType, b []byte) bool {
	switch t {
	case eventv1.ElementType_ELEMENT_TYPE_F32:
		words, rest := asWords(b)
		for _, w := range words { // two at a time
			if w&exp32 == exp32 || w>>32&exp32 == exp32 {
				return false
			}
		}
		for ; len(rest) >= 4; rest = rest[4:] {
			if binary.LittleEndian.Uint32(rest)&exp32 == exp32 {
				return false
			}
		}
	case eventv1.ElementType_ELEMENT_TYPE_F64:
		words, rest := asWords(b)
		for _, w := range words {
			if w&exp64 == exp64 {
				return false
			}
		}
		for ; len(rest) >= 8; rest = rest[8:] {
			if binary.LittleEndian.Uint64(rest)&exp64 == exp64 {
				return false
			}
		}
	}
	return true
}

// littleEndian says that words in memory are what they are on the wire.
var littleEndian = binary.NativeEndian.Uint16([]byte{1, 0}) == 1

// asWords views the front of b as 64-bit words where memory allows it; rest is what is left.
func asWords(b []byte) (words []uint64, rest []byte) {
	p := unsafe.SliceData(b)
	if !littleEndian || len(b) < 8 || uintptr(unsafe.Pointer(p))%8 != 0 {
		return nil, b
	}
	n := len(b) / 8
	return unsafe.Slice((*uint64)(unsafe.Pointer(p)), n), b[8*n:]
}
