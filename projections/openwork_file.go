package projections

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/events"
	"github.com/shardy-network/orchestrator/events/durable"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// A checkpoint file is
//
//	magic      8 bytes, with the version
//	anchor     the last event applied: revision, position (8 bytes each, big endian), id (16 bytes)
//	entries    kind, 1 byte; place, length: uvarints; so many bytes; until kind 0
//	checksum   CRC-32C of all before, 4 bytes, big endian
//
// Entry kinds, each kind in the order of its places: s (the last event's stream), j and p (ids of open jobs and
// pipelines), m (ModuleAdmitted).
const (
	checkpointMagic = "shardyw2"
	headLen         = len(checkpointMagic) + 8 + 8 + 16
	sumLen          = 4

	maxCheckpoint = 2 << 30 // bytes of a file
	maxEntry      = 4 << 20 // bytes of an entry; an append is smaller
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// ErrCheckpoint refuses a checkpoint file that is damaged or of another version.
var ErrCheckpoint = errors.New("malformed checkpoint")

var errOtherLog = errors.New("checkpoint is of another log")

// snapshot is what a checkpoint holds. Its rows are shared with the projection, which replaces rows and never changes
// them.
type snapshot struct {
	anchor    anchor
	jobs      []entryOf[struct{}]
	pipelines []entryOf[struct{}]
	modules   []entryOf[*eventv1.ModuleAdmitted]
}

type entryOf[T any] struct {
	id string
	at uint64
	v  T
}

func rowsOf[T any](t *table[T]) []entryOf[T] {
	all := make([]entryOf[T], 0, len(t.rows))
	t.oldest(func(id string, at uint64, v T) bool {
		all = append(all, entryOf[T]{id, at, v})
		return true
	})
	return all
}

// snapshot must be called with the lock held.
func (w *OpenWork) snapshot() *snapshot {
	return &snapshot{anchor: w.anchor, jobs: rowsOf(&w.jobs), pipelines: rowsOf(&w.pipelines), modules: rowsOf(&w.modules)}
}

// saveIfDue starts a checkpoint behind the projection's back. It must be called with the lock held.
func (w *OpenWork) saveIfDue() {
	if w.path == "" || w.saving || !w.dirty || time.Since(w.saved) < w.opts.SaveEvery {
		return
	}
	w.saving, w.dirty = true, false
	s := w.snapshot()
	w.saves.Go(func() {
		err := s.write(w.path)
		if err != nil {
			w.opts.Logger.Warn("checkpoint of the open work was not written", "error", err)
		}
		w.mu.Lock()
		w.saving, w.saved = false, time.Now()
		w.dirty = w.dirty || err != nil
		w.mu.Unlock()
	})
}

// Save writes a checkpoint if anything changed since the last one.
func (w *OpenWork) Save() error {
	w.mu.Lock()
	if w.path == "" || !w.dirty {
		w.mu.Unlock()
		return nil
	}
	w.dirty = false
	s := w.snapshot()
	w.mu.Unlock()
	w.saves.Wait()
	err := s.write(w.path)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.saved = time.Now()
	if err != nil {
		w.dirty = true
		return fmt.Errorf("open work: %w", err)
	}
	return nil
}

// write puts the checkpoint into its place at once: whoever reads it sees the old one or the new one.
func (s *snapshot) write(path string) error {
	data, err := s.encode()
	if err != nil {
		return err
	}
	return durable.Replace(path, data)
}

func (s *snapshot) encode() ([]byte, error) {
	b := make([]byte, 0, 4096+64*len(s.jobs))
	b = append(b, checkpointMagic...)
	b = binary.BigEndian.AppendUint64(b, s.anchor.rev)
	b = binary.BigEndian.AppendUint64(b, uint64(s.anchor.pos))
	b = append(b, s.anchor.id[:]...)
	b = appendEntry(b, 's', 0, []byte(s.anchor.stream))
	for _, e := range s.jobs {
		b = appendEntry(b, 'j', e.at, []byte(e.id))
	}
	for _, e := range s.pipelines {
		b = appendEntry(b, 'p', e.at, []byte(e.id))
	}
	for _, e := range s.modules {
		data, err := proto.Marshal(e.v)
		if err != nil {
			return nil, err
		}
		b = appendEntry(b, 'm', e.at, data)
	}
	b = append(b, 0)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli)), nil
}

func appendEntry(b []byte, kind byte, at uint64, data []byte) []byte {
	b = append(b, kind)
	b = binary.AppendUvarint(b, at)
	b = binary.AppendUvarint(b, uint64(len(data)))
	return append(b, data...)
}

// load reads the checkpoint file and holds it against the log.
func (w *OpenWork) load(ctx context.Context, log StreamReader) error {
	f, err := os.Open(w.path)
	if err != nil {
		return err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxCheckpoint+1))
	if err != nil {
		return err
	}
	if len(data) > maxCheckpoint {
		return fmt.Errorf("%w: too large", ErrCheckpoint)
	}
	if err := w.decode(data); err != nil {
		return err
	}
	return w.anchor.check(ctx, log)
}

// check looks for the last event applied where the checkpoint saw it.
func (a anchor) check(ctx context.Context, log StreamReader) error {
	for r, err := range log.Read(ctx, a.stream, events.Span{From: a.rev, Limit: 1}) {
		if err != nil {
			return fmt.Errorf("%w: %w", errOtherLog, err)
		}
		if r.Rev == a.rev && r.Pos == a.pos && r.ID == a.id {
			return nil
		}
	}
	return errOtherLog
}

// decode fills an empty projection.
func (w *OpenWork) decode(data []byte) error {
	if len(data) < headLen+1+sumLen || string(data[:len(checkpointMagic)]) != checkpointMagic {
		return fmt.Errorf("%w: not a checkpoint of this version", ErrCheckpoint)
	}
	body, sum := data[:len(data)-sumLen], binary.BigEndian.Uint32(data[len(data)-sumLen:])
	if crc32.Checksum(body, castagnoli) != sum {
		return fmt.Errorf("%w: checksum differs", ErrCheckpoint)
	}
	head := body[len(checkpointMagic):]
	w.anchor = anchor{rev: binary.BigEndian.Uint64(head), pos: events.Position(binary.BigEndian.Uint64(head[8:])), id: events.ID(head[16:32])}
	w.at = w.anchor.pos // what came behind it and did not pass the filter is read again
	r := bytes.NewReader(body[headLen:])
	last := map[byte]uint64{}
	for {
		kind, err := r.ReadByte()
		if err != nil {
			return fmt.Errorf("%w: no end", ErrCheckpoint)
		}
		if kind == 0 {
			break
		}
		at, err1 := binary.ReadUvarint(r)
		n, err2 := binary.ReadUvarint(r)
		if err1 != nil || err2 != nil || n > maxEntry || n > uint64(r.Len()) {
			return fmt.Errorf("%w: entry beyond its end", ErrCheckpoint)
		}
		entry := body[len(body)-r.Len():][:n]
		if _, err := r.Seek(int64(n), io.SeekCurrent); err != nil {
			return fmt.Errorf("%w: %w", ErrCheckpoint, err)
		}
		if at != 0 && at <= last[kind] {
			return fmt.Errorf("%w: entries out of order", ErrCheckpoint)
		}
		last[kind] = at
		if err := w.decodeEntry(kind, at, entry); err != nil {
			return err
		}
	}
	if r.Len() > 0 {
		return fmt.Errorf("%w: bytes after its end", ErrCheckpoint)
	}
	return nil
}

func (w *OpenWork) decodeEntry(kind byte, at uint64, b []byte) error {
	if kind == 's' {
		w.anchor.stream = string(b)
		return nil
	}
	if at == 0 {
		return fmt.Errorf("%w: row without a place", ErrCheckpoint)
	}
	switch kind {
	case 'j':
		return beginOnce(&w.jobs, string(b), at, struct{}{})
	case 'p':
		return beginOnce(&w.pipelines, string(b), at, struct{}{})
	case 'm':
		m := new(eventv1.ModuleAdmitted)
		if err := proto.Unmarshal(b, m); err != nil {
			return fmt.Errorf("%w: %w", ErrCheckpoint, err)
		}
		return beginOnce(&w.modules, hex.EncodeToString(m.GetName()), at, m)
	}
	return fmt.Errorf("%w: unknown kind of entry %q", ErrCheckpoint, kind)
}

func beginOnce[T any](t *table[T], id string, at uint64, v T) error {
	if _, twice := t.get(id); twice {
		return fmt.Errorf("%w: %q twice", ErrCheckpoint, id)
	}
	t.begin(id, at, v)
	return nil
}
