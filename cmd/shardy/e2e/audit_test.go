package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/shardy-network/orchestrator/projections/audit"
)

// TestALiarIsProvenOffline catches a liar and takes the proof away: a file that needs neither the orchestrator nor its
// folder, and whose module runs again to the decided result.
func TestALiarIsProvenOffline(t *testing.T) {
	p := quickPolicy()
	p.NoWorkerPatienceMs = uint32(patience(time.Second).Milliseconds())
	p.RingerPerMillion = 0
	s := open(t, p)
	s.crew(1)
	liar := s.work("liar", s.addr, "--dishonest", "lie")
	s.admitted(liar)
	s.idle(2)
	primes := s.admit("primes", (&task{low: 0, high: 1000}).chunk())
	tasks := small(dice(t), 1)
	s.submit(primes, "disputed", tasks, nil)
	s.settled(tasks)
	id := tasks[0].id

	var status struct {
		Key string `json:"server_key"`
	}
	s.ok("status", "--json").json(t, &status)
	told := s.ok("audit", "explain", id).out
	if !strings.Contains(told, "is CONTRADICTED: worker "+liar.key[:16]) || !strings.Contains(told, "so the orchestrator's own run decides") {
		t.Errorf("explain: %s", told)
	}
	file := filepath.Join(s.logs, "verdict.bundle")
	var written struct {
		Anchored bool
		Key      string
		Contents int
	}
	s.ok("audit", "bundle", id, "-o", file, "--json").json(t, &written)
	if !written.Anchored || written.Key != status.Key || written.Contents != 4 { // module, input, truth, lie
		t.Errorf("the bundle: %+v", written)
	}
	s.stop()
	s.sound()

	// From the folder alone: the same words, and a file that proves the same.
	if again := s.ok("audit", "explain", id, "--data-dir", s.dir).out; again != told {
		t.Errorf("the folder tells another story:\n%s\nthe orchestrator told:\n%s", again, told)
	}
	offline := filepath.Join(s.logs, "offline.bundle")
	s.ok("audit", "bundle", id, "--data-dir", s.dir, "-o", offline)
	var c audit.Comparison
	s.ok("audit", "what-if", "--policy", s.file("same.json", []byte("{}")), "--data-dir", s.dir, "--json").json(t, &c)
	if c.Truth.Referee != 1 || c.Recorded.Contradicted != 1 || c.Policies[0].Account != c.Recorded || c.Policies[0].Changed != 0 {
		t.Errorf("what-if: %+v", c)
	}

	s.must(os.RemoveAll(s.dir))
	for _, f := range []string{file, offline} {
		var r audit.Checked
		s.ok("audit", "check", f, "--key", status.Key, "--rerun", "--json").json(t, &r)
		if !r.Sound || r.Anchor == nil || !r.Anchor.Trusted || r.Rerun == nil || !r.Rerun.Agrees || len(r.Contradicted) != 1 {
			t.Fatalf("%s: %+v", f, r)
		}
		if x := r.Contradicted[0]; x.Worker != liar.key || !x.Signed || !x.Refuted {
			t.Errorf("the evidence: %+v", x)
		}
	}
}
