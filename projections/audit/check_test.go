package audit_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/shardy-network/orchestrator/events"
	"github.com/shardy-network/orchestrator/projections/audit"
	"github.com/shardy-network/orchestrator/projections/audit/audittest"
	"github.com/shardy-network/orchestrator/projections/transparency"
	auditv1 "github.com/shardy-network/orchestrator/proto/shardy/audit/v1"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

var serverKey = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{77}, 32))

// tree proves the records of a world's log.
type tree struct {
	key    ed25519.PrivateKey
	stored []tlog.Hash
	leaf   map[events.Position]int64
}

func newTree(t testing.TB, records []events.Record) *tree {
	x := &tree{key: serverKey, leaf: map[events.Position]int64{}}
	for i, r := range records {
		hashes, err := tlog.StoredHashesForRecordHash(int64(i), transparency.LeafHash(r), x)
		if err != nil {
			t.Fatal(err)
		}
		x.stored = append(x.stored, hashes...)
		x.leaf[r.Pos] = int64(i)
	}
	return x
}

func (x *tree) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, n := range indexes {
		out[i] = x.stored[n]
	}
	return out, nil
}

func (x *tree) Prove(_ context.Context, records []events.Record) (audit.Anchor, error) {
	pub := x.key.Public().(ed25519.PublicKey)
	size := int64(len(x.leaf))
	root, err := tlog.TreeHash(size, x)
	if err != nil {
		return audit.Anchor{}, err
	}
	signed, err := transparency.SignCheckpoint(transparency.Checkpoint{Origin: transparency.Origin(pub), Size: size, Root: root}, x.key)
	a := audit.Anchor{Checkpoint: signed, Key: pub}
	for _, r := range records {
		p, perr := transparency.InclusionProof(size, x.leaf[r.Pos], x)
		if err = errors.Join(err, perr); err == nil {
			a.Proofs = append(a.Proofs, p)
		}
	}
	return a, err
}

// bundle writes a job's bundle: with proofs and contents, unless told otherwise.
func bundle(t testing.TB, w *audittest.World, job string, change func(*audit.BundleOptions)) []byte {
	t.Helper()
	c, err := audit.Collect(t.Context(), w.Log, job)
	if err != nil {
		t.Fatal(err)
	}
	o := audit.BundleOptions{Prover: newTree(t, w.Records()), Content: w, Software: "test", MadeUs: 1}
	if change != nil {
		change(&o)
	}
	var file bytes.Buffer
	b, err := c.WriteBundle(t.Context(), &file, o)
	if err != nil {
		t.Fatal(err)
	}
	if b.Bytes != int64(file.Len()) || b.Records != len(c.Records()) {
		t.Errorf("%+v written, %d bytes, %d records", b, file.Len(), len(c.Records()))
	}
	return file.Bytes()
}

func check(t testing.TB, file []byte, o audit.CheckOptions) audit.Checked {
	t.Helper()
	r, err := audit.Check(t.Context(), file, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// honest runs the module of every world: it says out of and the job.
type honest struct{ output string }

func (h honest) Run(context.Context, []byte, []byte, *eventv1.JobSpec) (audit.Run, error) {
	return audit.Run{Status: eventv1.ResultStatus_RESULT_STATUS_OK, Fuel: 500, Output: sha256.Sum256([]byte(h.output))}, nil
}

// withModule puts the module's content into the world, so that its name is what it is.
func withModule(w *audittest.World) func(*eventv1.SubmitJob) {
	return func(s *eventv1.SubmitJob) { s.Spec.Module = w.Blob([]byte("\x00asm module")).Sha256 }
}

// TestBundlesOfHonestJobsAreSound: every fate that a job can have goes through a file and checks out, with the story
// that the log tells.
func TestBundlesOfHonestJobsAreSound(t *testing.T) {
	for _, s := range audittest.Scenes {
		t.Run(s.Name, func(t *testing.T) {
			w := audittest.New(t)
			id := s.Play(w)
			w.Submit(true) // others' records lie in the tree as well
			w.Work()
			r := check(t, bundle(t, w, id, nil), audit.CheckOptions{Key: serverKey.Public().(ed25519.PublicKey)})
			if !r.Sound || r.Faults != 0 || r.Anchor == nil || uint64(r.Anchor.Proofs) != r.Records || !r.Anchor.Trusted {
				t.Fatalf("not sound: %+v", r)
			}
			told := explain(t, w, id)
			if got, want := r.Story.Rounds, told.Rounds; !slices.EqualFunc(got, want, func(a, b *auditv1.Round) bool { return proto.Equal(a, b) }) {
				t.Errorf("the bundle tells another story: %v, the log says %v", got, want)
			}
			if len(r.Missing) != 1 { // the worlds' modules have no content
				t.Errorf("missing: %v", r.Missing)
			}
		})
	}
}

// TestBundleProvesAContradictedWorker: this worker signed a wrong result, and running the module shows it.
func TestBundleProvesAContradictedWorker(t *testing.T) {
	w := audittest.New(t)
	id := w.Submitted(withModule(w))
	liar := audittest.Public(w.Key(w.Tasks[0]))
	w.Lie("a lie")
	w.Work()
	r := check(t, bundle(t, w, id, nil), audit.CheckOptions{Runner: honest{"out of " + id}})
	if !r.Sound || len(r.Contradicted) != 1 || r.Rerun == nil || !r.Rerun.Agrees {
		t.Fatalf("%+v", r)
	}
	x := r.Contradicted[0]
	if x.Worker != hexOf(liar) || !x.Signed || !x.Refuted || x.Said == x.Decided || x.Decided != r.Verdict.Checksum {
		t.Errorf("the evidence is %+v", x)
	}
	if text := strings.Join(r.Unproven, "\n"); strings.Contains(text, "collude") || !strings.Contains(text, "fingerprint") {
		t.Errorf("unproven: %s", text)
	}
}

// TestRerunFindsAWrongVerdict: workers that collude are found by running the module, and the honest one is not.
func TestRerunFindsAWrongVerdict(t *testing.T) {
	w := audittest.New(t)
	id := w.Submitted(withModule(w))
	w.Lie("a common lie")
	w.Lie("a common lie")
	file := bundle(t, w, id, nil)
	if r := check(t, file, audit.CheckOptions{}); !r.Sound || r.Rerun != nil {
		t.Errorf("without running: %+v", r)
	}
	r := check(t, file, audit.CheckOptions{Runner: honest{"out of " + id}})
	if r.Sound || r.Rerun.Agrees || !slices.ContainsFunc(r.Found, func(d audit.Divergence) bool { return d.Kind == audit.Executed }) {
		t.Errorf("the common lie is not found: %+v", r)
	}
}

func TestBundleWithoutContentsOrProofs(t *testing.T) {
	w, id := audittest.Scene(t, "liar")
	r := check(t, bundle(t, w, id, func(o *audit.BundleOptions) { o.Content = nil }), audit.CheckOptions{Runner: honest{}})
	if !r.Sound || r.Contents != 0 || len(r.Missing) != 4 || r.Rerun.Ran {
		t.Errorf("without contents: %+v, %+v", r, r.Rerun)
	}
	file := bundle(t, w, id, func(o *audit.BundleOptions) { o.Prover = nil })
	if r := check(t, file, audit.CheckOptions{}); !r.Sound || r.Anchor != nil || !strings.Contains(strings.Join(r.Unproven, "\n"), "in any log") {
		t.Errorf("without proofs: %+v", r)
	}
	if r := check(t, file, audit.CheckOptions{Key: serverKey.Public().(ed25519.PublicKey)}); r.Sound {
		t.Error("a key was asked for, and nothing is signed")
	}
}

func TestBundleOfAnotherKey(t *testing.T) {
	w, id := audittest.Scene(t, "verified")
	other := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{78}, 32)).Public().(ed25519.PublicKey)
	r := check(t, bundle(t, w, id, nil), audit.CheckOptions{Key: other})
	if r.Sound || r.Anchor != nil || len(r.Found) != 1 || r.Found[0].Kind != audit.Signature {
		t.Errorf("%+v", r)
	}
}

// TestAnyByteOfABundleCounts flips bytes of files: all of the small one, some of the others.
func TestAnyByteOfABundleCounts(t *testing.T) {
	w, id := audittest.Scene(t, "verified")
	file := bundle(t, w, id, nil)
	for i := range file {
		bad := slices.Clone(file)
		bad[i] ^= 1 << (i % 8)
		if r, err := audit.Check(t.Context(), bad, audit.CheckOptions{}); err == nil && r.Sound {
			t.Fatalf("byte %d of %d does not count", i, len(file))
		}
	}
	for i := range file {
		if _, err := audit.Check(t.Context(), file[:i], audit.CheckOptions{}); !errors.Is(err, audit.ErrNoBundle) && !errors.Is(err, audit.ErrDamaged) {
			t.Fatalf("a file cut at %d: %v", i, err)
		}
	}
}

// resum is what a forger does last: the file's sum is right again.
func resum(t interface{ Fatal(...any) }, b *auditv1.Bundle) []byte {
	b.Sha256 = nil
	file, err := proto.MarshalOptions{Deterministic: true}.Marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(file)
	return append(append(file, 0x7a, 0x20), sum[:]...)
}

// TestForgersWhoRepairTheSumAreFound changes a byte of what a bundle says and makes the file whole again. All that is
// under the tree counts, and so does every content. Position and time are not under the tree, and a maker says nothing.
func TestForgersWhoRepairTheSumAreFound(outer *testing.T) {
	w, id := audittest.Scene(outer, "liar")
	file := bundle(outer, w, id, nil)
	rapid.Check(outer, func(t *rapid.T) {
		b := new(auditv1.Bundle)
		if err := proto.Unmarshal(file, b); err != nil {
			t.Fatal(err)
		}
		what := forgeOne(t, b)
		r, err := audit.Check(context.Background(), resum(t, b), audit.CheckOptions{})
		if err == nil && r.Sound {
			t.Fatalf("a change of %s is not found", what)
		}
	})
}

// forgeOne changes one thing and says which.
func forgeOne(t *rapid.T, b *auditv1.Bundle) string {
	r := b.Records[rapid.IntRange(0, len(b.Records)-1).Draw(t, "record")]
	c := b.Contents[rapid.IntRange(0, len(b.Contents)-1).Draw(t, "content")]
	flip := func(p []byte) {
		if len(p) > 0 {
			p[rapid.IntRange(0, len(p)-1).Draw(t, "byte")] ^= byte(1 << rapid.IntRange(0, 7).Draw(t, "bit"))
		}
	}
	changes := map[string]func(){
		"stream":     func() { r.Stream += "1" },
		"revision":   func() { r.Revision++ },
		"id":         func() { flip(r.Id) },
		"type":       func() { r.Type = "TaskAcked" + r.Type },
		"json":       func() { r.Json = true },
		"data":       func() { r.Data = append(r.Data, 0); flip(r.Data) },
		"meta":       func() { flip(r.Meta) },
		"leaf":       func() { r.Leaf++ },
		"path":       func() { flip(r.Path[rapid.IntRange(0, len(r.Path)-1).Draw(t, "hash")]) },
		"checkpoint": func() { flip(b.Anchor.Checkpoint[:bytes.Index(b.Anchor.Checkpoint, []byte("\n\n"))]) },
		"key":        func() { flip(b.Anchor.Key) },
		"content":    func() { c.Data = append(c.Data, 0); flip(c.Data) },
		"name":       func() { flip(c.Sha256) },
		"job":        func() { b.Job = events.DeriveEntityID([]byte("other")) },
		"format":     func() { b.Format++ },
		"left record": func() {
			b.Records = slices.DeleteFunc(b.Records, func(x *auditv1.Record) bool { return x == r && x != b.Records[len(b.Records)-1] })
		},
		"twice": func() { b.Records = append(b.Records, r) },
		"more content": func() {
			sum := sha256.Sum256([]byte("x"))
			b.Contents = append(b.Contents, &auditv1.Content{Sha256: sum[:], Data: []byte("x")})
		},
	}
	names := make([]string, 0, len(changes))
	for name := range changes {
		names = append(names, name)
	}
	slices.Sort(names)
	what := rapid.SampledFrom(names).Draw(t, "what")
	if what == "left record" && r == b.Records[len(b.Records)-1] {
		what = "json"
	}
	changes[what]()
	return what
}

// TestHostileBundlesAreRefused: files whose form is wrong, each with a sum that is right.
func TestHostileBundlesAreRefused(t *testing.T) {
	w, id := audittest.Scene(t, "verified")
	file := bundle(t, w, id, nil)
	for name, change := range map[string]func(*auditv1.Bundle){
		"no records":         func(b *auditv1.Bundle) { b.Records = nil },
		"an id of 3 bytes":   func(b *auditv1.Bundle) { b.Records[0].Id = []byte("abc") },
		"a foreign stream":   func(b *auditv1.Bundle) { b.Records[0].Stream = "worker-" + id },
		"a slot written 01":  func(b *auditv1.Bundle) { b.Records[1].Stream = "assignment-" + id + "-01" },
		"a huge leaf":        func(b *auditv1.Bundle) { b.Records[0].Leaf = 1 << 63 },
		"a short hash":       func(b *auditv1.Bundle) { b.Records[0].Path = [][]byte{{1}} },
		"many hashes":        func(b *auditv1.Bundle) { b.Records[0].Path = make([][]byte, 100_000) },
		"a record too large": func(b *auditv1.Bundle) { b.Records[0].Data = make([]byte, 2<<20) },
		"many records":       func(b *auditv1.Bundle) { b.Records = slices.Repeat([]*auditv1.Record{{}}, 200_000) },
		"many contents": func(b *auditv1.Bundle) {
			b.Contents = slices.Repeat([]*auditv1.Content{{Sha256: make([]byte, 32), Data: []byte{1}}}, 10_000)
		},
		"a long job":     func(b *auditv1.Bundle) { b.Job = strings.Repeat("x", 1<<20) },
		"an unknown job": func(b *auditv1.Bundle) { b.Job = "../../etc" },
	} {
		b := new(auditv1.Bundle)
		if err := proto.Unmarshal(file, b); err != nil {
			t.Fatal(err)
		}
		change(b)
		if _, err := audit.Check(t.Context(), resum(t, b), audit.CheckOptions{}); !errors.Is(err, audit.ErrNoBundle) {
			t.Errorf("%s: %v", name, err)
		}
	}
	b := &auditv1.Bundle{Format: 9, Job: id}
	if _, err := audit.Check(t.Context(), resum(t, b), audit.CheckOptions{}); !errors.Is(err, audit.ErrFormat) {
		t.Errorf("another format: %v", err)
	}
	for _, junk := range [][]byte{nil, []byte("PK\x03\x04"), bytes.Repeat([]byte{0xff}, 1000)} {
		if _, err := audit.Check(t.Context(), junk, audit.CheckOptions{}); !errors.Is(err, audit.ErrNoBundle) {
			t.Errorf("junk: %v", err)
		}
	}
}

// TestForgedSlotsTakeNoMemory: facts that open any number of slots are told up to a bound.
func TestForgedSlotsTakeNoMemory(t *testing.T) {
	w, id := audittest.Scene(t, "verified")
	b := new(auditv1.Bundle)
	if err := proto.Unmarshal(bundle(t, w, id, nil), b); err != nil {
		t.Fatal(err)
	}
	data, err := proto.Marshal(&eventv1.WaveOpened{Wave: 2, FirstSlot: 5, Slots: 1 << 31})
	if err != nil {
		t.Fatal(err)
	}
	r := b.Records[0]
	for range 1000 {
		b.Records = append(b.Records, &auditv1.Record{Stream: r.Stream, Id: r.Id, Type: "WaveOpened", Data: data, Position: 1 << 40})
	}
	if got := check(t, resum(t, b), audit.CheckOptions{}); got.Sound {
		t.Error("forged waves are sound")
	}
}

// TestTreeProver proves records that are newer than the last checkpoint, where there is a key to sign one with.
func TestTreeProver(t *testing.T) {
	w, id := audittest.Scene(t, "liar")
	live, err := transparency.Open(t.Context(), "", w.Log, serverKey, transparency.Options{SignEvery: 1 << 40, SignAfter: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	defer live.Close()
	all := w.Records()
	apply := func(records []events.Record) {
		if err := live.Apply(t.Context(), records, records[len(records)-1].Pos); err != nil {
			t.Fatal(err)
		}
	}
	apply(all[:5])
	awaited := false
	prover := audit.TreeProver{Tree: live, Key: serverKey.Public().(ed25519.PublicKey), Await: func(_ context.Context, pos events.Position) error {
		if awaited = pos == all[len(all)-1].Pos; awaited {
			apply(all[5:])
		}
		return nil
	}}
	file := bundle(t, w, id, func(o *audit.BundleOptions) { o.Prover = prover })
	if r := check(t, file, audit.CheckOptions{Key: prover.Key}); !r.Sound || !awaited || r.Anchor.Size != int64(len(all)) {
		t.Errorf("%+v", r)
	}
	c, err := audit.Collect(t.Context(), w.Log, id)
	if err != nil {
		t.Fatal(err)
	}
	w.Submit(true)
	later := append(slices.Clone(c.Records()), w.Records()[len(all)])
	prover.Await = nil
	if _, err := prover.Prove(t.Context(), later); !errors.Is(err, transparency.ErrNotLeaf) && !errors.Is(err, transparency.ErrBeyond) {
		t.Errorf("a record that the tree has not taken in: %v", err)
	}
	forged := slices.Clone(c.Records())
	forged[3].Data = append(slices.Clone(forged[3].Data), 0)
	if _, err := prover.Prove(t.Context(), forged); !errors.Is(err, transparency.ErrProof) {
		t.Errorf("a record that is not what was signed: %v", err)
	}
	prover.Await = func(context.Context, events.Position) error { return events.ErrUnavailable }
	if _, err := c.WriteBundle(t.Context(), new(bytes.Buffer), audit.BundleOptions{Prover: prover}); !errors.Is(err, events.ErrUnavailable) {
		t.Errorf("a tree that lags behind: %v", err)
	}
}

// TestAnAuditEndsWithItsContext: whoever asked may leave.
func TestAnAuditEndsWithItsContext(t *testing.T) {
	w, id := audittest.Scene(t, "liar")
	file := bundle(t, w, id, nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := audit.Check(ctx, file, audit.CheckOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("check: %v", err)
	}
	if _, err := audit.Explain(ctx, w.Log, id); !errors.Is(err, context.Canceled) {
		t.Errorf("explain: %v", err)
	}
	if _, err := audit.WhatIf(ctx, w.Log, audit.WhatIfOptions{Alternatives: make([]audit.Alternative, 1)}); !errors.Is(err, context.Canceled) {
		t.Errorf("what-if: %v", err)
	}
}

func FuzzCheck(f *testing.F) {
	w, id := audittest.Scene(f, "liar")
	file := bundle(f, w, id, nil)
	f.Add(file[:len(file)-34])
	f.Add([]byte{})
	b := new(auditv1.Bundle)
	if err := proto.Unmarshal(file, b); err != nil {
		f.Fatal(err)
	}
	b.Contents, b.Records = nil, b.Records[:3]
	small := resum(f, b)
	f.Add(small[:len(small)-34])
	f.Fuzz(func(t *testing.T, body []byte) {
		sum := sha256.Sum256(body)
		r, err := audit.Check(t.Context(), append(append(slices.Clone(body), 0x7a, 0x20), sum[:]...), audit.CheckOptions{Runner: honest{"x"}})
		if err == nil && r.Sound && !bytes.Equal(body, file[:len(file)-34]) && r.Anchor != nil && uint64(r.Anchor.Proofs) != r.Records {
			t.Errorf("sound with %d proofs of %d records", r.Anchor.Proofs, r.Records)
		}
	})
}

func hexOf(b []byte) string { return hex.EncodeToString(b) }
