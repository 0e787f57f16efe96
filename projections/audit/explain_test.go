package audit_test

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/prototext"

	"github.com/shardy-network/orchestrator/events"
	"github.com/shardy-network/orchestrator/projections/audit"
	"github.com/shardy-network/orchestrator/projections/audit/audittest"
	auditv1 "github.com/shardy-network/orchestrator/proto/shardy/audit/v1"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

var rewrite = flag.Bool("rewrite", false, "write the golden files anew")

// golden holds a text against its file.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *rewrite {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs (run with -rewrite to accept):\n%s", file, got)
	}
}

func explain(t testing.TB, w *audittest.World, id string) *auditv1.Story {
	t.Helper()
	s, err := audit.Explain(t.Context(), w.Log, id)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestExplainInWords(t *testing.T) {
	for _, s := range audittest.Scenes {
		t.Run(s.Name, func(t *testing.T) {
			w := audittest.New(t)
			story := explain(t, w, s.Play(w))
			if story.Evidence.FaultCount != 0 {
				t.Errorf("faults in an honest log: %v", story.Evidence.Faults)
			}
			golden(t, "explain/"+s.Name+".txt", strings.Join(audit.Tell(story), "\n")+"\n")
		})
	}
}

// TestExplainNamesAForgery: the story says where the log is not what its commands lead to.
func TestExplainNamesAForgery(t *testing.T) {
	w, id := audittest.Scene(t, "verified")
	all := w.Records()
	for i := range all {
		if all[i].Type == "ResultReturned" {
			all[i].Data[len(all[i].Data)/2] ^= 1
			break
		}
	}
	s, err := audit.Explain(t.Context(), audittest.Forged{All: all}, id)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Join(audit.Tell(s), "\n")
	if s.Evidence.FaultCount == 0 || !strings.Contains(text, "WRONG in ") {
		t.Errorf("the forgery is not named:\n%s", text)
	}
}

// TestWithheldFaultsSayNothing: what is wrong with a result would tell the result.
func TestWithheldFaultsSayNothing(t *testing.T) {
	w, id := audittest.Scene(t, "open")
	all := w.Records()
	reencode(t, &all[5], func(f *eventv1.ReplicaReturned) { f.Output.Sha256[0] ^= 1 })
	s, err := audit.Explain(t.Context(), audittest.Forged{All: all}, id)
	if err != nil {
		t.Fatal(err)
	}
	answer := hexOf(w.Blob([]byte("out of " + id)).Sha256)[4:]
	if text := strings.Join(audit.Tell(s), "\n"); !strings.Contains(text, answer) {
		t.Fatalf("the fault does not tell the result, so that there is nothing to hide:\n%s", text)
	}
	audit.Withhold(s)
	if text := strings.Join(audit.Tell(s), "\n"); strings.Contains(text, answer) || !strings.Contains(text, "WRONG in ") {
		t.Errorf("withheld, and told:\n%s", text)
	}
}

func TestExplainRefusals(t *testing.T) {
	w := audittest.New(t)
	if _, err := audit.Explain(t.Context(), w.Log, "nonsense"); !errors.Is(err, events.ErrBadID) {
		t.Errorf("a bad id: %v", err)
	}
	if _, err := audit.Explain(t.Context(), w.Log, events.DeriveEntityID([]byte("nobody"))); !errors.Is(err, events.ErrNotFound) {
		t.Errorf("a job that is not there: %v", err)
	}
}

// TestWithheldStoryNamesNoOutput: neither an output's name nor, while the job may still be computed, a checksum that
// is not public can be read from what is left of a story, in whatever field.
func TestWithheldStoryNamesNoOutput(t *testing.T) {
	for _, sc := range audittest.Scenes {
		w := audittest.New(t)
		s := explain(t, w, sc.Play(w))
		audit.Withhold(s)
		text := prototext.Format(s)
		if strings.Count(text, "sha256") > 1 { // the input's
			t.Errorf("%s: an output is named:\n%s", sc.Name, text)
		}
		undecided := s.Phase == auditv1.JobPhase_JOB_PHASE_OPEN || s.Phase == auditv1.JobPhase_JOB_PHASE_DEAD_LETTERED
		if undecided && strings.Contains(text, "known_checksum") {
			t.Errorf("%s: the answer is told", sc.Name)
		}
		if sc.Name == "open" && strings.Contains(text, "checksum:") {
			t.Errorf("%s: a checksum is told:\n%s", sc.Name, text)
		}
		audit.Tell(s) // words for what is left
	}
}
