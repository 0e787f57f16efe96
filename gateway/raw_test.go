package gateway_test

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/actors/proof"
	"github.com/shardy-network/orchestrator/gateway/socket"
	"github.com/shardy-network/orchestrator/gateway/wire"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	workerv1 "github.com/shardy-network/orchestrator/proto/shardy/worker/v1"
)

// raw is a worker that says exactly what the test makes it say.
type raw struct {
	t         *testing.T
	rig       *rig
	key       ed25519.PrivateKey
	conn      *socket.Conn
	reader    *wire.Reader[*workerv1.FromOrchestrator]
	serverKey []byte
	nonce     []byte
	settled   []*workerv1.TaskSettled // passed over by await
	receipts  []*workerv1.Receipts    // likewise
}

func (r *rig) dial(t *testing.T, key ed25519.PrivateKey) *raw {
	t.Helper()
	if key == nil {
		_, key, _ = ed25519.GenerateKey(nil)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	conn, err := socket.Dial(ctx, "ws"+strings.TrimPrefix(r.url, "http")+"/ws/worker", wire.Subprotocol, socket.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &raw{t: t, rig: r, key: key, conn: conn, reader: wire.NewOrchestratorReader(64 << 20)}
}

func (w *raw) public() ed25519.PublicKey { return w.key.Public().(ed25519.PublicKey) }

func (w *raw) encode(m *workerv1.FromWorker) []byte {
	w.t.Helper()
	b, err := wire.AppendFromWorker(nil, m)
	if err != nil {
		w.t.Fatal(err)
	}
	return b
}

func (w *raw) say(m *workerv1.FromWorker) {
	w.t.Helper()
	w.send(w.encode(m))
}

func (w *raw) send(frames ...[]byte) {
	w.t.Helper()
	if err := w.conn.Send(frames...); err != nil {
		w.t.Fatalf("send: %v", err)
	}
}

// hear returns the next message, or the end of the connection.
func (w *raw) hear() (*workerv1.FromOrchestrator, []byte, error) {
	w.conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	for {
		binary, body, err := w.conn.Next()
		if err != nil {
			return nil, nil, err
		}
		data, err := io.ReadAll(body)
		if err != nil {
			return nil, nil, err
		}
		in, done, err := w.reader.Feed(binary, data)
		if err != nil {
			w.t.Fatalf("the door broke the protocol: %v", err)
		}
		if done {
			return in.Message, in.Payload, nil
		}
	}
}

// await skips what is not asked for.
func (w *raw) await(what string, ok func(*workerv1.FromOrchestrator) bool) (*workerv1.FromOrchestrator, []byte) {
	w.t.Helper()
	for {
		m, payload, err := w.hear()
		if err != nil {
			w.t.Fatalf("%s: connection ended: %v", what, err)
		}
		if ok(m) {
			return m, payload
		}
		if s := m.GetTaskSettled(); s != nil {
			w.settled = append(w.settled, s)
		}
		if s := m.GetReceipts(); s != nil {
			w.receipts = append(w.receipts, s)
		}
	}
}

func (w *raw) hello() {
	w.t.Helper()
	w.say(&workerv1.FromWorker{Kind: &workerv1.FromWorker_Hello{Hello: &workerv1.Hello{PublicKey: w.public(), Version: 1}}})
	m, _ := w.await("challenge", func(m *workerv1.FromOrchestrator) bool { return m.GetChallenge() != nil })
	w.nonce, w.serverKey = m.GetChallenge().GetNonce(), m.GetChallenge().GetServerKey()
}

func (w *raw) proof(held ...uint64) *workerv1.Proof {
	return &workerv1.Proof{Signature: ed25519.Sign(w.key, wire.HelloText(w.nonce, w.serverKey, w.public(), nil)), Held: held}
}

func (w *raw) prove(held ...uint64) (resume []uint64) {
	w.t.Helper()
	w.say(&workerv1.FromWorker{Kind: &workerv1.FromWorker_Proof{Proof: w.proof(held...)}})
	m, _ := w.await("welcome", func(m *workerv1.FromOrchestrator) bool { return m.GetWelcome() != nil })
	return m.GetWelcome().GetResume()
}

func (w *raw) profile(p *eventv1.Profile) {
	w.t.Helper()
	w.say(&workerv1.FromWorker{Kind: &workerv1.FromWorker_ProfileV2{ProfileV2: &workerv1.ProfileV2{Profile: p}}})
}

func honestProfile() *eventv1.Profile {
	return &eventv1.Profile{
		Mflops: 3000, MaxAllocationBytes: 512 << 20, ChunkBytes: 1 << 20, Cores: 2, Arch: "amd64", Os: "linux", Engine: "test", Agent: "test",
	}
}

// pass answers challenges until the door has decided.
func (w *raw) pass(answer func(*workerv1.BenchmarkChallenge) *workerv1.BenchmarkAnswer) *workerv1.FromOrchestrator {
	w.t.Helper()
	for {
		m, _ := w.await("admission", func(m *workerv1.FromOrchestrator) bool {
			return m.GetBenchmarkChallenge() != nil || m.GetAdmitted() != nil || m.GetRejected() != nil
		})
		c := m.GetBenchmarkChallenge()
		if c == nil {
			return m
		}
		w.say(&workerv1.FromWorker{Kind: &workerv1.FromWorker_BenchmarkAnswer{BenchmarkAnswer: answer(c)}})
	}
}

func rightAnswer(c *workerv1.BenchmarkChallenge) *workerv1.BenchmarkAnswer {
	a := &workerv1.BenchmarkAnswer{Nonce: c.GetNonce()}
	if !c.GetPrepare() {
		sum := sha256.Sum256(reversed(c.GetInput()))
		a.Digest = sum[:]
	}
	return a
}

// join leads a raw worker to work.
func (r *rig) join(t *testing.T, key ed25519.PrivateKey, held ...uint64) (*raw, []uint64) {
	t.Helper()
	w := r.dial(t, key)
	w.hello()
	resume := w.prove(held...)
	w.profile(honestProfile())
	if m := w.pass(rightAnswer); m.GetAdmitted() == nil {
		t.Fatalf("not admitted: %v", m)
	}
	w.say(&workerv1.FromWorker{Kind: &workerv1.FromWorker_Credits{Credits: &workerv1.Credits{Credits: 8}}})
	r.host.waitReady(t, w.public())
	return w, resume
}

// give dispatches a job's slot to the worker and returns what arrives.
func (w *raw) give(job string, spec *eventv1.JobSpec) (*workerv1.TaskAssign, []byte) {
	w.t.Helper()
	w.rig.host.submit(job, spec)
	w.rig.host.dispatch(w.t, job, 0, w.public())
	m, payload := w.await("task", func(m *workerv1.FromOrchestrator) bool { return m.GetTaskAssign() != nil })
	return m.GetTaskAssign(), payload
}

// result is an honest one; tests spoil it.
func (w *raw) result(m *workerv1.TaskAssign, output []byte) *workerv1.TaskResult {
	sum := sha256.Sum256(output)
	r := &workerv1.TaskResult{
		Token: m.GetToken(), Status: eventv1.ResultStatus_RESULT_STATUS_OK, Fuel: 100, OutputSha256: sum[:], OutputSize: uint64(len(output)),
		Dtype: m.GetOutput().GetDtype(), Shape: m.GetOutput().GetShape(),
	}
	w.attest(m, r)
	return r
}

func (w *raw) attest(m *workerv1.TaskAssign, r *workerv1.TaskResult) {
	r.Attestation = proof.Statement{
		Job: m.GetJob(), Slot: m.GetSlot(), Token: m.GetToken(), Module: [32]byte(m.GetModule()), Input: [32]byte(m.GetInputSha256()),
		Status: r.GetStatus(), Fuel: r.GetFuel(), Output: [32]byte(r.GetOutputSha256()),
	}.Sign(w.key)
}

func (w *raw) finish(r *workerv1.TaskResult, output []byte) {
	w.t.Helper()
	w.send(w.encode(&workerv1.FromWorker{Kind: &workerv1.FromWorker_TaskResult{TaskResult: r}}), output)
}

// outcome waits for what became of a token.
func (w *raw) outcome(token uint64) *workerv1.TaskSettled {
	w.t.Helper()
	has := func(s *workerv1.TaskSettled) bool {
		return slices.Contains(s.GetTokens(), token)
	}
	for i, s := range w.settled {
		if has(s) {
			w.settled = append(w.settled[:i:i], w.settled[i+1:]...)
			return s
		}
	}
	m, _ := w.await("settled", func(m *workerv1.FromOrchestrator) bool { return has(m.GetTaskSettled()) })
	return m.GetTaskSettled()
}

// closes waits for the typed end of the session.
func (w *raw) closes(code workerv1.ErrorCode) {
	w.t.Helper()
	var last *workerv1.Error
	for {
		m, _, err := w.hear()
		if err != nil {
			got, _, ok := socket.CloseCode(err)
			if !ok || got != wire.CloseCode(code) {
				w.t.Fatalf("closed with %d (%v), want %d for %s", got, err, wire.CloseCode(code), code)
			}
			break
		}
		if m.GetError() != nil {
			last = m.GetError()
		}
	}
	if last.GetCode() != code {
		w.t.Fatalf("last words %v, want %s", last, code)
	}
}

func (r *rig) stripped(t *testing.T, job string, why eventv1.StripReason) {
	t.Helper()
	f := factOf[*eventv1.AssignmentStripped](t, r.host, actors.SlotAddress(job, 0), nil)
	if f.GetReason() != why {
		t.Fatalf("stripped for %s, want %s", f.GetReason(), why)
	}
}
