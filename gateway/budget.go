package gateway

import (
	"sync"
	"sync/atomic"
)

// budget bounds the bytes of results that are being checked and staged, over all sessions.
type budget struct {
	mu    sync.Mutex
	freed sync.Cond // of mu
	limit uint64
	used  uint64 // guarded by mu
}

func newBudget(limit uint64) *budget {
	b := &budget{limit: limit}
	b.freed.L = &b.mu
	return b
}

func (b *budget) take(n uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.used > 0 && b.used+n > b.limit {
		b.freed.Wait()
	}
	b.used += n
}

func (b *budget) give(n uint64) {
	b.mu.Lock()
	b.used -= n
	b.mu.Unlock()
	b.freed.Broadcast()
}

// reserve waits until the session and the door have room for n more bytes: the worker's socket fills meanwhile. What
// is being staged always comes to an end, so this does too.
func (s *session) reserve(n uint64) {
	s.mu.Lock()
	for s.inFlight > 0 && s.inFlight+n > s.door.cfg.SessionBytesInFlight && !s.ended {
		if s.freed == nil {
			s.freed = sync.NewCond(&s.mu)
		}
		s.freed.Wait()
	}
	s.inFlight += n
	s.mu.Unlock()
	s.door.budget.take(n)
}

func (s *session) release(n uint64) {
	s.door.budget.give(n)
	s.mu.Lock()
	s.inFlight -= n
	if s.freed != nil {
		s.freed.Broadcast()
	}
	s.mu.Unlock()
}

// counters are what the door saw. They are for people: nothing is decided by them.
type counters struct {
	refused, delivered, stripped, recorded, rejected, stale, replaced, tested, receipts atomic.Uint64
	closed                                                                              [16]atomic.Uint64 // by error code
}

// Stats is a moment of the door.
type Stats struct {
	Connections int    // upgraded sockets
	Sessions    int    // with a proven key
	Waiting     int    // tasks from before a restart whose worker has not come back
	Refused     uint64 // before the upgrade
	Delivered   uint64 // tasks sent
	Stripped    uint64
	Recorded    uint64            // results thanked for
	Rejected    uint64            // results refused by the door's checks
	Stale       uint64            // messages about tokens that no longer count
	Replaced    uint64            // sessions whose key connected again
	Tested      uint64            // workers measured
	Receipts    uint64            // signed for recorded results
	Closed      map[string]uint64 // sessions closed by the door, by error code
}

// Stats counts.
func (d *Door) Stats() Stats {
	s := Stats{
		Connections: d.guard.connections(), Sessions: d.table.len(), Waiting: d.waiting.len(),
		Refused: d.count.refused.Load(), Delivered: d.count.delivered.Load(), Stripped: d.count.stripped.Load(),
		Recorded: d.count.recorded.Load(), Rejected: d.count.rejected.Load(), Stale: d.count.stale.Load(),
		Replaced: d.count.replaced.Load(), Tested: d.count.tested.Load(), Receipts: d.count.receipts.Load(), Closed: make(map[string]uint64),
	}
	for code := range d.count.closed {
		if n := d.count.closed[code].Load(); n > 0 {
			s.Closed[codeName(code)] = n
		}
	}
	return s
}
