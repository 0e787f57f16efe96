package kurrent

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/shared"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/streams"

	"github.com/shardy-network/orchestrator/events"
)

// Keys and values of an event's system metadata.
const (
	keyType        = "type"
	keyContentType = "content-type"
	keyCreated     = "created"
	contentJSON    = "application/json"
	contentBinary  = "application/octet-stream"
)

func systemMetadata(d *events.Draft) map[string]string {
	content := contentBinary
	if d.JSON {
		content = contentJSON
	}
	return map[string]string{keyType: d.Type, keyContentType: content}
}

func uuid(id events.ID) *shared.UUID {
	return &shared.UUID{Value: &shared.UUID_Structured_{Structured: &shared.UUID_Structured{
		MostSignificantBits:  int64(binary.BigEndian.Uint64(id[:8])),
		LeastSignificantBits: int64(binary.BigEndian.Uint64(id[8:])),
	}}}
}

func parseUUID(u *shared.UUID) (id events.ID, err error) {
	switch v := u.GetValue().(type) {
	case *shared.UUID_Structured_:
		binary.BigEndian.PutUint64(id[:8], uint64(v.Structured.GetMostSignificantBits()))
		binary.BigEndian.PutUint64(id[8:], uint64(v.Structured.GetLeastSignificantBits()))
		return id, nil
	case *shared.UUID_String_:
		b, err := hex.DecodeString(strings.ReplaceAll(v.String_, "-", ""))
		if err != nil || len(b) != len(id) {
			return id, malformed("id %.40q", v.String_)
		}
		return events.ID(b), nil
	default:
		return id, malformed("no id")
	}
}

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: the server sent an event with %s", events.ErrCorrupt, fmt.Sprintf(format, args...))
}

// record is an event as a server sends it. A link is an event of its own: it is not followed.
func record(e *streams.ReadResp_ReadEvent) (events.Record, error) {
	w := e.GetLink()
	if w == nil {
		w = e.GetEvent()
	}
	if w == nil {
		return events.Record{}, malformed("nothing in it")
	}
	id, err := parseUUID(w.GetId())
	if err != nil {
		return events.Record{}, err
	}
	stream, meta := string(w.GetStreamIdentifier().GetStreamName()), w.GetMetadata()
	if stream == "" || meta[keyType] == "" {
		return events.Record{}, malformed("no stream or no type")
	}
	// Tenths of microseconds since 1970.
	ticks, err := strconv.ParseInt(meta[keyCreated], 10, 64)
	if err != nil || ticks < 0 || ticks > math.MaxInt64/100 {
		return events.Record{}, malformed("a date of %.40q", meta[keyCreated])
	}
	pos := w.GetCommitPosition()
	if pos == math.MaxUint64 { // of old servers: not known in a stream's read
		pos = 0
	}
	return events.Record{
		Draft: events.Draft{
			ID: id, Type: meta[keyType], JSON: meta[keyContentType] == contentJSON,
			Data: w.GetData(), Meta: w.GetCustomMetadata(),
		},
		Stream: stream, Rev: w.GetStreamRevision(), Pos: events.Position(pos),
		Time: time.Unix(ticks/1e7, ticks%1e7*100).UTC(),
	}, nil
}
