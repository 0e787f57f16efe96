package proof

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	workerv1 "github.com/shardy-network/orchestrator/proto/shardy/worker/v1"
)

func keyOf(n byte) ed25519.PrivateKey { return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{n}, 32)) }

func publicOf(k ed25519.PrivateKey) []byte { return k.Public().(ed25519.PublicKey) }

func drawRecorded(t *rapid.T, n int) Recorded {
	r := Recorded{
		Job: rapid.StringMatching("[a-z0-9]{1,40}").Draw(t, "job"), Slot: rapid.Uint32().Draw(t, "slot"), Token: uint64(n),
		Attested: rapid.Bool().Draw(t, "attested"),
	}
	copy(r.Checksum[:], rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "checksum"))
	return r
}

// What is written by hand is what the library writes.
func TestRecordedReadsAsTheSchemaSays(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		key, worker := keyOf(1), publicOf(keyOf(2))
		want := &workerv1.ReceiptsBody{Worker: worker, AtUs: rapid.Int64Range(1, 1<<60).Draw(t, "at")}
		var results []byte
		for i := range rapid.IntRange(1, 8).Draw(t, "results") {
			r := drawRecorded(t, i)
			results = AppendRecorded(results, r)
			want.Results = append(want.Results, &workerv1.RecordedResult{
				Job: r.Job, Slot: r.Slot, Token: r.Token, Checksum: r.Checksum[:], Attested: r.Attested,
			})
		}
		m := SignRecorded(key, worker, want.AtUs, results)
		got, err := VerifyRecorded(publicOf(key), worker, m)
		if err != nil || !proto.Equal(got, want) {
			t.Fatalf("%v, %v, want %v", got, err, want)
		}
		encoded, err := proto.MarshalOptions{Deterministic: true}.Marshal(want)
		if err != nil || !bytes.Equal(encoded, m.Body) {
			t.Fatalf("%x, want %x", m.Body, encoded)
		}
	})
}

func TestRecordedRefuses(t *testing.T) {
	key, worker := keyOf(1), publicOf(keyOf(2))
	one := AppendRecorded(nil, Recorded{Job: "job", Token: 7})
	sound := SignRecorded(key, worker, 1, one)
	many := func(n int) (all []byte) {
		for i := range n {
			all = AppendRecorded(all, Recorded{Job: "job", Token: uint64(i)})
		}
		return all
	}
	if _, err := VerifyRecorded(publicOf(key), worker, SignRecorded(key, worker, 1, many(MaxRecorded))); err != nil {
		t.Fatalf("a full one: %v", err)
	}
	signed := func(body []byte) *workerv1.Receipts {
		return &workerv1.Receipts{Body: body, Signature: ed25519.Sign(key, RecordedText(body))}
	}
	for name, c := range map[string]struct {
		receipt *workerv1.Receipts
		key     ed25519.PrivateKey
		want    error
	}{
		"nothing":               {nil, key, ErrReceipt},
		"no signature":          {&workerv1.Receipts{Body: sound.Body}, key, ErrReceipt},
		"another orchestrator":  {sound, keyOf(3), ErrForged},
		"signed without a tag":  {&workerv1.Receipts{Body: sound.Body, Signature: ed25519.Sign(key, sound.Body)}, key, ErrForged},
		"another worker":        {SignRecorded(key, publicOf(keyOf(4)), 1, one), key, ErrNotOurs},
		"no results":            {SignRecorded(key, worker, 1, nil), key, ErrReceipt},
		"too many":              {SignRecorded(key, worker, 1, many(MaxRecorded+1)), key, ErrReceipt},
		"no time":               {SignRecorded(key, worker, 0, one), key, ErrReceipt},
		"no worker":             {SignRecorded(key, nil, 1, one), key, ErrReceipt},
		"no job":                {SignRecorded(key, worker, 1, AppendRecorded(nil, Recorded{Token: 7})), key, ErrReceipt},
		"one result twice":      {SignRecorded(key, worker, 1, append(append([]byte{}, one...), one...)), key, ErrReceipt},
		"signed, but no body":   {signed([]byte{0xff, 0xff}), key, ErrReceipt},
		"longer than the limit": {signed(make([]byte, MaxRecordedBytes+1)), key, ErrReceipt},
	} {
		if _, err := VerifyRecorded(publicOf(c.key), worker, c.receipt); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	for i := range sound.Body {
		changed := &workerv1.Receipts{Body: bytes.Clone(sound.Body), Signature: sound.Signature}
		changed.Body[i] ^= 1
		if _, err := VerifyRecorded(publicOf(key), worker, changed); !errors.Is(err, ErrForged) {
			t.Fatalf("byte %d changed: %v", i, err)
		}
	}
}

// FuzzRecorded has whatever bytes signed: an orchestrator may sign nonsense too.
func FuzzRecorded(f *testing.F) {
	key, worker := keyOf(1), publicOf(keyOf(2))
	f.Add(SignRecorded(key, worker, 1, AppendRecorded(nil, Recorded{Job: "job", Token: 7, Attested: true})).Body)
	f.Fuzz(func(t *testing.T, body []byte) {
		got, err := VerifyRecorded(publicOf(key), nil, &workerv1.Receipts{Body: body, Signature: ed25519.Sign(key, RecordedText(body))})
		switch {
		case err != nil && !errors.Is(err, ErrReceipt):
			t.Fatalf("untyped %v", err)
		case err == nil && (len(got.Results) == 0 || len(got.Worker) != 32):
			t.Fatalf("passed %v", got)
		}
	})
}

func BenchmarkAppendRecorded(b *testing.B) {
	buf := make([]byte, 0, 64<<10)
	b.ReportAllocs()
	for b.Loop() {
		buf = AppendRecorded(buf[:0], Recorded{Job: "01234567890123456789012345", Slot: 1, Token: 1 << 40, Attested: true})
	}
}
