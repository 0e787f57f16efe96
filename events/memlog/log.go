// Package memlog is the event log in memory: the whole contract, and nothing survives the process.
//
// It is meant for tests and for trying things out. It never forgets a record, so its memory grows with its events.
package memlog

import (
	"context"
	"iter"
	"slices"
	"sync"
	"time"

	"github.com/shardy-network/orchestrator/events"
)

// tailBatch is how many records a reader takes under one lock.
const tailBatch = 256

// Log is an [events.Log] that has every optional power.
type Log struct {
	mu      sync.RWMutex // guards what follows
	records []events.Record
	streams map[string]*stream
	staged  map[[32]byte]blob
	wake    chan struct{} // closed and replaced by every append
	closed  bool

	done  chan struct{}  // closed by Close
	calls sync.WaitGroup // calls in flight; Add only under mu and while not closed
}

// stream is one stream's part of the log.
type stream struct {
	places []int // of its records in Log.records, by revision
	hidden int   // revisions below this were deleted
	ended  bool  // for good; everything is hidden then
}

func (s *stream) exists() bool { return s != nil && s.hidden < len(s.places) }

func (s *stream) buried() bool { return s != nil && s.ended }

type blob struct {
	data []byte
	at   time.Time
}

var (
	_ events.Log    = (*Log)(nil)
	_ events.Atomic = (*Log)(nil)
	_ events.Stager = (*Log)(nil)

	_ events.Tombstoner = (*Log)(nil)
	_ events.Backward   = (*Log)(nil)
)

// New returns an empty log.
func New() *Log {
	return &Log{
		streams: make(map[string]*stream),
		staged:  make(map[[32]byte]blob),
		wake:    make(chan struct{}),
		done:    make(chan struct{}),
	}
}

// begin counts a call in, unless ctx has ended or the log is closed.
func (l *Log) begin(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	l.mu.RLock()
	defer l.mu.RUnlock()
	if l.closed {
		return events.ErrClosed
	}
	l.calls.Add(1)
	return nil
}

// Close ends every call in flight with ErrClosed and waits for them; it must not be called from within a read.
func (l *Log) Close() error {
	l.mu.Lock()
	if !l.closed {
		l.closed = true
		close(l.done)
	}
	l.mu.Unlock()
	l.calls.Wait()
	return nil
}

// ended tells a reader that it must stop, and why.
func (l *Log) ended(ctx context.Context) error {
	select {
	case <-l.done:
		return events.ErrClosed
	default:
		return ctx.Err()
	}
}

// Head returns the position of the last event.
func (l *Log) Head(ctx context.Context) (events.Position, error) {
	if err := l.begin(ctx); err != nil {
		return 0, err
	}
	defer l.calls.Done()
	l.mu.RLock()
	defer l.mu.RUnlock()
	return events.Position(len(l.records)), nil
}

// Read yields a stream's events. Hidden ones are left out; a wholly hidden stream is not found.
func (l *Log) Read(ctx context.Context, name string, span events.Span) iter.Seq2[events.Record, error] {
	return func(yield func(events.Record, error) bool) {
		if err := l.begin(ctx); err != nil {
			yield(events.Record{}, err)
			return
		}
		defer l.calls.Done()
		l.mu.RLock()
		s, all := l.streams[name], l.records
		if !s.exists() {
			err := events.ErrNotFound
			if s.buried() {
				err = events.ErrDeleted
			}
			l.mu.RUnlock()
			yield(events.Record{}, err)
			return
		}
		places := s.places[s.hidden:]
		if !span.Back && span.From > uint64(s.hidden) {
			places = s.places[min(span.From, uint64(len(s.places))):]
		}
		l.mu.RUnlock()
		if span.Limit > 0 && span.Limit < len(places) {
			if span.Back {
				places = places[len(places)-span.Limit:]
			} else {
				places = places[:span.Limit]
			}
		}
		for i := range places {
			place := places[i]
			if span.Back {
				place = places[len(places)-1-i]
			}
			if err := l.ended(ctx); err != nil {
				yield(events.Record{}, err)
				return
			}
			if !yield(copied(all[place]), nil) {
				return
			}
		}
	}
}

// ReadAll yields the events after a position that are there when it begins. It shows deleted streams too.
func (l *Log) ReadAll(ctx context.Context, after events.Position, f events.Filter) iter.Seq2[events.Record, error] {
	return func(yield func(events.Record, error) bool) {
		if err := l.begin(ctx); err != nil {
			yield(events.Record{}, err)
			return
		}
		defer l.calls.Done()
		l.mu.RLock()
		all := l.records
		l.mu.RUnlock()
		for i := min(uint64(after), uint64(len(all))); i < uint64(len(all)); i++ {
			if err := l.ended(ctx); err != nil {
				yield(events.Record{}, err)
				return
			}
			if f.Match(all[i].Stream, all[i].Type) && !yield(copied(all[i]), nil) {
				return
			}
		}
	}
}

// ReadAllBack yields the events before a position, newest first. It shows deleted streams too.
func (l *Log) ReadAllBack(ctx context.Context, before events.Position, f events.Filter) iter.Seq2[events.Record, error] {
	return func(yield func(events.Record, error) bool) {
		if err := l.begin(ctx); err != nil {
			yield(events.Record{}, err)
			return
		}
		defer l.calls.Done()
		l.mu.RLock()
		all := l.records
		l.mu.RUnlock()
		for i := min(uint64(before), uint64(len(all))+1); i > 1; i-- {
			if err := l.ended(ctx); err != nil {
				yield(events.Record{}, err)
				return
			}
			if r := &all[i-2]; f.Match(r.Stream, r.Type) && !yield(copied(*r), nil) {
				return
			}
		}
	}
}

// Tail yields the events after a position and then follows the log.
func (l *Log) Tail(ctx context.Context, after events.Position, f events.Filter) iter.Seq2[events.Tick, error] {
	return func(yield func(events.Tick, error) bool) {
		if err := l.begin(ctx); err != nil {
			yield(events.Tick{}, err)
			return
		}
		defer l.calls.Done()
		at, told, live := after, after, false // told: the last place that the reader knows
		for {
			if err := l.ended(ctx); err != nil {
				yield(events.Tick{}, err)
				return
			}
			l.mu.RLock()
			wake, all := l.wake, l.records
			l.mu.RUnlock()
			if uint64(at) < uint64(len(all)) {
				for i := range all[at:min(uint64(at)+tailBatch, uint64(len(all)))] {
					if err := l.ended(ctx); err != nil {
						yield(events.Tick{}, err)
						return
					}
					r := &all[int(at)+i]
					if !f.Match(r.Stream, r.Type) {
						continue
					}
					c := copied(*r)
					told = r.Pos
					if !yield(events.Tick{Event: &c, Pos: r.Pos, Live: live}, nil) {
						return
					}
				}
				at = all[min(uint64(at)+tailBatch, uint64(len(all)))-1].Pos
				continue
			}
			if !live || told != at {
				live, told = true, at
				if !yield(events.Tick{Pos: at, Live: true}, nil) {
					return
				}
			}
			select {
			case <-wake:
			case <-l.done:
			case <-ctx.Done():
			}
		}
	}
}

func copied(r events.Record) events.Record {
	r.Data, r.Meta = slices.Clone(r.Data), slices.Clone(r.Meta)
	return r
}
