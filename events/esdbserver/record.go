package esdbserver

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"math"
	"strconv"
	"time"

	"github.com/shardy-network/orchestrator/events"
	esdbv1 "github.com/shardy-network/orchestrator/proto/shardy/esdb/v1"
)

const (
	contentJSON   = "application/json"
	contentBinary = "application/octet-stream"

	// typeTombstone marks the end of a stream for good. Clients may not append it.
	typeTombstone = "$streamDeleted"
	typeMetadata  = "$metadata"

	tombstoneRevision = math.MaxInt64 // by which clients know a tombstone
)

// newUUID makes a random id (RFC 9562, version 4).
func newUUID() (id events.ID) {
	rand.Read(id[:]) // never fails
	id[6] = id[6]&0x0f | 0x40
	id[8] = id[8]&0x3f | 0x80
	return id
}

// uuidOf reads an id. The zero id means that there is none.
func uuidOf(u *esdbv1.UUID) (id events.ID, err error) {
	switch v := u.GetValue().(type) {
	case *esdbv1.UUID_Structured_:
		binary.BigEndian.PutUint64(id[:8], uint64(v.Structured.GetMostSignificantBits()))
		binary.BigEndian.PutUint64(id[8:], uint64(v.Structured.GetLeastSignificantBits()))
	case *esdbv1.UUID_Text:
		return parseUUID(v.Text)
	}
	return id, nil
}

func parseUUID(s string) (id events.ID, err error) {
	var digits [32]byte
	n := 0
	for i := range len(s) {
		if s[i] == '-' {
			continue
		}
		if n == len(digits) {
			return id, invalid("id %q is not a UUID", s)
		}
		digits[n] = s[i]
		n++
	}
	if n != len(digits) {
		return id, invalid("id %q is not a UUID", s)
	}
	if _, err := hex.Decode(id[:], digits[:]); err != nil {
		return events.ID{}, invalid("id %q is not a UUID", s)
	}
	return id, nil
}

func uuidMessage(id events.ID, text bool) *esdbv1.UUID {
	if text {
		return &esdbv1.UUID{Value: &esdbv1.UUID_Text{Text: id.String()}}
	}
	most, least := idHalves(id)
	return &esdbv1.UUID{Value: &esdbv1.UUID_Structured_{Structured: &esdbv1.UUID_Structured{
		MostSignificantBits: int64(most), LeastSignificantBits: int64(least),
	}}}
}

func idHalves(id events.ID) (most, least uint64) {
	return binary.BigEndian.Uint64(id[:8]), binary.BigEndian.Uint64(id[8:])
}

// ticks counts time as the protocol does: 100 ns since 1970.
func ticks(t time.Time) int64 { return t.UnixMicro()*10 + int64(t.Nanosecond()%1000/100) }

func ticksNow() int64 { return ticks(time.Now()) }

// nameOf is the stream's name.
func nameOf(id *esdbv1.StreamIdentifier) string { return string(id.GetStreamName()) }

func identifier(stream string) *esdbv1.StreamIdentifier {
	return &esdbv1.StreamIdentifier{StreamName: []byte(stream)}
}

// place writes a position. Commit and prepare are the same here.
func place(p events.Position) *esdbv1.Position {
	return &esdbv1.Position{CommitPosition: uint64(p), PreparePosition: uint64(p)}
}

// recorded writes a record for a client. The bytes are the record's own.
func recorded(r *events.Record, text bool) *esdbv1.RecordedEvent {
	content := contentBinary
	if r.JSON {
		content = contentJSON
	}
	return &esdbv1.RecordedEvent{
		Id:               uuidMessage(r.ID, text),
		StreamIdentifier: identifier(r.Stream),
		StreamRevision:   revisionOf(r),
		PreparePosition:  uint64(r.Pos),
		CommitPosition:   uint64(r.Pos),
		Metadata:         map[string]string{"type": r.Type, "content-type": content, "created": strconv.FormatInt(ticks(r.Time), 10)},
		CustomMetadata:   r.Meta,
		Data:             r.Data,
	}
}

func revisionOf(r *events.Record) uint64 {
	if r.Type == typeTombstone {
		return tombstoneRevision
	}
	return r.Rev
}
