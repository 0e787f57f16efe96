// Package dispatch matches waiting slots with idle workers. It promises that no job gives two slots to one worker or to
// one identity group, that no worker holds more than it has credits for, and that a slot which some idle worker may take
// does not wait; the same calls in the same order give the same placements, and each placement carries what an auditor
// needs to draw it again.
//
// Its limits: it belongs to one goroutine and remembers nothing across restarts (Seek and Hold rebuild it). A worker's
// memory and chunk size count as rounded down to a power of two, so that jobs can queue by class of requirement;
// priorities beyond MinPriority..MaxPriority count as these. Every Placement must end in a Release, also when the slot
// refuses it.
//
// # Order
//
// Higher priorities first; within a priority the tenants take turns, one slot each (start-time fair queueing: Goyal, Vin
// and Cheng, 1996); within a tenant the older job first. All waiting slots of a job are placed together when there are
// workers for them. Jobs that nobody can take now (their class has no idle worker, or the idle ones had a slot of the
// job already) are stepped over. A job that has results, and waits for somebody who is not there, is pointed out by
// Abandoned when patience is over; one without results waits for ever.
//
// # Who may take a slot
//
// A connected worker that is not draining, has free credits, and has the job's tier, memory and chunk size. Barred for
// good are the workers and identity groups that hold a slot of the job, returned one (Seek.Used) or must not get one
// (Seek.Barred). A worker that lost
// a slot of the job (Seek.Excluded) is barred as long as another worker, busy or not, could take it, and is taken again
// when there is none: two workers finish their jobs after one of them dropped its socket.
package dispatch

import (
	"cmp"
	"slices"

	"github.com/shardy-network/orchestrator/actors"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// Priorities beyond these bounds count as the bounds.
const (
	MinPriority = -100
	MaxPriority = 100
)

// Config holds the matcher's limits. Zero fields take the defaults.
type Config struct {
	MaxCredits         uint32 // a worker's credits are capped to this; default 256
	Candidates         int    // length of the short list, 1..4; default 4
	TransferBytesPerMs uint64 // slowest link that deadlines allow for; default 250 (2 Mbit/s)
}

const (
	defaultMaxCredits = 256
	maxCandidates     = 4
	defaultTransfer   = 250
	maxExcluded       = 64 // workers remembered per job as having lost a slot: the latest
)

func (c Config) resolved() Config {
	if c.MaxCredits == 0 {
		c.MaxCredits = defaultMaxCredits
	}
	if c.Candidates <= 0 || c.Candidates > maxCandidates {
		c.Candidates = maxCandidates
	}
	if c.TransferBytesPerMs == 0 {
		c.TransferBytesPerMs = defaultTransfer
	}
	return c
}

// Matcher pairs slots and workers. It is not safe for concurrent use.
type Matcher struct {
	cfg     Config
	jobs    map[string]*job
	workers map[string]*worker // by key: connected, or holding a slot since before a restart
	pools   map[capacity]*pool
	queues  map[need]*queue
	levels  []*level // by priority, highest first; never removed (at most MaxPriority-MinPriority+1)
	arrived uint64   // jobs so far: the last tie-breaker of their order
	nowUs   int64    // latest time seen
	sweep   uint64   // calls of Abandoned so far
	waits   int64    // patience of the last one, in microseconds
	counts  counts
}

type counts struct {
	connected, draining, waiting, inflight int
	placed                                 uint64
}

// New returns an empty matcher.
func New(cfg Config) *Matcher {
	return &Matcher{
		cfg:     cfg.resolved(),
		jobs:    make(map[string]*job),
		workers: make(map[string]*worker),
		pools:   make(map[capacity]*pool),
		queues:  make(map[need]*queue),
	}
}

// job is what the matcher remembers of a job, from its first Seek or Hold until Forget.
type job struct {
	id       string
	spec     *eventv1.JobSpec
	policy   *eventv1.JobPolicy
	slots    []slot   // by number
	used     []party  // returned one, or must not get one
	excluded []string // keys, latest last
	waiting  int      // slots that wait
	held     int      // slots in a worker's hands
	since    int64
	seq      uint64
	known    bool // a Seek told the spec
	decided  bool // forgotten while workers still had slots: goes with the last Release
	returned bool // at least one replica was returned in this round

	strandedUs int64  // since when nobody may have what waits; valid when stranded is the last sweep
	stranded   uint64 // the last sweep that found nobody; 0: none did

	flow *flow // where it waits; nil when waiting is 0
	at   int   // index in flow.jobs
}

type slotState uint8

const (
	slotIdle    slotState = iota // nothing asked
	slotWaiting                  // asked for, in a flow
	slotHeld                     // in a worker's hands
	slotPast                     // given back: returned, or lost and not asked for again
)

type slot struct {
	number uint32
	state  slotState
	placed uint32 // placements so far: goes into the seed
	party  party  // held and past
	worker *worker
	runMs  uint64 // held: predicted run time
	fromUs int64  // held: placed at; 0 when before a restart
}

// party is a worker with its identity group.
type party struct{ key, group string }

// slot finds or makes the slot of that number.
func (j *job) slot(number uint32) *slot {
	i, ok := slices.BinarySearchFunc(j.slots, number, func(s slot, n uint32) int { return cmp.Compare(s.number, n) })
	if !ok {
		j.slots = slices.Insert(j.slots, i, slot{number: number})
	}
	return &j.slots[i]
}

func (m *Matcher) job(id string) *job {
	j := m.jobs[id]
	if j == nil {
		m.arrived++
		j = &job{id: id, seq: m.arrived}
		m.jobs[id] = j
	}
	return j
}

// Seek asks for workers for a job's slots. Slots that wait already or are in a worker's hands are left as they are.
func (m *Matcher) Seek(s actors.Seek) {
	j := m.job(s.Job)
	m.leave(j)
	j.decided = false
	if !j.known {
		j.known, j.spec, j.policy, j.since = true, s.Spec, s.Policy, s.SinceUs
	}
	j.returned = j.returned || len(s.Used) > 0
	for _, list := range [...][]actors.Holder{s.Used, s.Barred} {
		for _, h := range list {
			if p := (party{string(h.Worker), h.Group}); !slices.Contains(j.used, p) {
				j.used = append(j.used, p)
			}
		}
	}
	for _, key := range s.Excluded {
		j.exclude(string(key))
	}
	j.slots = slices.Grow(j.slots, len(s.Slots))
	for _, number := range s.Slots {
		sl := j.slot(number)
		if sl.state == slotWaiting || sl.state == slotHeld {
			continue
		}
		// A slot that was given back and is asked for again was lost, not returned: its last holder is barred no longer,
		// unless the request excludes it.
		sl.state, sl.party = slotWaiting, party{}
		j.waiting++
		m.counts.waiting++
	}
	m.enter(j)
}

func (j *job) exclude(key string) {
	if i := slices.Index(j.excluded, key); i >= 0 {
		j.excluded = slices.Delete(j.excluded, i, i+1)
	}
	j.excluded = append(j.excluded, key)
	if len(j.excluded) > maxExcluded {
		j.excluded = slices.Delete(j.excluded, 0, len(j.excluded)-maxExcluded)
	}
}

// Hold says that a slot is in a worker's hands, connected or not.
func (m *Matcher) Hold(h actors.Hold) {
	j := m.job(h.Job)
	m.leave(j)
	sl := j.slot(h.Holder.Slot)
	key := string(h.Holder.Worker)
	switch sl.state {
	case slotHeld:
		if sl.party.key == key {
			m.enter(j)
			return
		}
		m.free(j, sl)
	case slotWaiting:
		j.waiting--
		m.counts.waiting--
	}
	w := m.workers[key]
	if w == nil {
		w = &worker{key: key}
		m.workers[key] = w
	}
	m.give(j, sl, w, h.Holder.Group, 0)
	m.enter(j)
}

// give puts a slot into a worker's hands.
func (m *Matcher) give(j *job, sl *slot, w *worker, group string, atUs int64) {
	sl.state, sl.party, sl.worker, sl.fromUs = slotHeld, party{w.key, group}, w, atUs
	sl.runMs = queuedMs(j.spec.GetFuelLimit(), w.fuelPerMs)
	j.held++
	m.counts.inflight++
	w.inflight++
	w.queuedMs += sl.runMs
	m.refresh(w)
}

// free takes a held slot out of its worker's hands.
func (m *Matcher) free(j *job, sl *slot) {
	w := sl.worker
	sl.state, sl.worker = slotPast, nil
	j.held--
	if w == nil || w.gone {
		return
	}
	m.counts.inflight--
	w.inflight--
	w.queuedMs -= sl.runMs
	if !w.connected && w.inflight == 0 {
		delete(m.workers, w.key)
		return
	}
	m.refresh(w)
}

// Release says that a worker has given a slot back, with a result or without. Unknown ones are ignored.
func (m *Matcher) Release(r actors.Release) {
	j := m.jobs[r.Job]
	if j == nil {
		return
	}
	i, ok := slices.BinarySearchFunc(j.slots, r.Holder.Slot, func(s slot, n uint32) int { return cmp.Compare(s.number, n) })
	if !ok || j.slots[i].state != slotHeld || j.slots[i].party.key != string(r.Holder.Worker) {
		return
	}
	j.returned = j.returned || r.Returned && !j.decided
	m.free(j, &j.slots[i]) // the job's bars stay as they are: held became past
	if j.decided && j.held == 0 {
		delete(m.jobs, j.id)
	}
}

// Forget says that a job is decided: nothing of it waits any more. Credits of workers that still have a slot come back
// with their Release.
func (m *Matcher) Forget(id string) {
	j := m.jobs[id]
	if j == nil {
		return
	}
	m.leave(j)
	m.counts.waiting -= j.waiting
	j.waiting = 0
	for i := range j.slots {
		if j.slots[i].state == slotWaiting {
			j.slots[i].state = slotIdle
		}
	}
	j.used, j.excluded, j.known, j.decided, j.returned, j.stranded = nil, nil, false, true, false, 0
	if j.held == 0 {
		delete(m.jobs, id)
	}
}
