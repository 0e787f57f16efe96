package projections

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/shardy-network/orchestrator/events"
)

// Bounds of what a feed holds for those who have not taken it yet.
const (
	feedRecords = 1 << 16
	feedBytes   = 48 << 20
)

// segmentRecords is how many records lie in one piece.
const segmentRecords = 512

var (
	// errLeftBehind: the feed does not hold any more what comes next for a seat.
	errLeftBehind = errors.New("too far behind the others")
	errTailEnded  = errors.New("tail ended without a reason")
)

// feed reads the log once for all projections that are near its end, so that each record is copied out of the log once.
// A projection that is not there yet, or falls too far behind, reads on its own.
//
// Records lie in a chain of segments that only grow: who has a place in the chain keeps what follows, nobody else does.
type feed struct {
	log            Log
	records, bytes int           // most that a seat may be behind
	wanted         chan struct{} // of capacity 1: somebody sat down while nothing was read

	mu      sync.Mutex              // guards what follows
	stop    context.CancelCauseFunc // of the reading; nil: it has not begun
	running bool                    // something is read, or about to be
	last    *segment
	total   uint64 // records ever put
	weight  uint64 // their bytes
	checked uint64 // weight when it was last looked for those who are behind
	seen    events.Position
	live    bool
	seats   map[*seat]struct{}
}

// segment is a piece of the feed. Records below n do not change any more; n, next and weight are guarded by the feed.
type segment struct {
	records [segmentRecords]events.Record
	n       int
	next    *segment
	weight  uint64 // of all that was put before it
}

func newFeed(log Log, records, bytes int) *feed {
	return &feed{log: log, records: records, bytes: bytes, wanted: make(chan struct{}, 1), seats: make(map[*seat]struct{})}
}

// shareable tells whether all that a filter passes comes by in the feed: it leaves out the store's own events.
func shareable(f events.Filter) bool {
	for _, t := range f.Types {
		if t == "" || strings.HasPrefix(t, "$") {
			return false
		}
	}
	return len(f.Types) > 0 || len(f.Streams) == 0
}

// sit gives a seat to a projection that is at the end of the log, and begins the feed there if it does not run. The seat
// begins at its own place, which may be ahead of the projection's.
func (f *feed) sit(at events.Position, filter events.Filter, records, bytes int) *seat {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.running {
		f.running, f.seen, f.live, f.last = true, at, false, &segment{weight: f.weight}
		signal(f.wanted)
	}
	s := &seat{
		f: f, filter: filter, maxRecords: records, maxBytes: bytes, begin: f.seen,
		at: f.last, i: f.last.n, taken: f.total, light: f.weight, seen: f.seen,
		changed: make(chan struct{}, 1), filled: make(chan struct{}, 1),
	}
	f.seats[s] = struct{}{}
	return s
}

// work reads when there is somebody to read for, until ctx ends.
func (f *feed) work(ctx context.Context) {
	for {
		select {
		case <-f.wanted:
		case <-ctx.Done():
			return
		}
		reading, stop := context.WithCancelCause(ctx)
		f.mu.Lock()
		f.stop = stop
		at := f.seen
		f.mu.Unlock()
		err := f.follow(reading, at)
		stop(nil)
		f.end(err)
	}
}

// follow reads until something fails.
func (f *feed) follow(ctx context.Context, after events.Position) error {
	for tick, err := range f.log.Tail(ctx, after, events.Filter{}) {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			return err
		}
		f.put(tick)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return errTailEnded
}

// fail ends the reading; the next seat begins it anew.
func (f *feed) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.stop != nil {
		f.stop(err)
	}
}

// end tells everybody why the reading ended.
func (f *feed) end(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.running, f.last, f.stop = false, nil, nil
	for s := range f.seats {
		f.drop(s, err)
	}
}

// drop must be called with the lock held, like put's helpers.
func (f *feed) drop(s *seat, why error) {
	delete(f.seats, s)
	s.err, s.at = why, nil
	signal(s.changed)
	signal(s.filled)
}

func (f *feed) put(t events.Tick) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if t.Event != nil {
		s := f.last
		if s.n == segmentRecords {
			s.next = &segment{weight: f.weight}
			f.last = s.next
			s = s.next
			f.leaveBehind()
		}
		s.records[s.n] = *t.Event
		s.n++
		f.total++
		if f.weight += uint64(len(t.Event.Data) + len(t.Event.Meta)); f.weight-f.checked > uint64(f.bytes)/16 {
			f.leaveBehind()
		}
	}
	f.seen, f.live = t.Pos, t.Live
	for s := range f.seats {
		if s.waits {
			s.waits = false
			signal(s.changed)
		}
		if s.gathers && s.full() {
			s.gathers = false
			signal(s.filled)
		}
	}
}

// leaveBehind drops those for whom too much is held.
func (f *feed) leaveBehind() {
	f.checked = f.weight
	for s := range f.seats {
		if f.total-s.taken >= uint64(f.records) || f.weight-s.light >= uint64(f.bytes) {
			f.drop(s, errLeftBehind)
		}
	}
}

// seat is a projection's place in a feed. One goroutine uses it.
type seat struct {
	f                    *feed
	filter               events.Filter
	maxRecords, maxBytes int
	begin                events.Position // what comes after this is taken from the seat
	changed              chan struct{}   // of capacity 1: there is news
	filled               chan struct{}   // of capacity 1: there is enough for a batch

	// Guarded by the feed.
	at      *segment // of the next record
	i       int      // in at
	taken   uint64   // the feed's total at the seat's place
	light   uint64   // the feed's weight at the seat's place, or somewhat before
	seen    events.Position
	live    bool
	waits   bool
	gathers bool
	err     error // it was dropped

	spare []events.Record
}

// full must be called with the feed's lock held.
func (s *seat) full() bool {
	return s.f.total-s.taken >= uint64(s.maxRecords) || s.f.weight-s.light >= uint64(s.maxBytes)
}

// take waits for something new and takes all there is, as far as a batch goes.
func (s *seat) take(ctx context.Context) (batch []events.Record, upTo events.Position, live bool, err error) {
	for {
		if ctx.Err() != nil {
			return nil, 0, false, context.Cause(ctx)
		}
		f := s.f
		f.mu.Lock()
		if s.err != nil {
			f.mu.Unlock()
			return nil, 0, false, s.err
		}
		if s.seen != f.seen || s.live != f.live || s.taken != f.total {
			break
		}
		s.waits = true
		f.mu.Unlock()
		select {
		case <-s.changed:
		case <-ctx.Done():
		}
	}
	return s.collect(s.spare[:0])
}

// collect must be called with the feed's lock held, and gives it up.
func (s *seat) collect(into []events.Record) (batch []events.Record, upTo events.Position, live bool, err error) {
	f := s.f
	from, at, end := s.at, s.i, f.total
	most := uint64(max(s.maxRecords-len(into), 0))
	upTo, live = f.seen, f.live
	left := min(end-s.taken, most)
	whole := s.taken+left == end
	s.advance(left)
	if !whole {
		upTo, live = s.seen, false
	} else {
		s.light = f.weight
	}
	s.seen, s.live = upTo, live
	f.mu.Unlock()
	// Segments up to here do not change any more, but for the link to the next one, which is there if there is one to go to.
	for left > 0 {
		if at == segmentRecords {
			from, at = from.next, 0
		}
		n := int(min(left, uint64(segmentRecords-at)))
		for i := at; i < at+n; i++ {
			if r := &from.records[i]; r.Pos > s.begin && s.filter.Match(r.Stream, r.Type) {
				into = append(into, *r)
			}
		}
		at += n
		left -= uint64(n)
	}
	return into, max(upTo, s.begin), live, nil
}

// advance moves the place on. It must be called with the feed's lock held.
func (s *seat) advance(n uint64) {
	s.taken += n
	for n > 0 {
		if s.i == segmentRecords {
			s.at, s.i = s.at.next, 0
			s.light = s.at.weight
		}
		step := min(n, uint64(segmentRecords-s.i))
		s.i += int(step)
		n -= step
		s.seen = s.at.records[s.i-1].Pos
	}
}

// gather waits until there is enough for a batch, for so long at most, or until somebody is in a hurry.
func (s *seat) gather(ctx context.Context, d time.Duration, hurry <-chan struct{}) {
	s.f.mu.Lock()
	s.gathers = s.err == nil && !s.full()
	ready := !s.gathers
	s.f.mu.Unlock()
	if ready {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-s.filled:
	case <-hurry:
	case <-ctx.Done():
	}
}

// more adds to a batch what has come since it was taken.
func (s *seat) more(ctx context.Context, batch []events.Record, upTo events.Position, live bool) ([]events.Record, events.Position, bool, error) {
	if ctx.Err() != nil {
		return nil, 0, false, context.Cause(ctx)
	}
	s.f.mu.Lock()
	if s.err != nil { // what was taken is good
		s.f.mu.Unlock()
		return batch, upTo, live, nil
	}
	return s.collect(batch)
}

// give returns a batch that was applied, for its memory to be used again.
func (s *seat) give(batch []events.Record) {
	clear(batch)
	s.spare = batch[:0]
}

// place is where the feed is. It never waits for space.
func (s *seat) place() (events.Position, bool) {
	s.f.mu.Lock()
	defer s.f.mu.Unlock()
	return s.f.seen, false
}

// leave gives the seat up.
func (s *seat) leave() {
	s.f.mu.Lock()
	defer s.f.mu.Unlock()
	delete(s.f.seats, s)
	s.at = nil
}
