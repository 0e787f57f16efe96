package events

import (
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// Numbers of the fields of Envelope, which Encode writes by hand: the envelope is most of what a decision writes, and
// one buffer for all of it saves the greater part of the cost. A test holds it to the generated code.
const (
	envelopeIndex       = 1
	envelopeCount       = 2
	envelopeCommand     = 3
	envelopeCorrelation = 4
	envelopeNode        = 5
	envelopeEpoch       = 6
	envelopeRules       = 7
	envelopeDigest      = 8
)

// envelopeRoom bounds an envelope without its texts and its command: tags and the longest numbers.
const envelopeRoom = 8*2 + 5*10 + DigestSize

// cached marshals a message right after proto.Size has measured it.
var cached = proto.MarshalOptions{UseCachedSize: true}

// Encode turns the facts of one decision into drafts: the command travels on the first one. The drafts share a buffer.
func Encode(o Origin, facts []Fact) ([]Draft, error) {
	room := len(facts) * (envelopeRoom + len(o.Correlation) + len(o.Node))
	commandSize := 0
	if o.Command != nil {
		commandSize = proto.Size(o.Command)
		room += commandSize
	}
	for _, f := range facts {
		room += proto.Size(f)
	}
	buf := make([]byte, 0, room)
	drafts := make([]Draft, len(facts))
	for i, f := range facts {
		begin := len(buf)
		var err error
		if buf, err = cached.MarshalAppend(buf, f); err != nil {
			return nil, fmt.Errorf("encode %s: %w", TypeOf(f), err)
		}
		data := buf[begin:len(buf):len(buf)]
		begin = len(buf)
		if buf, err = o.appendEnvelope(buf, i, len(facts), commandSize, Digest(data)); err != nil {
			return nil, fmt.Errorf("encode envelope of %s: %w", TypeOf(f), err)
		}
		drafts[i] = Draft{ID: o.ID.Event(i), Type: TypeOf(f), Data: data, Meta: buf[begin:len(buf):len(buf)]}
	}
	return drafts, nil
}

// appendEnvelope encodes the Envelope of the record with this index. Fields without a value are left out, as everywhere
// in protobuf.
func (o Origin) appendEnvelope(b []byte, index, count, commandSize int, digest [DigestSize]byte) ([]byte, error) {
	b = appendNumber(b, envelopeIndex, uint64(index))
	b = appendNumber(b, envelopeCount, uint64(count))
	if index == 0 && o.Command != nil {
		b = protowire.AppendTag(b, envelopeCommand, protowire.BytesType)
		b = protowire.AppendVarint(b, uint64(commandSize))
		var err error
		if b, err = cached.MarshalAppend(b, o.Command); err != nil {
			return nil, err
		}
	}
	b = appendText(b, envelopeCorrelation, o.Correlation)
	b = appendText(b, envelopeNode, o.Node)
	b = appendNumber(b, envelopeEpoch, o.Epoch)
	b = appendNumber(b, envelopeRules, uint64(o.Rules))
	b = protowire.AppendTag(b, envelopeDigest, protowire.BytesType)
	return protowire.AppendBytes(b, digest[:]), nil
}

func appendNumber(b []byte, field protowire.Number, v uint64) []byte {
	if v == 0 {
		return b
	}
	return protowire.AppendVarint(protowire.AppendTag(b, field, protowire.VarintType), v)
}

func appendText(b []byte, field protowire.Number, s string) []byte {
	if s == "" {
		return b
	}
	return protowire.AppendString(protowire.AppendTag(b, field, protowire.BytesType), s)
}
