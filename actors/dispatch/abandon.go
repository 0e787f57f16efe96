package dispatch

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/shardy-network/orchestrator/actors"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// Slot names a slot of a job.
type Slot struct {
	Job    string
	Number uint32
}

// Abandoned lists, those first that wait longest, the slots to be given up: of jobs with at least one returned replica,
// waiting although for the length of patience no connected worker that does not drain would have been eligible, had all
// of them free credits. Call it every few seconds: a job's patience begins with the first call that finds nobody, and
// anew after one that finds somebody. While no worker at all is connected nobody is out of patience: that is an outage,
// which ends, and not a shortage.
//
// It places and removes nothing; Abandon does. It costs little: jobs that bar the same workers are looked at together,
// and one eligible worker ends the search.
func (m *Matcher) Abandoned(nowUs int64, patience time.Duration) []Slot {
	m.nowUs = max(m.nowUs, nowUs)
	m.sweep++
	m.waits = patience.Microseconds()
	if m.counts.connected == 0 {
		return nil
	}
	var due []*job
	paused := m.paused()
	for _, q := range m.queues {
		for _, f := range q.flows {
			due = m.strandedIn(due, q, f, paused)
		}
	}
	slices.SortFunc(due, func(a, b *job) int {
		return cmp.Or(cmp.Compare(a.strandedUs, b.strandedUs), cmp.Compare(a.seq, b.seq))
	})
	var slots []Slot
	for _, j := range due {
		for i := range j.slots {
			if j.slots[i].state == slotWaiting {
				slots = append(slots, Slot{j.id, j.slots[i].number})
			}
		}
	}
	return slots
}

// strandedIn marks the jobs of a flow that nobody may take, and appends those that are out of patience.
func (m *Matcher) strandedIn(due []*job, q *queue, f *flow, paused []*worker) []*job {
	if !slices.ContainsFunc(f.jobs, func(j *job) bool { return j.returned }) || m.eligible(q, &f.bars, paused) {
		return due
	}
	for _, j := range f.jobs {
		if !j.returned {
			continue
		}
		if j.stranded == 0 || j.stranded != m.sweep-1 {
			j.strandedUs = m.nowUs
		}
		j.stranded = m.sweep
		if m.nowUs-j.strandedUs >= m.waits {
			due = append(due, j)
		}
	}
	return due
}

// eligible reports whether a connected worker, busy or paused, would get a slot sooner or later.
func (m *Matcher) eligible(q *queue, b *bars, paused []*worker) bool {
	return someone(q.pools, b, false) || slices.ContainsFunc(paused, func(w *worker) bool {
		return w.cap.meets(q.need) && !b.bar(w, false)
	})
}

// paused are the connected workers without credits that do not drain: no pool has them.
func (m *Matcher) paused() []*worker {
	var paused []*worker
	for _, w := range m.workers {
		if w.connected && !w.draining && w.credits == 0 {
			paused = append(paused, w)
		}
	}
	return paused
}

// Abandon takes a slot that waits out of the queue. The job is still remembered.
func (m *Matcher) Abandon(s Slot) {
	j := m.jobs[s.Job]
	if j == nil {
		return
	}
	i, ok := slices.BinarySearchFunc(j.slots, s.Number, func(sl slot, n uint32) int { return cmp.Compare(sl.number, n) })
	if !ok || j.slots[i].state != slotWaiting {
		return
	}
	m.leave(j)
	j.slots[i].state = slotIdle
	j.waiting--
	m.counts.waiting--
	m.enter(j)
}

// Anyone reports whether some willing worker, busy or not, may take a job of this kind from which these are barred.
func (m *Matcher) Anyone(spec *eventv1.JobSpec, barred []actors.Holder) bool {
	j := &job{spec: spec}
	for _, h := range barred {
		j.used = append(j.used, party{string(h.Worker), h.Group})
	}
	n, b := needOf(j), j.bars()
	for _, p := range m.pools {
		if p.cap.meets(n) && someone([]*pool{p}, &b, false) {
			return true
		}
	}
	return false
}

// deadline says when a job's waiting slots will be given up; nothing when they will not.
func (m *Matcher) deadline(j *job) string {
	if j.stranded == 0 || j.stranded != m.sweep {
		return ""
	}
	what := "the referee is asked"
	if j.policy.GetReferee() == eventv1.RefereeMode_REFEREE_MODE_NEVER {
		what = "the job is given up"
	}
	left := max(j.strandedUs+m.waits-m.nowUs, 0)
	return fmt.Sprintf("nobody who is connected may have it: %s in %d s", what, (left+999_999)/1_000_000)
}
