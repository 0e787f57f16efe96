package quorum_test

import (
	"crypto/sha256"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	"pgregory.net/rapid"

	"github.com/shardy-network/orchestrator/actors/quorum"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

var rewrite = flag.Bool("rewrite", false, "write the golden files anew")

const (
	ok   = eventv1.ResultStatus_RESULT_STATUS_OK
	trap = eventv1.ResultStatus_RESULT_STATUS_TRAP
)

// ballot builds results from a text such as "a:one a:two b:one", a word for each slot: what it says, and the identity
// group. A word that begins with "!" is a trap.
func ballot(text string) []quorum.Result {
	var results []quorum.Result
	for i, word := range strings.Fields(text) {
		says, group, _ := strings.Cut(word, ":")
		status := ok
		if strings.HasPrefix(says, "!") {
			status = trap
		}
		sum := sha256.Sum256([]byte(says))
		output := &eventv1.BlobRef{Sha256: sum[:], Size: uint64(len(says))}
		results = append(results, quorum.Result{
			Slot: uint32(i), Attempt: 1, Worker: []byte{byte(i)}, Group: group, Status: status, Fuel: 9, Output: output,
			Checksum: quorum.Checksum(status, 9, output),
		})
	}
	return results
}

func TestDecide(t *testing.T) {
	for _, c := range []struct {
		name         string
		results      string
		failed       int
		rule         quorum.Rule
		outcome      quorum.Outcome
		lead, need   uint32
		contradicted []uint32
	}{
		{"two agree", "a a", 0, quorum.Rule{Margin: 2, MaxReplicas: 7}, quorum.Verified, 2, 0, nil},
		{"two differ", "a b", 0, quorum.Rule{Margin: 2, MaxReplicas: 7}, quorum.NeedMore, 0, 2, nil},
		{"two to one lacks one", "a b a", 0, quorum.Rule{Margin: 2, MaxReplicas: 7}, quorum.NeedMore, 1, 1, nil},
		{"three to one", "b a a a", 0, quorum.Rule{Margin: 2, MaxReplicas: 7}, quorum.Verified, 2, 0, []uint32{0}},
		{"three ways", "a b c", 0, quorum.Rule{Margin: 2, MaxReplicas: 7}, quorum.NeedMore, 0, 2, nil},
		{"runner-up counts, not the sum of the others", "a a a b c", 0, quorum.Rule{Margin: 2, MaxReplicas: 7}, quorum.Verified, 2, 0, []uint32{3, 4}},
		{"one and a lost slot", "a", 1, quorum.Rule{Margin: 2, MaxReplicas: 7}, quorum.NeedMore, 1, 1, nil},
		{"nothing came", "", 2, quorum.Rule{Margin: 2, MaxReplicas: 7}, quorum.NeedMore, 0, 2, nil},
		{"single", "a", 0, quorum.Rule{Margin: 1, MaxReplicas: 1}, quorum.Verified, 1, 0, nil},
		{"agreed trap", "!a !a", 0, quorum.Rule{Margin: 2, MaxReplicas: 7}, quorum.Failed, 2, 0, nil},
		{"trap against a result", "!a b", 0, quorum.Rule{Margin: 2, MaxReplicas: 7}, quorum.NeedMore, 0, 2, nil},
		{"one group votes once", "a:x a:x", 0, quorum.Rule{Margin: 2, MaxReplicas: 7}, quorum.NeedMore, 1, 1, nil},
		{"a crowd of one group does not outvote two", "b:x b:x b:x b:x a:y a:z a:w", 0, quorum.Rule{Margin: 2, MaxReplicas: 7}, quorum.Verified, 2, 0, []uint32{0, 1, 2, 3}},
		{"a group on both sides counts on both", "a:x b:x a:y a:z", 0, quorum.Rule{Margin: 2, MaxReplicas: 7}, quorum.Verified, 2, 0, []uint32{1}},
		{"cap", "a b a b a b a", 0, quorum.Rule{Margin: 2, MaxReplicas: 7}, quorum.Exhausted, 1, 1, nil},
		{"cap before it is reached", "a b c d e f", 0, quorum.Rule{Margin: 2, MaxReplicas: 7}, quorum.Exhausted, 0, 2, nil},
		{"exactly up to the cap", "a b a b a", 0, quorum.Rule{Margin: 3, MaxReplicas: 7}, quorum.NeedMore, 1, 2, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := quorum.Decide(ballot(c.results), c.failed, c.rule)
			if v.Outcome != c.outcome || v.Lead != c.lead || v.Need != c.need {
				t.Errorf("got %v, lead %d, need %d; want %v, %d, %d", v.Outcome, v.Lead, v.Need, c.outcome, c.lead, c.need)
			}
			if got := v.Contradicted(); !slices.Equal(got, c.contradicted) {
				t.Errorf("contradicted: got %v, want %v", got, c.contradicted)
			}
			if (v.Winner() != nil) != (c.outcome == quorum.Verified || c.outcome == quorum.Failed) {
				t.Errorf("winner: %v", v.Winner())
			}
		})
	}
}

func TestChecksumTellsResultsApart(t *testing.T) {
	blob := func(b byte) *eventv1.BlobRef { return &eventv1.BlobRef{Sha256: append(make([]byte, 31), b)} }
	base := quorum.Checksum(ok, 1, blob(1))
	if base == quorum.Checksum(trap, 1, blob(1)) || base == quorum.Checksum(ok, 2, blob(1)) || base == quorum.Checksum(ok, 1, blob(2)) {
		t.Error("different results have one checksum")
	}
	empty := sha256.Sum256(nil)
	if quorum.Checksum(trap, 1, nil) != quorum.Checksum(trap, 1, &eventv1.BlobRef{Sha256: empty[:]}) {
		t.Error("no output and an empty output differ")
	}
}

func TestCheck(t *testing.T) {
	whole := &eventv1.BlobRef{Sha256: make([]byte, 32)}
	for _, c := range []struct {
		name   string
		status eventv1.ResultStatus
		output *eventv1.BlobRef
		fine   bool
	}{
		{"ok", ok, whole, true},
		{"trap without output", trap, nil, true},
		{"ok without output", ok, nil, false},
		{"no status", 0, whole, false},
		{"unknown status", 99, whole, false},
		{"short digest", trap, &eventv1.BlobRef{Sha256: make([]byte, 31)}, false},
	} {
		if err := quorum.Check(c.status, c.output); (err == nil) != c.fine {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// anyResults draws slots that say one of a few things, from one of a few groups or from nobody's.
func anyResults() *rapid.Generator[[]quorum.Result] {
	return rapid.Custom(func(t *rapid.T) []quorum.Result {
		words := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "c", "!a"}), 0, 9).Draw(t, "says")
		text := make([]string, len(words))
		for i, w := range words {
			text[i] = w + ":" + rapid.SampledFrom([]string{"", "", "x", "y", "z"}).Draw(t, "group")
		}
		return ballot(strings.Join(text, " "))
	})
}

func anyRule() *rapid.Generator[quorum.Rule] {
	return rapid.Custom(func(t *rapid.T) quorum.Rule {
		return quorum.Rule{Margin: rapid.Uint32Range(1, 4).Draw(t, "margin"), MaxReplicas: rapid.Uint32Range(1, 15).Draw(t, "cap")}
	})
}

func TestVerdictIsAFunctionOfTheSet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		results, rule := anyResults().Draw(t, "results"), anyRule().Draw(t, "rule")
		want := quorum.Decide(results, 1, rule)
		shuffled := rapid.Permutation(results).Draw(t, "order")
		if len(results) > 0 { // and a slot that is told twice changes nothing
			shuffled = append(shuffled, rapid.SampledFrom(results).Draw(t, "again"))
		}
		before := slices.Clone(shuffled)
		got := quorum.Decide(shuffled, 1, rule)
		if d := cmp.Diff(want, got, protocmp.Transform()); d != "" {
			t.Fatalf("order matters (-want +got):\n%s", d)
		}
		if d := cmp.Diff(before, shuffled, protocmp.Transform()); d != "" {
			t.Fatalf("Decide changed its input:\n%s", d)
		}
		if got.Describe() != want.Describe() {
			t.Fatal("the drawing depends on the order")
		}
	})
}

// TestNeedIsExact holds the promise behind a wave's size: that many votes for the leader from new groups decide, and
// one vote fewer never does.
func TestNeedIsExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		results := anyResults().Draw(t, "results")
		rule := quorum.Rule{Margin: rapid.Uint32Range(1, 4).Draw(t, "margin"), MaxReplicas: 100}
		v := quorum.Decide(results, 0, rule)
		if v.Outcome != quorum.NeedMore || len(v.Votes) == 0 {
			t.Skip("decided")
		}
		leader := results[slices.IndexFunc(results, func(r quorum.Result) bool { return r.Checksum == v.Votes[0].Checksum })]
		for i := range v.Need {
			if v := quorum.Decide(results, 0, rule); v.Outcome != quorum.NeedMore {
				t.Fatalf("decided %d votes early:\n%s", v.Need-i, v.Describe())
			}
			vote := leader
			vote.Slot, vote.Group = 100+i, fmt.Sprintf("new %d", i)
			results = append(results, vote)
		}
		if v := quorum.Decide(results, 0, rule); v.Winner() == nil || v.Winner().Checksum != leader.Checksum {
			t.Fatalf("not decided:\n%s", v.Describe())
		}
	})
}

func TestDescribe(t *testing.T) {
	var b strings.Builder
	for _, c := range []struct {
		results string
		failed  int
		margin  uint32
	}{
		{"a a", 0, 2},
		{"a b", 0, 2},
		{"a a b a", 0, 2},
		{"a:x a:x b:x", 1, 2},
		{"!a !a", 0, 2},
		{"a", 0, 1},
		{"", 2, 2},
		{"a b a b a b a", 0, 2},
		{"a a a a a", 0, 2},
	} {
		v := quorum.Decide(ballot(c.results), c.failed, quorum.Rule{Margin: c.margin, MaxReplicas: 7})
		fmt.Fprintf(&b, "# %s\n%s\n", c.results, v.Describe())
	}
	golden(t, "describe.txt", b.String())
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *rewrite {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("%s (-want +got; -rewrite writes it anew):\n%s", name, d)
	}
}

func BenchmarkDecideTwoAgree(b *testing.B) {
	results := ballot("a:x a:y")
	b.ReportAllocs()
	for b.Loop() {
		if v := quorum.Decide(results, 0, quorum.Rule{Margin: 2, MaxReplicas: 7}); v.Outcome != quorum.Verified {
			b.Fatal(v.Outcome)
		}
	}
}
