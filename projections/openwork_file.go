package projections

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/events"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

// A checkpoint file is
//
//	magic      8 bytes, with the version
//	anchor     the last event applied: revision, position (8 bytes each, big endian), id (16 bytes)
//	entries    kind, 1 byte; place, length: uvarints; so many bytes; until kind 0
//	checksum   CRC-32C of all before, 4 bytes, big endian
//
// Entry kinds, each kind in the order of its places: s (the last event's stream), p (Pipeline), j (round as uvarint,
// JobRow), d (DeadLetter), w (Worker, its first byte flags), m (ModuleAdmitted), c and e (ids: closed jobs, ended pipelines).
const (
	checkpointMagic = "shardyw1"
	headLen         = len(checkpointMagic) + 8 + 8 + 16
	sumLen          = 4

	maxCheckpoint = 2 << 30 // bytes of a file
	maxEntry      = 4 << 20 // bytes of an entry; an append is smaller
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// ErrCheckpoint refuses a checkpoint file that is damaged or of another version.
var ErrCheckpoint = errors.New("malformed checkpoint")

var errOtherLog = errors.New("checkpoint is of another log")

const (
	flagConnected = 1 << iota
	flagDrained
	flagBanned
	flagRejected
)

// snapshot is what a checkpoint holds. Its rows are shared with the projection, which replaces rows and never changes
// them.
type snapshot struct {
	anchor    anchor
	jobs      []entryOf[jobRow]
	letters   []entryOf[*operatorv1.DeadLetter]
	pipelines []entryOf[*operatorv1.Pipeline]
	workers   []entryOf[*workerRow]
	modules   []entryOf[*eventv1.ModuleAdmitted]
	closed    []string
	ended     []string
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
	return &snapshot{
		anchor: w.anchor,
		jobs:   rowsOf(&w.jobs), letters: rowsOf(&w.letters), pipelines: rowsOf(&w.pipelines),
		workers: rowsOf(&w.workers), modules: rowsOf(&w.modules),
		closed: append([]string(nil), w.closed.ids[w.closed.head:]...),
		ended:  append([]string(nil), w.ended.ids[w.ended.head:]...),
	}
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
	tmp, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*.tmp")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name()) // fails once it was renamed
	data, err := s.encode()
	if err == nil {
		_, err = tmp.Write(data)
	}
	if err == nil {
		err = tmp.Sync()
	}
	if err := errors.Join(err, tmp.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp.Name(), path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

func (s *snapshot) encode() ([]byte, error) {
	b := make([]byte, 0, 4096+128*len(s.jobs))
	b = append(b, checkpointMagic...)
	b = binary.BigEndian.AppendUint64(b, s.anchor.rev)
	b = binary.BigEndian.AppendUint64(b, uint64(s.anchor.pos))
	b = append(b, s.anchor.id[:]...)
	b = appendEntry(b, 's', 0, []byte(s.anchor.stream))
	var scratch []byte
	var err error
	message := func(kind byte, at uint64, m proto.Message, head ...byte) {
		if err == nil {
			scratch, err = proto.MarshalOptions{}.MarshalAppend(append(scratch[:0], head...), m)
			b = appendEntry(b, kind, at, scratch)
		}
	}
	for _, e := range s.pipelines {
		message('p', e.at, e.v)
	}
	for _, e := range s.jobs {
		message('j', e.at, e.v.message(e.id), binary.AppendUvarint(nil, uint64(e.v.round))...)
	}
	for _, e := range s.letters {
		message('d', e.at, e.v)
	}
	for _, e := range s.workers {
		message('w', e.at, e.v.w, e.v.flags())
	}
	for _, e := range s.modules {
		message('m', e.at, e.v)
	}
	for _, id := range s.closed {
		b = appendEntry(b, 'c', 0, []byte(id))
	}
	for _, id := range s.ended {
		b = appendEntry(b, 'e', 0, []byte(id))
	}
	b = append(b, 0)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli)), err
}

func appendEntry(b []byte, kind byte, at uint64, data []byte) []byte {
	b = append(b, kind)
	b = binary.AppendUvarint(b, at)
	b = binary.AppendUvarint(b, uint64(len(data)))
	return append(b, data...)
}

func (n *workerRow) flags() (f byte) {
	for flag, on := range map[byte]bool{flagConnected: n.connected, flagDrained: n.drained, flagBanned: n.banned, flagRejected: n.rejected} {
		if on {
			f |= flag
		}
	}
	return f
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
	switch kind {
	case 's':
		w.anchor.stream = string(b)
		return nil
	case 'c':
		w.closed.push(string(b))
		return nil
	case 'e':
		w.ended.push(string(b))
		return nil
	}
	if at == 0 {
		return fmt.Errorf("%w: row without a place", ErrCheckpoint)
	}
	switch kind {
	case 'j':
		return w.decodeJob(at, b)
	case 'd':
		d := new(operatorv1.DeadLetter)
		err := unmarshal(b, d)
		w.letters.begin(d.GetId(), at, d)
		return err
	case 'p':
		p := new(operatorv1.Pipeline)
		err := unmarshal(b, p)
		w.pipelines.begin(p.GetId(), at, p)
		return err
	case 'w':
		return w.decodeWorker(at, b)
	case 'm':
		m := new(eventv1.ModuleAdmitted)
		err := unmarshal(b, m)
		w.modules.begin(fmt.Sprintf("%x", m.GetName()), at, m)
		return err
	}
	return fmt.Errorf("%w: unknown kind of entry %q", ErrCheckpoint, kind)
}

func unmarshal(b []byte, m proto.Message) error {
	if err := proto.Unmarshal(b, m); err != nil {
		return fmt.Errorf("%w: %w", ErrCheckpoint, err)
	}
	return nil
}

func (w *OpenWork) decodeJob(at uint64, b []byte) error {
	round, n := binary.Uvarint(b)
	m := new(operatorv1.JobRow)
	if n <= 0 || round > 1<<32-1 {
		return fmt.Errorf("%w: job", ErrCheckpoint)
	}
	if err := unmarshal(b[n:], m); err != nil {
		return err
	}
	for _, v := range []int32{int32(m.GetState()), int32(m.GetKind()), int32(m.GetDeadLetter()), int32(m.GetBasis())} {
		if v < 0 || v > 255 {
			return fmt.Errorf("%w: job %q", ErrCheckpoint, m.GetId())
		}
	}
	if _, twice := w.jobs.get(m.GetId()); twice {
		return fmt.Errorf("%w: job %q twice", ErrCheckpoint, m.GetId())
	}
	j := jobRow{
		tenant: w.intern(m.GetTenant()), pipeline: w.pipelineName(m.GetPipeline()), submitted: m.GetSubmittedUs(), decided: m.GetDecidedUs(),
		round: uint32(round), state: uint8(m.GetState()), kind: uint8(m.GetKind()), reason: uint8(m.GetDeadLetter()), basis: uint8(m.GetBasis()),
	}
	w.jobs.begin(m.GetId(), at, j)
	if j.open() {
		w.openJobs++
	}
	return nil
}

func (w *OpenWork) decodeWorker(at uint64, b []byte) error {
	if len(b) == 0 {
		return fmt.Errorf("%w: worker", ErrCheckpoint)
	}
	m := new(operatorv1.Worker)
	if err := unmarshal(b[1:], m); err != nil {
		return err
	}
	if m.Record == nil {
		m.Record = new(eventv1.Tally)
	}
	f := b[0]
	w.workers.begin(fmt.Sprintf("%x", m.GetKey()), at, &workerRow{
		w: m, connected: f&flagConnected != 0, drained: f&flagDrained != 0, banned: f&flagBanned != 0, rejected: f&flagRejected != 0,
	})
	return nil
}
