package gateway_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/gateway"
	"github.com/shardy-network/orchestrator/gateway/agent"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// restart replaces the rig's door by a new one behind the same address, as after a restart of the orchestrator: the
// slots are where they were, and what is in flight is delivered as restored.
func (r *rig) restart(t *testing.T, swap *swapHandler, restored ...actors.Task) {
	t.Helper()
	_ = r.door.Close()
	r.host.mu.Lock()
	r.host.observers = nil
	r.host.mu.Unlock()
	door, err := gateway.New(r.cfg, r.deps)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = door.Close() })
	r.door, r.host.door = door, door
	for _, task := range restored {
		door.Deliver(task, true)
	}
	swap.set(door)
}

func TestAgentKeepsAResultAcrossARestart(t *testing.T) {
	r := newRig(t, nil)
	swap := &swapHandler{}
	swap.set(r.door)
	mux := http.NewServeMux()
	mux.Handle("/ws/worker", swap)
	mux.Handle("/blob/{sum}", r.blobs)
	server := httptest.NewServer(mux)
	defer server.Close()
	hold := make(chan struct{})
	key, a, stop := startAgent(t, r, func(c *agent.Config) { c.Server, c.Runner = server.URL, &mirror{hold: hold} })
	defer stop()
	r.host.waitReady(t, key)
	spec := r.spec(t, []byte("input"))
	r.host.submit("job", spec)
	r.host.dispatch(t, "job", 0, key)
	slot := actors.SlotAddress("job", 0)
	factOf[*eventv1.TaskAcked](t, r.host, slot, nil)
	dispatched := factOf[*eventv1.AssignmentDispatched](t, r.host, slot, nil)

	swap.set(nil) // nobody answers while the result is made
	_ = r.door.Close()
	r.host.eventually(t, "gone", func() bool { _, ok := r.host.ready[string(key)]; return !ok })
	close(hold)
	eventually(t, "result made", func() bool { return a.Stats().Held == 1 })
	r.restart(t, swap, actors.Task{
		Job: "job", Token: dispatched.GetToken(), Attempt: 1, Worker: key, ExecutionTimeoutMs: 10_000, Acked: true,
		Spec: spec, Policy: &eventv1.JobPolicy{RequireAttestation: true},
	})
	got := factOf[*eventv1.ResultReturned](t, r.host, slot, nil)
	if want := sha256.Sum256(reversed([]byte("input"))); [32]byte(got.GetOutput().GetSha256()) != want {
		t.Fatalf("returned %v", got)
	}
	eventually(t, "thanks", func() bool { return a.Stats().Recorded == 1 && a.Stats().Held == 0 })
	if n := countFacts[*eventv1.AssignmentStripped](r.host); n != 0 {
		t.Fatalf("%d strips", n)
	}
}

func TestAgentDrainsWhenItIsStopped(t *testing.T) {
	r := newRig(t, nil)
	hold := make(chan struct{})
	key, a, stop := startAgent(t, r, func(c *agent.Config) { c.Runner = &mirror{hold: hold} })
	r.host.waitReady(t, key)
	r.host.submit("job", r.spec(t, []byte("input")))
	r.host.dispatch(t, "job", 0, key)
	factOf[*eventv1.TaskAcked](t, r.host, actors.SlotAddress("job", 0), nil)
	ended := make(chan error, 1)
	go func() { ended <- stop() }()
	r.host.eventually(t, "draining", func() bool { return r.host.draining[string(key)] })
	close(hold)
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	factOf[*eventv1.ResultReturned](t, r.host, actors.SlotAddress("job", 0), nil)
	if s := a.Stats(); s.Recorded != 1 || s.Held != 0 {
		t.Fatalf("stats %+v", s)
	}
}

func TestAgentDropsCancelledRuns(t *testing.T) {
	r := newRig(t, nil)
	key, a, _ := startAgent(t, r, func(c *agent.Config) { c.Runner = &mirror{hold: make(chan struct{})} })
	r.host.waitReady(t, key)
	r.host.submit("job", r.spec(t, []byte("input")))
	r.host.dispatch(t, "job", 0, key)
	factOf[*eventv1.TaskAcked](t, r.host, actors.SlotAddress("job", 0), nil)
	if _, err := r.host.Do(t.Context(), actors.SlotAddress("job", 0), &eventv1.Command{Kind: &eventv1.Command_CancelSlot{
		CancelSlot: &eventv1.CancelSlot{Reason: "decided"},
	}}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "cancelled", func() bool { s := a.Stats(); return s.Cancelled == 1 && s.Held == 0 })
}

type failing struct{ err error }

func (f failing) Load(context.Context, [32]byte, []byte) error { return nil }
func (f failing) Run(_ context.Context, t agent.Task) (agent.Result, error) {
	if t.Job == "" { // a challenge
		return agent.Result{Status: eventv1.ResultStatus_RESULT_STATUS_OK, Output: reversed(t.Input)}, nil
	}
	return agent.Result{}, f.err
}

func TestAgentSaysWhatItCannotRun(t *testing.T) {
	r := newRig(t, nil)
	key, a, _ := startAgent(t, r, func(c *agent.Config) { c.Runner = failing{errors.New("sandbox overran")} })
	r.host.waitReady(t, key)
	r.host.submit("job", r.spec(t, []byte("input")))
	r.host.dispatch(t, "job", 0, key)
	f := factOf[*eventv1.AssignmentStripped](t, r.host, actors.SlotAddress("job", 0), nil)
	if f.GetReason() != eventv1.StripReason_STRIP_REASON_WORKER_FAILED || f.GetDetail() != "sandbox overran" {
		t.Fatalf("stripped %v", f)
	}
	eventually(t, "counted", func() bool { return a.Stats().Failed == 1 })
}

// A liar's signature is in order; that its result is wrong is for the verdict to find out.
func TestDishonestAgentSignsItsLie(t *testing.T) {
	r := newRig(t, nil)
	key, _, _ := startAgent(t, r, func(c *agent.Config) {
		c.Dishonesty = func(_ agent.Task, res *agent.Result) { res.Output[0] ^= 1 }
	})
	r.host.waitReady(t, key)
	r.host.submit("job", r.spec(t, []byte("input")))
	r.host.dispatch(t, "job", 0, key)
	got := factOf[*eventv1.ResultReturned](t, r.host, actors.SlotAddress("job", 0), nil)
	if want := sha256.Sum256(reversed([]byte("input"))); [32]byte(got.GetOutput().GetSha256()) == want {
		t.Fatal("an honest liar")
	}
}

func TestAgentRefusesAModuleThatIsNotTheOneNamed(t *testing.T) {
	r := newRig(t, nil)
	key, _, _ := startAgent(t, r, nil)
	r.host.waitReady(t, key)
	spec := r.spec(t, []byte("input"))
	spec.Module = make([]byte, 32)
	r.blobs.mu.Lock()
	r.blobs.m[[32]byte{}] = []byte("something else")
	r.blobs.mu.Unlock()
	r.host.submit("job", spec)
	r.host.dispatch(t, "job", 0, key)
	r.stripped(t, "job", eventv1.StripReason_STRIP_REASON_WORKER_FAILED)
}

func TestAgentEndsWhenItIsBanned(t *testing.T) {
	r := newRig(t, nil)
	a, ended, _ := runAgent(t, r, nil)
	r.host.waitReady(t, a.PublicKey())
	if _, err := r.host.Do(t.Context(), actors.WorkerAddress(a.PublicKey()), &eventv1.Command{Kind: &eventv1.Command_BanWorker{
		BanWorker: &eventv1.BanWorker{By: "op", Reason: "lies"},
	}}); err != nil {
		t.Fatal(err)
	}
	if err := await(t, ended); err == nil {
		t.Fatal("a banned agent ended without an error")
	}
}

func TestAgentReportsAReceiptForItsRejection(t *testing.T) {
	r := newRig(t, nil)
	_, ended, _ := runAgent(t, r, func(c *agent.Config) { c.Profile = &eventv1.Profile{Mflops: 1 << 63} })
	var rejected *agent.RejectedError
	if err := await(t, ended); !errors.As(err, &rejected) || !rejected.Proven ||
		rejected.Reason != eventv1.RejectionReason_REJECTION_REASON_PROFILE_INVALID {
		t.Fatalf("ended with %v", err)
	}
}
