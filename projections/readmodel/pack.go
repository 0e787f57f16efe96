package readmodel

import (
	"encoding/binary"

	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// jobBody is what no list of jobs is filtered or sorted by. It is kept as one value: each column of its own costs every
// write of the row.
type jobBody struct {
	position                     int64 // of the first record
	stage, chunk                 uint32
	priority                     int32
	tier                         uint32
	round, wave, slots, returned uint32
	mismatches, attempts         uint32
	refereeing                   bool
	basis                        eventv1.VerdictBasis
	detail                       string
	verdictPosition              int64
	verdict                      []byte // the fact
}

func (b *jobBody) fields(c *coder) {
	c.int(&b.position)
	c.u32(&b.stage, &b.chunk, &b.tier, &b.round, &b.wave, &b.slots, &b.returned, &b.mismatches, &b.attempts)
	number(c, &b.priority)
	c.bool(&b.refereeing)
	number(c, &b.basis)
	c.text(&b.detail)
	c.int(&b.verdictPosition)
	c.blob(&b.verdict)
}

// attemptBody likewise.
type attemptBody struct {
	position                                           int64
	group                                              string
	dispatched, ackDeadline, acked, runDeadline, ended int64
	rejected                                           eventv1.RejectReason
	detail                                             string
	counts                                             bool
	status                                             eventv1.ResultStatus
	output                                             []byte
	size, fuel                                         uint64
	runMs                                              uint32
	attested                                           bool
	recorded                                           bool // the job has counted its result
}

func (b *attemptBody) fields(c *coder) {
	c.int(&b.position)
	c.text(&b.group)
	for _, t := range []*int64{&b.dispatched, &b.ackDeadline, &b.acked, &b.runDeadline, &b.ended} {
		c.int(t)
	}
	number(c, &b.rejected)
	c.text(&b.detail)
	c.bool(&b.counts)
	number(c, &b.status)
	c.blob(&b.output)
	c.u64(&b.size)
	c.u64(&b.fuel)
	c.u32(&b.runMs)
	c.bool(&b.attested)
	c.bool(&b.recorded)
}

// body is a list of fields that goes one way or the other: into bytes, or out of them.
type body interface{ fields(*coder) }

func pack(b body, into []byte) []byte {
	c := coder{bytes: into[:0], writes: true}
	b.fields(&c)
	return c.bytes
}

// unpack leaves what the bytes do not hold as it is: rows are written by this package alone.
func unpack(b body, bytes []byte) { b.fields(&coder{bytes: bytes}) }

// coder writes fields behind its bytes, or reads them from their begin.
type coder struct {
	bytes  []byte
	writes bool
}

func (c *coder) u64(v *uint64) {
	if c.writes {
		c.bytes = binary.AppendUvarint(c.bytes, *v)
		return
	}
	n, k := binary.Uvarint(c.bytes)
	if k <= 0 {
		c.bytes = nil
		return
	}
	*v, c.bytes = n, c.bytes[k:]
}

func (c *coder) int(v *int64) {
	n := uint64(*v)<<1 ^ uint64(*v>>63)
	c.u64(&n)
	*v = int64(n>>1) ^ -int64(n&1)
}

func (c *coder) u32(all ...*uint32) {
	for _, v := range all {
		n := uint64(*v)
		c.u64(&n)
		*v = uint32(n)
	}
}

func number[T ~int32](c *coder, v *T) {
	n := int64(*v)
	c.int(&n)
	*v = T(n)
}

func (c *coder) bool(v *bool) {
	var n uint64
	if *v {
		n = 1
	}
	c.u64(&n)
	*v = n != 0
}

func (c *coder) blob(v *[]byte) {
	n := uint64(len(*v))
	c.u64(&n)
	if c.writes {
		c.bytes = append(c.bytes, *v...)
		return
	}
	n = min(n, uint64(len(c.bytes)))
	*v, c.bytes = c.bytes[:n:n], c.bytes[n:]
}

func (c *coder) text(v *string) {
	if c.writes {
		n := uint64(len(*v))
		c.u64(&n)
		c.bytes = append(c.bytes, *v...)
		return
	}
	var b []byte
	c.blob(&b)
	*v = string(b)
}
