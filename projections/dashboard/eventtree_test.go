package dashboard

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/events"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

func countLeaves(leaves []leaf) int {
	n := len(leaves)
	for _, l := range leaves {
		n += countLeaves(l.Leaves)
	}
	return n
}

func leafAt(leaves []leaf, path string) *leaf {
	name, rest, more := strings.Cut(path, "/")
	for i := range leaves {
		if leaves[i].Name == name {
			if !more {
				return &leaves[i]
			}
			return leafAt(leaves[i].Leaves, rest)
		}
	}
	return nil
}

func TestTreeShowsWhatIsSet(t *testing.T) {
	worker := make([]byte, 32)
	leaves := tree(&eventv1.JobSubmitted{
		Spec: &eventv1.JobSpec{
			Tenant: "<b>acme</b>", Pipeline: "01k9x2v00000000000000000zz", Kind: 77,
			Barred: []*eventv1.Party{{Worker: worker}}, Labels: []*eventv1.Label{{Key: "k", Value: strings.Repeat("é", 400)}},
		},
		AtUs: 1_790_000_000_000_000,
	})
	for path, want := range map[string]leaf{
		"spec/tenant":          {Text: "<b>acme</b>", Kind: "text"},
		"spec/kind":            {Text: "77", Kind: "enum"},
		"spec/pipeline":        {Text: "01k9x2v00000000000000000zz", Kind: "text", Href: "/pipelines/01k9x2v00000000000000000zz"},
		"spec/barred/0/worker": {Text: strings.Repeat("00", 32), Kind: "bytes", Href: linkWorker(worker)},
		"at_us":                {Text: "1790000000000000 · 2026-09-21 14:13:20.000000", Kind: "time"},
		"spec/labels/0/value":  {Text: strings.Repeat("é", 256) + "…", Kind: "text"},
	} {
		got := leafAt(leaves, path)
		if got == nil || got.Text != want.Text || got.Kind != want.Kind || got.Href != want.Href {
			t.Errorf("%s: %+v, want %+v", path, got, want)
		}
	}
	if leafAt(leaves, "slots") != nil {
		t.Error("a field that is not set is shown")
	}
}

// TestTreeIsBounded: a fact of 100,000 entries does not become a page of 100,000 lines, and the page says so.
func TestTreeIsBounded(t *testing.T) {
	f := &eventv1.JobsSettled{}
	for i := range 100_000 {
		f.Jobs = append(f.Jobs, &eventv1.SettledJob{Chunk: uint32(i), Output: &eventv1.BlobRef{Sha256: make([]byte, 32)}})
	}
	leaves := tree(f)
	if n := countLeaves(leaves); n > 2*treeLeaves {
		t.Errorf("%d leaves", n)
	}
	jobs := leafAt(leaves, "jobs")
	if last := jobs.Leaves[len(jobs.Leaves)-1]; !strings.Contains(last.Text, "more") {
		t.Errorf("the list ends with %+v", last)
	}
}

// FuzzTree: whatever bytes a record holds, its tree is bounded.
func FuzzTree(f *testing.F) {
	for i := range events.Types() {
		f.Add(uint8(i), []byte{0x0a, 3, 0x0a, 1, 7, 0x12, 0x00})
	}
	f.Fuzz(func(t *testing.T, kind uint8, data []byte) {
		names := events.Types()
		fact, err := events.NewFact(names[int(kind)%len(names)])
		if err != nil {
			t.Fatal(err)
		}
		if proto.Unmarshal(data, fact) != nil {
			return
		}
		if n := countLeaves(tree(fact)); n > 2*treeLeaves+treeDepth {
			t.Fatalf("%d leaves", n)
		}
		if strings.TrimSpace(tell(fact).String()) == "" {
			t.Fatalf("%T has no words", fact)
		}
	})
}
