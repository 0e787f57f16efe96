package host

import (
	"bytes"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/actors/job"
	"github.com/shardy-network/orchestrator/actors/policy"
	"github.com/shardy-network/orchestrator/actors/rooms"
	"github.com/shardy-network/orchestrator/actors/worker"
	"github.com/shardy-network/orchestrator/events"
	"github.com/shardy-network/orchestrator/events/memlog"
	"github.com/shardy-network/orchestrator/projections/audit"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// ringing makes a host whose verified jobs are issued again, as many per million.
func ringing(perMillion uint32) func(*Config) {
	p := policy.Default()
	p.RingerPerMillion = perMillion
	return func(c *Config) {
		c.Rooms, c.RingerKey = rooms.Of, []byte("secret")
		c.Policy = func() *eventv1.Policy { return p }
	}
}

// ringerJobs are the submissions of lite_test jobs in the log, by id.
func ringerJobs(t *testing.T, log events.Log) map[string]*eventv1.JobSubmitted {
	t.Helper()
	found := map[string]*eventv1.JobSubmitted{}
	for r, err := range log.ReadAll(t.Context(), 0, events.Filter{Types: []string{"JobSubmitted"}}) {
		if err != nil {
			t.Fatal(err)
		}
		fact, err := events.Decode(r)
		if err != nil {
			t.Fatal(err)
		}
		if f := fact.(*eventv1.JobSubmitted); f.Spec.Kind == eventv1.JobKind_JOB_KIND_LITE_TEST {
			found[r.Stream[len("job-"):]] = f
		}
	}
	return found
}

// loner lies whenever nobody else was given the same job within a second.
type loner struct {
	*field
	key string

	mu      sync.Mutex
	holders map[string]int // by job
	answers map[string]string
}

func (l *loner) deliver(task actors.Task) {
	l.mu.Lock()
	l.holders[task.Job]++
	l.mu.Unlock()
	if string(task.Worker) != l.key {
		l.finish(task, "right")
		return
	}
	time.AfterFunc(time.Second, func() {
		l.mu.Lock()
		answer := "right"
		if l.holders[task.Job] == 1 {
			answer = "wrong"
		}
		l.answers[task.Job] = answer
		l.mu.Unlock()
		l.finish(task, answer)
	})
}

// TestRingersCatchWhoLiesAlone: every standard job comes out right, for the liar is never alone with one of them, and
// yet it is found out, and nobody else. The log of all this replays without a divergence.
func TestRingersCatchWhoLiesAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const jobs, workers = 40, 4
		f := newField(t, memlog.New(), ringing(policy.PerMillion))
		liar := &loner{field: f, key: string(key(3)), holders: map[string]int{}, answers: map[string]string{}}
		f.onDeliver = liar.deliver
		f.host.Start(t.Context(), Open{})
		for i := range workers {
			_, err := f.host.Do(t.Context(), actors.WorkerAddress(key(i)), &eventv1.Command{Kind: &eventv1.Command_ConnectWorker{
				ConnectWorker: &eventv1.ConnectWorker{Key: key(i), Session: make([]byte, worker.SessionSize)},
			}})
			if err != nil {
				t.Fatal(err)
			}
		}
		f.workers(workers)
		for i := range jobs {
			f.submit(i)
		}
		for range 2 * jobs { // each job and its ringer
			select {
			case <-f.decided:
			case <-time.After(time.Hour):
				t.Fatal("a job or its ringer is stuck")
			}
		}
		time.Sleep(10 * time.Second) // the workers' records are written
		f.close()

		found := ringerJobs(t, f.log)
		if len(found) != jobs {
			t.Fatalf("%d ringers for %d jobs", len(found), jobs)
		}
		failed, slots := uint64(0), map[uint32]int{}
		for id, submitted := range found {
			slots[submitted.FirstSlot]++
			s := f.state(id)
			if checkRinger(t, id, &s, liar.key) {
				failed++
				if liar.answers[id] != "wrong" {
					t.Errorf("ringer %s failed, but nobody lied", id)
				}
			}
		}
		if failed == 0 || slots[0] == 0 || slots[1] == 0 || len(slots) != 2 {
			t.Errorf("%d ringers failed; first slots %v: the test tests nothing", failed, slots)
		}
		for i := range workers {
			state, _, err := f.host.Inspect(t.Context(), actors.WorkerAddress(key(i)))
			if err != nil {
				t.Fatal(err)
			}
			want := uint64(0)
			if string(key(i)) == liar.key {
				want = failed
			}
			if got := state.(worker.State).Record; got.RingersFailed != want || got.Contradicted != want {
				t.Errorf("worker %d: record %v, want %d ringers failed", i, got, want)
			}
		}
		if n := len(types(t, f.log, events.Filter{Types: []string{"TaskVerified"}})); uint64(n) != 2*jobs-failed {
			t.Errorf("%d verdicts, want %d", n, 2*jobs-failed)
		}
		report, err := audit.Replay(t.Context(), f.log, audit.Options{})
		if err != nil || report.Divergences != 0 || report.Undecidable != 0 || report.Commands == 0 {
			t.Errorf("replay: %+v, %v", report, err)
		}
		time.Sleep(3 * time.Second)
	})
}

// checkRinger holds a decided ringer to its promises and reports whether it failed.
func checkRinger(t *testing.T, id string, s *job.State, liar string) (failed bool) {
	t.Helper()
	spec := s.Spec
	if spec.Tenant != "" || spec.Pipeline != "" || spec.RequestId != "" || len(spec.Labels) != 0 || len(spec.Barred) != 2 ||
		events.CheckEntityID(id) != nil || len(s.Slots) != 1 {
		t.Errorf("ringer %s gives itself away: %v", id, spec)
	}
	by := s.Slots[0].Result.Worker
	if slices.ContainsFunc(spec.Barred, func(p *eventv1.Party) bool { return bytes.Equal(p.Worker, by) }) {
		t.Errorf("ringer %s went to a worker who computed the original", id)
	}
	switch s.Phase {
	case job.Verified:
		if s.Verdict.Basis != eventv1.VerdictBasis_VERDICT_BASIS_KNOWN_ANSWER {
			t.Errorf("ringer %s: %v", id, s.Verdict)
		}
	case job.DeadLettered:
		if s.DeadLetter.Reason != eventv1.DeadLetterReason_DEAD_LETTER_REASON_RINGER_FAILED || string(by) != liar {
			t.Errorf("ringer %s was failed by %x: %v", id, by[:1], s.DeadLetter)
		}
		return true
	default:
		t.Errorf("ringer %s is %v", id, s.Phase)
	}
	return false
}

// TestRingerIsIssuedOnce: the same verdict seen again, by this process or the next, makes the same ringer.
func TestRingerIsIssuedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newField(t, memlog.New(), ringing(policy.PerMillion))
		f.answers()
		f.host.Start(t.Context(), Open{})
		f.workers(4)
		derived := f.submit(1)
		sorted := events.NewEntityID(time.Now(), [10]byte{1, 2, 3})
		_, cmd := submission(2)
		if _, err := f.host.Do(t.Context(), actors.JobAddress(sorted), cmd); err != nil {
			t.Fatal(err)
		}
		for range 4 {
			<-f.decided
		}
		for _, id := range []string{derived, sorted} {
			for range 3 {
				if err := f.host.ringers.issue(t.Context(), id); err != nil {
					t.Fatal(err)
				}
			}
			s := f.state(id)
			if again := newRingers(f.host, []byte("secret")).id(&s); ringerJobs(t, f.log)[again] == nil {
				t.Errorf("ringer of %s is not %s", id, again)
			} else if sortsByTime(again) != sortsByTime(id) {
				t.Errorf("ringer %s looks different from %s", again, id)
			}
		}
		if n := len(ringerJobs(t, f.log)); n != 2 {
			t.Errorf("%d ringers for 2 jobs", n)
		}
		if n := len(f.host.ringers.open); n != 0 {
			t.Errorf("%d ringers are thought to be open", n)
		}
		if sortsByTime(derived) || !sortsByTime(sorted) || sortsByTime("no id") {
			t.Error("sortsByTime does not know ids")
		}
		f.end()
	})
}

// TestNoRingers: nobody to be tested, none wanted, no key, nothing to compare with.
func TestNoRingers(t *testing.T) {
	for name, c := range map[string]struct {
		edit    func(*Config)
		workers int
		kind    eventv1.JobKind
		skipped int64
	}{
		"nobody else":   {ringing(policy.PerMillion), 2, eventv1.JobKind_JOB_KIND_STANDARD, 1},
		"none wanted":   {ringing(0), 4, eventv1.JobKind_JOB_KIND_STANDARD, 0},
		"no key":        {func(c *Config) { ringing(policy.PerMillion)(c); c.RingerKey = nil }, 4, eventv1.JobKind_JOB_KIND_STANDARD, 0},
		"a stress test": {ringing(policy.PerMillion), 4, eventv1.JobKind_JOB_KIND_STRESS, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newField(t, memlog.New(), c.edit)
				f.answers()
				f.host.Start(t.Context(), Open{})
				f.workers(c.workers)
				id, cmd := submission(1)
				cmd.GetSubmitJob().Spec.Kind = c.kind
				if _, err := f.host.Do(t.Context(), actors.JobAddress(id), cmd); err != nil {
					t.Fatal(err)
				}
				<-f.decided
				time.Sleep(time.Minute)
				stats, err := f.host.Stats(t.Context())
				if err != nil || stats.Ringers != 0 || stats.RingersSkipped != c.skipped || len(ringerJobs(t, f.log)) != 0 {
					t.Errorf("%d ringers, %d skipped, %v", stats.Ringers, stats.RingersSkipped, err)
				}
				f.end()
			})
		})
	}
}

// TestChoiceIsSecret: the share is as wished, and without the key nobody can tell which jobs make it.
func TestChoiceIsSecret(t *testing.T) {
	one, two := newRingers(nil, []byte("one")), newRingers(nil, []byte("two"))
	const n, share = 100_000, 10_000
	var byOne, byTwo, both int
	for i := range n {
		id := events.DeriveEntityID(fmt.Append(nil, i))
		a, b := one.chosen(id, share), two.chosen(id, share)
		if a != one.chosen(id, share) {
			t.Fatal("the choice changes")
		}
		if a && !one.chosen(id, share*2) {
			t.Fatal("a larger share leaves out a job of the smaller")
		}
		if one.chosen(id, 0) || !one.chosen(id, policy.PerMillion) {
			t.Fatal("none and all are not what they are called")
		}
		for _, c := range []struct {
			yes bool
			n   *int
		}{{a, &byOne}, {b, &byTwo}, {a && b, &both}} {
			if c.yes {
				*c.n++
			}
		}
	}
	for _, got := range []int{byOne, byTwo} {
		if got < 850 || got > 1150 {
			t.Errorf("%d of %d are chosen, want about 1000", got, n)
		}
	}
	if both > 40 {
		t.Errorf("two keys share %d of their choices, want about 10", both)
	}
}

// TestOpenRingersAreBounded: those that wait in vain make room when they are old.
func TestOpenRingersAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newField(t, memlog.New(), ringing(policy.PerMillion))
		f.host.Start(t.Context(), Open{})
		r := f.host.ringers
		first, cmd := submission(0)
		if _, err := f.host.Do(t.Context(), actors.JobAddress(first), cmd); err != nil {
			t.Fatal(err)
		}
		for i := range maxRingers {
			id, _ := submission(i)
			if !r.admit(id) {
				t.Fatalf("ringer %d is refused", i)
			}
		}
		if r.admit("one more") {
			t.Error("one too many is admitted")
		}
		time.Sleep(ringerLife)
		if !r.admit("one more") || len(r.open) != maxRingers {
			t.Errorf("the oldest makes no room: %d open", len(r.open))
		}
		<-f.decided
		if s := f.state(first); s.Phase != job.Cancelled {
			t.Errorf("the oldest ringer is %v", s.Phase)
		}
		f.end()
	})
}

// BenchmarkChoice is what every verified job pays for the few that are issued again.
func BenchmarkChoice(b *testing.B) {
	r := newRingers(nil, []byte("one"))
	id := events.DeriveEntityID([]byte("job"))
	b.ReportAllocs()
	for b.Loop() {
		r.chosen(id, 10_000)
	}
}
