package pebblelog

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/shardy-network/orchestrator/events"
)

// request is one call on its way through the committer. It is used again and again: the caller gives it back when it
// was answered, the committer when the caller has left.
type request struct {
	kind  requestKind
	parts []part
	buf   []byte // encoded records, one after the other
	recs  []placed
	sum   [32]byte // stage and unstage
	blob  *blob    // stage: what to write; unstage: nil
	until int64    // unstage: not if staged at or after this time, microseconds

	err     error
	removed bool // unstage: what was done

	state atomic.Int32  // waiting, then either answered (by the committer) or left (by the caller)
	done  chan struct{} // of capacity 1: the answer is there
}

type requestKind uint8

const (
	kindAppend requestKind = iota
	kindDelete
	kindTombstone
	kindStage
	kindUnstage
)

const (
	waiting int32 = iota
	answered
	left
)

// part is one stream's part of an append.
type part struct {
	stream   string
	want     events.Expect
	first, n int // of its records in request.recs
	got      events.Appended
	repeated bool // it was found to be there already
}

// placed is an encoded record.
type placed struct {
	from, to int // in request.buf
	id       events.ID
	typ      string
}

// add encodes one stream's part.
func (r *request) add(stream string, want events.Expect, evs []events.Draft) {
	r.parts = append(r.parts, part{stream: stream, want: want, first: len(r.recs), n: len(evs)})
	for i := range evs {
		from := len(r.buf)
		r.buf = appendRecord(r.buf, stream, &evs[i])
		r.recs = append(r.recs, placed{from: from, to: len(r.buf), id: evs[i].ID, typ: evs[i].Type})
	}
}

// size is what the request weighs in the queue.
func (r *request) size() int {
	n := len(r.buf)
	if r.blob != nil {
		n += len(r.blob.data)
	}
	return n
}

// maxKept bounds the buffer that a request keeps for its next use.
const maxKept = 16 << 10

func (l *Log) take(kind requestKind) *request {
	r := l.requests.Get().(*request)
	r.kind = kind
	return r
}

func (l *Log) give(r *request) {
	if cap(r.buf) > maxKept {
		r.buf = nil
	}
	clear(r.parts)
	clear(r.recs)
	r.parts, r.recs, r.buf = r.parts[:0], r.recs[:0], r.buf[:0]
	r.blob, r.err, r.removed, r.until = nil, nil, false, 0
	r.state.Store(waiting)
	l.requests.Put(r)
}

// answer hands a request back to its caller, or to the pool when the caller has left.
func (l *Log) answer(r *request, err error) {
	if r.kind == kindStage {
		l.blobs.settle(r.blob, err == nil)
		l.give(r)
		return
	}
	r.err = err
	if r.state.CompareAndSwap(waiting, answered) {
		r.done <- struct{}{}
		return
	}
	l.give(r)
}

// await waits for the answer. When it returns false the request is no longer the caller's and err is the answer.
func (l *Log) await(ctx context.Context, r *request) (ok bool, err error) {
	select {
	case <-r.done:
		return true, nil
	case <-ctx.Done():
		err = ctx.Err()
	case <-l.disk.failed:
		// The committer may be stuck in the engine, or may be about to answer.
		err = l.unavailable()
	}
	if r.state.CompareAndSwap(waiting, left) {
		return false, err
	}
	<-r.done
	return true, nil
}

// queue holds what waits for the committer.
type queue struct {
	mu       sync.Mutex
	items    []*request
	bytes    int
	maxItems int
	maxBytes int
	closed   bool
	space    chan struct{} // not nil while someone waits for space; closed by take
	wake     chan struct{} // of capacity 1: the committer should look
	idle     bool          // the committer waits on wake
	want     int           // it wants to be woken by this many items
}

func (q *queue) init(o Options) {
	q.maxItems, q.maxBytes = o.QueuedRequests, o.QueuedBytes
	q.wake = make(chan struct{}, 1)
}

// push queues a request, after waiting for space. When it fails the request is still the caller's.
func (l *Log) push(ctx context.Context, r *request) error {
	q := &l.queue
	size := r.size()
	for {
		if err := l.disk.cause(); err != nil {
			return l.unavailable()
		}
		q.mu.Lock()
		if q.closed {
			q.mu.Unlock()
			return events.ErrClosed
		}
		if len(q.items) == 0 || len(q.items) < q.maxItems && q.bytes+size <= q.maxBytes {
			q.items = append(q.items, r)
			q.bytes += size
			wake := q.idle && len(q.items) >= q.want
			if wake {
				q.idle = false
			}
			q.mu.Unlock()
			if wake {
				q.wake <- struct{}{}
			}
			return nil
		}
		if q.space == nil {
			q.space = make(chan struct{})
		}
		space := q.space
		q.mu.Unlock()
		select {
		case <-space:
		case <-ctx.Done():
			return ctx.Err()
		case <-l.disk.failed:
		case <-l.done:
			return events.ErrClosed
		}
	}
}

// take swaps the queue's items for an empty slice. It waits for the first, and returns none when the queue is closed
// and empty.
func (q *queue) take(empty []*request) []*request {
	for {
		q.mu.Lock()
		if len(q.items) > 0 {
			items := q.items
			q.items, q.bytes = empty, 0
			q.drained()
			q.mu.Unlock()
			return items
		}
		if q.closed {
			q.mu.Unlock()
			return nil
		}
		q.idle, q.want = true, 1
		q.mu.Unlock()
		<-q.wake
	}
}

// drained tells those who wait for space. The lock must be held.
func (q *queue) drained() {
	if q.space != nil {
		close(q.space)
		q.space = nil
	}
}

// more moves what has come since to the items taken.
func (q *queue) more(items []*request) []*request {
	q.mu.Lock()
	defer q.mu.Unlock()
	items = append(items, q.items...)
	clear(q.items)
	q.items, q.bytes = q.items[:0], 0
	q.drained()
	return items
}

// await waits until so many items have come, or for so long.
func (q *queue) await(want int, limit time.Duration) {
	q.mu.Lock()
	if q.closed || len(q.items) >= want {
		q.mu.Unlock()
		return
	}
	q.idle, q.want = true, want
	q.mu.Unlock()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-q.wake:
		return
	case <-timer.C:
	}
	q.mu.Lock()
	idle := q.idle
	q.idle = false
	q.mu.Unlock()
	if !idle { // someone is waking us right now
		<-q.wake
	}
}

func (q *queue) close() {
	q.mu.Lock()
	q.closed = true
	idle := q.idle
	q.idle = false
	q.mu.Unlock()
	if idle {
		q.wake <- struct{}{}
	}
}
