package dispatch_test

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/actors/dispatch"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// model is the matcher's rules written down plainly: every question walks over everything.
type model struct {
	workers map[string]*modelWorker
	jobs    map[string]*modelJob
}

type modelWorker struct {
	dispatch.Worker
	connected bool
	inflight  int
}

type modelJob struct {
	seek     actors.Seek
	waiting  map[uint32]bool
	held     map[uint32]*modelHold
	past     map[uint32]actors.Holder
	used     []actors.Holder
	excluded map[string]bool
	decided  bool
	returned bool // a replica
}

type modelHold struct {
	actors.Holder
	by *modelWorker // of one session
}

func newModel() *model {
	return &model{workers: map[string]*modelWorker{}, jobs: map[string]*modelJob{}}
}

func (m *model) job(id string) *modelJob {
	if m.jobs[id] == nil {
		m.jobs[id] = &modelJob{
			waiting: map[uint32]bool{}, held: map[uint32]*modelHold{}, past: map[uint32]actors.Holder{}, excluded: map[string]bool{},
		}
	}
	return m.jobs[id]
}

func (m *model) seek(s actors.Seek) {
	j := m.job(s.Job)
	if j.seek.Job == "" || j.decided {
		j.seek = s
	}
	j.decided = false
	j.used = append(append(j.used, s.Used...), s.Barred...)
	j.returned = j.returned || len(s.Used) > 0
	for _, key := range s.Excluded {
		j.excluded[string(key)] = true
	}
	for _, slot := range s.Slots {
		if j.held[slot] == nil {
			j.waiting[slot] = true
			delete(j.past, slot)
		}
	}
}

func (m *model) give(id string, h actors.Holder) {
	j := m.job(id)
	if old := j.held[h.Slot]; old != nil {
		if bytes.Equal(old.Worker, h.Worker) {
			return
		}
		old.by.inflight--
	}
	w := m.workers[string(h.Worker)]
	if w == nil {
		w = &modelWorker{}
		m.workers[string(h.Worker)] = w
	}
	w.inflight++
	delete(j.waiting, h.Slot)
	delete(j.past, h.Slot)
	j.held[h.Slot] = &modelHold{h, w}
}

func (m *model) release(id string, h actors.Holder, returned bool) {
	j := m.jobs[id]
	if j == nil || j.held[h.Slot] == nil || !bytes.Equal(j.held[h.Slot].Worker, h.Worker) {
		return
	}
	j.held[h.Slot].by.inflight--
	j.past[h.Slot] = j.held[h.Slot].Holder
	j.returned = j.returned || returned && !j.decided
	delete(j.held, h.Slot)
	if j.decided && len(j.held) == 0 {
		delete(m.jobs, id)
	}
}

func (m *model) forget(id string) {
	j := m.jobs[id]
	if j == nil {
		return
	}
	clear(j.waiting)
	clear(j.excluded)
	j.used, j.decided, j.returned = nil, true, false
	if len(j.held) == 0 {
		delete(m.jobs, id)
	}
}

func (w *modelWorker) willing(spec *eventv1.JobSpec) bool { return w.Credits > 0 && w.fit(spec) }

func (w *modelWorker) fit(spec *eventv1.JobSpec) bool {
	return w.connected && !w.Draining && w.Tier >= max(spec.MinTier, 1) &&
		w.MemoryBytes >= spec.MinMemoryBytes && w.ChunkBytes >= spec.Input.Size
}

func (j *modelJob) barred(w *modelWorker) bool {
	same := func(h actors.Holder) bool {
		return bytes.Equal(h.Worker, w.Key) || h.Group != "" && h.Group == w.Group
	}
	for _, h := range j.held {
		if same(h.Holder) {
			return true
		}
	}
	for _, h := range j.past {
		if same(h) {
			return true
		}
	}
	return slices.ContainsFunc(j.used, same)
}

// may reports whether a worker may have a slot of the job now.
func (m *model) may(j *modelJob, w *modelWorker) bool {
	if !w.willing(j.seek.Spec) || j.barred(w) || w.inflight >= int(w.Credits) {
		return false
	}
	if !j.excluded[string(w.Key)] {
		return true
	}
	for _, o := range m.workers {
		if o.willing(j.seek.Spec) && !j.barred(o) && !j.excluded[string(o.Key)] {
			return false
		}
	}
	return true
}

// abandoned are the slots that nobody will ever take unless somebody comes.
func (m *model) abandoned() (slots []dispatch.Slot) {
	somebody := false
	for _, w := range m.workers {
		somebody = somebody || w.connected
	}
	for id, j := range m.jobs {
		if len(j.waiting) == 0 {
			continue
		}
		stranded := somebody && j.returned
		for _, w := range m.workers {
			stranded = stranded && (!w.fit(j.seek.Spec) || j.barred(w))
		}
		for slot := range j.waiting {
			if stranded {
				slots = append(slots, dispatch.Slot{Job: id, Number: slot})
			}
		}
	}
	return slots
}

// placeable reports whether somebody may have a slot of the job now.
func (m *model) placeable(j *modelJob) bool {
	if len(j.waiting) == 0 {
		return false
	}
	for _, w := range m.workers {
		if m.may(j, w) {
			return true
		}
	}
	return false
}

// ahead reports whether a must be served before b, whoever's turn it is.
func ahead(a, b *modelJob) bool {
	if a.seek.Spec.Priority != b.seek.Spec.Priority {
		return a.seek.Spec.Priority > b.seek.Spec.Priority
	}
	return a.seek.Spec.Tenant == b.seek.Spec.Tenant && a.seek.SinceUs < b.seek.SinceUs
}

// check holds a placement against the rules and then makes it.
func (m *model) check(t *rapid.T, p dispatch.Placement) {
	j, w := m.jobs[p.Job], m.workers[string(p.Dispatch.Worker)]
	if j == nil || w == nil || !j.waiting[p.Slot] {
		t.Fatalf("%s/%d was placed with %s, but does not wait", p.Job, p.Slot, p.Dispatch.Worker)
	}
	if !m.may(j, w) {
		t.Fatalf("%s/%d was placed with %s, who may not have it", p.Job, p.Slot, w.Key)
	}
	for id, o := range m.jobs {
		if m.placeable(o) && ahead(o, j) {
			t.Fatalf("%s was served before %s", p.Job, id)
		}
	}
	for _, c := range p.Dispatch.Candidates {
		if !m.may(j, m.workers[string(c)]) {
			t.Fatalf("%s/%d: candidate %s may not have it", p.Job, p.Slot, c)
		}
	}
	m.give(p.Job, actors.Holder{Slot: p.Slot, Worker: p.Dispatch.Worker, Group: p.Dispatch.Group})
}

// system drives the matcher, a twin of it and the model with the same calls.
type system struct {
	a, b  *dispatch.Matcher
	model *model
	since int64
}

var (
	keys   = []string{"w1", "w2", "w3", "w4"}
	groups = []string{"", "", "", "", "north", "south"}
	ids    = []string{"j1", "j2", "j3", "j4", "j5"}
	sizes  = []uint64{0, 0, 1000, 1024, 1025}
)

func (s *system) both(f func(*dispatch.Matcher)) { f(s.a); f(s.b) }

func (s *system) holder(t *rapid.T) actors.Holder {
	return actors.Holder{
		Slot:   rapid.Uint32Range(0, 2).Draw(t, "slot"),
		Worker: []byte(rapid.SampledFrom(keys).Draw(t, "worker")),
		Group:  rapid.SampledFrom(groups).Draw(t, "group"),
	}
}

func (s *system) actions() map[string]func(*rapid.T) {
	return map[string]func(*rapid.T){
		"seek":         s.seek,
		"seek more":    s.seek,
		"seek again":   s.seek,
		"ready":        s.ready,
		"release":      s.release,
		"release more": s.release,
		"hold": func(t *rapid.T) {
			id, h := rapid.SampledFrom(ids).Draw(t, "job"), s.holder(t)
			s.both(func(m *dispatch.Matcher) { m.Hold(actors.Hold{Job: id, Holder: h}) })
			s.model.give(id, h)
		},
		"forget": func(t *rapid.T) {
			id := rapid.SampledFrom(ids).Draw(t, "job")
			s.both(func(m *dispatch.Matcher) { m.Forget(id) })
			s.model.forget(id)
		},
		"credits": func(t *rapid.T) {
			key, n := rapid.SampledFrom(keys).Draw(t, "worker"), rapid.Uint32Range(0, 4).Draw(t, "credits")
			s.both(func(m *dispatch.Matcher) { m.Credits([]byte(key), n) })
			if w := s.model.workers[key]; w != nil && w.connected {
				w.Credits = min(n, 3)
			}
		},
		"drain": func(t *rapid.T) {
			key, on := rapid.SampledFrom(keys).Draw(t, "worker"), rapid.Bool().Draw(t, "on")
			s.both(func(m *dispatch.Matcher) { m.Drain([]byte(key), on) })
			if w := s.model.workers[key]; w != nil && w.connected {
				w.Draining = on
			}
		},
		"gone": func(t *rapid.T) {
			key := rapid.SampledFrom(keys).Draw(t, "worker")
			s.both(func(m *dispatch.Matcher) { m.Gone([]byte(key)) })
			if w := s.model.workers[key]; w != nil && w.connected {
				delete(s.model.workers, key)
			}
		},
		"abandon":   func(t *rapid.T) { s.abandon(t) },
		"match few": func(t *rapid.T) { s.match(t, rapid.IntRange(1, 3).Draw(t, "limit")) },
		"match all": func(t *rapid.T) { s.match(t, 1000) },
	}
}

func (s *system) seek(t *rapid.T) {
	s.since++
	sk := actors.Seek{
		Job:     rapid.SampledFrom(ids).Draw(t, "job"),
		Slots:   rapid.SliceOfNDistinct(rapid.Uint32Range(0, 2), 1, 3, rapid.ID).Draw(t, "slots"),
		SinceUs: (s.since * 7) % 101, // distinct, in no order
		Spec: &eventv1.JobSpec{
			Priority: rapid.Int32Range(0, 1).Draw(t, "priority"), Tenant: rapid.SampledFrom([]string{"ada", "bob"}).Draw(t, "tenant"),
			MinTier: rapid.Uint32Range(0, 2).Draw(t, "tier"), MinMemoryBytes: rapid.SampledFrom(sizes).Draw(t, "memory"),
			Input: &eventv1.BlobRef{Size: rapid.SampledFrom(sizes).Draw(t, "input")},
		},
		Policy: &eventv1.JobPolicy{},
	}
	switch rapid.IntRange(0, 5).Draw(t, "more") {
	case 0, 1:
		sk.Used = []actors.Holder{s.holder(t)}
	case 2:
		sk.Barred = []actors.Holder{s.holder(t)}
	}
	for range rapid.IntRange(0, 2).Draw(t, "exclude") {
		sk.Excluded = append(sk.Excluded, s.holder(t).Worker)
	}
	s.both(func(m *dispatch.Matcher) { m.Seek(sk) })
	s.model.seek(sk)
}

func (s *system) ready(t *rapid.T) {
	w := dispatch.Worker{
		Key: []byte(rapid.SampledFrom(keys).Draw(t, "worker")), Group: rapid.SampledFrom(groups).Draw(t, "group"),
		Tier: rapid.Uint32Range(1, 2).Draw(t, "tier"), MemoryBytes: rapid.SampledFrom([]uint64{0, 1024, 1 << 20}).Draw(t, "memory"),
		ChunkBytes: rapid.SampledFrom([]uint64{1024, 1 << 20}).Draw(t, "chunk"), FuelPerMs: 1,
		Credits: rapid.Uint32Range(0, 4).Draw(t, "credits"), Draining: rapid.IntRange(0, 9).Draw(t, "drain") == 0,
	}
	s.both(func(m *dispatch.Matcher) { m.Ready(w) })
	mw := s.model.workers[string(w.Key)]
	if mw == nil {
		mw = &modelWorker{}
		s.model.workers[string(w.Key)] = mw
	}
	mw.Worker, mw.connected = w, true
	mw.Credits = min(w.Credits, 3)
}

func (s *system) release(t *rapid.T) {
	var held []actors.Release
	for _, id := range ids {
		if j := s.model.jobs[id]; j != nil {
			for slot := range uint32(3) {
				if h := j.held[slot]; h != nil {
					held = append(held, actors.Release{Job: id, Holder: h.Holder})
				}
			}
		}
	}
	r := actors.Release{Job: rapid.SampledFrom(ids).Draw(t, "job"), Holder: s.holder(t), Returned: rapid.Bool().Draw(t, "returned")}
	if len(held) > 0 && rapid.IntRange(0, 4).Draw(t, "known") > 0 {
		h := rapid.SampledFrom(held).Draw(t, "held")
		r.Job, r.Holder = h.Job, h.Holder
	}
	s.both(func(m *dispatch.Matcher) { m.Release(r) })
	s.model.release(r.Job, r.Holder, r.Returned)
}

// abandon gives up some of what nobody may take, patience being over at once.
func (s *system) abandon(t *rapid.T) {
	got, twin, want := s.a.Abandoned(0, 0), s.b.Abandoned(0, 0), s.model.abandoned()
	if !slices.Equal(got, twin) {
		t.Fatalf("abandoned %v, the twin %v", got, twin)
	}
	for _, slot := range got {
		if !slices.Contains(want, slot) {
			t.Fatalf("%v is abandoned, but somebody may have it: %v", slot, s.a.Explain(slot.Job))
		}
	}
	if len(got) != len(want) {
		t.Fatalf("abandoned %v, want %v", got, want)
	}
	for _, slot := range got[:rapid.IntRange(0, len(got)).Draw(t, "given up")] {
		s.both(func(m *dispatch.Matcher) { m.Abandon(slot) })
		delete(s.model.jobs[slot.Job].waiting, slot.Number)
	}
}

func (s *system) match(t *rapid.T, limit int) {
	head := rapid.Uint64Range(0, 9).Draw(t, "head")
	placed, twin := s.a.Match(head, 0, limit), s.b.Match(head, 0, limit)
	if len(placed) != len(twin) || len(placed) > limit {
		t.Fatalf("%d placements, the twin made %d, limit %d", len(placed), len(twin), limit)
	}
	for i, p := range placed {
		if p.Job != twin[i].Job || p.Slot != twin[i].Slot || !proto.Equal(p.Dispatch, twin[i].Dispatch) {
			t.Fatalf("%v differs from the twin's %v", p, twin[i])
		}
		s.model.check(t, p)
	}
	if len(placed) == limit {
		return
	}
	for id, j := range s.model.jobs {
		if s.model.placeable(j) {
			t.Fatalf("%s waits, but somebody may have it: %v", id, s.a.Explain(id))
		}
	}
}

// agree holds the counters against the model.
func (s *system) agree(t *rapid.T) {
	var want dispatch.Stats
	for _, j := range s.model.jobs {
		want.WaitingSlots += len(j.waiting)
		if len(j.waiting) > 0 {
			want.WaitingJobs++
		}
	}
	for _, w := range s.model.workers {
		want.InFlight += w.inflight
		if !w.connected {
			continue
		}
		want.Workers++
		if w.Draining {
			want.Draining++
		} else if free := int(w.Credits) - w.inflight; free > 0 {
			want.Idle++
			want.FreeCredits += free
		}
	}
	want.Jobs = len(s.model.jobs)
	got := s.a.Stats()
	got.Placed, got.Tiers = 0, nil
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("stats %+v, want %+v", got, want)
	}
}

func TestMatcherKeepsTheRules(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cfg := dispatch.Config{MaxCredits: 3}
		s := &system{a: dispatch.New(cfg), b: dispatch.New(cfg), model: newModel()}
		for range rapid.IntRange(0, 4).Draw(t, "workers") {
			s.ready(t)
		}
		actions := s.actions()
		actions[""] = s.agree
		t.Repeat(actions)
		s.match(t, 1000)
		for _, id := range ids {
			s.both(func(m *dispatch.Matcher) { m.Forget(id) })
			s.model.forget(id)
		}
		for id, j := range s.model.jobs {
			for _, h := range j.held {
				s.both(func(m *dispatch.Matcher) { m.Release(actors.Release{Job: id, Holder: h.Holder}) })
			}
		}
		if st := s.a.Stats(); st.Jobs != 0 || st.WaitingSlots != 0 || st.WaitingJobs != 0 {
			t.Fatalf("left over after everything was forgotten: %+v", st)
		}
	})
}

// TestNoTenantStarves: tenants that always have a job waiting are served equally, give or take one job's slots.
func TestNoTenantStarves(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := dispatch.New(dispatch.Config{})
		tenants := rapid.IntRange(2, 5).Draw(t, "tenants")
		served := make([]int, tenants)
		waiting := make([]int, tenants)
		for i := range 3 {
			w := worker(fmt.Sprintf("w%d", i))
			w.Credits = 1
			m.Ready(w)
		}
		next := 0
		for range 200 {
			for tenant := range tenants {
				for waiting[tenant] < rapid.IntRange(4, 6).Draw(t, "backlog") {
					s := seek(fmt.Sprintf("%d-%d", tenant, next), 0)
					s.Spec.Tenant, s.SinceUs = fmt.Sprint(tenant), int64(next)
					next++
					waiting[tenant]++
					m.Seek(s)
				}
			}
			for _, p := range m.Match(0, 0, rapid.IntRange(1, 3).Draw(t, "limit")) {
				var tenant int
				fmt.Sscanf(p.Job, "%d-", &tenant)
				served[tenant]++
				waiting[tenant]--
				m.Release(actors.Release{Job: p.Job, Holder: actors.Holder{Worker: p.Dispatch.Worker}})
				m.Forget(p.Job)
			}
			if spread := slices.Max(served) - slices.Min(served); spread > 1+3 {
				t.Fatalf("served %v", served)
			}
		}
	})
}
