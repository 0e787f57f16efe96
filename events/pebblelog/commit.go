package pebblelog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/shardy-network/orchestrator/events"
)

// A group is what one sync makes durable.
const (
	maxGroupEvents = 4096
	maxGroupBytes  = 2 << 20 // checked after each request, so that a group may exceed it by one append
)

// committer is the state of the goroutine that writes.
type committer struct {
	heads  heads
	seen   seen
	batch  *pebble.Batch
	last   uint64 // position given out last; ahead of Log.durable while a group is open
	linger time.Duration
	usual  int // requests in recent groups, a moving average times 8

	group  []*request // of the open group, each with its verdict in request.err
	events int
	bytes  int
	now    int64   // of the group, microseconds since 1970
	fresh  []entry // for recent, in the order of their positions
}

func (c *committer) init(l *Log, o Options, last uint64) {
	c.heads.init(o.HeadStreams)
	c.seen.init()
	c.batch = l.db.NewBatch(pebble.WithInitialSizeBytes(64<<10), pebble.WithMaxRetainedSizeBytes(4*maxGroupBytes))
	c.last = last
	c.linger = o.Linger
}

// commit is the committer goroutine. It ends when the queue is closed and empty.
func (l *Log) commit() {
	defer close(l.committer)
	var spare []*request
	for {
		items := l.queue.take(spare[:0])
		if items == nil {
			return
		}
		items = l.gather(items)
		l.c.now = time.Now().UnixMicro()
		for i, r := range items {
			items[i] = nil
			l.accept(r)
		}
		l.finish()
		spare = items
	}
}

// gather lets those append who are about to, so that one sync serves them too.
func (l *Log) gather(items []*request) []*request {
	c := &l.c
	usual := c.usual >> 3
	if usual > 1 && len(items) < usual {
		runtime.Gosched()
		if c.linger > 0 && usual >= 16 {
			l.queue.await(usual-len(items), c.linger)
		}
		items = l.queue.more(items)
	}
	c.usual += len(items) - usual
	return items
}

// accept judges a request and adds it to the open group. When it needs to see what the group has not yet made
// visible, the group is finished first.
func (l *Log) accept(r *request) {
	if r.state.Load() == left { // nobody waits, nothing was written
		l.give(r)
		return
	}
	err := l.refusal()
	if err == nil {
		if err = l.judge(r); errors.Is(err, errOpenGroup) {
			l.finish()
			if err = l.refusal(); err == nil {
				err = l.judge(r)
			}
		}
	}
	r.err = err
	c := &l.c
	c.group = append(c.group, r)
	c.events += len(r.recs)
	c.bytes += r.size()
	if c.events >= maxGroupEvents || c.bytes >= maxGroupBytes {
		l.finish()
	}
}

// refusal says why nothing is written any more.
func (l *Log) refusal() error {
	if l.disk.cause() != nil {
		return l.unavailable()
	}
	select {
	case <-l.done:
		return events.ErrClosed
	default:
		return nil
	}
}

// errOpenGroup: the open group must become visible before the request can be judged.
var errOpenGroup = errors.New("needs the open group")

func (l *Log) judge(r *request) error {
	switch r.kind {
	case kindStage:
		return l.writeBlob(r)
	case kindUnstage:
		return l.removeBlob(r)
	case kindDelete:
		return l.hide(r)
	case kindTombstone:
		return l.bury(r)
	default:
		return l.place(r)
	}
}

// place checks an append's expectations and writes its records into the batch.
func (l *Log) place(r *request) error {
	var conflict error
	for i := range r.parts {
		p := &r.parts[i]
		h, err := l.head(p.stream)
		if err != nil {
			return err
		}
		p.repeated = false
		if p.n > 0 {
			if p.repeated, err = l.isRepeat(r, p, h); err != nil {
				return err
			}
		}
		if !p.repeated && conflict == nil {
			conflict = h.conflict(p)
		}
	}
	if whollyRepeated(r) {
		return nil
	}
	if conflict != nil {
		return conflict
	}
	for i := range r.parts {
		if p := &r.parts[i]; p.repeated {
			// Some parts are there and others are not: ids were used twice, in different appends.
			h, err := l.head(p.stream)
			if err != nil {
				return err
			}
			return &events.Conflict{Stream: p.stream, Want: p.want, Got: h.expect()}
		}
	}
	for i := range r.parts {
		if r.parts[i].n > 0 {
			if err := l.write(r, &r.parts[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

// whollyRepeated tells whether all that the request would write is there already.
func whollyRepeated(r *request) bool {
	found := false
	for i := range r.parts {
		if r.parts[i].n > 0 && !r.parts[i].repeated {
			return false
		}
		found = found || r.parts[i].repeated
	}
	return found
}

// write puts one part's records into the batch and moves the stream's head.
func (l *Log) write(r *request, p *part) error {
	c := &l.c
	h, err := l.head(p.stream)
	if err != nil {
		return err
	}
	for _, rec := range r.recs[p.first : p.first+p.n] {
		c.last++
		body := r.buf[rec.from:rec.to]
		seal(body, c.last, h.next, c.now)
		op := c.batch.SetDeferred(eventKeyLen, len(body))
		eventKey(op.Key[:0], c.last)
		copy(op.Value, body)
		if err := op.Finish(); err != nil {
			return fmt.Errorf("event log: %w", err)
		}
		op = c.batch.SetDeferred(streamKeyLen(p.stream), 8)
		streamKey(op.Key[:0], p.stream, h.next)
		binary.BigEndian.PutUint64(op.Value, c.last)
		if err := op.Finish(); err != nil {
			return fmt.Errorf("event log: %w", err)
		}
		c.fresh = append(c.fresh, entry{body: body, stream: p.stream, typ: rec.typ})
		p.got = events.Appended{Rev: h.next, Pos: events.Position(c.last)}
		h.next++
		h.pos, h.id = c.last, rec.id
	}
	c.heads.put(p.stream, h)
	return nil
}

// hide marks all of a stream's records as hidden, in the entry of its revision 0.
func (l *Log) hide(r *request) error {
	p := &r.parts[0]
	h, err := l.head(p.stream)
	if err != nil {
		return err
	}
	if err := h.conflict(p); err != nil {
		return err
	}
	if !h.exists() {
		return events.ErrNotFound
	}
	if h.pos > l.durable.Load() {
		return errOpenGroup
	}
	pos, _, err := l.streamEntry(p.stream, 0)
	if err != nil {
		return err
	}
	h.hidden = h.next
	value := binary.BigEndian.AppendUint64(nil, pos)
	value = binary.BigEndian.AppendUint64(value, h.hidden)
	if err := l.c.batch.Set(streamKey(nil, p.stream, 0), value, nil); err != nil {
		return fmt.Errorf("event log: %w", err)
	}
	l.c.heads.put(p.stream, h)
	return nil
}

// bury hides all of a stream's records for good and writes the last one.
func (l *Log) bury(r *request) error {
	p := &r.parts[0]
	h, err := l.head(p.stream)
	if err != nil {
		return err
	}
	if err := h.conflict(p); err != nil {
		return err
	}
	first := l.c.last + 1
	if h.next > 0 {
		if h.pos > l.durable.Load() {
			return errOpenGroup
		}
		if first, _, err = l.streamEntry(p.stream, 0); err != nil {
			return err
		}
	}
	if err := l.write(r, p); err != nil {
		return err
	}
	value := binary.BigEndian.AppendUint64(nil, first)
	value = binary.BigEndian.AppendUint64(value, buried)
	if err := l.c.batch.Set(streamKey(nil, p.stream, 0), value, nil); err != nil {
		return fmt.Errorf("event log: %w", err)
	}
	if h, err = l.head(p.stream); err != nil {
		return err
	}
	h.hidden = buried
	l.c.heads.put(p.stream, h)
	return nil
}

// finish syncs the open group, makes it visible and answers it, in this order.
func (l *Log) finish() {
	c := &l.c
	var failure error
	if !c.batch.Empty() {
		err := c.batch.Commit(pebble.Sync)
		if err != nil {
			l.disk.fail(err)
		}
		if l.disk.cause() != nil {
			failure = l.unavailable()
		} else {
			l.publish()
		}
		c.batch.Reset()
	}
	for i, r := range c.group {
		c.group[i] = nil
		err := r.err
		if failure != nil { // also for refusals: they were made in the light of what failed
			err = failure
		}
		l.answer(r, err)
	}
	c.group, c.events, c.bytes = c.group[:0], 0, 0
}

// publish shows a durable group to the readers.
func (l *Log) publish() {
	c := &l.c
	if len(c.fresh) == 0 {
		return
	}
	l.recent.add(c.last-uint64(len(c.fresh))+1, c.fresh)
	clear(c.fresh)
	c.fresh = c.fresh[:0]
	l.durable.Store(c.last)
	l.recent.tell()
}
