package dispatch

import (
	"cmp"
	"slices"
)

// Worker is what the gateway says of an admitted, connected worker.
type Worker struct {
	Key         []byte
	Group       string // identity group; empty: the worker is its own
	Tier        uint32 // proven, from 1
	MemoryBytes uint64 // proven; counts as rounded down to a power of two
	ChunkBytes  uint64 // largest input offered to it; counts as rounded down to a power of two
	MFlops      uint64 // proven milli-GFLOPS; for statistics alone
	FuelPerMs   uint64 // proven; 0 counts as 1
	Credits     uint32 // slots that it will hold at once, capped by Config.MaxCredits
	Draining    bool
}

type worker struct {
	key       string
	group     string
	cap       capacity
	fuelPerMs uint64
	mflops    uint64
	credits   uint32
	inflight  uint32
	queuedMs  uint64 // predicted run time of what it holds
	connected bool
	draining  bool
	gone      bool // its session ended: a later one is another worker struct

	clan     *clan // nil: not willing
	memberAt int   // index in clan.members
	idleAt   int   // index in clan.idle, -1: busy
}

// capacity is a class of workers. Sizes are 0 for none, else 1 + the binary logarithm, rounded down.
type capacity struct{ tier, memory, chunk uint8 }

func (c capacity) meets(n need) bool {
	return c.tier >= n.tier && c.memory >= n.memory && c.chunk >= n.chunk
}

func compareCapacity(a, b *pool) int {
	return cmp.Or(cmp.Compare(a.cap.tier, b.cap.tier), cmp.Compare(a.cap.memory, b.cap.memory), cmp.Compare(a.cap.chunk, b.cap.chunk))
}

// pool is the willing workers (connected, not draining, with credits) of one capacity.
type pool struct {
	cap    capacity
	clans  map[party]*clan
	all    []*clan // every clan; order is of no matter, but the same for the same calls
	idle   []*clan // clans with an idle worker
	queues []*queue
}

// clan is the willing workers of one identity group in a pool.
type clan struct {
	group   string // empty: one worker alone
	id      party
	pool    *pool
	members []*worker
	idle    []*worker
	cursor  uint64 // which idle member is offered next
	allAt   int    // index in pool.all
	idleAt  int    // index in pool.idle, -1: nobody is idle
}

// Ready says that a worker is connected and admitted, or that its figures changed.
func (m *Matcher) Ready(r Worker) {
	w := m.workers[string(r.Key)]
	if w == nil {
		w = &worker{key: string(r.Key)}
		m.workers[w.key] = w
	}
	if w.connected {
		m.dismiss(w)
		m.counts.connected--
		if w.draining {
			m.counts.draining--
		}
	}
	w.connected, w.group, w.draining = true, r.Group, r.Draining
	w.cap = capacity{uint8(min(r.Tier, 255)), roundedDown(r.MemoryBytes), roundedDown(r.ChunkBytes)}
	w.fuelPerMs, w.mflops, w.credits = r.FuelPerMs, r.MFlops, min(r.Credits, m.cfg.MaxCredits)
	m.counts.connected++
	if w.draining {
		m.counts.draining++
	}
	m.refresh(w)
}

// Credits says how many slots a worker will hold at once, those that it holds included.
func (m *Matcher) Credits(key []byte, n uint32) {
	w := m.workers[string(key)]
	if w == nil || !w.connected {
		return
	}
	w.credits = min(n, m.cfg.MaxCredits)
	m.refresh(w)
}

// Drain says that a worker takes no new slots, or that it does again.
func (m *Matcher) Drain(key []byte, on bool) {
	w := m.workers[string(key)]
	if w == nil || !w.connected || w.draining == on {
		return
	}
	w.draining = on
	if on {
		m.counts.draining++
	} else {
		m.counts.draining--
	}
	m.refresh(w)
}

// Gone says that a worker's session ended. The slots that it held bar it from their jobs until they are asked for
// again; its credits are forgotten at once.
func (m *Matcher) Gone(key []byte) {
	w := m.workers[string(key)]
	if w == nil || !w.connected {
		return
	}
	m.dismiss(w)
	delete(m.workers, w.key)
	m.counts.connected--
	if w.draining {
		m.counts.draining--
	}
	m.counts.inflight -= int(w.inflight)
	w.connected, w.gone = false, true
}

func (w *worker) free() uint32 {
	if w.credits <= w.inflight {
		return 0
	}
	return w.credits - w.inflight
}

// refresh puts a worker where its state says it belongs.
func (m *Matcher) refresh(w *worker) {
	if !w.connected || w.draining || w.credits == 0 {
		m.dismiss(w)
		return
	}
	if w.clan == nil {
		m.enlist(w)
	}
	idle := w.free() > 0
	if idle == (w.idleAt >= 0) {
		return
	}
	if idle {
		w.clan.rest(w)
		for _, q := range w.clan.pool.queues {
			q.wake(func(f *flow) bool { return !f.bars.bar(w, false) })
		}
		return
	}
	w.clan.busy(w)
}

// enlist makes a worker a willing member of its clan.
func (m *Matcher) enlist(w *worker) {
	p := m.pools[w.cap]
	if p == nil {
		p = &pool{cap: w.cap, clans: make(map[party]*clan)}
		m.pools[w.cap] = p
		m.open(p)
	}
	id := party{group: w.group}
	if w.group == "" {
		id.key = w.key
	}
	c := p.clans[id]
	if c == nil {
		c = &clan{group: w.group, id: id, pool: p, allAt: len(p.all), idleAt: -1}
		p.clans[id] = c
		p.all = append(p.all, c)
	}
	w.clan, w.memberAt, w.idleAt = c, len(c.members), -1
	c.members = append(c.members, w)
}

// dismiss takes a worker out of its clan, if it is in one, and empty clans and pools away.
func (m *Matcher) dismiss(w *worker) {
	c := w.clan
	if c == nil {
		return
	}
	if w.idleAt >= 0 {
		c.busy(w)
	}
	last := len(c.members) - 1
	c.members[w.memberAt] = c.members[last]
	c.members[w.memberAt].memberAt = w.memberAt
	c.members[last] = nil
	c.members = c.members[:last]
	w.clan = nil
	p := c.pool
	for _, q := range p.queues { // it may have been the last that kept an excluded worker excluded
		q.wake(func(f *flow) bool { return len(f.bars.soft) > 0 })
	}
	if len(c.members) > 0 {
		return
	}
	delete(p.clans, c.id)
	end := len(p.all) - 1
	p.all[c.allAt] = p.all[end]
	p.all[c.allAt].allAt = c.allAt
	p.all[end] = nil
	p.all = p.all[:end]
	if len(p.all) == 0 {
		m.close(p)
	}
}

// open connects a new pool with the queues that it can serve.
func (m *Matcher) open(p *pool) {
	for _, l := range m.levels {
		for _, q := range l.queues {
			if !p.cap.meets(q.need) {
				continue
			}
			p.queues = append(p.queues, q)
			i, _ := slices.BinarySearchFunc(q.pools, p, compareCapacity)
			q.pools = slices.Insert(q.pools, i, p)
		}
	}
}

// close takes an empty pool away.
func (m *Matcher) close(p *pool) {
	delete(m.pools, p.cap)
	for _, q := range p.queues {
		q.pools = slices.DeleteFunc(q.pools, func(o *pool) bool { return o == p })
	}
}

// connect connects a new queue with the pools that can serve it.
func (m *Matcher) connect(q *queue) {
	for _, p := range m.pools {
		if !p.cap.meets(q.need) {
			continue
		}
		p.queues = append(p.queues, q)
		q.pools = append(q.pools, p)
		q.idle += len(p.idle)
	}
	slices.SortFunc(q.pools, compareCapacity)
}

// rest puts a member among the idle ones.
func (c *clan) rest(w *worker) {
	w.idleAt = len(c.idle)
	c.idle = append(c.idle, w)
	if len(c.idle) > 1 {
		return
	}
	p := c.pool
	c.idleAt = len(p.idle)
	p.idle = append(p.idle, c)
	for _, q := range p.queues {
		q.idle++
	}
}

// busy takes a member off the idle ones.
func (c *clan) busy(w *worker) {
	last := len(c.idle) - 1
	c.idle[w.idleAt] = c.idle[last]
	c.idle[w.idleAt].idleAt = w.idleAt
	c.idle[last] = nil
	c.idle = c.idle[:last]
	w.idleAt = -1
	if last > 0 {
		return
	}
	p := c.pool
	end := len(p.idle) - 1
	p.idle[c.idleAt] = p.idle[end]
	p.idle[c.idleAt].idleAt = c.idleAt
	p.idle[end] = nil
	p.idle = p.idle[:end]
	c.idleAt = -1
	for _, q := range p.queues {
		q.idle--
	}
}

// bar reports whether a worker may not take the job; soft says whether those that lost a slot of it count.
func (b *bars) bar(w *worker, soft bool) bool {
	return b.barGroup(w.group) || b.barKey(w.key, soft)
}

func (b *bars) barGroup(group string) bool { return group != "" && slices.Contains(b.groups, group) }

func (b *bars) barKey(key string, soft bool) bool {
	return slices.Contains(b.keys, key) || soft && slices.Contains(b.soft, key)
}
