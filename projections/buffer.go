package projections

import (
	"context"
	"sync"
	"time"

	"github.com/shardy-network/orchestrator/events"
)

// buffer holds what a tail has read ahead of its projection. One goroutine puts, one takes.
type buffer struct {
	maxRecords, maxBytes int

	mu      sync.Mutex // guards what follows
	records []events.Record
	bytes   int
	seen    events.Position // place of the tail
	live    bool
	news    bool // something was put since it was taken
	spare   []events.Record
	changed chan struct{} // of capacity 1: something was put
	space   chan struct{} // of capacity 1: something was taken
	filled  chan struct{} // of capacity 1: somebody waits for space
}

func newBuffer(records, bytes int, at events.Position) *buffer {
	return &buffer{
		maxRecords: records, maxBytes: bytes, seen: at,
		changed: make(chan struct{}, 1), space: make(chan struct{}, 1), filled: make(chan struct{}, 1),
	}
}

// put adds a tick, after waiting for space.
func (b *buffer) put(ctx context.Context, t events.Tick) error {
	for {
		b.mu.Lock()
		if !b.full() {
			break
		}
		b.mu.Unlock()
		signal(b.filled)
		select {
		case <-b.space:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	if t.Event != nil {
		b.records = append(b.records, *t.Event)
		b.bytes += len(t.Event.Data) + len(t.Event.Meta)
	}
	b.seen, b.live, b.news = t.Pos, t.Live, true
	b.mu.Unlock()
	signal(b.changed)
	return nil
}

// full must be called with the lock held.
func (b *buffer) full() bool { return len(b.records) >= b.maxRecords || b.bytes >= b.maxBytes }

// take waits for something new and takes all there is.
func (b *buffer) take(ctx context.Context) (batch []events.Record, upTo events.Position, live bool, err error) {
	for {
		if ctx.Err() != nil {
			return nil, 0, false, context.Cause(ctx)
		}
		b.mu.Lock()
		if b.news {
			break
		}
		b.mu.Unlock()
		select {
		case <-b.changed:
		case <-ctx.Done():
		}
	}
	batch, b.records, b.spare, b.bytes = b.records, b.spare[:0], nil, 0
	upTo, live, b.news = b.seen, b.live, false
	b.mu.Unlock()
	signal(b.space)
	return batch, upTo, live, nil
}

// gather waits until the buffer is full, for so long at most, or until somebody is in a hurry.
func (b *buffer) gather(ctx context.Context, d time.Duration, hurry <-chan struct{}) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-b.filled:
	case <-hurry:
	case <-ctx.Done():
	}
}

// more adds to a batch what has come since it was taken.
func (b *buffer) more(ctx context.Context, batch []events.Record, upTo events.Position, live bool) ([]events.Record, events.Position, bool, error) {
	if ctx.Err() != nil {
		return nil, 0, false, context.Cause(ctx)
	}
	b.mu.Lock()
	if b.news {
		batch = append(batch, b.records...)
		clear(b.records)
		b.records, b.bytes = b.records[:0], 0
		upTo, live, b.news = b.seen, b.live, false
	}
	b.mu.Unlock()
	signal(b.space)
	return batch, upTo, live, nil
}

// give returns a batch that was applied, for its memory to be used again.
func (b *buffer) give(batch []events.Record) {
	clear(batch)
	b.mu.Lock()
	b.spare = batch[:0]
	b.mu.Unlock()
}

// place is where the tail is, and whether it waits for space.
func (b *buffer) place() (events.Position, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.seen, b.full()
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
