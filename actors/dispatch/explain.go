package dispatch

import (
	"fmt"
	"slices"
	"strings"
)

// Stats is the matcher at a glance.
type Stats struct {
	Workers      int // connected
	Draining     int
	Idle         int // connected workers with free credits that do not drain
	FreeCredits  int // theirs
	Jobs         int // remembered
	WaitingJobs  int
	WaitingSlots int
	InFlight     int    // slots in the hands of connected workers, or of ones that may come back after a restart
	Placed       uint64 // placements so far
	Tiers        []TierStats
}

// TierStats is the willing workers (connected, not draining, with credits) of one tier.
type TierStats struct {
	Tier        uint32
	Workers     int
	Idle        int
	FreeCredits int
	MFlops      uint64 // proven milli-GFLOPS of all of them
}

// Stats counts. It looks at every worker: ask for it now and then, not per job.
func (m *Matcher) Stats() Stats {
	s := Stats{
		Workers: m.counts.connected, Draining: m.counts.draining, Jobs: len(m.jobs),
		WaitingSlots: m.counts.waiting, InFlight: m.counts.inflight, Placed: m.counts.placed,
	}
	for _, l := range m.levels {
		s.WaitingJobs += l.waiting
	}
	tiers := make(map[uint8]*TierStats)
	for _, p := range m.pools {
		t := tiers[p.cap.tier]
		if t == nil {
			t = &TierStats{Tier: uint32(p.cap.tier)}
			tiers[p.cap.tier] = t
		}
		for _, c := range p.all {
			t.Workers += len(c.members)
			t.Idle += len(c.idle)
			for _, w := range c.members {
				t.FreeCredits += int(w.free())
				t.MFlops += w.mflops
			}
		}
	}
	for _, t := range tiers {
		s.Idle += t.Idle
		s.FreeCredits += t.FreeCredits
		s.Tiers = append(s.Tiers, *t)
	}
	slices.SortFunc(s.Tiers, func(a, b TierStats) int { return int(a.Tier) - int(b.Tier) })
	return s
}

// Explain says in words what a job waits for and who has its slots. It looks at every worker.
func (m *Matcher) Explain(id string) []string {
	j := m.jobs[id]
	if j == nil || j.decided {
		return []string{"the dispatcher does not know this job: it is decided, or it was never submitted"}
	}
	var lines []string
	if j.waiting > 0 {
		lines = append(lines, fmt.Sprintf("waiting for %d of %s: %s", j.waiting, count(j.replicas(), "worker"), m.why(j)))
		if text := m.deadline(j); text != "" {
			lines = append(lines, text)
		}
		if l := m.level(needOf(j).priority); l.waiting > 1 {
			lines = append(lines, fmt.Sprintf("%s at priority %d", count(l.waiting, "job")+" waiting", l.priority))
		}
	}
	for i := range j.slots {
		sl := &j.slots[i]
		switch sl.state {
		case slotHeld:
			lines = append(lines, fmt.Sprintf("slot %d is in the hands of worker %s%s", sl.number, shortKey(sl.party.key), m.age(sl)))
		case slotPast:
			lines = append(lines, fmt.Sprintf("slot %d was given back by worker %s", sl.number, shortKey(sl.party.key)))
		}
	}
	if len(lines) == 0 {
		lines = append(lines, "nothing of the job waits: every slot was given back, the verdict is pending")
	}
	return lines
}

// replicas is how many workers the job has, had and wants.
func (j *job) replicas() int {
	n := j.waiting + j.held + len(j.used)
	for i := range j.slots {
		if sl := &j.slots[i]; sl.state == slotPast && !slices.Contains(j.used, sl.party) {
			n++
		}
	}
	return n
}

func (m *Matcher) age(sl *slot) string {
	if sl.fromUs == 0 {
		return " since before the restart"
	}
	tenths := max(m.nowUs-sl.fromUs, 0) / 100_000
	return fmt.Sprintf(" since %d.%d s", tenths/10, tenths%10)
}

// tally is what stands between a job and the connected workers.
type tally struct{ tier, memory, chunk, draining, paused, barred, lost, busy, idle int }

// why says why a job waits.
func (m *Matcher) why(j *job) string {
	n, b := needOf(j), j.bars()
	hold := true // whether those that lost a slot stay barred
	if q := m.queues[n]; q != nil {
		hold = someone(q.pools, &b, true)
	}
	var t tally
	for _, w := range m.workers {
		if w.connected {
			t.add(w, n, &b, hold)
		}
	}
	tiered := m.counts.connected - t.tier
	switch {
	case m.counts.connected == 0:
		return "no worker is connected"
	case tiered == 0:
		return fmt.Sprintf("no tier %d worker is connected", n.tier)
	}
	var parts []string
	for _, p := range [...]struct {
		n    int
		text string
	}{
		{t.memory, "too little memory"},
		{t.chunk, "too small for the input"},
		{t.draining, "draining"},
		{t.paused, "taking no work (0 credits)"},
		{t.barred, "already had a slot of this job, or share the identity of one that had"},
		{t.lost, "lost a slot of this job before"},
		{t.busy, "busy (0 credits free)"},
		{t.idle, "idle: next in turn"},
	} {
		if p.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", p.n, p.text))
		}
	}
	are := "are"
	if tiered == 1 {
		are = "is"
	}
	return fmt.Sprintf("%s %s of tier %d or better: %s", count(tiered, "connected worker"), are, n.tier, strings.Join(parts, ", "))
}

func (t *tally) add(w *worker, n need, b *bars, hold bool) {
	switch {
	case w.cap.tier < n.tier:
		t.tier++
	case w.cap.memory < n.memory:
		t.memory++
	case w.cap.chunk < n.chunk:
		t.chunk++
	case w.draining:
		t.draining++
	case w.credits == 0:
		t.paused++
	case b.bar(w, false):
		t.barred++
	case hold && b.bar(w, true):
		t.lost++
	case w.free() == 0:
		t.busy++
	default:
		t.idle++
	}
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// shortKey names a worker by the first four bytes of its key.
func shortKey(key string) string {
	return fmt.Sprintf("%x..", key[:min(len(key), 4)])
}
