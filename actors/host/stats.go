package host

import (
	"context"
	"sync/atomic"

	"github.com/shardy-network/orchestrator/actors/dispatch"
)

// counters are monotonic but for recovering.
type counters struct {
	events         atomic.Int64
	conflicts      atomic.Int64
	panics         atomic.Int64
	dispatchFailed atomic.Int64
	abandoned      atomic.Int64
	ringers        atomic.Int64
	ringersSkipped atomic.Int64
	recovering     atomic.Int64
}

// Stats is a snapshot of the host.
type Stats struct {
	Entities       int   // in memory
	Deadlines      int   // armed
	Events         int64 // appended since the start
	Conflicts      int64 // appends that had to be looked up or decided again
	Panics         int64 // entities that failed and were restarted
	DispatchFailed int64
	Abandoned      int64 // slots given up because nobody who was connected might have them
	Ringers        int64 // jobs issued again to test workers
	RingersSkipped int64 // chosen, but nobody was there to be tested, or too many were open
	Recovering     int64 // jobs and pipelines still to be reopened
	Outages        int64 // times that a call found the log unavailable
	LogAway        bool  // work waits for the log
	Dispatch       dispatch.Stats
}

// Stats counts what is in memory and under way.
func (h *Host) Stats(ctx context.Context) (Stats, error) {
	d, err := query(ctx, h, func(m *dispatch.Matcher) dispatch.Stats { return m.Stats() })
	if err != nil {
		return Stats{}, err
	}
	s := Stats{
		Events: h.counters.events.Load(), Conflicts: h.counters.conflicts.Load(), Panics: h.counters.panics.Load(),
		DispatchFailed: h.counters.dispatchFailed.Load(), Abandoned: h.counters.abandoned.Load(),
		Ringers: h.counters.ringers.Load(), RingersSkipped: h.counters.ringersSkipped.Load(), Recovering: h.counters.recovering.Load(), Dispatch: d,
		Outages: h.gate.count(), LogAway: h.gate.away(),
	}
	for _, shard := range h.shards {
		entities, armed := shard.size()
		s.Entities += entities
		s.Deadlines += armed
	}
	return s, nil
}

// ShardStats is what one shard has in memory.
type ShardStats struct {
	Shard     int
	Entities  int
	Waiting   int // orders in mailboxes
	Longest   int // the fullest mailbox
	Deadlines int // armed
}

// Shards tells how busy each shard is, in their order.
func (h *Host) Shards() []ShardStats {
	all := make([]ShardStats, len(h.shards))
	for i, s := range h.shards {
		all[i] = s.stats()
	}
	return all
}

func (s *shard) stats() ShardStats {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := ShardStats{Shard: s.index, Entities: len(s.kids), Deadlines: s.deadlines.len()}
	for _, e := range s.kids {
		n := e.pending + len(e.buf)
		st.Waiting += n
		st.Longest = max(st.Longest, n)
	}
	return st
}
