package audit

import (
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/shardy-network/orchestrator/events"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// TestParseEnvelopeAgreesWithTheSchema holds the hand-made reader to the generated one.
func TestParseEnvelopeAgreesWithTheSchema(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := &eventv1.Envelope{
			Index: rapid.Uint32().Draw(t, "index"), Count: rapid.Uint32().Draw(t, "count"), Rules: rapid.Uint32().Draw(t, "rules"),
			Epoch: rapid.Uint64().Draw(t, "epoch"), Node: rapid.StringMatching("[a-z]*").Draw(t, "node"),
			Correlation: rapid.StringMatching("[a-z]*").Draw(t, "correlation"), Digest: rapid.SliceOfN(rapid.Byte(), 0, 16).Draw(t, "digest"),
		}
		if rapid.Bool().Draw(t, "first") {
			want.Command = &eventv1.Command{AtUs: rapid.Int64().Draw(t, "at")}
		}
		meta, err := proto.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := parseEnvelope(meta)
		if err != nil {
			t.Fatal(err)
		}
		if got.index != want.Index || got.count != want.Count || got.rules != want.Rules || string(got.digest) != string(want.Digest) || (got.command != nil) != (want.Command != nil) {
			t.Fatalf("got %+v, want %v", got, want)
		}
	})
}

func FuzzParseEnvelope(f *testing.F) {
	meta, err := proto.Marshal(&eventv1.Envelope{Index: 1, Count: 2, Rules: 1, Command: &eventv1.Command{AtUs: 1}, Digest: make([]byte, 16)})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(meta)
	f.Add([]byte{0xff})
	f.Fuzz(func(t *testing.T, meta []byte) {
		e, err := parseEnvelope(meta)
		full := new(eventv1.Envelope)
		if err == nil && proto.Unmarshal(meta, full) == nil && (e.index != full.Index || e.count != full.Count || e.rules != full.Rules) {
			t.Errorf("got %+v, want %v", e, full)
		}
		_ = e.consistent(events.ID{})
	})
}

func TestFamily(t *testing.T) {
	for stream, want := range map[string]string{
		"job-abc": "abc", "assignment-abc-12": "abc", "worker-ff": "worker-ff", "assignment-": "assignment-", "": "",
	} {
		if got := family(stream); got != want {
			t.Errorf("family of %q is %q, want %q", stream, got, want)
		}
	}
}

func TestShelfPutsTheOldestAway(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var away []string
		s := newShelf(3, func(v string) bool { return v == "kept" }, func(name string, _ string) { away = append(away, name) })
		var order []string // of use, oldest first: the model
		for range 40 {
			name := rapid.SampledFrom([]string{"a", "b", "c", "d", "e"}).Draw(t, "name")
			i := -1
			for k, o := range order {
				if o == name {
					i = k
				}
			}
			if _, ok := s.get(name); ok != (i >= 0) {
				t.Fatalf("%s is there: %t; the model has %v", name, ok, order)
			}
			if i >= 0 {
				order = append(append(order[:i:i], order[i+1:]...), name)
				continue
			}
			s.put(name, "")
			if order = append(order, name); len(order) > 3 {
				if away[len(away)-1] != order[0] {
					t.Fatalf("put %s away, the oldest is %s", away[len(away)-1], order[0])
				}
				order = order[1:]
			}
		}
	})
	s := newShelf(1, func(v string) bool { return v == "kept" }, func(string, string) { t.Error("put away what must stay") })
	s.put("a", "kept")
	s.put("b", "kept")
	s.remove("a")
	if _, ok := s.get("b"); !ok || len(s.books) != 1 {
		t.Error("a kept value is gone")
	}
}

func TestDifferNamesThePath(t *testing.T) {
	a := &eventv1.JobSubmitted{Spec: &eventv1.JobSpec{Labels: []*eventv1.Label{{Key: "k", Value: "v"}}, Kind: eventv1.JobKind_JOB_KIND_STRESS}}
	for want, change := range map[string]func(*eventv1.JobSubmitted){
		"": func(*eventv1.JobSubmitted) {},
		`JobSubmitted.spec.labels[0].value: recorded "v", decided "w"`: func(f *eventv1.JobSubmitted) { f.Spec.Labels[0].Value = "w" },
		"JobSubmitted.spec.kind: recorded JOB_KIND_STRESS, decided JOB_KIND_STANDARD": func(f *eventv1.JobSubmitted) {
			f.Spec.Kind = eventv1.JobKind_JOB_KIND_STANDARD
		},
		"JobSubmitted.spec: recorded present, decided absent":      func(f *eventv1.JobSubmitted) { f.Spec = nil },
		"JobSubmitted.spec.module: recorded empty, decided 01":     func(f *eventv1.JobSubmitted) { f.Spec.Module = []byte{1} },
		"JobSubmitted.policy: recorded absent, decided present":    func(f *eventv1.JobSubmitted) { f.Policy = &eventv1.JobPolicy{} },
		"JobSubmitted.spec.labels: recorded 1 elements, decided 0": func(f *eventv1.JobSubmitted) { f.Spec.Labels = nil },
	} {
		b := proto.CloneOf(a)
		change(b)
		if got := differ(a, b); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
