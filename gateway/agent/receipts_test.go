package agent

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"

	"github.com/shardy-network/orchestrator/actors/proof"
	"github.com/shardy-network/orchestrator/gateway/wire"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	workerv1 "github.com/shardy-network/orchestrator/proto/shardy/worker/v1"
)

type idle struct{}

func (idle) Load(context.Context, [32]byte, []byte) error { return nil }
func (idle) Run(context.Context, Task) (Result, error)    { return Result{}, io.EOF }

func testKey(n byte) ed25519.PrivateKey { return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{n}, 32)) }

func public(k ed25519.PrivateKey) ed25519.PublicKey { return k.Public().(ed25519.PublicKey) }

// witness is an agent that has sent results, the session that it hears of them in, and what it was given.
type witness struct {
	*session
	given []Receipt
	log   bytes.Buffer
}

const server, worker, stranger = 1, 2, 3

func newWitness(t *testing.T) *witness {
	t.Helper()
	w := &witness{}
	a, err := New(Config{
		Server: "http://127.0.0.1:1", Key: testKey(worker), Runner: idle{}, OnReceipt: func(r Receipt) { w.given = append(w.given, r) },
		Log: slog.New(slog.NewTextHandler(&w.log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.crew.Close)
	w.session = &session{agent: a, serverKey: public(testKey(server))}
	return w
}

func sumOf(n byte) [32]byte {
	return proof.Checksum(eventv1.ResultStatus_RESULT_STATUS_OK, uint64(n), [32]byte{n})
}

// sends has a result leave; its token is n, its job "job-n".
func (w *witness) sends(n byte) {
	w.agent.desk.outbox.put(uint64(n), sent{job: fmt.Sprint("job-", n), slot: uint32(n), checksum: sumOf(n)})
}

func of(n byte) proof.Recorded {
	return proof.Recorded{Job: fmt.Sprint("job-", n), Slot: uint32(n), Token: uint64(n), Checksum: sumOf(n), Attested: true}
}

func signed(by, to byte, results ...proof.Recorded) *workerv1.Receipts {
	var b []byte
	for _, r := range results {
		b = proof.AppendRecorded(b, r)
	}
	return proof.SignRecorded(testKey(by), public(testKey(to)), 1, b)
}

func TestReceiptsAreComparedWithWhatWasSent(t *testing.T) {
	changed := func(change func(*proof.Recorded)) proof.Recorded {
		r := of(1)
		change(&r)
		return r
	}
	for name, c := range map[string]struct {
		results []proof.Recorded
		strange int
	}{
		"as sent":          {[]proof.Recorded{of(1), of(2)}, 0},
		"another checksum": {[]proof.Recorded{changed(func(r *proof.Recorded) { r.Checksum[0]++ }), of(2)}, 1},
		"another job":      {[]proof.Recorded{changed(func(r *proof.Recorded) { r.Job = "job-9" })}, 1},
		"another slot":     {[]proof.Recorded{changed(func(r *proof.Recorded) { r.Slot++ })}, 1},
		"never sent":       {[]proof.Recorded{of(7), of(8)}, 2},
		"not attested":     {[]proof.Recorded{changed(func(r *proof.Recorded) { r.Attested = false })}, 1},
	} {
		w := newWitness(t)
		w.sends(1)
		w.sends(2)
		m := signed(server, worker, c.results...)
		w.receipts(m)
		if len(w.given) != 1 || w.given[0].Strange != c.strange || w.given[0].Recorded != m || len(w.given[0].Results.Results) != len(c.results) {
			t.Errorf("%s: %+v", name, w.given)
		}
		if warned := strings.Contains(w.log.String(), "results=") && strings.Contains(w.log.String(), "WARN"); warned != (c.strange > 0) {
			t.Errorf("%s: log %q", name, w.log.String())
		}
		if n := w.agent.Stats().Receipted; n != uint64(len(c.results)) {
			t.Errorf("%s: %d receipted", name, n)
		}
	}
}

func TestForgedReceiptsAreRefused(t *testing.T) {
	tampered := signed(server, worker, of(1))
	tampered.Body[len(tampered.Body)-1] ^= 1
	for name, m := range map[string]*workerv1.Receipts{
		"signed by a stranger":   signed(stranger, worker, of(1)),
		"for another worker":     signed(server, stranger, of(1)),
		"tampered with":          tampered,
		"of nothing":             signed(server, worker),
		"with no body":           {Signature: make([]byte, 64)},
		"with a short signature": {Body: signed(server, worker, of(1)).Body, Signature: []byte{1}},
	} {
		w := newWitness(t)
		w.sends(1)
		w.receipts(m)
		if s := w.agent.Stats(); len(w.given) != 0 || s.Forged != 1 || s.Receipted != 0 || !strings.Contains(w.log.String(), "proves nothing") {
			t.Errorf("%s: given %v, %+v", name, w.given, s)
		}
		w.receipts(signed(server, worker, of(1))) // the true one still finds its result
		if len(w.given) != 1 || w.given[0].Strange != 0 {
			t.Errorf("%s: then %+v", name, w.given)
		}
	}
}

// A worker that drains waits for the receipts that it was promised, and for no others.
func TestOnlyRecordedResultsAreWaitedFor(t *testing.T) {
	w := newWitness(t)
	d := w.agent.desk
	waits := func() bool {
		d.mu.Lock()
		defer d.mu.Unlock()
		select {
		case <-d.outbox.paid():
			return false
		default:
			return true
		}
	}
	for n := range byte(4) {
		w.sends(n)
	}
	if waits() {
		t.Fatal("waits for what was not recorded")
	}
	d.settled(&workerv1.TaskSettled{Tokens: []uint64{1, 2}, Outcome: workerv1.TaskOutcome_TASK_OUTCOME_RECORDED}, nil)
	d.settled(&workerv1.TaskSettled{Tokens: []uint64{3}, Outcome: workerv1.TaskOutcome_TASK_OUTCOME_STALE}, nil)
	w.receipts(signed(server, worker, of(1)))
	if !waits() {
		t.Fatal("does not wait for the second")
	}
	w.receipts(signed(server, worker, of(2)))
	if waits() {
		t.Fatal("waits although all are there")
	}
	// A receipt that comes before the thanks leaves nothing to wait for.
	w.receipts(signed(server, worker, of(0)))
	d.settled(&workerv1.TaskSettled{Tokens: []uint64{0}, Outcome: workerv1.TaskOutcome_TASK_OUTCOME_RECORDED}, nil)
	if waits() {
		t.Fatal("waits for a receipt that has come")
	}
}

func TestTheOutboxIsBounded(t *testing.T) {
	var o outbox
	const n = 3 * maxUnreceipted
	for token := range uint64(n) {
		o.put(token, sent{job: "job"})
		o.recorded(token)
		if token%2 == 0 {
			o.take(token)
		}
	}
	if len(o.results) > maxUnreceipted || len(o.order) > 2*maxUnreceipted || o.owed != len(o.results) {
		t.Fatalf("%d results, %d in order, %d owed", len(o.results), len(o.order), o.owed)
	}
	if o.results[n-1] == nil {
		t.Fatal("the youngest is gone")
	}
}

// The receipt of a refusal is kept when it is the orchestrator's, and about a task that is there.
func TestReceiptsOfRefusals(t *testing.T) {
	w := newWitness(t)
	d := w.agent.desk
	refuse := func(token uint64, key byte) {
		m := &workerv1.TaskSettled{Tokens: []uint64{token}, Outcome: workerv1.TaskOutcome_TASK_OUTCOME_REJECTED, Reason: 3, AtUs: 9}
		m.Receipt = ed25519.Sign(testKey(key), wire.RefusedText(public(testKey(worker)), token, m.Reason, m.AtUs))
		d.settled(m, w.serverKey)
	}
	for token := range uint64(3) {
		d.take(&workerv1.TaskAssign{Token: token, Job: fmt.Sprint("job-", token), Slot: 4}, nil)
	}
	refuse(0, server)
	refuse(1, stranger)
	refuse(9, server)
	if len(w.given) != 1 || w.given[0].Refused == nil || w.given[0].Job != "job-0" || w.given[0].Slot != 4 {
		t.Fatalf("given %+v", w.given)
	}
}
