package pebblelog

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"sync"
	"sync/atomic"
	"time"

	"github.com/shardy-network/orchestrator/events"
)

// A record is kept under its position as
//
//	offset 0   version, 1 byte
//	offset 1   flags, 1 byte: 1 = JSON
//	offset 2   CRC-32C of the position (8 bytes, big endian) and of all other bytes of the record, little endian
//	offset 6   time of the append in microseconds since 1970, 8 bytes, little endian
//	offset 14  revision, 8 bytes, little endian
//	offset 22  event id, 16 bytes
//	offset 38  stream, type, metadata, each with its length as uvarint; then data to the end
const (
	recordVersion = 1
	flagJSON      = 1

	offFlags = 1
	offSum   = 2
	offTime  = 6
	offRev   = 14
	offID    = 22
	offNames = 38
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// appendRecord encodes all that the appender knows; seal adds what the committer decides.
func appendRecord(b []byte, stream string, d *events.Draft) []byte {
	var head [offNames]byte
	head[0] = recordVersion
	if d.JSON {
		head[offFlags] = flagJSON
	}
	copy(head[offID:], d.ID[:])
	b = append(b, head[:]...)
	b = binary.AppendUvarint(b, uint64(len(stream)))
	b = append(b, stream...)
	b = binary.AppendUvarint(b, uint64(len(d.Type)))
	b = append(b, d.Type...)
	b = binary.AppendUvarint(b, uint64(len(d.Meta)))
	b = append(b, d.Meta...)
	return append(b, d.Data...)
}

// seal completes an encoded record.
func seal(b []byte, pos, rev uint64, micros int64) {
	binary.LittleEndian.PutUint64(b[offTime:], uint64(micros))
	binary.LittleEndian.PutUint64(b[offRev:], rev)
	binary.LittleEndian.PutUint32(b[offSum:], checksum(b, pos))
}

func checksum(b []byte, pos uint64) uint32 {
	var p [8]byte
	binary.BigEndian.PutUint64(p[:], pos)
	sum := crc32.Update(0, castagnoli, p[:])
	sum = crc32.Update(sum, castagnoli, b[:offSum])
	return crc32.Update(sum, castagnoli, b[offTime:])
}

// raw is a record whose parts still lie in the encoded bytes.
type raw struct {
	id                      events.ID
	json                    bool
	rev                     uint64
	micros                  int64
	stream, typ, meta, data []byte
}

// parseRecord checks an encoded record and takes it apart.
func parseRecord(pos uint64, b []byte) (raw, error) {
	var r raw
	switch {
	case len(b) < offNames:
		return r, damaged(pos, "is cut short")
	case b[0] != recordVersion:
		return r, damaged(pos, "has an unknown version")
	case b[offFlags]&^flagJSON != 0:
		return r, damaged(pos, "has unknown flags")
	case checksum(b, pos) != binary.LittleEndian.Uint32(b[offSum:]):
		return r, damaged(pos, "does not match its checksum")
	}
	r.json = b[offFlags]&flagJSON != 0
	r.micros = int64(binary.LittleEndian.Uint64(b[offTime:]))
	r.rev = binary.LittleEndian.Uint64(b[offRev:])
	copy(r.id[:], b[offID:])
	rest := b[offNames:]
	for _, field := range []*[]byte{&r.stream, &r.typ, &r.meta} {
		n, k := binary.Uvarint(rest)
		if k <= 0 || n > uint64(len(rest)-k) {
			return raw{}, damaged(pos, "has a field beyond its end")
		}
		*field, rest = rest[k:k+int(n)], rest[k+int(n):]
	}
	r.data = rest
	return r, nil
}

func damaged(pos uint64, what string) error {
	return fmt.Errorf("%w: record at position %d %s", events.ErrCorrupt, pos, what)
}

// record makes a reader's own copy.
func (r *raw) record(pos uint64, stream, typ string) events.Record {
	own := make([]byte, len(r.meta)+len(r.data))
	copy(own, r.meta)
	copy(own[len(r.meta):], r.data)
	return r.recordIn(own, pos, stream, typ)
}

// recordIn is the record with its metadata and data, which lie in own one after the other.
func (r *raw) recordIn(own []byte, pos uint64, stream, typ string) events.Record {
	n := len(r.meta)
	return events.Record{
		Draft:  events.Draft{ID: r.id, Type: typ, JSON: r.json, Meta: own[:n:n], Data: own[n:]},
		Stream: stream, Rev: r.rev, Pos: events.Position(pos),
		Time: time.UnixMicro(r.micros).UTC(),
	}
}

// names keeps one string for each record type, so that a read does not make one for each record.
type names struct {
	seen atomic.Pointer[map[string]string] // copied when it grows
	mu   sync.Mutex                        // for those who make it grow
}

// maxNames bounds the record types remembered; the schema has some fifty.
const maxNames = 512

func (n *names) of(b []byte) string {
	if m := n.seen.Load(); m != nil {
		if s, ok := (*m)[string(b)]; ok {
			return s
		}
	}
	s := string(b)
	n.mu.Lock()
	defer n.mu.Unlock()
	next := map[string]string{s: s}
	if m := n.seen.Load(); m != nil {
		if len(*m) >= maxNames {
			return s
		}
		for k := range *m {
			next[k] = k
		}
	}
	n.seen.Store(&next)
	return s
}
