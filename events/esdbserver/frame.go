package esdbserver

import (
	"fmt"
	"strconv"

	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/proto" // the codec for everything but frames
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/shardy-network/orchestrator/events"
)

// frame is an event on its way to a reader, written without the messages that a ReadResponse is made of: reading is
// what a log server does most, and they are the greater part of its cost. A test holds it to the generated code.
type frame struct {
	r    *events.Record
	text bool // ids as text
}

// codec encodes frames by hand and leaves the rest to the generated code.
type codec struct{ encoding.CodecV2 }

func newCodec() codec { return codec{encoding.GetCodecV2("proto")} }

// Marshal encodes a message into a buffer that the transport gives back.
func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	f, ok := v.(*frame)
	if !ok {
		return c.CodecV2.Marshal(v)
	}
	p := f.plan()
	size := field(p.read)
	if mem.IsBelowBufferPoolingThreshold(size) {
		return mem.BufferSlice{mem.SliceBuffer(f.append(make([]byte, 0, size), p))}, nil
	}
	pool := mem.DefaultBufferPool()
	buf := pool.Get(size)
	b := f.append((*buf)[:0], p)
	if len(b) != size {
		pool.Put(buf)
		return nil, fmt.Errorf("event frame of %d bytes was planned with %d", len(b), size)
	}
	return mem.BufferSlice{mem.NewBuffer(buf, pool)}, nil
}

// plan holds the sizes of a frame's nested messages.
type plan struct {
	read, event, id, uuid int
	content, created      string
}

// field is the size of a field of that many bytes, with its tag and length. All numbers here are below 16: one byte.
func field(n int) int { return 1 + protowire.SizeBytes(n) }

func number(v uint64) int {
	if v == 0 {
		return 0
	}
	return 1 + protowire.SizeVarint(v)
}

func optional(n int) int {
	if n == 0 {
		return 0
	}
	return field(n)
}

// entry is the size of an entry of a map.
func entry(key, value int) int { return field(key) + field(value) }

func (f *frame) plan() (p plan) {
	r := f.r
	most, least := idHalves(r.ID)
	p.uuid = number(most) + number(least)
	p.id = field(p.uuid)
	if f.text {
		p.id = field(36)
	}
	p.content, p.created = contentBinary, strconv.FormatInt(ticks(r.Time), 10)
	if r.JSON {
		p.content = contentJSON
	}
	p.event = field(p.id) + field(field(len(r.Stream))) + number(revisionOf(r)) + 2*number(uint64(r.Pos)) +
		field(entry(len("type"), len(r.Type))) + field(entry(len("content-type"), len(p.content))) +
		field(entry(len("created"), len(p.created))) + optional(len(r.Meta)) + optional(len(r.Data))
	p.read = field(p.event) + 1 + protowire.SizeVarint(uint64(r.Pos))
	return p
}

func (f *frame) append(b []byte, p plan) []byte {
	r := f.r
	b = open(b, 1, p.read)  // ReadResponse.event
	b = open(b, 1, p.event) // ReadEvent.event
	b = open(b, 1, p.id)
	if f.text {
		b = protowire.AppendString(protowire.AppendTag(b, 2, protowire.BytesType), r.ID.String())
	} else {
		b = open(b, 1, p.uuid)
		most, least := idHalves(r.ID)
		b = appendNumber(b, 1, most)
		b = appendNumber(b, 2, least)
	}
	b = open(b, 2, field(len(r.Stream)))
	b = protowire.AppendString(protowire.AppendTag(b, 3, protowire.BytesType), r.Stream)
	b = appendNumber(b, 3, revisionOf(r))
	b = appendNumber(b, 4, uint64(r.Pos))
	b = appendNumber(b, 5, uint64(r.Pos))
	b = appendEntry(b, "type", r.Type)
	b = appendEntry(b, "content-type", p.content)
	b = appendEntry(b, "created", p.created)
	b = appendBytes(b, 7, r.Meta)
	b = appendBytes(b, 8, r.Data)
	return protowire.AppendVarint(protowire.AppendTag(b, 3, protowire.VarintType), uint64(r.Pos)) // ReadEvent.commit_position
}

// open begins a nested message.
func open(b []byte, n protowire.Number, size int) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, n, protowire.BytesType), uint64(size))
}

func appendNumber(b []byte, n protowire.Number, v uint64) []byte {
	if v == 0 {
		return b
	}
	return protowire.AppendVarint(protowire.AppendTag(b, n, protowire.VarintType), v)
}

func appendBytes(b []byte, n protowire.Number, v []byte) []byte {
	if len(v) == 0 {
		return b
	}
	return protowire.AppendBytes(protowire.AppendTag(b, n, protowire.BytesType), v)
}

func appendEntry(b []byte, key, value string) []byte {
	b = open(b, 6, entry(len(key), len(value)))
	b = protowire.AppendString(protowire.AppendTag(b, 1, protowire.BytesType), key)
	return protowire.AppendString(protowire.AppendTag(b, 2, protowire.BytesType), value)
}
