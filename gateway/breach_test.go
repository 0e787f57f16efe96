package gateway_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"math"
	"testing"
	"time"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/gateway"
	"github.com/shardy-network/orchestrator/gateway/wire"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	workerv1 "github.com/shardy-network/orchestrator/proto/shardy/worker/v1"
)

// A breach of the protocol ends the session with its code, and the task goes to another worker.
func TestBreaches(t *testing.T) {
	garbage := bytes.Repeat([]byte{0xff}, 40)
	for name, c := range map[string]struct {
		do   func(w *raw, m *workerv1.TaskAssign)
		want workerv1.ErrorCode
		lost eventv1.StripReason
	}{
		"malformed": {
			func(w *raw, _ *workerv1.TaskAssign) { w.send(garbage) },
			workerv1.ErrorCode_ERROR_CODE_MALFORMED, eventv1.StripReason_STRIP_REASON_PROTOCOL,
		},
		"oversized meta": {
			func(w *raw, _ *workerv1.TaskAssign) { w.send(make([]byte, wire.MaxMeta+1)) },
			workerv1.ErrorCode_ERROR_CODE_TOO_LARGE, eventv1.StripReason_STRIP_REASON_PROTOCOL,
		},
		"long garbage": { // longer than the first buffer, within the limit
			func(w *raw, _ *workerv1.TaskAssign) { w.send(bytes.Repeat([]byte{0xff}, 100_000)) },
			workerv1.ErrorCode_ERROR_CODE_MALFORMED, eventv1.StripReason_STRIP_REASON_PROTOCOL,
		},
		"out of order": {
			func(w *raw, _ *workerv1.TaskAssign) { w.profile(honestProfile()) },
			workerv1.ErrorCode_ERROR_CODE_OUT_OF_ORDER, eventv1.StripReason_STRIP_REASON_PROTOCOL,
		},
		"payload missing": {
			func(w *raw, m *workerv1.TaskAssign) {
				meta := w.encode(&workerv1.FromWorker{Kind: &workerv1.FromWorker_TaskResult{TaskResult: w.result(m, []byte("out"))}})
				w.send(meta, meta)
			},
			workerv1.ErrorCode_ERROR_CODE_PAYLOAD_MISSING, eventv1.StripReason_STRIP_REASON_RESULT_REJECTED,
		},
		"payload too long": {
			func(w *raw, m *workerv1.TaskAssign) { w.finish(w.result(m, []byte("out")), []byte("output")) },
			workerv1.ErrorCode_ERROR_CODE_PAYLOAD_MISMATCH, eventv1.StripReason_STRIP_REASON_RESULT_REJECTED,
		},
		"payload too short": {
			func(w *raw, m *workerv1.TaskAssign) { w.finish(w.result(m, []byte("output")), []byte("out")) },
			workerv1.ErrorCode_ERROR_CODE_PAYLOAD_MISMATCH, eventv1.StripReason_STRIP_REASON_RESULT_REJECTED,
		},
		"wrong digest": {
			func(w *raw, m *workerv1.TaskAssign) { w.finish(w.result(m, []byte("output")), []byte("oUtput")) },
			workerv1.ErrorCode_ERROR_CODE_PAYLOAD_MISMATCH, eventv1.StripReason_STRIP_REASON_RESULT_REJECTED,
		},
		"payload announced too large": {
			func(w *raw, m *workerv1.TaskAssign) {
				r := w.result(m, []byte("out"))
				r.OutputSize = 17 << 20
				w.say(&workerv1.FromWorker{Kind: &workerv1.FromWorker_TaskResult{TaskResult: r}})
			},
			workerv1.ErrorCode_ERROR_CODE_TOO_LARGE, eventv1.StripReason_STRIP_REASON_RESULT_REJECTED,
		},
		"payload without meta": {
			func(w *raw, _ *workerv1.TaskAssign) { w.send([]byte("just an output, no meta")) },
			workerv1.ErrorCode_ERROR_CODE_MALFORMED, eventv1.StripReason_STRIP_REASON_PROTOCOL,
		},
		"benchmark answer that nobody asked for": {
			func(w *raw, _ *workerv1.TaskAssign) {
				w.say(&workerv1.FromWorker{Kind: &workerv1.FromWorker_BenchmarkAnswer{BenchmarkAnswer: &workerv1.BenchmarkAnswer{}}})
			},
			workerv1.ErrorCode_ERROR_CODE_OUT_OF_ORDER, eventv1.StripReason_STRIP_REASON_PROTOCOL,
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, nil)
			w, _ := r.join(t, nil)
			m, _ := w.give("job", r.spec(t, []byte("input")))
			c.do(w, m)
			w.closes(c.want)
			r.stripped(t, "job", c.lost)
			if c.lost == eventv1.StripReason_STRIP_REASON_RESULT_REJECTED {
				factOf[*eventv1.ResultRejected](t, r.host, actors.SlotAddress("job", 0), nil)
			}
			if n := countFacts[*eventv1.ResultReturned](r.host); n != 0 {
				t.Fatalf("%d results recorded", n)
			}
			r.host.eventually(t, "gone", func() bool { _, ok := r.host.ready[string(w.public())]; return !ok })
		})
	}
}

// A result that is invalid by itself is refused with a receipt; the session goes on.
func TestInvalidResults(t *testing.T) {
	floats := func(v ...float32) []byte {
		var b []byte
		for _, f := range v {
			b = binary.LittleEndian.AppendUint32(b, math.Float32bits(f))
		}
		return b
	}
	f32 := eventv1.ElementType_ELEMENT_TYPE_F32
	nan := float32(math.NaN())
	for name, c := range map[string]struct {
		output []byte
		spoil  func(w *raw, m *workerv1.TaskAssign, r *workerv1.TaskResult)
		forge  bool // spoil has signed, or not, as it wants
		want   eventv1.RejectReason
	}{
		"NaN":                {floats(1, nan, 3, 4), nil, false, eventv1.RejectReason_REJECT_REASON_NON_FINITE},
		"NaN at the end":     {floats(1, 2, 3, nan), nil, false, eventv1.RejectReason_REJECT_REASON_NON_FINITE},
		"infinity":           {floats(1, 2, float32(math.Inf(-1)), 4), nil, false, eventv1.RejectReason_REJECT_REASON_NON_FINITE},
		"length of no shape": {floats(1, 2, 3), nil, false, eventv1.RejectReason_REJECT_REASON_LENGTH},
		"other shape":        {floats(1, 2, 3, 4), func(_ *raw, _ *workerv1.TaskAssign, r *workerv1.TaskResult) { r.Shape = []uint64{4, 1} }, false, eventv1.RejectReason_REJECT_REASON_SHAPE},
		"overflowing shape":  {floats(1, 2, 3, 4), func(_ *raw, _ *workerv1.TaskAssign, r *workerv1.TaskResult) { r.Shape = []uint64{1 << 63, 8} }, false, eventv1.RejectReason_REJECT_REASON_SHAPE},
		"rank 9":             {floats(1, 2, 3, 4), func(_ *raw, _ *workerv1.TaskAssign, r *workerv1.TaskResult) { r.Shape = make([]uint64, 9) }, false, eventv1.RejectReason_REJECT_REASON_SHAPE},
		"other type": {floats(1, 2, 3, 4), func(_ *raw, _ *workerv1.TaskAssign, r *workerv1.TaskResult) {
			r.Dtype = eventv1.ElementType_ELEMENT_TYPE_I32
		}, false, eventv1.RejectReason_REJECT_REASON_SHAPE},
		"fuel above the limit": {floats(1, 2, 3, 4), func(_ *raw, _ *workerv1.TaskAssign, r *workerv1.TaskResult) { r.Fuel = 1001 }, false, eventv1.RejectReason_REJECT_REASON_FUEL},
		"unknown status":       {floats(1, 2, 3, 4), func(_ *raw, _ *workerv1.TaskAssign, r *workerv1.TaskResult) { r.Status = 77 }, false, eventv1.RejectReason_REJECT_REASON_STATUS},
		"trap with output": {floats(1, 2, 3, 4), func(_ *raw, _ *workerv1.TaskAssign, r *workerv1.TaskResult) {
			r.Status = eventv1.ResultStatus_RESULT_STATUS_TRAP
		}, false, eventv1.RejectReason_REJECT_REASON_LENGTH},
		"too large":      {floats(make([]float32, 300)...), nil, false, eventv1.RejectReason_REJECT_REASON_TOO_LARGE},
		"no attestation": {floats(1, 2, 3, 4), func(_ *raw, _ *workerv1.TaskAssign, r *workerv1.TaskResult) { r.Attestation = nil }, true, eventv1.RejectReason_REJECT_REASON_SIGNATURE},
		"odd attestation": {floats(1, 2, 3, 4), func(_ *raw, _ *workerv1.TaskAssign, r *workerv1.TaskResult) {
			r.Attestation = make([]byte, 100)
		}, true, eventv1.RejectReason_REJECT_REASON_SIGNATURE},
		"attestation over another result": {floats(1, 2, 3, 4), func(_ *raw, _ *workerv1.TaskAssign, r *workerv1.TaskResult) { r.Fuel = 99 }, true, eventv1.RejectReason_REJECT_REASON_SIGNATURE},
		"attestation of another key": {floats(1, 2, 3, 4), func(w *raw, m *workerv1.TaskAssign, r *workerv1.TaskResult) {
			_, key, _ := ed25519.GenerateKey(nil)
			(&raw{key: key}).attest(m, r)
		}, true, eventv1.RejectReason_REJECT_REASON_SIGNATURE},
		"replayed attestation": {floats(1, 2, 3, 4), func(w *raw, m *workerv1.TaskAssign, r *workerv1.TaskResult) {
			earlier := &workerv1.TaskAssign{Token: m.Token - 1, Job: m.Job, Slot: m.Slot, Module: m.Module, InputSha256: m.InputSha256}
			w.attest(earlier, r)
		}, true, eventv1.RejectReason_REJECT_REASON_SIGNATURE},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, nil)
			w, _ := r.join(t, nil)
			spec := r.spec(t, []byte("input"))
			spec.Output = &eventv1.OutputSpec{Dtype: f32, Shape: []uint64{2, 2}, MaxBytes: 1000}
			m, _ := w.give("job", spec)
			res := w.result(m, c.output)
			if c.spoil != nil {
				c.spoil(w, m, res)
			}
			if !c.forge {
				w.attest(m, res)
			}
			w.finish(res, c.output)
			got := w.outcome(m.GetToken())
			if got.GetOutcome() != workerv1.TaskOutcome_TASK_OUTCOME_REJECTED || got.GetReason() != uint32(c.want) {
				t.Fatalf("settled with %v, want %s", got, c.want)
			}
			text := wire.RefusedText(w.public(), m.GetToken(), got.GetReason(), got.GetAtUs())
			if !ed25519.Verify(w.serverKey, text, got.GetReceipt()) {
				t.Fatal("the receipt is not the orchestrator's")
			}
			fact := factOf[*eventv1.ResultRejected](t, r.host, actors.SlotAddress("job", 0), nil)
			if fact.GetReason() != c.want {
				t.Fatalf("recorded %v", fact)
			}
			r.stripped(t, "job", eventv1.StripReason_STRIP_REASON_RESULT_REJECTED)
			next, _ := w.give("next", r.spec(t, []byte("more")))
			w.finish(w.result(next, []byte("fine")), []byte("fine"))
			if o := w.outcome(next.GetToken()).GetOutcome(); o != workerv1.TaskOutcome_TASK_OUTCOME_RECORDED {
				t.Fatalf("the session's next result: %s", o)
			}
		})
	}
}

func TestFloatsMayBeInfiniteWhereAllowed(t *testing.T) {
	r := newRig(t, nil)
	w, _ := r.join(t, nil)
	spec := r.spec(t, []byte("input"))
	spec.Output = &eventv1.OutputSpec{Dtype: eventv1.ElementType_ELEMENT_TYPE_F64, AllowNonFinite: true}
	m, _ := w.give("job", spec)
	out := binary.LittleEndian.AppendUint64(nil, math.Float64bits(math.Inf(1)))
	w.finish(w.result(m, out), out)
	if o := w.outcome(m.GetToken()).GetOutcome(); o != workerv1.TaskOutcome_TASK_OUTCOME_RECORDED {
		t.Fatalf("outcome %s", o)
	}
}

// What comes late, twice or out of nowhere is answered and leaves no trace.
func TestTokensThatDoNotCount(t *testing.T) {
	r := newRig(t, nil)
	w, _ := r.join(t, nil)
	m, _ := w.give("job", r.spec(t, []byte("input")))
	out := []byte("out")
	never := w.result(m, out)
	never.Token++
	w.finish(never, out)
	if o := w.outcome(never.Token).GetOutcome(); o != workerv1.TaskOutcome_TASK_OUTCOME_STALE {
		t.Fatalf("never assigned: %s", o)
	}
	res := w.result(m, out)
	w.finish(res, out)
	if o := w.outcome(m.GetToken()).GetOutcome(); o != workerv1.TaskOutcome_TASK_OUTCOME_RECORDED {
		t.Fatalf("first: %s", o)
	}
	w.finish(res, out)
	if o := w.outcome(m.GetToken()).GetOutcome(); o != workerv1.TaskOutcome_TASK_OUTCOME_STALE && o != workerv1.TaskOutcome_TASK_OUTCOME_DUPLICATE {
		t.Fatalf("twice: %s", o)
	}
	w.say(&workerv1.FromWorker{Kind: &workerv1.FromWorker_TaskAck{TaskAck: &workerv1.TaskAck{Tokens: []uint64{m.GetToken(), 42}}}})
	w.say(&workerv1.FromWorker{Kind: &workerv1.FromWorker_TaskFailed{TaskFailed: &workerv1.TaskFailed{Token: 42}}})
	w.say(&workerv1.FromWorker{Kind: &workerv1.FromWorker_TaskProgress{TaskProgress: &workerv1.TaskProgress{Token: 42}}})
	next, _ := w.give("next", r.spec(t, []byte("more")))
	w.finish(w.result(next, out), out)
	if o := w.outcome(next.GetToken()).GetOutcome(); o != workerv1.TaskOutcome_TASK_OUTCOME_RECORDED {
		t.Fatalf("next: %s", o)
	}
	if n := countFacts[*eventv1.ResultReturned](r.host); n != 2 {
		t.Fatalf("%d results recorded, want 2", n)
	}
	if s := r.door.Stats(); s.Stale < 4 || s.Recorded != 2 {
		t.Fatalf("stats %+v", s)
	}
}

// Another worker's token is nobody's business but its own.
func TestResultForAnotherWorkersTask(t *testing.T) {
	r := newRig(t, nil)
	w, _ := r.join(t, nil)
	thief, _ := r.join(t, nil)
	m, _ := w.give("job", r.spec(t, []byte("input")))
	out := []byte("out")
	thief.finish(thief.result(m, out), out)
	if o := thief.outcome(m.GetToken()).GetOutcome(); o != workerv1.TaskOutcome_TASK_OUTCOME_STALE {
		t.Fatalf("thief: %s", o)
	}
	w.finish(w.result(m, out), out)
	if o := w.outcome(m.GetToken()).GetOutcome(); o != workerv1.TaskOutcome_TASK_OUTCOME_RECORDED {
		t.Fatalf("owner: %s", o)
	}
}

func TestHandshakeBreaches(t *testing.T) {
	hello := func(key []byte, version uint32) *workerv1.FromWorker {
		return &workerv1.FromWorker{Kind: &workerv1.FromWorker_Hello{Hello: &workerv1.Hello{PublicKey: key, Version: version}}}
	}
	for name, c := range map[string]struct {
		do   func(w *raw)
		want workerv1.ErrorCode
	}{
		"wrong version": {func(w *raw) { w.say(hello(w.public(), 2)) }, workerv1.ErrorCode_ERROR_CODE_VERSION},
		"proof first": {func(w *raw) {
			w.say(&workerv1.FromWorker{Kind: &workerv1.FromWorker_Proof{Proof: &workerv1.Proof{Signature: make([]byte, 64)}}})
		}, workerv1.ErrorCode_ERROR_CODE_OUT_OF_ORDER},
		"signature over another nonce": {func(w *raw) {
			w.hello()
			w.say(&workerv1.FromWorker{Kind: &workerv1.FromWorker_Proof{Proof: &workerv1.Proof{
				Signature: ed25519.Sign(w.key, wire.HelloText(make([]byte, 32), w.serverKey, w.public(), nil)),
			}}})
		}, workerv1.ErrorCode_ERROR_CODE_SIGNATURE},
		"owner that did not sign": {func(w *raw) {
			owner := bytes.Repeat([]byte{7}, 32)
			w.say(&workerv1.FromWorker{Kind: &workerv1.FromWorker_Hello{Hello: &workerv1.Hello{PublicKey: w.public(), Version: 1, OwnerKey: owner}}})
			m, _ := w.await("challenge", func(m *workerv1.FromOrchestrator) bool { return m.GetChallenge() != nil })
			w.say(&workerv1.FromWorker{Kind: &workerv1.FromWorker_Proof{Proof: &workerv1.Proof{
				Signature: ed25519.Sign(w.key, wire.HelloText(m.GetChallenge().GetNonce(), m.GetChallenge().GetServerKey(), w.public(), owner)),
			}}})
		}, workerv1.ErrorCode_ERROR_CODE_SIGNATURE},
		"garbage":             {func(w *raw) { w.send([]byte("GET / HTTP/1.1")) }, workerv1.ErrorCode_ERROR_CODE_MALFORMED},
		"nothing at all":      {func(*raw) {}, workerv1.ErrorCode_ERROR_CODE_TIMEOUT},
		"nothing after hello": {func(w *raw) { w.hello() }, workerv1.ErrorCode_ERROR_CODE_TIMEOUT},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, func(c *gateway.Config, _ *gateway.Deps) { c.HandshakeTimeout = 300 * time.Millisecond })
			w := r.dial(t, nil)
			c.do(w)
			w.closes(c.want)
			if n := countFacts[*eventv1.WorkerConnected](r.host); n != 0 {
				t.Fatalf("%d sessions recorded", n)
			}
			eventually(t, "connection given back", func() bool { return r.door.Stats().Connections == 0 })
		})
	}
}

func TestAbsurdProfilesAreRejectedWithAReceipt(t *testing.T) {
	for name, spoil := range map[string]func(*eventv1.Profile){
		"no figures":       func(p *eventv1.Profile) { *p = eventv1.Profile{} },
		"all the flops":    func(p *eventv1.Profile) { p.Mflops = math.MaxUint64 },
		"all the memory":   func(p *eventv1.Profile) { p.MaxAllocationBytes = math.MaxUint64 },
		"no memory at all": func(p *eventv1.Profile) { p.MaxAllocationBytes = 0 },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, nil)
			w := r.dial(t, nil)
			w.hello()
			w.prove()
			p := honestProfile()
			spoil(p)
			w.profile(p)
			m, _ := w.await("rejected", func(m *workerv1.FromOrchestrator) bool { return m.GetRejected() != nil })
			got := m.GetRejected()
			if got.GetReason() != eventv1.RejectionReason_REJECTION_REASON_PROFILE_INVALID {
				t.Fatalf("rejected for %v", got)
			}
			text := wire.RejectedText(w.public(), uint32(got.GetReason()), got.GetAtUs(), got.GetDetail())
			if !ed25519.Verify(w.serverKey, text, got.GetReceipt()) {
				t.Fatal("the receipt is not the orchestrator's")
			}
			factOf[*eventv1.AdmissionRejected](t, r.host, actors.WorkerAddress(w.public()), nil)
		})
	}
}

func TestWrongAnswersAreNotAdmitted(t *testing.T) {
	r := newRig(t, nil)
	w := r.dial(t, nil)
	w.hello()
	w.prove()
	w.profile(honestProfile())
	m := w.pass(func(c *workerv1.BenchmarkChallenge) *workerv1.BenchmarkAnswer {
		a := rightAnswer(c)
		if !c.GetPrepare() {
			sum := sha256.Sum256([]byte("a guess"))
			a.Digest = sum[:]
		}
		return a
	})
	if got := m.GetRejected(); got.GetReason() != eventv1.RejectionReason_REJECTION_REASON_CHALLENGE_FAILED {
		t.Fatalf("got %v", m)
	}
	factOf[*eventv1.ChallengeFailed](t, r.host, actors.WorkerAddress(w.public()), nil)
}
