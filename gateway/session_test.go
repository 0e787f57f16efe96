package gateway_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/gateway"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	workerv1 "github.com/shardy-network/orchestrator/proto/shardy/worker/v1"
)

func TestSocketDropStripsAtOnce(t *testing.T) {
	r := newRig(t, nil)
	w, _ := r.join(t, nil)
	w.give("a", r.spec(t, []byte("a")))
	w.give("b", r.spec(t, []byte("b")))
	begin := time.Now()
	_ = w.conn.Close()
	r.stripped(t, "a", eventv1.StripReason_STRIP_REASON_SOCKET_DROPPED)
	r.stripped(t, "b", eventv1.StripReason_STRIP_REASON_SOCKET_DROPPED)
	if took := time.Since(begin); took > 2*time.Second {
		t.Fatalf("took %s", took)
	}
	factOf[*eventv1.WorkerDisconnected](t, r.host, actors.WorkerAddress(w.public()), nil)
}

func TestAckIsPassedOn(t *testing.T) {
	r := newRig(t, nil)
	w, _ := r.join(t, nil)
	a, _ := w.give("a", r.spec(t, []byte("a")))
	b, _ := w.give("b", r.spec(t, []byte("b")))
	w.say(&workerv1.FromWorker{Kind: &workerv1.FromWorker_TaskAck{TaskAck: &workerv1.TaskAck{Tokens: []uint64{a.GetToken(), b.GetToken()}}}})
	factOf[*eventv1.TaskAcked](t, r.host, actors.SlotAddress("a", 0), nil)
	factOf[*eventv1.TaskAcked](t, r.host, actors.SlotAddress("b", 0), nil)
}

func TestWorkerMayFailATask(t *testing.T) {
	r := newRig(t, nil)
	w, _ := r.join(t, nil)
	m, _ := w.give("job", r.spec(t, []byte("a")))
	w.say(&workerv1.FromWorker{Kind: &workerv1.FromWorker_TaskFailed{TaskFailed: &workerv1.TaskFailed{Token: m.GetToken(), Detail: "out of memory"}}})
	f := factOf[*eventv1.AssignmentStripped](t, r.host, actors.SlotAddress("job", 0), nil)
	if f.GetReason() != eventv1.StripReason_STRIP_REASON_WORKER_FAILED || f.GetDetail() != "out of memory" {
		t.Fatalf("stripped %v", f)
	}
}

func TestRecallTellsTheWorker(t *testing.T) {
	r := newRig(t, nil)
	w, _ := r.join(t, nil)
	m, _ := w.give("job", r.spec(t, []byte("a")))
	if _, err := r.host.Do(t.Context(), actors.SlotAddress("job", 0), &eventv1.Command{Kind: &eventv1.Command_CancelSlot{
		CancelSlot: &eventv1.CancelSlot{Reason: "decided"},
	}}); err != nil {
		t.Fatal(err)
	}
	got, _ := w.await("cancel", func(m *workerv1.FromOrchestrator) bool { return m.GetTaskCancel() != nil })
	if !slices.Equal(got.GetTaskCancel().GetTokens(), []uint64{m.GetToken()}) {
		t.Fatalf("cancelled %v", got)
	}
	w.finish(w.result(m, []byte("x")), []byte("x"))
	if o := w.outcome(m.GetToken()).GetOutcome(); o != workerv1.TaskOutcome_TASK_OUTCOME_STALE {
		t.Fatalf("result of a cancelled task: %s", o)
	}
}

// A key that connects again takes its tasks along, and only those that it still has.
func TestSameKeyConnectsAgain(t *testing.T) {
	r := newRig(t, nil)
	old, _ := r.join(t, nil)
	kept, _ := old.give("kept", r.spec(t, []byte("a")))
	old.give("lost", r.spec(t, []byte("b")))
	w, resume := r.join(t, old.key, kept.GetToken(), 4711)
	if !slices.Equal(resume, []uint64{kept.GetToken()}) {
		t.Fatalf("resumed %v, want %d", resume, kept.GetToken())
	}
	old.closes(workerv1.ErrorCode_ERROR_CODE_REPLACED)
	r.host.mu.Lock()
	if n := r.host.gone[string(w.public())]; n != 0 { // or the dispatcher forgets what the worker holds
		t.Errorf("gone %d times", n)
	}
	r.host.mu.Unlock()
	r.stripped(t, "lost", eventv1.StripReason_STRIP_REASON_NOT_RESUMED)
	w.finish(w.result(kept, []byte("x")), []byte("x"))
	if o := w.outcome(kept.GetToken()).GetOutcome(); o != workerv1.TaskOutcome_TASK_OUTCOME_RECORDED {
		t.Fatalf("resumed task: %s", o)
	}
	if n := countFacts[*eventv1.AssignmentStripped](r.host); n != 1 {
		t.Fatalf("%d strips", n)
	}
}

// A worker whose proof still stands is not tested again.
func TestProofOnRecordSkipsTheTest(t *testing.T) {
	r := newRig(t, nil)
	w, _ := r.join(t, nil)
	_ = w.conn.Close()
	r.host.eventually(t, "gone", func() bool { _, ok := r.host.ready[string(w.public())]; return !ok })
	taken := r.challenges.n.Load()
	r.join(t, w.key)
	if n := r.challenges.n.Load(); n != taken {
		t.Fatalf("%d challenges more", n-taken)
	}
}

func restoredTask(r *rig, job string, key []byte, spec *eventv1.JobSpec, token uint64) actors.Task {
	return actors.Task{
		Job: job, Token: token, Attempt: 1, Worker: key, ExecutionTimeoutMs: 10_000, Acked: true,
		Spec: spec, Policy: &eventv1.JobPolicy{RequireAttestation: true},
	}
}

// seedSlot brings a slot into the state that it had before a restart.
func (h *fakeHost) seedSlot(t *testing.T, job string, spec *eventv1.JobSpec, key []byte) (token uint64) {
	t.Helper()
	h.submit(job, spec)
	seed := bytes.Repeat([]byte{1}, 16)
	h.mu.Lock()
	defer h.mu.Unlock()
	e := h.entity(actors.SlotAddress(job, 0))
	d, err := e.Decide(actors.Rules, &eventv1.Command{AtUs: 1, Kind: &eventv1.Command_DispatchSlot{DispatchSlot: &eventv1.DispatchSlot{
		Worker: key, AckTimeoutMs: 5000, ExecutionTimeoutMs: 10_000, MaxAttempts: 5, Seed: seed, Candidates: [][]byte{key[:8]},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range d.Facts {
		if err := e.Evolve(f); err != nil {
			t.Fatal(err)
		}
	}
	return d.Facts[0].(*eventv1.AssignmentDispatched).GetToken()
}

func TestTasksFromBeforeARestart(t *testing.T) {
	t.Run("resumed", func(t *testing.T) {
		r := newRig(t, nil)
		public, key, _ := ed25519.GenerateKey(nil)
		spec := r.spec(t, []byte("a"))
		token := r.host.seedSlot(t, "job", spec, public)
		r.door.Deliver(restoredTask(r, "job", public, spec, token), true)
		w, resume := r.join(t, key, token)
		if !slices.Equal(resume, []uint64{token}) {
			t.Fatalf("resumed %v", resume)
		}
		sum := []byte("out")
		assign := &workerv1.TaskAssign{Token: token, Job: "job", Module: spec.GetModule(), InputSha256: spec.GetInput().GetSha256()}
		w.finish(w.result(assign, sum), sum)
		if o := w.outcome(token).GetOutcome(); o != workerv1.TaskOutcome_TASK_OUTCOME_RECORDED {
			t.Fatalf("outcome %s", o)
		}
	})
	t.Run("forgotten by the worker", func(t *testing.T) {
		r := newRig(t, nil)
		public, key, _ := ed25519.GenerateKey(nil)
		spec := r.spec(t, []byte("a"))
		token := r.host.seedSlot(t, "job", spec, public)
		r.door.Deliver(restoredTask(r, "job", public, spec, token), true)
		r.join(t, key)
		r.stripped(t, "job", eventv1.StripReason_STRIP_REASON_NOT_RESUMED)
	})
	t.Run("worker stays away", func(t *testing.T) {
		r := newRig(t, func(c *gateway.Config, _ *gateway.Deps) {
			c.ReconnectGrace, c.PingInterval = 50*time.Millisecond, 200*time.Millisecond
		})
		public, _, _ := ed25519.GenerateKey(nil)
		spec := r.spec(t, []byte("a"))
		token := r.host.seedSlot(t, "job", spec, public)
		r.door.Deliver(restoredTask(r, "job", public, spec, token), true)
		r.stripped(t, "job", eventv1.StripReason_STRIP_REASON_NOT_RESUMED)
	})
	t.Run("worker was faster than the reopening", func(t *testing.T) {
		r := newRig(t, nil)
		w, _ := r.join(t, nil)
		spec := r.spec(t, []byte("a"))
		token := r.host.seedSlot(t, "job", spec, w.public())
		r.door.Deliver(restoredTask(r, "job", w.public(), spec, token), true)
		m, payload := w.await("task", func(m *workerv1.FromOrchestrator) bool { return m.GetTaskAssign() != nil })
		if m.GetTaskAssign().GetToken() != token || string(payload) != "a" {
			t.Fatalf("got %v", m)
		}
	})
}

func TestUndeliverable(t *testing.T) {
	r := newRig(t, nil)
	public, _, _ := ed25519.GenerateKey(nil)
	r.host.submit("job", r.spec(t, []byte("a")))
	r.host.dispatch(t, "job", 0, public)
	r.stripped(t, "job", eventv1.StripReason_STRIP_REASON_UNDELIVERED)
}

func TestBannedWorkerIsClosed(t *testing.T) {
	r := newRig(t, nil)
	w, _ := r.join(t, nil)
	w.give("job", r.spec(t, []byte("a")))
	address := actors.WorkerAddress(w.public())
	if _, err := r.host.Do(t.Context(), address, &eventv1.Command{Kind: &eventv1.Command_BanWorker{BanWorker: &eventv1.BanWorker{By: "op", Reason: "lies"}}}); err != nil {
		t.Fatal(err)
	}
	w.closes(workerv1.ErrorCode_ERROR_CODE_BANNED)
	r.stripped(t, "job", eventv1.StripReason_STRIP_REASON_BANNED)
	again := r.dial(t, w.key)
	again.hello()
	again.say(&workerv1.FromWorker{Kind: &workerv1.FromWorker_Proof{Proof: again.proof()}})
	m, _ := again.await("rejected", func(m *workerv1.FromOrchestrator) bool { return m.GetRejected() != nil })
	if m.GetRejected().GetReason() != eventv1.RejectionReason_REJECTION_REASON_BANNED {
		t.Fatalf("got %v", m)
	}
}

func TestDemotedWorkerIsTestedAgain(t *testing.T) {
	r := newRig(t, nil)
	w, _ := r.join(t, nil)
	before := r.challenges.n.Load()
	address := actors.WorkerAddress(w.public())
	r.host.announce(address, &eventv1.TierChanged{From: 2, To: 0, Why: "drift"})
	if m := w.pass(rightAnswer); m.GetAdmitted().GetTier() != 2 {
		t.Fatalf("got %v", m)
	}
	if r.challenges.n.Load() == before {
		t.Fatal("admitted again without a test")
	}
	r.host.waitReady(t, w.public())
	m, _ := w.give("job", r.spec(t, []byte("a")))
	w.finish(w.result(m, []byte("x")), []byte("x"))
	if o := w.outcome(m.GetToken()).GetOutcome(); o != workerv1.TaskOutcome_TASK_OUTCOME_RECORDED {
		t.Fatalf("outcome %s", o)
	}
}

func TestDrainBothWays(t *testing.T) {
	r := newRig(t, nil)
	w, _ := r.join(t, nil)
	m, _ := w.give("job", r.spec(t, []byte("a")))
	ended := make(chan error, 1)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	go func() { ended <- r.door.Drain(ctx) }()
	w.await("drain", func(m *workerv1.FromOrchestrator) bool { return m.GetDrain() != nil })
	r.host.eventually(t, "draining", func() bool { return r.host.draining[string(w.public())] })
	select {
	case err := <-ended:
		t.Fatalf("drained with a task in flight: %v", err)
	default:
	}
	resp, err := http.Get(r.url + "/ws/worker")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Shardy-Error") != "DRAINING" {
		t.Fatalf("newcomer got %s %v", resp.Status, resp.Header)
	}
	w.finish(w.result(m, []byte("x")), []byte("x"))
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	go r.door.Close()
	w.closes(workerv1.ErrorCode_ERROR_CODE_DRAINING)
	if n := countFacts[*eventv1.AssignmentStripped](r.host); n != 0 {
		t.Fatalf("%d strips", n)
	}
}

// Tasks that are in flight when the door closes stay assigned: their workers may resume them.
func TestCloseKeepsTasksAssigned(t *testing.T) {
	r := newRig(t, nil)
	w, _ := r.join(t, nil)
	w.give("job", r.spec(t, []byte("a")))
	go r.door.Close()
	w.closes(workerv1.ErrorCode_ERROR_CODE_DRAINING)
	factOf[*eventv1.WorkerDisconnected](t, r.host, actors.WorkerAddress(w.public()), nil)
	if n := countFacts[*eventv1.AssignmentStripped](r.host); n != 0 {
		t.Fatalf("%d strips", n)
	}
}

func TestWorkerDrainStopsNewWork(t *testing.T) {
	r := newRig(t, nil)
	w, _ := r.join(t, nil)
	w.say(&workerv1.FromWorker{Kind: &workerv1.FromWorker_Drain{Drain: &workerv1.Drain{}}})
	r.host.eventually(t, "draining", func() bool { return r.host.draining[string(w.public())] })
	r.host.submit("job", r.spec(t, []byte("a")))
	r.host.dispatch(t, "job", 0, w.public())
	r.stripped(t, "job", eventv1.StripReason_STRIP_REASON_UNDELIVERED)
}

// A store that is away for a moment costs nobody a result.
func TestResultWaitsForTheStore(t *testing.T) {
	r := newRig(t, nil)
	w, _ := r.join(t, nil)
	m, _ := w.give("job", r.spec(t, []byte("a")))
	r.blobs.away.Store(true)
	w.finish(w.result(m, []byte("x")), []byte("x"))
	w.finish(w.result(m, []byte("x")), []byte("x"))
	if o := w.outcome(m.GetToken()).GetOutcome(); o != workerv1.TaskOutcome_TASK_OUTCOME_DUPLICATE {
		t.Fatalf("second: %s", o)
	}
	r.host.away.Store(true)
	r.blobs.away.Store(false)
	time.AfterFunc(50*time.Millisecond, func() { r.host.away.Store(false) })
	if o := w.outcome(m.GetToken()).GetOutcome(); o != workerv1.TaskOutcome_TASK_OUTCOME_RECORDED {
		t.Fatalf("first: %s", o)
	}
}

func TestSlowReader(t *testing.T) {
	r := newRig(t, func(c *gateway.Config, _ *gateway.Deps) { c.MaxQueue = 1 << 20 })
	w, _ := r.join(t, nil)
	spec := r.spec(t, make([]byte, 4<<20))
	for i := range 8 { // it reads nothing of this
		job := string(rune('a' + i))
		r.host.submit(job, spec)
		r.host.dispatch(t, job, 0, w.public())
	}
	r.stripped(t, "a", eventv1.StripReason_STRIP_REASON_SOCKET_DROPPED)
	eventually(t, "closed as a slow reader", func() bool { return r.door.Stats().Closed["SLOW_READER"] == 1 })
}

func TestSilentWorkerTimesOut(t *testing.T) {
	r := newRig(t, func(c *gateway.Config, _ *gateway.Deps) { c.PingInterval = 100 * time.Millisecond })
	w, _ := r.join(t, nil)
	w.give("job", r.spec(t, []byte("a"))) // from here on it does not even answer pings
	r.stripped(t, "job", eventv1.StripReason_STRIP_REASON_SOCKET_DROPPED)
	eventually(t, "counted as a timeout", func() bool { return r.door.Stats().Closed["TIMEOUT"] == 1 })
}

func TestPayloadThatNeverComes(t *testing.T) {
	r := newRig(t, func(c *gateway.Config, _ *gateway.Deps) {
		c.PayloadTimeout, c.PingInterval = 50*time.Millisecond, 100*time.Millisecond
	})
	w, _ := r.join(t, nil)
	m, _ := w.give("job", r.spec(t, []byte("a")))
	w.say(&workerv1.FromWorker{Kind: &workerv1.FromWorker_TaskResult{TaskResult: w.result(m, []byte("x"))}})
	w.closes(workerv1.ErrorCode_ERROR_CODE_PAYLOAD_MISSING)
	r.stripped(t, "job", eventv1.StripReason_STRIP_REASON_PROTOCOL)
}

func TestTooManyMessages(t *testing.T) {
	r := newRig(t, func(c *gateway.Config, _ *gateway.Deps) { c.MessagesPerSecond = 100 })
	w, _ := r.join(t, nil)
	credits := w.encode(&workerv1.FromWorker{Kind: &workerv1.FromWorker_Credits{Credits: &workerv1.Credits{Credits: 1}}})
	for range 250 {
		_ = w.conn.Send(credits)
	}
	w.closes(workerv1.ErrorCode_ERROR_CODE_RATE)
}

// A storm of handshakes is answered without being looked at.
func TestTenThousandHandshakes(t *testing.T) {
	r := newRig(t, func(c *gateway.Config, _ *gateway.Deps) { c.HandshakesPerSecond, c.HandshakeBurst = 100, 100 })
	w, _ := r.join(t, nil)
	begin := time.Now()
	refused := 0
	for i := range 10_000 {
		req := httptest.NewRequest(http.MethodGet, "/ws/worker", nil)
		req.RemoteAddr = "203.0.113." + string(rune('0'+i%10)) + ":1234"
		rec := httptest.NewRecorder()
		r.door.ServeHTTP(rec, req)
		if rec.Code == http.StatusTooManyRequests {
			if rec.Header().Get("Shardy-Error") != "RATE" {
				t.Fatal("untyped refusal")
			}
			refused++
		}
	}
	took := time.Since(begin)
	if refused < 9000 || took > 5*time.Second {
		t.Fatalf("%d refused in %s", refused, took)
	}
	t.Logf("%d of 10,000 refused in %s", refused, took)
	m, _ := w.give("job", r.spec(t, []byte("a")))
	w.finish(w.result(m, []byte("x")), []byte("x"))
	if o := w.outcome(m.GetToken()).GetOutcome(); o != workerv1.TaskOutcome_TASK_OUTCOME_RECORDED {
		t.Fatalf("outcome %s", o)
	}
	if n := r.door.Stats().Connections; n != 1 {
		t.Fatalf("%d connections counted", n)
	}
}
