package gateway_test

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/actors/proof"
	"github.com/shardy-network/orchestrator/gateway"
	"github.com/shardy-network/orchestrator/gateway/agent"
	"github.com/shardy-network/orchestrator/gateway/wire"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	workerv1 "github.com/shardy-network/orchestrator/proto/shardy/worker/v1"
)

func receiptsAfter(d time.Duration) func(*gateway.Config, *gateway.Deps) {
	return func(c *gateway.Config, _ *gateway.Deps) { c.ReceiptInterval = d }
}

// receipt waits for receipts and verifies them as a stranger would.
func (w *raw) receipt() *workerv1.ReceiptsBody {
	w.t.Helper()
	if len(w.receipts) == 0 {
		m, _ := w.await("receipts", func(m *workerv1.FromOrchestrator) bool { return m.GetReceipts() != nil })
		w.receipts = append(w.receipts, m.GetReceipts())
	}
	body, err := proof.VerifyRecorded(w.serverKey, w.public(), w.receipts[0])
	w.receipts = w.receipts[1:]
	if err != nil {
		w.t.Fatal(err)
	}
	return body
}

func (w *raw) expectReceipt(results ...*workerv1.TaskAssign) {
	w.t.Helper()
	body := w.receipt()
	if len(body.Results) != len(results) {
		w.t.Fatalf("a receipt for %d results, want %d: %v", len(body.Results), len(results), body)
	}
	for i, m := range results {
		want := proof.Checksum(eventv1.ResultStatus_RESULT_STATUS_OK, 100, [32]byte(w.result(m, []byte("x")).OutputSha256))
		r := body.Results[i]
		if r.Job != m.GetJob() || r.Slot != m.GetSlot() || r.Token != m.GetToken() || [32]byte(r.Checksum) != want || !r.Attested {
			w.t.Fatalf("receipt for %v, want job %s, token %d, checksum %x", r, m.GetJob(), m.GetToken(), want)
		}
	}
}

func (w *raw) recorded(m *workerv1.TaskAssign) {
	w.t.Helper()
	w.finish(w.result(m, []byte("x")), []byte("x"))
	if o := w.outcome(m.GetToken()).GetOutcome(); o != workerv1.TaskOutcome_TASK_OUTCOME_RECORDED {
		w.t.Fatalf("outcome %s", o)
	}
}

func TestReceiptsFollowTheThanks(t *testing.T) {
	r := newRig(t, receiptsAfter(20*time.Millisecond))
	w, _ := r.join(t, nil)
	for i := range 3 {
		m, _ := w.give(fmt.Sprint("job-", i), r.spec(t, []byte("input")))
		w.recorded(m)
		w.expectReceipt(m)
	}
}

// Results that come together have one signature.
func TestReceiptsWaitForEachOther(t *testing.T) {
	r := newRig(t, receiptsAfter(300*time.Millisecond))
	w, _ := r.join(t, nil)
	var all []*workerv1.TaskAssign
	for i := range 5 {
		m, _ := w.give(fmt.Sprint("job-", i), r.spec(t, []byte("input")))
		all = append(all, m)
	}
	for _, m := range all {
		w.recorded(m)
	}
	w.expectReceipt(all...)
	if n := r.door.Stats().Receipts; n != 1 {
		t.Fatalf("%d signatures", n)
	}
}

func TestAFullReceiptDoesNotWait(t *testing.T) {
	r := newRig(t, func(c *gateway.Config, _ *gateway.Deps) { c.ReceiptInterval = time.Minute; c.MaxCredits = 1024 })
	w, _ := r.join(t, nil)
	spec := r.spec(t, []byte("input"))
	for i := range proof.MaxRecorded {
		m, _ := w.give(fmt.Sprint("job-", i), spec)
		w.finish(w.result(m, []byte("x")), []byte("x"))
	}
	body := w.receipt()
	if len(body.Results) != proof.MaxRecorded {
		t.Fatalf("%d results", len(body.Results))
	}
	last, _ := w.give("last", spec)
	w.recorded(last)
	w.say(&workerv1.FromWorker{Kind: &workerv1.FromWorker_Drain{Drain: &workerv1.Drain{Reason: "enough"}}})
	w.expectReceipt(last)
}

func TestReceiptsComeWithTheLastWords(t *testing.T) {
	for name, end := range map[string]func(*rig, *raw){
		"door closes": func(r *rig, _ *raw) { _ = r.door.Close() },
		"the worker breaks the protocol": func(_ *rig, w *raw) {
			w.say(&workerv1.FromWorker{Kind: &workerv1.FromWorker_Hello{Hello: &workerv1.Hello{PublicKey: w.public(), Version: 1}}})
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, receiptsAfter(time.Minute))
			w, _ := r.join(t, nil)
			m, _ := w.give("job", r.spec(t, []byte("input")))
			w.recorded(m)
			end(r, w)
			w.expectReceipt(m)
		})
	}
}

// Whoever finishes its last task while it drains does not wait.
func TestReceiptsComeWhenTheLastTaskOfADrainIsDone(t *testing.T) {
	r := newRig(t, receiptsAfter(time.Minute))
	w, _ := r.join(t, nil)
	a, _ := w.give("a", r.spec(t, []byte("input")))
	b, _ := w.give("b", r.spec(t, []byte("input")))
	w.recorded(a)
	w.say(&workerv1.FromWorker{Kind: &workerv1.FromWorker_Drain{Drain: &workerv1.Drain{Reason: "enough"}}})
	w.recorded(b)
	w.expectReceipt(a, b)
}

// A worker that lost its connection, or opened a second one, gets what it is owed by the session before.
func TestReceiptsFollowTheWorker(t *testing.T) {
	for name, leave := range map[string]func(*rig, *raw){
		"after a drop": func(r *rig, w *raw) {
			_ = w.conn.Close()
			r.host.eventually(t, "gone", func() bool { return r.host.gone[string(w.public())] == 1 })
		},
		"replaced": func(*rig, *raw) {},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, receiptsAfter(time.Minute))
			w, _ := r.join(t, nil)
			m, _ := w.give("job", r.spec(t, []byte("input")))
			w.recorded(m)
			leave(r, w)
			again := r.dial(t, w.key)
			again.hello()
			again.prove(m.GetToken())
			again.expectReceipt(m)
		})
	}
}

func TestRejectedResultsAreInNoReceipt(t *testing.T) {
	r := newRig(t, receiptsAfter(20*time.Millisecond))
	w, _ := r.join(t, nil)
	bad, _ := w.give("bad", r.spec(t, []byte("input")))
	result := w.result(bad, []byte("x"))
	result.Attestation[0] ^= 1
	w.finish(result, []byte("x"))
	if o := w.outcome(bad.GetToken()).GetOutcome(); o != workerv1.TaskOutcome_TASK_OUTCOME_REJECTED {
		t.Fatalf("outcome %s", o)
	}
	good, _ := w.give("good", r.spec(t, []byte("input")))
	w.recorded(good)
	w.expectReceipt(good)
}

// shelf keeps what an agent is given.
type shelf struct {
	mu   sync.Mutex
	kept []agent.Receipt
}

func (s *shelf) put(r agent.Receipt) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kept = append(s.kept, r)
}

func (s *shelf) list() []agent.Receipt {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]agent.Receipt(nil), s.kept...)
}

func TestAgentKeepsReceipts(t *testing.T) {
	r := newRig(t, receiptsAfter(20*time.Millisecond))
	var kept shelf
	key, a, _ := startAgent(t, r, func(c *agent.Config) { c.OnReceipt = kept.put })
	r.host.waitReady(t, key)
	r.host.submit("job", r.spec(t, []byte("input")))
	r.host.dispatch(t, "job", 0, key)
	eventually(t, "receipt", func() bool { return a.Stats().Receipted == 1 })
	got := kept.list()
	if len(got) != 1 || got[0].Strange != 0 || len(got[0].Results.GetResults()) != 1 || got[0].Results.Results[0].Job != "job" {
		t.Fatalf("kept %+v", got)
	}
	if _, err := proof.VerifyRecorded(r.key.Public().(ed25519.PublicKey), key, got[0].Recorded); err != nil {
		t.Fatal(err)
	}
}

// An agent that is stopped leaves with its receipts, however long the interval is.
func TestAgentLeavesWithItsReceipts(t *testing.T) {
	r := newRig(t, receiptsAfter(time.Minute))
	var kept shelf
	key, a, stop := startAgent(t, r, func(c *agent.Config) { c.OnReceipt = kept.put })
	r.host.waitReady(t, key)
	r.host.submit("job", r.spec(t, []byte("input")))
	r.host.dispatch(t, "job", 0, key)
	eventually(t, "thanks", func() bool { return a.Stats().Recorded == 1 })
	begin := time.Now()
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if got := kept.list(); len(got) != 1 || a.Stats().Receipted != 1 {
		t.Fatalf("kept %+v after %s", got, time.Since(begin))
	}
}

func TestAgentKeepsTheReceiptOfARefusal(t *testing.T) {
	r := newRig(t, nil)
	var kept shelf
	key, _, _ := startAgent(t, r, func(c *agent.Config) {
		c.OnReceipt = kept.put
		c.Runner = overrun{}
	})
	r.host.waitReady(t, key)
	r.host.submit("job", r.spec(t, []byte("input")))
	r.host.dispatch(t, "job", 0, key)
	eventually(t, "refusal", func() bool { return len(kept.list()) > 0 })
	got := kept.list()[0]
	if got.Refused == nil || got.Job != "job" || eventv1.RejectReason(got.Refused.Reason) != eventv1.RejectReason_REJECT_REASON_FUEL {
		t.Fatalf("kept %+v", got)
	}
	text := wire.RefusedText(key, got.Refused.Tokens[0], got.Refused.Reason, got.Refused.AtUs)
	if !ed25519.Verify(got.Orchestrator, text, got.Refused.Receipt) {
		t.Fatal("not signed")
	}
}

// overrun claims more fuel than it was given.
type overrun struct{}

func (overrun) Load(context.Context, [32]byte, []byte) error { return nil }

func (overrun) Run(ctx context.Context, t agent.Task) (agent.Result, error) {
	r, err := (&mirror{}).Run(ctx, t)
	if t.Job != "" {
		r.Fuel = 1 << 40
	}
	return r, err
}

// The task that a drain waits for is given up: what was recorded before it is receipted.
func TestReceiptsComeWhenTheLastTaskOfADrainIsGivenUp(t *testing.T) {
	for name, giveUp := range map[string]func(*rig, *raw, *workerv1.TaskAssign){
		"by the worker": func(_ *rig, w *raw, m *workerv1.TaskAssign) {
			w.say(&workerv1.FromWorker{Kind: &workerv1.FromWorker_TaskFailed{TaskFailed: &workerv1.TaskFailed{Token: m.GetToken()}}})
		},
		"by the orchestrator": func(r *rig, _ *raw, _ *workerv1.TaskAssign) {
			if _, err := r.host.Do(t.Context(), actors.SlotAddress("b", 0), &eventv1.Command{Kind: &eventv1.Command_CancelSlot{
				CancelSlot: &eventv1.CancelSlot{Reason: "decided"},
			}}); err != nil {
				t.Error(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, receiptsAfter(time.Minute))
			w, _ := r.join(t, nil)
			a, _ := w.give("a", r.spec(t, []byte("input")))
			b, _ := w.give("b", r.spec(t, []byte("input")))
			w.recorded(a)
			w.say(&workerv1.FromWorker{Kind: &workerv1.FromWorker_Drain{Drain: &workerv1.Drain{Reason: "enough"}}})
			r.host.eventually(t, "draining", func() bool { return r.host.draining[string(w.public())] })
			giveUp(r, w, b)
			w.expectReceipt(a)
		})
	}
}

// A result that is recorded while its worker is away is receipted when the worker is back.
func TestReceiptsOfResultsThatWereRecordedMeanwhile(t *testing.T) {
	r := newRig(t, receiptsAfter(time.Minute))
	w, _ := r.join(t, nil)
	m, _ := w.give("job", r.spec(t, []byte("input")))
	r.host.away.Store(true) // the log takes nothing yet
	w.finish(w.result(m, []byte("x")), []byte("x"))
	eventually(t, "result on its way", func() bool { return w.taken(m.GetToken()) })
	_ = w.conn.Close()
	eventually(t, "gone", func() bool { return r.door.Stats().Sessions == 0 })
	r.host.away.Store(false)
	eventually(t, "recorded", func() bool { return r.door.Stats().Recorded == 1 })
	again := r.dial(t, w.key)
	again.hello()
	again.prove()
	again.expectReceipt(m)
}

// taken reports whether the door has the whole result: whoever sends it again is told that it is a duplicate.
func (w *raw) taken(token uint64) bool {
	none := sha256.Sum256(nil)
	w.finish(&workerv1.TaskResult{Token: token, OutputSha256: none[:]}, nil)
	return w.outcome(token).GetOutcome() == workerv1.TaskOutcome_TASK_OUTCOME_DUPLICATE
}
