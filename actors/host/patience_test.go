package host

import (
	"context"
	"crypto/sha256"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/actors/dispatch"
	"github.com/shardy-network/orchestrator/actors/job"
	"github.com/shardy-network/orchestrator/actors/policy"
	"github.com/shardy-network/orchestrator/events"
	"github.com/shardy-network/orchestrator/events/memlog"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// judge is a referee that computes rightly.
type judge struct{}

func (judge) Run(context.Context, *eventv1.JobSpec) *eventv1.RecordReferee {
	sum := sha256.Sum256([]byte("right"))
	return &eventv1.RecordReferee{
		Outcome: eventv1.RefereeOutcome_REFEREE_OUTCOME_DECIDED, Status: eventv1.ResultStatus_RESULT_STATUS_OK, Fuel: 7,
		Output: &eventv1.BlobRef{Sha256: sum[:], Size: 5},
	}
}

// submitRefereed submits a job that may go to the referee.
func (f *field) submitRefereed(n int) string {
	f.t.Helper()
	id, cmd := submission(n)
	cmd.GetSubmitJob().Policy.Referee = eventv1.RefereeMode_REFEREE_MODE_ON_NO_QUORUM
	if _, err := f.host.Do(context.Background(), actors.JobAddress(id), cmd); err != nil {
		f.t.Fatal(err)
	}
	return id
}

// answers makes honest workers of all but those with the given keys, who lie.
func (f *field) answers(liars ...string) {
	f.onDeliver = func(task actors.Task) {
		if slices.Contains(liars, string(task.Worker)) {
			f.finish(task, "wrong")
			return
		}
		f.finish(task, "right")
	}
}

func (f *field) end() {
	f.close()
	time.Sleep(3 * time.Second) // the actor system's throttle goroutine ends
}

// TestAnHonestWorkerAndALiar: two more votes are sought in vain, then the referee decides against the liar.
func TestAnHonestWorkerAndALiar(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newField(t, memlog.New(), func(c *Config) { c.Referee = judge{} })
		f.answers(string(key(1)))
		f.host.Start(t.Context(), Open{})
		f.workers(2)
		begin := time.Now()
		id := f.submitRefereed(1)
		time.Sleep(22 * time.Second)
		lines, err := f.host.Explain(t.Context(), id)
		if err != nil || !strings.Contains(strings.Join(lines, "\n"), "the referee is asked in 15 s") {
			t.Errorf("explained after 22 s: %q, %v", lines, err)
		}
		<-f.decided
		if d := time.Since(begin); d < 30*time.Second || d > 40*time.Second {
			t.Errorf("decided after %v, want the patience of 30 s and a tick", d)
		}
		s := f.state(id)
		if s.Phase != job.Verified || s.Verdict.Basis != eventv1.VerdictBasis_VERDICT_BASIS_REFEREE ||
			len(s.Verdict.Agreeing) != 1 || len(s.Verdict.Contradicted) != 1 {
			t.Errorf("job is %v: %v", s.Phase, s.Verdict)
		}
		synctest.Wait()
		stats, err := f.host.Stats(t.Context())
		if err != nil || stats.Abandoned != 2 || stats.Dispatch.WaitingSlots != 0 || stats.Dispatch.Jobs != 0 {
			t.Errorf("stats %+v, %v", stats, err)
		}
		f.end()
	})
}

// TestPatienceOfThePolicy: the standing policy says how long, and a job without referee is dead-lettered.
func TestPatienceOfThePolicy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := policy.Default()
		p.NoWorkerPatienceMs = 3600_000
		f := newField(t, memlog.New(), func(c *Config) { c.Policy = func() *eventv1.Policy { return p } })
		f.answers()
		f.host.Start(t.Context(), Open{})
		f.workers(1)
		begin := time.Now()
		id := f.submit(1)
		<-f.decided
		if d := time.Since(begin); d < time.Hour || d > time.Hour+10*time.Second {
			t.Errorf("given up after %v, want an hour", d)
		}
		if s := f.state(id); s.Phase != job.DeadLettered || s.DeadLetter.Reason != eventv1.DeadLetterReason_DEAD_LETTER_REASON_NO_QUORUM {
			t.Errorf("job is %v: %v", s.Phase, s.DeadLetter)
		}
		f.end()
	})
}

// TestWorkersThatComeBackAreWaitedFor: a job without results waits for ever, an outage is no shortage, and whoever
// comes in time takes the slot.
func TestWorkersThatComeBackAreWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newField(t, memlog.New(), func(c *Config) { c.Referee = judge{} })
		f.answers()
		f.host.Start(t.Context(), Open{})
		id := f.submitRefereed(1)
		time.Sleep(10 * time.Hour)
		f.workers(1)
		time.Sleep(20 * time.Second) // one replica is there
		f.host.WorkerGone(key(0))
		time.Sleep(10 * time.Hour)
		f.workers(1)
		time.Sleep(20 * time.Second)
		if s := f.state(id); s.Phase != job.Open || len(s.Slots) != 2 || s.Slots[1].Phase != job.SlotOpen {
			t.Fatalf("job is %v: %+v", s.Phase, s.Slots)
		}
		f.workers(2)
		<-f.decided
		if s := f.state(id); s.Phase != job.Verified || s.Verdict.Basis != eventv1.VerdictBasis_VERDICT_BASIS_QUORUM {
			t.Errorf("job is %v: %v", s.Phase, s.Verdict)
		}
		f.end()
	})
}

// TestAbandonedAcrossRestarts ends the host after the slots were given up and before the referee answered.
func TestAbandonedAcrossRestarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memlog.New()
		f := newField(t, log, func(c *Config) { c.Referee = stubborn{} })
		f.answers(string(key(1)))
		f.host.Start(t.Context(), Open{})
		f.workers(2)
		id := f.submitRefereed(1)
		time.Sleep(time.Minute)
		if s := f.state(id); !s.Refereeing {
			t.Fatalf("the referee was not asked: %+v", s)
		}
		f.end()
		g := newField(t, log, func(c *Config) { c.Referee = judge{} })
		g.host.Start(t.Context(), Open{Jobs: []string{id}})
		<-g.decided
		if s := g.state(id); s.Phase != job.Verified {
			t.Errorf("job is %v", s.Phase)
		}
		g.end()
	})
}

// stubborn is a referee that never answers.
type stubborn struct{}

func (stubborn) Run(ctx context.Context, _ *eventv1.JobSpec) *eventv1.RecordReferee {
	<-ctx.Done()
	return nil
}

// TestAbandonThroughAnUnreliableLog loses appends and replies while slots are given up: every job is decided once.
func TestAbandonThroughAnUnreliableLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, broken := 0, false
		log := &flaky{Log: memlog.New(), fail: func(stream string) (bool, bool) {
			n++
			return broken && n%3 == 0, broken && n%4 == 0
		}}
		f := newField(t, log, func(c *Config) { c.Referee = judge{} })
		f.answers(string(key(1)))
		f.host.Start(t.Context(), Open{})
		f.workers(2)
		const jobs = 20
		for i := range jobs {
			f.submitRefereed(i)
		}
		waitFor(t, func() bool { return len(types(t, log, events.Filter{Types: []string{"WaveOpened"}})) == jobs })
		log.mu.Lock()
		broken = true
		log.mu.Unlock()
		for range jobs {
			select {
			case <-f.decided:
			case <-time.After(10 * time.Hour):
				t.Fatal("a job is stuck")
			}
		}
		f.end()
		if got := len(types(t, log, events.Filter{Types: []string{"TaskVerified"}})); got != jobs {
			t.Errorf("%d verdicts for %d jobs", got, jobs)
		}
		time.Sleep(time.Minute)
	})
}

// TestAbandonIsRefusedInHand: a slot that a worker took meanwhile stays with the worker.
func TestAbandonIsRefusedInHand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newField(t, memlog.New(), nil)
		f.host.Start(t.Context(), Open{})
		f.workers(2)
		id := f.submit(1)
		synctest.Wait()
		f.host.abandon(dispatch.Slot{Job: id, Number: 1})
		time.Sleep(time.Second)
		f.mu.Lock()
		held := f.delivered
		f.mu.Unlock()
		for _, task := range held {
			f.finish(task, "right")
		}
		<-f.decided
		if s := f.state(id); s.Phase != job.Verified {
			t.Errorf("job is %v", s.Phase)
		}
		f.end()
	})
}
