package audit

import (
	"errors"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/shardy-network/orchestrator/events"
)

// envelope is the part of eventv1.Envelope that the replay reads. The command stays encoded: it is on one record of a
// decision only, and most of the work of decoding an envelope is there.
type envelope struct {
	index, count uint32
	rules        uint32
	command      []byte // nil: none
	digest       []byte
}

// The field numbers of eventv1.Envelope.
const (
	envelopeIndex   = 1
	envelopeCount   = 2
	envelopeCommand = 3
	envelopeRules   = 7
	envelopeDigest  = 8
)

var errEnvelope = errors.New("metadata is not an envelope")

// parseEnvelope reads an encoded envelope without copying: its slices are parts of meta.
func parseEnvelope(meta []byte) (envelope, error) {
	var e envelope
	for len(meta) > 0 {
		num, kind, n := protowire.ConsumeTag(meta)
		if n < 0 {
			return e, errEnvelope
		}
		meta = meta[n:]
		switch {
		case kind == protowire.VarintType && (num == envelopeIndex || num == envelopeCount || num == envelopeRules):
			var v uint64
			if v, n = protowire.ConsumeVarint(meta); n < 0 {
				return e, errEnvelope
			}
			e.number(num, uint32(v))
		case kind == protowire.BytesType && num == envelopeCommand:
			var b []byte
			if b, n = protowire.ConsumeBytes(meta); n < 0 || e.command != nil {
				return e, errEnvelope
			}
			e.command = b[:len(b):len(b)]
		case kind == protowire.BytesType && num == envelopeDigest:
			if e.digest, n = protowire.ConsumeBytes(meta); n < 0 {
				return e, errEnvelope
			}
		default:
			if n = protowire.ConsumeFieldValue(num, kind, meta); n < 0 {
				return e, errEnvelope
			}
		}
		meta = meta[n:]
	}
	return e, nil
}

func (e *envelope) number(num protowire.Number, v uint32) {
	switch num {
	case envelopeIndex:
		e.index = v
	case envelopeCount:
		e.count = v
	default:
		e.rules = v
	}
}

// consistent says what is wrong with an envelope by itself, or "".
func (e *envelope) consistent(id events.ID) string {
	switch {
	case e.count == 0:
		return "a decision of no facts"
	case e.index >= e.count:
		return "index is not below count"
	case uint32(id[14])<<8|uint32(id[15]) != e.index:
		return "the record's id names another index than its envelope"
	case e.index == 0 && e.command == nil:
		return "the first fact of a decision carries no command"
	case e.index != 0 && e.command != nil:
		return "a later fact of a decision carries a command"
	case e.rules == 0:
		return "no rules version"
	case len(e.digest) != events.DigestSize:
		return "no digest"
	}
	return ""
}
