package host

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/actors/assignment"
	"github.com/shardy-network/orchestrator/actors/dispatch"
	"github.com/shardy-network/orchestrator/actors/job"
	shardroom "github.com/shardy-network/orchestrator/actors/shard"
	"github.com/shardy-network/orchestrator/events"
	"github.com/shardy-network/orchestrator/events/memlog"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// someRooms are the rooms that these tests need.
func someRooms(prefix string) (actors.Kind, bool) {
	k, ok := map[string]actors.Kind{
		actors.JobRoom: &job.Room, actors.AssignmentRoom: &assignment.Room, actors.ShardRoom: &shardroom.Room,
	}[prefix]
	return k, ok
}

// field is a host with a courier whose workers do what the test says.
type field struct {
	t    *testing.T
	host *Host
	log  events.Log

	mu        sync.Mutex
	delivered []actors.Task
	restored  []actors.Task
	recalled  []uint64
	onDeliver func(actors.Task) // called without mu

	decided chan actors.Address // jobs, as they end
}

func (f *field) Deliver(t actors.Task, restored bool) {
	f.mu.Lock()
	if restored {
		f.restored = append(f.restored, t)
	} else {
		f.delivered = append(f.delivered, t)
	}
	act := f.onDeliver
	f.mu.Unlock()
	if act != nil && !restored {
		act(t)
	}
}

func (f *field) Recall(_ []byte, token uint64, _ string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.recalled = append(f.recalled, token)
}

func newField(t *testing.T, log events.Log, edit func(*Config)) *field {
	t.Helper()
	f := &field{t: t, log: log, decided: make(chan actors.Address, 1<<16)}
	cfg := Config{Log: log, Rooms: someRooms, Courier: f, Node: "n", Shards: 4, Logger: slog.New(slog.DiscardHandler)}
	if edit != nil {
		edit(&cfg)
	}
	var err error
	if f.host, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	f.host.Observe(func(to actors.Address, facts []events.Fact) {
		for _, x := range facts {
			switch x.(type) {
			case *eventv1.TaskVerified, *eventv1.JobDeadLettered, *eventv1.JobCancelled:
				f.decided <- to
			}
		}
	})
	return f
}

func (f *field) close() {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := f.host.Close(ctx); err != nil {
		f.t.Fatal(err)
	}
}

func (f *field) workers(n int) {
	for i := range n {
		f.host.WorkerReady(dispatch.Worker{
			Key: key(i), Tier: 3, MemoryBytes: 1 << 40, ChunkBytes: 1 << 30, MFlops: 1e6, FuelPerMs: 1e6, Credits: 64,
		})
	}
}

func key(i int) []byte { return bytes.Repeat([]byte{byte(i + 1)}, 32) }

func policyForTest() *eventv1.JobPolicy {
	return &eventv1.JobPolicy{
		Redundancy: 2, Margin: 2, MaxReplicas: 7, MaxAttempts: 5, AckTimeoutMs: 3600_000,
		MinExecutionTimeoutMs: 2 * 3600_000, MaxExecutionTimeoutMs: 2 * 3600_000, ExecutionSlack: 4,
		Referee: eventv1.RefereeMode_REFEREE_MODE_NEVER,
	}
}

func submission(n int) (id string, cmd *eventv1.Command) {
	sum := sha256.Sum256(fmt.Append(nil, n))
	id = events.DeriveEntityID([]byte("test"), fmt.Append(nil, n))
	return id, &eventv1.Command{Kind: &eventv1.Command_SubmitJob{SubmitJob: &eventv1.SubmitJob{
		Spec: &eventv1.JobSpec{
			Module: sum[:], Input: &eventv1.BlobRef{Sha256: sum[:], Size: 10}, FuelLimit: 1000,
			Kind: eventv1.JobKind_JOB_KIND_STANDARD, MinTier: 1,
		},
		Policy: policyForTest(),
	}}}
}

func (f *field) submit(n int) string {
	f.t.Helper()
	id, cmd := submission(n)
	if _, err := f.host.Do(context.Background(), actors.JobAddress(id), cmd); err != nil {
		f.t.Fatal(err)
	}
	return id
}

func (f *field) ack(t actors.Task) {
	f.host.Tell(actors.SlotAddress(t.Job, t.Slot), &eventv1.Command{Kind: &eventv1.Command_AckTask{AckTask: &eventv1.AckTask{Token: t.Token}}}, nil)
}

func (f *field) finish(t actors.Task, output string) {
	sum := sha256.Sum256([]byte(output))
	f.host.Tell(actors.SlotAddress(t.Job, t.Slot), &eventv1.Command{Kind: &eventv1.Command_ReturnResult{ReturnResult: &eventv1.ReturnResult{
		Token: t.Token, Status: eventv1.ResultStatus_RESULT_STATUS_OK, Fuel: 7,
		Output: &eventv1.BlobRef{Sha256: sum[:], Size: uint64(len(output))},
	}}}, nil)
}

func (f *field) state(id string) job.State {
	f.t.Helper()
	s, _, err := f.host.Inspect(context.Background(), actors.JobAddress(id))
	if err != nil {
		f.t.Fatal(err)
	}
	return s.(job.State)
}

func types(t *testing.T, log events.Log, filter events.Filter) []string {
	t.Helper()
	var out []string
	for r, err := range log.ReadAll(t.Context(), 0, filter) {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, r.Type)
	}
	return out
}

// TestRoadToOneVerifiedJob holds the budget: ten records, none more.
func TestRoadToOneVerifiedJob(t *testing.T) {
	f := newField(t, memlog.New(), nil)
	f.onDeliver = func(task actors.Task) {
		f.ack(task)
		f.finish(task, "right")
	}
	f.host.Start(t.Context(), Open{})
	f.workers(2)
	id := f.submit(1)
	<-f.decided
	f.close()
	if s := f.state(id); s.Phase != job.Verified || len(s.Verdict.Agreeing) != 2 {
		t.Fatalf("job is %v with verdict %v", s.Phase, s.Verdict)
	}
	got := map[string]int{}
	for _, typ := range types(t, f.log, events.Filter{Streams: []string{"job-", "assignment-"}}) {
		got[typ]++
	}
	want := map[string]int{"JobSubmitted": 1, "AssignmentDispatched": 2, "TaskAcked": 2, "ResultReturned": 2, "ReplicaReturned": 2, "TaskVerified": 1}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("records %v, want %v", got, want)
	}
}

// TestSilentWorkers lives through ten hours of ack timeouts: five attempts a slot, each with another worker, then the
// dead letter. Entities leave memory meanwhile and are woken by their own deadlines.
func TestSilentWorkers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newField(t, memlog.New(), func(c *Config) { c.IdleAfter = time.Minute })
		f.host.Start(t.Context(), Open{})
		f.workers(12)
		id := f.submit(1)
		begin := time.Now()
		<-f.decided
		if d := time.Since(begin); d < 5*time.Hour || d > 6*time.Hour {
			t.Errorf("dead-lettered after %v, want five ack timeouts of an hour", d)
		}
		s := f.state(id)
		if s.Phase != job.DeadLettered || s.DeadLetter.Reason != eventv1.DeadLetterReason_DEAD_LETTER_REASON_DELIVERY_EXHAUSTED {
			t.Errorf("job is %v: %v", s.Phase, s.DeadLetter)
		}
		f.mu.Lock()
		holders := map[string]int{}
		for _, d := range f.delivered {
			holders[string(d.Worker)]++
		}
		if len(f.delivered) != 10 || len(holders) != 10 || len(f.recalled) != 10 {
			t.Errorf("%d deliveries to %d workers, %d recalled; want 10, 10, 10", len(f.delivered), len(holders), len(f.recalled))
		}
		f.mu.Unlock()
		f.close()
		time.Sleep(3 * time.Second) // the actor system's throttle goroutine ends
	})
}

// TestSlowWorker lets one worker overrun its execution timeout: the client sees a verdict all the same.
func TestSlowWorker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newField(t, memlog.New(), nil)
		slow := string(key(0))
		f.onDeliver = func(task actors.Task) {
			f.ack(task)
			if string(task.Worker) != slow {
				f.finish(task, "right")
			}
		}
		f.host.Start(t.Context(), Open{})
		f.workers(3)
		var ids []string
		for i := range 20 {
			ids = append(ids, f.submit(i))
		}
		for range ids {
			<-f.decided
		}
		for _, id := range ids {
			if s := f.state(id); s.Phase != job.Verified {
				t.Errorf("job %s is %v", id, s.Phase)
			}
		}
		if len(types(t, f.log, events.Filter{Types: []string{"ExecutionTimedOut"}})) == 0 {
			t.Error("the slow worker never overran: the test tests nothing")
		}
		f.close()
		time.Sleep(3 * time.Second)
	})
}

// TestRestart ends a host with work in every phase and starts another on the same log.
func TestRestart(t *testing.T) {
	log := memlog.New()
	f := newField(t, log, nil)
	var held []actors.Task
	f.onDeliver = func(task actors.Task) {
		switch n := task.Spec.Input.Size; {
		case n != 10:
			t.Errorf("input of %d bytes", n)
		case task.Slot == 0:
			f.ack(task)
			f.finish(task, "right")
		}
	}
	f.host.Start(t.Context(), Open{})
	f.workers(2)
	var open []string
	for i := range 50 {
		open = append(open, f.submit(i))
	}
	waitFor(t, func() bool {
		return len(types(t, log, events.Filter{Types: []string{"ReplicaReturned"}})) == 50
	})
	f.close()
	for _, d := range f.delivered {
		if d.Slot == 1 {
			held = append(held, d)
		}
	}
	if len(held) != 50 {
		t.Fatalf("%d slots are in flight, want 50", len(held))
	}

	g := newField(t, log, func(c *Config) { c.ReconnectGrace = time.Hour })
	g.host.Start(t.Context(), Open{Jobs: open})
	g.workers(2)
	waitFor(t, func() bool {
		g.mu.Lock()
		defer g.mu.Unlock()
		return len(g.restored) == 50
	})
	for _, d := range g.restored {
		if d.Spec == nil || d.Policy == nil || d.Token == 0 {
			t.Fatalf("restored task lacks its context: %+v", d)
		}
		g.finish(d, "right")
	}
	for range open {
		<-g.decided
	}
	g.close()
	verdicts := types(t, log, events.Filter{Types: []string{"TaskVerified"}})
	if len(verdicts) != 50 || len(g.delivered) != 0 {
		t.Errorf("%d verdicts, %d delivered anew; want 50 and none", len(verdicts), len(g.delivered))
	}
}

// waitFor polls at a process-like border: the log is the only witness.
func waitFor(t *testing.T, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatal("timed out")
		}
		time.Sleep(time.Millisecond)
	}
}

// flaky fails appends as the test says: before or after they are durable.
type flaky struct {
	events.Log
	mu   sync.Mutex
	fail func(stream string) (before, after bool)
}

func (l *flaky) Append(ctx context.Context, stream string, want events.Expect, evs ...events.Draft) (events.Appended, error) {
	l.mu.Lock()
	before, after := l.fail(stream)
	l.mu.Unlock()
	if before {
		return events.Appended{}, fmt.Errorf("%w: refused", events.ErrUnavailable)
	}
	at, err := l.Log.Append(ctx, stream, want, evs...)
	if err == nil && after {
		return events.Appended{}, fmt.Errorf("%w: reply lost", events.ErrUnavailable)
	}
	return at, err
}

// TestUnreliableLog loses appends and replies of appends: every job is verified, none twice.
func TestUnreliableLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, taken := 0, 0
		log := &flaky{Log: memlog.New(), fail: func(stream string) (bool, bool) {
			if strings.HasPrefix(stream, "shard-") {
				taken++
				return taken%2 == 1, false
			}
			n++
			return n%7 == 0, n%5 == 0
		}}
		f := newField(t, log, nil)
		f.onDeliver = func(task actors.Task) {
			// A worker whose result was not taken sends it again.
			f.retry(task)
		}
		f.host.Start(t.Context(), Open{})
		f.workers(3)
		const jobs = 40
		for i := range jobs {
			id, cmd := submission(i)
			for {
				_, err := f.host.Do(t.Context(), actors.JobAddress(id), cmd)
				if err == nil {
					break
				}
				if !errors.Is(err, events.ErrUnavailable) {
					t.Fatal(err)
				}
				time.Sleep(100 * time.Millisecond)
			}
		}
		for range jobs {
			select {
			case <-f.decided:
			case <-time.After(100 * time.Hour):
				t.Fatal("a job is stuck")
			}
		}
		if got := len(types(t, log, events.Filter{Types: []string{"TaskVerified"}})); got != jobs {
			t.Errorf("%d verdicts for %d jobs", got, jobs)
		}
		f.close()
		time.Sleep(30 * time.Second)
	})
}

func (f *field) retry(t actors.Task) {
	sum := sha256.Sum256([]byte("right"))
	cmd := &eventv1.Command{Kind: &eventv1.Command_ReturnResult{ReturnResult: &eventv1.ReturnResult{
		Token: t.Token, Status: eventv1.ResultStatus_RESULT_STATUS_OK, Fuel: 7, Output: &eventv1.BlobRef{Sha256: sum[:], Size: 5},
	}}}
	f.host.Tell(actors.SlotAddress(t.Job, t.Slot), cmd, func(_ any, err error) {
		if errors.Is(err, events.ErrUnavailable) {
			time.AfterFunc(time.Second, func() { f.retry(t) })
		}
	})
}

// TestCloseWithoutALog closes at once when the log has gone for good, whatever waits for it.
func TestCloseWithoutALog(t *testing.T) {
	gone := false
	log := &flaky{Log: memlog.New(), fail: func(string) (bool, bool) { return gone, false }}
	f := newField(t, log, func(c *Config) { c.Shards = 64 })
	f.host.Start(t.Context(), Open{})
	f.workers(2)
	for i := range 5 {
		f.submit(i)
	}
	log.mu.Lock()
	gone = true
	log.mu.Unlock()
	for i := range 500 { // entities of shards that are taken, and of shards that cannot be any more
		id, cmd := submission(100 + i)
		f.host.Tell(actors.JobAddress(id), cmd, nil)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if err := f.host.Close(ctx); err != nil {
		t.Error(err)
	}
}

// TestFullMailbox answers busy at once and loses nothing that it took.
func TestFullMailbox(t *testing.T) {
	gate := make(chan struct{})
	log := &gated{Log: memlog.New(), gate: gate}
	f := newField(t, log, func(c *Config) { c.EntityMailbox = 10 })
	f.host.Start(t.Context(), Open{})
	id, _ := submission(1)
	answers := make(chan error, 100)
	for range 100 {
		_, cmd := submission(1)
		f.host.Tell(actors.JobAddress(id), cmd, func(_ any, err error) { answers <- err })
	}
	close(gate)
	taken, busy := 0, 0
	for range 100 {
		switch err := <-answers; {
		case err == nil:
			taken++
		case errors.Is(err, ErrBusy):
			busy++
		default:
			t.Fatal(err)
		}
	}
	if taken < 10 || busy < 50 {
		t.Errorf("%d taken, %d refused as busy", taken, busy)
	}
	f.close()
	if _, err := f.host.Do(t.Context(), actors.JobAddress(id), &eventv1.Command{}); !errors.Is(err, ErrStopped) {
		t.Errorf("after Close: %v", err)
	}
}

type gated struct {
	events.Log
	gate chan struct{}
}

func (l *gated) Append(ctx context.Context, stream string, want events.Expect, evs ...events.Draft) (events.Appended, error) {
	<-l.gate
	return l.Log.Append(ctx, stream, want, evs...)
}

// TestRequeuedOverAndOver lets jobs leave memory and come back, in whichever actor is free: none of them may meet what
// an actor knew of it a round ago.
func TestRequeuedOverAndOver(t *testing.T) {
	f := newField(t, memlog.New(), func(c *Config) { c.Shards = 1 })
	const jobs, rounds = 24, 6
	var mu sync.Mutex
	round := map[string]int{}
	f.onDeliver = func(task actors.Task) {
		mu.Lock()
		last := round[task.Job] >= rounds
		mu.Unlock()
		if last {
			f.finish(task, "right")
			return
		}
		f.host.Tell(actors.SlotAddress(task.Job, task.Slot), &eventv1.Command{Kind: &eventv1.Command_ReturnResult{ReturnResult: &eventv1.ReturnResult{
			Token: task.Token, Status: eventv1.ResultStatus_RESULT_STATUS_TRAP, Fuel: 7,
		}}}, nil)
	}
	f.host.Observe(func(to actors.Address, facts []events.Fact) {
		if _, ok := facts[len(facts)-1].(*eventv1.JobDeadLettered); !ok {
			return
		}
		mu.Lock()
		round[to.ID]++
		mu.Unlock()
		f.host.Tell(to, &eventv1.Command{Kind: &eventv1.Command_RequeueJob{RequeueJob: &eventv1.RequeueJob{By: "test", Reason: "again"}}}, nil)
	})
	f.host.Start(t.Context(), Open{})
	f.workers(3)
	for i := range jobs {
		f.submit(i)
	}
	for range jobs * (rounds + 1) {
		select {
		case <-f.decided:
		case <-time.After(20 * time.Second):
			t.Fatal("a job is stuck")
		}
	}
	f.close()
	if n := len(types(t, f.log, events.Filter{Types: []string{"TaskVerified"}})); n != jobs {
		t.Errorf("%d verdicts for %d jobs", n, jobs)
	}
}

// TestFreedActorForgets: what a freed actor remembered would be stale when it meets the same entity again.
func TestFreedActorForgets(t *testing.T) {
	f := newField(t, memlog.New(), nil)
	id, submit := submission(1)
	addr := actors.JobAddress(id)
	s := f.host.shardOf(addr)
	e := &entityActor{shard: s}
	give := func(cmd *eventv1.Command) {
		s.mu.Lock()
		if s.kids[addr] == nil {
			s.settle(s.enter(addr), actor.NewPID("nowhere", "test"))
		}
		s.kids[addr].pending++
		s.mu.Unlock()
		e.take(&order{to: addr, id: randomCommandID(), cmd: cmd})
	}
	give(submit)
	if e.addr != addr || e.entity.Done() {
		t.Fatalf("the actor is the shell of %v", e.addr)
	}
	give(&eventv1.Command{AtUs: 1, Kind: &eventv1.Command_CancelJob{CancelJob: &eventv1.CancelJob{By: "test"}}})
	if e.entity != nil || e.loaded || e.addr != (actors.Address{}) {
		t.Errorf("the freed actor still knows %v", e.addr)
	}
	s.mu.Lock()
	ours := func(pid *actor.PID) bool { return pid.Id == "test" }
	if s.kids[addr] != nil || !slices.ContainsFunc(s.free, ours) { // beside those of entities that heard of the job
		t.Errorf("the entity is still in memory, or its actor is not free")
	}
	s.free = slices.DeleteFunc(s.free, ours) // it never was an actor
	s.mu.Unlock()
	f.close()
}

// TestUnknownRoom refuses an address that nobody lives at.
func TestUnknownRoom(t *testing.T) {
	f := newField(t, memlog.New(), nil)
	defer f.close()
	f.host.Start(t.Context(), Open{})
	if _, err := f.host.Do(t.Context(), actors.Address{Room: "cellar", ID: "1"}, &eventv1.Command{}); !errors.Is(err, ErrUnknownRoom) {
		t.Errorf("got %v", err)
	}
	if _, _, err := f.host.Inspect(t.Context(), actors.JobAddress("none")); !errors.Is(err, events.ErrNotFound) {
		t.Errorf("inspect: %v", err)
	}
}
