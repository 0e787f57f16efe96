package wire

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	workerv1 "github.com/shardy-network/orchestrator/proto/shardy/worker/v1"
)

func resultMeta(t testing.TB, token uint64, payload []byte) []byte {
	t.Helper()
	sum := sha256.Sum256(payload)
	b, err := AppendFromWorker(nil, &workerv1.FromWorker{Kind: &workerv1.FromWorker_TaskResult{TaskResult: &workerv1.TaskResult{
		Token: token, OutputSha256: sum[:], OutputSize: uint64(len(payload)),
	}}})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func ackMeta(t testing.TB, tokens ...uint64) []byte {
	t.Helper()
	b, err := AppendFromWorker(nil, &workerv1.FromWorker{Kind: &workerv1.FromWorker_TaskAck{TaskAck: &workerv1.TaskAck{Tokens: tokens}}})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestReaderPairsMetaAndPayload(t *testing.T) {
	for _, payload := range [][]byte{nil, {}, []byte("x"), bytes.Repeat([]byte("abc"), 5000)} {
		r := NewWorkerReader(1 << 20)
		if _, done, err := r.Feed(true, resultMeta(t, 7, payload)); done || err != nil {
			t.Fatalf("meta: done %v, err %v", done, err)
		}
		if size, pending := r.Pending(); !pending || size != uint64(len(payload)) {
			t.Fatalf("pending %v of %d bytes", pending, size)
		}
		in, done, err := r.Feed(true, payload)
		if !done || err != nil || !in.Carries || in.Message.GetTaskResult().GetToken() != 7 || in.Sum != sha256.Sum256(payload) {
			t.Fatalf("payload: %v %v %+v", done, err, in)
		}
		if in, done, err = r.Feed(true, ackMeta(t, 1, 2)); !done || err != nil || in.Carries || len(in.Message.GetTaskAck().GetTokens()) != 2 {
			t.Fatalf("ack behind it: %v %v %+v", done, err, in)
		}
		if err := r.End(); err != nil {
			t.Fatalf("end: %v", err)
		}
	}
}

func TestReaderRefuses(t *testing.T) {
	payload := []byte("the payload")
	other := []byte("the pAyload")
	steps := func(frames ...[]byte) [][]byte { return frames }
	for _, c := range []struct {
		name   string
		frames [][]byte
		text   bool // the last one
		end    bool
		want   workerv1.ErrorCode
		meta   bool // the refusal names the meta
	}{
		{name: "text message", frames: steps([]byte("hello")), text: true, want: workerv1.ErrorCode_ERROR_CODE_MALFORMED},
		{name: "empty message", frames: steps(nil), want: workerv1.ErrorCode_ERROR_CODE_MALFORMED},
		{name: "no protobuf", frames: steps([]byte{0xff, 0xff, 0xff}), want: workerv1.ErrorCode_ERROR_CODE_MALFORMED},
		{name: "oversized meta", frames: steps(make([]byte, MaxMeta+1)), want: workerv1.ErrorCode_ERROR_CODE_TOO_LARGE},
		{name: "oversized payload announced", frames: steps(resultMeta(t, 1, make([]byte, 2000))), want: workerv1.ErrorCode_ERROR_CODE_TOO_LARGE, meta: true},
		{name: "payload too short", frames: steps(resultMeta(t, 1, payload), payload[1:]), want: workerv1.ErrorCode_ERROR_CODE_PAYLOAD_MISMATCH, meta: true},
		{name: "payload too long", frames: steps(resultMeta(t, 1, payload), append(payload, 'x')), want: workerv1.ErrorCode_ERROR_CODE_PAYLOAD_MISMATCH, meta: true},
		{name: "wrong digest", frames: steps(resultMeta(t, 1, payload), other), want: workerv1.ErrorCode_ERROR_CODE_PAYLOAD_MISMATCH, meta: true},
		{name: "payload forgotten", frames: steps(resultMeta(t, 1, payload), ackMeta(t, 9)), want: workerv1.ErrorCode_ERROR_CODE_PAYLOAD_MISSING, meta: true},
		{name: "result twice", frames: steps(resultMeta(t, 1, payload), resultMeta(t, 1, payload)), want: workerv1.ErrorCode_ERROR_CODE_PAYLOAD_MISSING, meta: true},
		{name: "payload twice", frames: steps(resultMeta(t, 1, payload), payload, payload), want: workerv1.ErrorCode_ERROR_CODE_MALFORMED},
		{name: "text payload", frames: steps(resultMeta(t, 1, payload), payload), text: true, want: workerv1.ErrorCode_ERROR_CODE_MALFORMED},
		{name: "end before payload", frames: steps(resultMeta(t, 1, payload)), end: true, want: workerv1.ErrorCode_ERROR_CODE_PAYLOAD_MISSING},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := NewWorkerReader(1000)
			var err error
			var in Incoming[*workerv1.FromWorker]
			for i, f := range c.frames {
				if err != nil {
					t.Fatalf("refused early: %v", err)
				}
				in, _, err = r.Feed(!c.text || i < len(c.frames)-1, f)
			}
			if c.end {
				err = r.End()
			}
			if !errors.Is(err, &Error{Code: c.want}) {
				t.Fatalf("got %v, want %s", err, c.want)
			}
			if got := in.Message != nil; got != c.meta {
				t.Fatalf("names the meta: %v, want %v", got, c.meta)
			}
			if _, _, again := r.Feed(true, ackMeta(t, 1)); again == nil || again.Error() != err.Error() {
				t.Fatalf("goes on with %v", again)
			}
		})
	}
}

func TestBounds(t *testing.T) {
	key, sig := make([]byte, 32), make([]byte, 64)
	for name, m := range map[string]*workerv1.FromWorker{
		"no kind":        {},
		"short key":      {Kind: &workerv1.FromWorker_Hello{Hello: &workerv1.Hello{PublicKey: key[1:], Version: 1}}},
		"long owner":     {Kind: &workerv1.FromWorker_Hello{Hello: &workerv1.Hello{PublicKey: key, OwnerKey: append(key, 0)}}},
		"no signature":   {Kind: &workerv1.FromWorker_Proof{Proof: &workerv1.Proof{}}},
		"many held":      {Kind: &workerv1.FromWorker_Proof{Proof: &workerv1.Proof{Signature: sig, Held: make([]uint64, MaxTokens+1)}}},
		"no profile":     {Kind: &workerv1.FromWorker_ProfileV2{ProfileV2: &workerv1.ProfileV2{}}},
		"long engine":    {Kind: &workerv1.FromWorker_ProfileV2{ProfileV2: &workerv1.ProfileV2{Profile: &eventv1.Profile{Engine: string(make([]byte, 300))}}}},
		"empty ack":      {Kind: &workerv1.FromWorker_TaskAck{TaskAck: &workerv1.TaskAck{}}},
		"much progress":  {Kind: &workerv1.FromWorker_TaskProgress{TaskProgress: &workerv1.TaskProgress{Permille: 1001}}},
		"no digest":      {Kind: &workerv1.FromWorker_TaskResult{TaskResult: &workerv1.TaskResult{}}},
		"long proof":     {Kind: &workerv1.FromWorker_TaskResult{TaskResult: &workerv1.TaskResult{OutputSha256: key, Proof: make([]byte, MaxProof+1)}}},
		"long detail":    {Kind: &workerv1.FromWorker_TaskFailed{TaskFailed: &workerv1.TaskFailed{Detail: string(make([]byte, MaxDetail+1))}}},
		"odd digest":     {Kind: &workerv1.FromWorker_BenchmarkAnswer{BenchmarkAnswer: &workerv1.BenchmarkAnswer{Digest: key[2:]}}},
		"many shape":     {Kind: &workerv1.FromWorker_TaskResult{TaskResult: &workerv1.TaskResult{OutputSha256: key, Shape: make([]uint64, 33)}}},
		"nil inner":      {Kind: &workerv1.FromWorker_Hello{}},
		"long challenge": {Kind: &workerv1.FromWorker_BenchmarkAnswer{BenchmarkAnswer: &workerv1.BenchmarkAnswer{Nonce: make([]byte, 65)}}},
	} {
		if _, err := AppendFromWorker(nil, m); !errors.Is(err, &Error{Code: workerv1.ErrorCode_ERROR_CODE_MALFORMED}) {
			t.Errorf("%s: encoded with %v", name, err)
		}
		b, err := proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := DecodeFromWorker(b); !errors.Is(err, &Error{Code: workerv1.ErrorCode_ERROR_CODE_MALFORMED}) {
			t.Errorf("%s: decoded with %v", name, err)
		}
	}
}

func TestOrder(t *testing.T) {
	hello := &workerv1.FromWorker{Kind: &workerv1.FromWorker_Hello{}}
	proofMsg := &workerv1.FromWorker{Kind: &workerv1.FromWorker_Proof{}}
	profile := &workerv1.FromWorker{Kind: &workerv1.FromWorker_ProfileV2{}}
	answer := &workerv1.FromWorker{Kind: &workerv1.FromWorker_BenchmarkAnswer{}}
	result := &workerv1.FromWorker{Kind: &workerv1.FromWorker_TaskResult{}}
	credits := &workerv1.FromWorker{Kind: &workerv1.FromWorker_Credits{}}
	allowed := map[Phase][]*workerv1.FromWorker{
		PhaseHello: {hello}, PhaseProof: {proofMsg}, PhaseProfile: {profile},
		PhaseTest: {answer, result, credits}, PhaseWork: {result, credits},
	}
	for phase, ok := range allowed {
		for _, m := range []*workerv1.FromWorker{hello, proofMsg, profile, answer, result, credits, {}} {
			want := false
			for _, o := range ok {
				want = want || o == m
			}
			if got := phase.Check(m) == nil; got != want {
				t.Errorf("phase %s, %T: allowed %v, want %v", phase, m.GetKind(), got, want)
			}
		}
	}
}

func TestEnvelopeBytesAreTheLibrarys(t *testing.T) {
	sum := make([]byte, 32)
	for _, m := range []*workerv1.FromWorker{
		{Kind: &workerv1.FromWorker_TaskResult{TaskResult: &workerv1.TaskResult{Token: 1 << 60, OutputSha256: sum, Shape: []uint64{3, 4}}}},
		{Kind: &workerv1.FromWorker_TaskAck{TaskAck: &workerv1.TaskAck{Tokens: []uint64{1, 1 << 40}}}},
	} {
		got, err := AppendFromWorker(nil, m)
		want, _ := proto.Marshal(m)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%v: %x, library %x (%v)", m, got, want, err)
		}
	}
	for _, m := range []*workerv1.FromOrchestrator{
		{Kind: &workerv1.FromOrchestrator_TaskAssign{TaskAssign: &workerv1.TaskAssign{
			Token: 9, Job: "j", Module: sum, InputSha256: sum, Output: &eventv1.OutputSpec{MaxBytes: 7}, Proof: &eventv1.ProofSpec{System: 1},
		}}},
		{Kind: &workerv1.FromOrchestrator_TaskSettled{TaskSettled: &workerv1.TaskSettled{Tokens: []uint64{5}, Detail: "d"}}},
	} {
		got, err := AppendFromOrchestrator(nil, m)
		want, _ := proto.Marshal(m)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%v: %x, library %x (%v)", m, got, want, err)
		}
	}
}

func TestSignedTextsKeepTheirLayout(t *testing.T) {
	a, b, c, d := bytes.Repeat([]byte{1}, 32), bytes.Repeat([]byte{2}, 32), bytes.Repeat([]byte{3}, 32), bytes.Repeat([]byte{4}, 32)
	want := append([]byte("shardy/hello/v1\x00"), bytes.Join([][]byte{a, b, c, d}, nil)...)
	if got := HelloText(a, b, c, d); !bytes.Equal(got, want) {
		t.Errorf("hello %x", got)
	}
	want = append([]byte("shardy/owner/v1\x00"), bytes.Join([][]byte{a, b, c}, nil)...)
	if got := OwnerText(a, b, c); !bytes.Equal(got, want) {
		t.Errorf("owner %x", got)
	}
	sum := sha256.Sum256([]byte("slow"))
	want = append(append([]byte("shardy/rejected/v1\x00"), c...), 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 1, 0)
	if got := RejectedText(c, 2, 256, "slow"); !bytes.Equal(got, append(want, sum[:]...)) {
		t.Errorf("rejected %x", got)
	}
	want = append(append([]byte("shardy/refused/v1\x00"), c...), 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 7)
	if got := RefusedText(c, 9, 5, 7); !bytes.Equal(got, want) {
		t.Errorf("refused %x", got)
	}
}

func TestCloseCodesAreDistinctAndLegal(t *testing.T) {
	seen := map[int]string{RejectedCode: "rejected"}
	for n, name := range workerv1.ErrorCode_name {
		code := CloseCode(workerv1.ErrorCode(n))
		if other, ok := seen[code]; ok {
			t.Errorf("%s and %s share %d", name, other, code)
		}
		seen[code] = name
		if code < 1000 || code > 4999 || code > 1014 && code < 3000 {
			t.Errorf("%s: %d may not be sent", name, code)
		}
	}
}

// Any sequence of messages, cut anywhere, is read back as it was sent.
func TestReaderReadsWhatWasSent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := NewWorkerReader(1 << 16)
		for range rapid.IntRange(0, 20).Draw(t, "messages") {
			token := rapid.Uint64().Draw(t, "token")
			if rapid.Bool().Draw(t, "ack") {
				b, _ := AppendFromWorker(nil, &workerv1.FromWorker{Kind: &workerv1.FromWorker_TaskAck{TaskAck: &workerv1.TaskAck{Tokens: []uint64{token}}}})
				in, done, err := r.Feed(true, b)
				if !done || err != nil || in.Message.GetTaskAck().GetTokens()[0] != token {
					t.Fatalf("ack: %v %v", done, err)
				}
				continue
			}
			payload := rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "payload")
			sum := sha256.Sum256(payload)
			b, _ := AppendFromWorker(nil, &workerv1.FromWorker{Kind: &workerv1.FromWorker_TaskResult{TaskResult: &workerv1.TaskResult{
				Token: token, OutputSha256: sum[:], OutputSize: uint64(len(payload)),
			}}})
			if _, done, err := r.Feed(true, b); done || err != nil {
				t.Fatalf("meta: %v %v", done, err)
			}
			in, done, err := r.Feed(true, payload)
			if !done || err != nil || in.Message.GetTaskResult().GetToken() != token || !bytes.Equal(in.Payload, payload) {
				t.Fatalf("payload: %v %v", done, err)
			}
		}
	})
}

// What the envelope's own code reads and writes is what the protobuf library does.
func checkEnvelope(t *testing.T, b []byte) {
	t.Helper()
	var slowW workerv1.FromWorker
	if m, ok := fastFromWorker(b); ok {
		if err := strict.Unmarshal(b, &slowW); err != nil || !proto.Equal(m, &slowW) {
			t.Fatalf("worker: fast %v, library %v (%v)", m, &slowW, err)
		}
	}
	var slowO workerv1.FromOrchestrator
	if m, ok := fastFromOrchestrator(b); ok {
		if err := strict.Unmarshal(b, &slowO); err != nil || !proto.Equal(m, &slowO) {
			t.Fatalf("orchestrator: fast %v, library %v (%v)", m, &slowO, err)
		}
	}
}

func FuzzEnvelope(f *testing.F) {
	f.Add(resultMeta(f, 1, []byte("x")))
	f.Add(ackMeta(f, 1, 2, 3))
	b, _ := AppendFromOrchestrator(nil, &workerv1.FromOrchestrator{Kind: &workerv1.FromOrchestrator_TaskAssign{TaskAssign: &workerv1.TaskAssign{
		Token: 3, Job: "job", Module: make([]byte, 32), InputSha256: make([]byte, 32), Output: &eventv1.OutputSpec{Shape: []uint64{1, 2}},
	}}})
	f.Add(b)
	f.Add(append(resultMeta(f, 1, nil), ackMeta(f, 1)...)) // the last of a oneof counts
	f.Fuzz(checkEnvelope)
}

func FuzzFromWorker(f *testing.F) {
	f.Add([]byte{}, []byte{})
	f.Add(resultMeta(f, 1, []byte("x")), []byte("x"))
	f.Add(ackMeta(f, 1, 2, 3), []byte{0xff})
	f.Fuzz(func(t *testing.T, first, second []byte) {
		r := NewWorkerReader(1 << 16)
		for _, b := range [][]byte{first, second, second} {
			in, done, err := r.Feed(true, b)
			if err != nil {
				if _, ok := CodeOf(err); !ok || done {
					t.Fatalf("untyped refusal %v, done %v", err, done)
				}
				continue
			}
			if done {
				again, err := AppendFromWorker(nil, in.Message)
				if err != nil {
					t.Fatalf("accepted but not encodable: %v", err)
				}
				m, err := DecodeFromWorker(again)
				if err != nil || !proto.Equal(m, in.Message) {
					t.Fatalf("decode(encode(m)) != m: %v", err)
				}
			}
		}
		_ = r.End()
	})
}

func FuzzFromOrchestrator(f *testing.F) {
	b, _ := AppendFromOrchestrator(nil, &workerv1.FromOrchestrator{Kind: &workerv1.FromOrchestrator_Drain{Drain: &workerv1.Drain{Reason: "r"}}})
	f.Add(b, []byte{})
	f.Fuzz(func(t *testing.T, first, second []byte) {
		r := NewOrchestratorReader(1 << 16)
		for _, b := range [][]byte{first, second} {
			if _, done, err := r.Feed(true, b); err != nil {
				if _, ok := CodeOf(err); !ok || done {
					t.Fatalf("untyped refusal %v, done %v", err, done)
				}
			}
		}
	})
}
