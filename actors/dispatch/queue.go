package dispatch

import (
	"encoding/binary"
	"math/bits"
	"slices"
	"strings"
)

// need is a class of requirement at a priority. Sizes are 0 for none, else 1 + the binary logarithm, rounded up.
type need struct {
	priority            int8
	tier, memory, chunk uint8
}

func needOf(j *job) need {
	return need{
		priority: int8(min(max(j.spec.GetPriority(), MinPriority), MaxPriority)),
		tier:     uint8(min(max(j.spec.GetMinTier(), 1), 255)),
		memory:   roundedUp(j.spec.GetMinMemoryBytes()),
		chunk:    roundedUp(j.spec.GetInput().GetSize()),
	}
}

func roundedUp(n uint64) uint8 {
	if n == 0 {
		return 0
	}
	return uint8(1 + bits.Len64(n-1))
}

func roundedDown(n uint64) uint8 { return uint8(bits.Len64(n)) }

// level is everything that waits at one priority.
type level struct {
	priority int8
	queues   []*queue // in order of their making
	tenants  map[string]*tenant
	retired  []*tenant // nothing waits, but their turn is still ahead of the clock
	clock    uint64    // turn of the tenant that was served last
	waiting  int       // jobs
}

// tenant is a tenant's place in the turns of one level.
type tenant struct {
	name    string
	turn    uint64 // the lowest turn is served next
	jobs    int    // that wait in this level
	retired bool
}

// queue holds the flows of one need.
type queue struct {
	need   need
	level  *level
	pools  []*pool // that have what is needed
	idle   int     // idle clans in these pools
	cursor uint64  // where the next short list begins
	flows  map[flowKey]*flow
	ready  heap[*flow]
	parked []*flow // no idle worker may take them; those that come idle wake them
	jobs   int
}

// flow is the jobs of one tenant that bar the same workers.
type flow struct {
	key    flowKey
	queue  *queue
	tenant *tenant
	turn   uint64 // the tenant's, when the flow was last put in order; never ahead of it
	jobs   heap[*job]
	bars   bars
	parked bool
	at     int // index in queue.ready or queue.parked
}

type flowKey struct{ tenant, bars string }

func (f *flow) place(i int) { f.at = i }

func (f *flow) before(o *flow) bool {
	if f.turn != o.turn {
		return f.turn < o.turn
	}
	return f.jobs[0].before(o.jobs[0])
}

func (j *job) place(i int) { j.at = i }

func (j *job) before(o *job) bool {
	if j.since != o.since {
		return j.since < o.since
	}
	return j.seq < o.seq
}

// bars are the workers and identity groups that may not take a job's slots.
type bars struct {
	groups []string // identity groups, not empty, sorted
	keys   []string // sorted
	soft   []string // keys, sorted: only while another worker could take the job
}

func (j *job) bars() bars {
	var b bars
	add := func(p party) {
		b.keys = append(b.keys, p.key)
		if p.group != "" {
			b.groups = append(b.groups, p.group)
		}
	}
	for i := range j.slots {
		if s := j.slots[i].state; s == slotHeld || s == slotPast {
			add(j.slots[i].party)
		}
	}
	for _, p := range j.used {
		add(p)
	}
	b.groups, b.keys = distinct(b.groups), distinct(b.keys)
	b.soft = distinct(slices.Clone(j.excluded))
	return b
}

func distinct(s []string) []string {
	if len(s) < 2 {
		return s
	}
	slices.Sort(s)
	return slices.Compact(s)
}

// key is the same for the same bars.
func (b bars) key() string {
	if len(b.groups) == 0 && len(b.keys) == 0 && len(b.soft) == 0 {
		return ""
	}
	var text strings.Builder
	for _, list := range [...][]string{b.groups, b.keys, b.soft} {
		text.Write(binary.AppendUvarint(nil, uint64(len(list))))
		for _, s := range list {
			text.Write(binary.AppendUvarint(nil, uint64(len(s))))
			text.WriteString(s)
		}
	}
	return text.String()
}

// level finds or makes the level of a priority.
func (m *Matcher) level(priority int8) *level {
	i, ok := slices.BinarySearchFunc(m.levels, priority, func(l *level, p int8) int { return int(p) - int(l.priority) })
	if !ok {
		m.levels = slices.Insert(m.levels, i, &level{priority: priority, tenants: make(map[string]*tenant)})
	}
	return m.levels[i]
}

// maxIdleQueues is how many queues stay although they may be empty: making one costs a walk over the pools.
const maxIdleQueues = 256

func (m *Matcher) queue(n need) *queue {
	q := m.queues[n]
	if q != nil {
		return q
	}
	if len(m.queues) >= maxIdleQueues {
		m.sweepQueues()
	}
	q = &queue{need: n, level: m.level(n.priority), flows: make(map[flowKey]*flow)}
	m.queues[n] = q
	q.level.queues = append(q.level.queues, q)
	m.connect(q)
	return q
}

// sweepQueues removes the empty queues.
func (m *Matcher) sweepQueues() {
	for n, q := range m.queues {
		if q.jobs > 0 {
			continue
		}
		delete(m.queues, n)
		q.level.queues = slices.DeleteFunc(q.level.queues, func(o *queue) bool { return o == q })
		for _, p := range q.pools {
			p.queues = slices.DeleteFunc(p.queues, func(o *queue) bool { return o == q })
		}
	}
}

// enter queues a job if one of its slots waits.
func (m *Matcher) enter(j *job) {
	if j.waiting == 0 {
		return
	}
	q := m.queue(needOf(j))
	b := j.bars()
	key := flowKey{j.spec.GetTenant(), b.key()}
	q.jobs++
	q.level.waiting++
	t := q.level.join(key.tenant)
	f := q.flows[key]
	if f != nil {
		j.flow = f
		f.jobs.push(j)
		if !f.parked && j.at == 0 {
			q.ready.fix(f.at)
		}
		return
	}
	f = &flow{key: key, queue: q, tenant: t, turn: t.turn, bars: b}
	q.flows[key] = f
	j.flow = f
	f.jobs.push(j)
	q.ready.push(f)
}

// leave takes a job out of its queue, if it is in one.
func (m *Matcher) leave(j *job) {
	f := j.flow
	if f == nil {
		return
	}
	q := f.queue
	first := j.at == 0
	f.jobs.remove(j.at)
	j.flow = nil
	q.jobs--
	q.level.waiting--
	switch {
	case len(f.jobs) == 0:
		delete(q.flows, f.key)
		if f.parked {
			q.unpark(f)
		} else {
			q.ready.remove(f.at)
		}
	case first && !f.parked:
		q.ready.fix(f.at)
	}
	q.level.part(f.tenant)
}

// join finds or makes the tenant's place and counts one more waiting job. Who comes back is not served before those who
// stayed, and not before its last turn is over.
func (l *level) join(name string) *tenant {
	t := l.tenants[name]
	if t == nil {
		t = &tenant{name: name}
		l.tenants[name] = t
	}
	if t.jobs == 0 {
		t.turn = max(t.turn, l.clock)
	}
	t.jobs++
	return t
}

// part counts one waiting job less.
func (l *level) part(t *tenant) {
	t.jobs--
	switch {
	case l.waiting == 0:
		l.reset()
	case t.jobs > 0 || t.retired:
	case t.turn <= l.clock:
		delete(l.tenants, t.name)
	default:
		t.retired = true
		l.retired = append(l.retired, t)
	}
}

// reset begins the turns anew: nothing waits.
func (l *level) reset() {
	clear(l.tenants)
	l.retired, l.clock = nil, 0
}

// serve charges a tenant for one slot, and lets go of retired tenants whose turn is over.
func (l *level) serve(t *tenant) {
	l.clock = max(l.clock, t.turn)
	t.turn = l.clock + 1
	for range 2 {
		if len(l.retired) == 0 {
			return
		}
		r := l.retired[0]
		if r.jobs == 0 && r.turn > l.clock {
			return
		}
		l.retired[0] = nil
		l.retired = l.retired[1:]
		r.retired = false
		if r.jobs == 0 {
			delete(l.tenants, r.name)
		}
	}
}

// park sets a flow aside until a worker that may take it comes idle.
func (q *queue) park(f *flow) {
	q.ready.remove(f.at)
	f.parked, f.at = true, len(q.parked)
	q.parked = append(q.parked, f)
}

// unpark takes a flow off the parked ones. Its place among the ready ones is the caller's business.
func (q *queue) unpark(f *flow) {
	last := len(q.parked) - 1
	q.parked[f.at] = q.parked[last]
	q.parked[f.at].at = f.at
	q.parked[last] = nil
	q.parked = q.parked[:last]
	f.parked = false
}

// wake makes the parked flows ready that the test picks.
func (q *queue) wake(test func(*flow) bool) {
	for i := 0; i < len(q.parked); {
		f := q.parked[i]
		if !test(f) {
			i++
			continue
		}
		q.unpark(f)
		f.turn = f.tenant.turn
		q.ready.push(f)
	}
}

// next is the flow whose turn it is, nil if none is ready or no worker of the class is idle.
func (q *queue) next() *flow {
	if q.idle == 0 || len(q.ready) == 0 {
		return nil
	}
	for {
		f := q.ready[0]
		if f.turn == f.tenant.turn {
			return f
		}
		f.turn = f.tenant.turn
		q.ready.fix(0)
	}
}
