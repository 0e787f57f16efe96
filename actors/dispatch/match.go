package dispatch

import (
	"slices"

	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// Placement is a slot with the worker that is to have it: the command for the assignment.
type Placement struct {
	Job      string
	Slot     uint32
	Dispatch *eventv1.DispatchSlot
}

// Match places at most limit waiting slots. Head is a log position that nobody could choose; nowUs is the time, in
// microseconds since 1970, and changes no placement.
func (m *Matcher) Match(head uint64, nowUs int64, limit int) []Placement {
	m.nowUs = max(m.nowUs, nowUs)
	var placed []Placement
	for len(placed) < limit {
		f := m.next()
		if f == nil {
			break
		}
		placed = m.placeJob(placed, f, head, limit)
	}
	return placed
}

// next is the flow that is served next, nil when nothing that waits can be placed.
func (m *Matcher) next() *flow {
	for _, l := range m.levels {
		if l.waiting == 0 {
			continue
		}
		var first *flow
		for _, q := range l.queues {
			if f := q.next(); f != nil && (first == nil || f.before(first)) {
				first = f
			}
		}
		if first != nil {
			return first
		}
	}
	return nil
}

// placeJob places the waiting slots of a flow's first job as far as there are workers, or parks the flow.
func (m *Matcher) placeJob(placed []Placement, f *flow, head uint64, limit int) []Placement {
	j, q, t := f.jobs[0], f.queue, f.tenant
	b := &f.bars
	var own bars
	for i := range j.slots {
		if len(placed) == limit || j.waiting == 0 {
			break
		}
		sl := &j.slots[i]
		if sl.state != slotWaiting {
			continue
		}
		list, n := m.shortlist(q, b)
		if n == 0 {
			break
		}
		q.level.serve(t)
		if j.flow != nil { // the flow's bars are about to differ from the job's
			m.leave(j)
		}
		placed = append(placed, m.place(j, sl, q, list[:n], head))
		if j.waiting > 0 {
			own = j.bars()
			b = &own
		}
	}
	if j.flow != nil {
		q.park(f)
		return placed
	}
	m.enter(j)
	return placed
}

// place gives a slot to one of the candidates.
func (m *Matcher) place(j *job, sl *slot, q *queue, list []*worker, head uint64) Placement {
	seed := Seed(head, j.id, sl.number, sl.placed)
	w := list[Pick(seed, len(list))]
	d := &eventv1.DispatchSlot{
		Worker: []byte(w.key), Group: w.group, MaxAttempts: j.policy.GetMaxAttempts(),
		AckTimeoutMs: m.ackTimeoutMs(j), ExecutionTimeoutMs: m.executionTimeoutMs(j, w),
		Candidates: make([][]byte, len(list)), Seed: seed[:], Head: head,
	}
	short := make([]byte, 0, 8*len(list))
	for i, c := range list {
		n := min(len(c.key), 8)
		short = append(short, c.key[:n]...)
		d.Candidates[i] = slices.Clip(short[len(short)-n:])
	}
	sl.placed++
	j.stranded = 0
	j.waiting--
	m.counts.waiting--
	m.counts.placed++
	m.give(j, sl, w, w.group, m.nowUs)
	return Placement{Job: j.id, Slot: sl.number, Dispatch: d}
}

// shortlist takes idle workers that may have the job, in turn.
func (m *Matcher) shortlist(q *queue, b *bars) (list [maxCandidates]*worker, n int) {
	list, n = m.walk(q, b, true)
	if n > 0 || len(b.soft) == 0 || someone(q.pools, b, true) {
		return list, n
	}
	return m.walk(q, b, false)
}

// walk goes round the idle clans of the queue's pools, from where it stopped last. It passes over no more clans than
// the job bars.
func (m *Matcher) walk(q *queue, b *bars, soft bool) (list [maxCandidates]*worker, n int) {
	if q.idle == 0 {
		return list, 0
	}
	at, i := 0, int(q.cursor%uint64(q.idle))
	for i >= len(q.pools[at].idle) {
		i -= len(q.pools[at].idle)
		at++
	}
	for range q.idle {
		for i >= len(q.pools[at].idle) {
			i = 0
			at = (at + 1) % len(q.pools)
		}
		c := q.pools[at].idle[i]
		i++
		q.cursor++
		if b.barGroup(c.group) {
			continue
		}
		w := c.offer(b, soft)
		if w == nil {
			continue
		}
		list[n] = w
		n++
		if n == m.cfg.Candidates {
			break
		}
	}
	return list, n
}

// offer is the idle member whose turn it is, nil if all are barred.
func (c *clan) offer(b *bars, soft bool) *worker {
	for range c.idle {
		w := c.idle[c.cursor%uint64(len(c.idle))]
		c.cursor++
		if !b.barKey(w.key, soft) {
			return w
		}
	}
	return nil
}

// someone reports whether some willing worker of the pools, busy or not, is not barred; soft says whether those that
// lost a slot of the job count as barred. It looks at no more clans than are barred, and one.
func someone(pools []*pool, b *bars, soft bool) bool {
	for _, p := range pools {
		for _, c := range p.all {
			if b.barGroup(c.group) {
				continue
			}
			if slices.ContainsFunc(c.members, func(w *worker) bool { return !b.barKey(w.key, soft) }) {
				return true
			}
		}
	}
	return false
}
