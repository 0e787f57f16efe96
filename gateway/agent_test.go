package gateway_test

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/actors/proof"
	"github.com/shardy-network/orchestrator/gateway/agent"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// mirror answers every task with its input reversed.
type mirror struct {
	loads atomic.Int64
	hold  chan struct{} // nil: answer at once
}

func (m *mirror) Load(context.Context, [32]byte, []byte) error { m.loads.Add(1); return nil }

func (m *mirror) Run(ctx context.Context, t agent.Task) (agent.Result, error) {
	if m.hold != nil && t.Job != "" {
		select {
		case <-m.hold:
		case <-ctx.Done():
			return agent.Result{}, context.Cause(ctx)
		}
	}
	return agent.Result{Status: eventv1.ResultStatus_RESULT_STATUS_OK, Fuel: 100, Output: reversed(t.Input)}, nil
}

// startAgent runs an agent until the test or stop ends it.
func startAgent(t *testing.T, r *rig, edit func(*agent.Config)) (key ed25519.PublicKey, a *agent.Agent, stop func() error) {
	t.Helper()
	a, ended, cancel := runAgent(t, r, edit)
	stop = func() error {
		cancel()
		return await(t, ended)
	}
	return a.PublicKey(), a, stop
}

// runAgent runs an agent; ended gives its error, again and again.
func runAgent(t *testing.T, r *rig, edit func(*agent.Config)) (a *agent.Agent, ended <-chan error, cancel func()) {
	t.Helper()
	_, private, _ := ed25519.GenerateKey(nil)
	cfg := agent.Config{
		Server: r.url, Key: private, Runner: &mirror{}, Runners: 2, MinBackoff: 5 * time.Millisecond,
		MaxBackoff: 20 * time.Millisecond, Profile: &eventv1.Profile{Mflops: 3000}, Log: quiet(),
	}
	if edit != nil {
		edit(&cfg)
	}
	a, err := agent.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	c := make(chan error, 3) // for the test, for stop, for the cleanup
	go func() {
		err := a.Run(ctx)
		for range cap(c) {
			c <- err
		}
	}()
	t.Cleanup(func() {
		cancel()
		_ = await(t, c)
	})
	return a, c, cancel
}

func await(t *testing.T, ended <-chan error) error {
	t.Helper()
	select {
	case err := <-ended:
		return err
	case <-time.After(20 * time.Second):
		t.Error("agent did not end")
		return nil
	}
}

func TestAgentTakesATaskToItsThanks(t *testing.T) {
	r := newRig(t, nil)
	key, a, stop := startAgent(t, r, nil)
	w := r.host.waitReady(t, key)
	if w.Tier != 2 || w.MFlops != 3000 || w.Credits != 4 {
		t.Fatalf("ready with %+v", w)
	}
	input := []byte("one two three")
	r.host.submit("job", r.spec(t, input))
	r.host.dispatch(t, "job", 0, key)
	slot := actors.SlotAddress("job", 0)
	got := factOf[*eventv1.ResultReturned](t, r.host, slot, nil)
	want := sha256.Sum256(reversed(input))
	if [32]byte(got.Output.Sha256) != want || got.Fuel != 100 {
		t.Fatalf("returned %v", got)
	}
	token := factOf[*eventv1.AssignmentDispatched](t, r.host, slot, nil).Token
	module := sha256.Sum256(r.module)
	statement := proof.Statement{
		Job: "job", Slot: 0, Token: token, Module: module, Input: sha256.Sum256(input),
		Status: got.Status, Fuel: got.Fuel, Output: want,
	}
	if !statement.Verify(key, got.Attestation) {
		t.Fatal("the attestation on record is not the worker's")
	}
	eventually(t, "thanks", func() bool { return a.Stats().Recorded == 1 && a.Stats().Held == 0 })
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	factOf[*eventv1.WorkerDisconnected](t, r.host, actors.WorkerAddress(key), nil)
	r.host.eventually(t, "gone", func() bool { _, ok := r.host.ready[string(key)]; return !ok })
}

// eventually polls: what it asks has no event of its own.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for range 5000 {
		if ok() {
			return
		}
		time.Sleep(2 * time.Millisecond)
	}
	t.Fatalf("%s: not within 10 s", what)
}
