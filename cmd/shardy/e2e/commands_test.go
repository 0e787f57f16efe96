package e2e

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/shardy-network/orchestrator/cmd/shardy/examples"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

// want runs a command line, checks its exit code, and that with --json every line of stdout is JSON, or the last line
// of stderr if it failed.
func (s *site) want(code int, args ...string) result {
	s.Helper()
	r := s.shardy(append(args, "--json")...)
	if r.code != code {
		s.Fatalf("shardy %s: exit %d, want %d\n%s%s", strings.Join(args, " "), r.code, code, r.out, r.errOut)
	}
	for line := range strings.Lines(r.out) {
		if !json.Valid([]byte(line)) {
			s.Errorf("shardy %s: stdout is not JSON: %s", strings.Join(args, " "), line)
		}
	}
	if code == 0 {
		return r
	}
	lines := strings.Split(strings.TrimSpace(r.errOut), "\n")
	var f struct {
		Error string
		Exit  int
	}
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &f); err != nil || f.Error == "" || f.Exit != code {
		s.Errorf("shardy %s: the error is not told as JSON: %v\n%s", strings.Join(args, " "), err, r.errOut)
	}
	return r
}

// file writes a file for a command line.
func (s *site) file(name string, data []byte) string {
	s.Helper()
	name = filepath.Join(s.logs, name)
	s.must(os.WriteFile(name, data, 0o600))
	return name
}

// TestEveryClientCommand speaks to a live orchestrator with live workers: open work first, then verdicts, a job whose
// module traps, and the end of everything.
func TestEveryClientCommand(t *testing.T) {
	s := open(t, quickPolicy())
	good := task{low: 100, high: 5000}
	chunk, bad := s.file("chunk", good.chunk()), s.file("bad", []byte("fifteen bytes.."))
	var module struct{ Name string }
	s.want(0, "module", "admit", s.file("primes.wasm", examples.Module("primes")), "--canary", chunk).json(t, &module)
	s.want(4, "module", "admit", s.file("junk.wasm", []byte("\x00asm junk")))
	if r := s.want(0, "module", "list"); !strings.Contains(r.out, module.Name) {
		t.Errorf("module list: %s", r.out)
	}

	// Nobody works yet.
	id := s.submitted("job", "submit", module.Name, "--input", chunk, "--min-tier", "1")
	s.want(6, "job", "watch", id, "--timeout", "300ms")
	if r := s.want(0, "job", "explain", id); !strings.Contains(r.out, "no") {
		t.Errorf("explain: %s", r.out)
	}
	s.state("open", "job", "describe", id)
	s.want(2, "job", "cancel", id) // nobody said yes
	s.want(0, "job", "cancel", id, "--reason", "test", "--yes")
	s.state("cancelled", "job", "describe", id)
	s.want(4, "job", "cancel", id, "--reason", "test", "--yes")
	s.want(4, "job", "result", id, "--output", filepath.Join(s.logs, "never"))
	s.want(3, "job", "describe", "00000000000000000000000000")
	s.want(2, "job", "describe")
	s.want(2, "job", "dance")

	tailing := s.tail("event", "tail", "--after", fmt.Sprint(s.head()), "--type", "TaskVerified", "--limit", "1", "--json")
	crew := s.crew(2)
	id = s.submitted("job", "submit", module.Name, "--input", chunk, "--min-tier", "1", "--request-id", "mine", "--label", "a=b")
	if again := s.submitted("job", "submit", module.Name, "--input", chunk, "--min-tier", "1", "--request-id", "mine", "--label", "a=b"); again != id {
		t.Errorf("the same request made jobs %s and %s", id, again)
	}
	s.want(0, "job", "watch", id, "--timeout", "30s")
	s.state("verified", "job", "describe", id)
	if out := tailing(); !strings.Contains(out, id) {
		t.Errorf("event tail printed %s", out)
	}
	if r := s.ok("job", "result", id); r.out != string(good.answer()) {
		t.Errorf("the result is %x", r.out)
	}
	s.listed(id, "job", "list", "--state", "verified")
	s.listed(id+"-0", "assignment", "list", id)
	if r := s.want(0, "assignment", "describe", id+"-1"); !strings.Contains(r.out, "TaskAcked") || !strings.Contains(r.out, "ResultReturned") {
		t.Errorf("assignment describe: %s", r.out)
	}
	s.want(3, "assignment", "describe", id+"-7")
	s.want(2, "assignment", "describe", id)
	if r := s.want(0, "event", "read", "job-"+id); strings.Count(r.out, "\n") != 4 {
		t.Errorf("event read of a verified job: %s", r.out)
	}
	s.want(3, "event", "read", "job-00000000000000000000000000")

	s.pipelineCommands(module.Name, good)
	s.deadLetterCommands(module.Name, bad, id)
	s.workerCommands(crew)

	s.want(0, "status")
	s.want(0, "policy", "show")
	s.contextCommands()
	s.stop()
	s.want(5, "status")
	s.sound()
}

// submitted runs a command that prints an id.
func (s *site) submitted(args ...string) string {
	s.Helper()
	var r struct{ ID string }
	s.want(0, args...).json(s.T, &r)
	if len(r.ID) != 26 {
		s.Fatalf("shardy %s: id %q", strings.Join(args, " "), r.ID)
	}
	return r.ID
}

func (s *site) state(want string, args ...string) {
	s.Helper()
	var r struct{ State string }
	if s.want(0, args...).json(s.T, &r); r.State != want {
		s.Errorf("shardy %s: state %q, want %q", strings.Join(args, " "), r.State, want)
	}
}

// listed waits until a list has what a decision put there: lists follow the log.
func (s *site) listed(what string, args ...string) {
	s.Helper()
	s.poll(fmt.Sprintf("shardy %s has %s", strings.Join(args, " "), what), func() bool {
		return strings.Contains(s.want(0, args...).out, what) || strings.Contains(s.ok(args...).out, what)
	})
}

// tail starts a command that prints what is to come, and returns how to await its end.
func (s *site) tail(args ...string) (wait func() string) {
	s.Helper()
	c := exec.Command(product, args...)
	var out strings.Builder
	c.Stdout, c.Env = &out, append(os.Environ(), "SHARDY_ADDRESS="+s.url(), "HOME="+s.logs)
	s.must(c.Start())
	watchdog := time.AfterFunc(patience(60*time.Second), func() { _ = c.Process.Kill() })
	return func() string {
		defer watchdog.Stop()
		if err := c.Wait(); err != nil {
			s.Errorf("shardy %s: %v", strings.Join(args, " "), err)
		}
		return out.String()
	}
}

func (s *site) pipelineCommands(module string, good task) {
	s.Helper()
	sum, err := hex.DecodeString(module)
	s.must(err)
	ref := func(t task) map[string]any {
		res, err := s.modules.PutBlob(s.Context(), &operatorv1.PutBlobRequest{Data: t.chunk()})
		s.must(err)
		return map[string]any{"sha256": res.Ref.Sha256, "size": "16"}
	}
	other := task{low: 7, high: 700}
	text, err := json.Marshal(map[string]any{
		"spec": map[string]any{"name": "two", "stages": []any{map[string]any{
			"name": "count", "template": map[string]any{"module": sum, "fuelLimit": "100000000", "minTier": 1, "output": map[string]any{"maxBytes": "1024"}},
		}}},
		"chunks": []any{ref(good), ref(other)},
	})
	s.must(err)
	id := s.submitted("pipeline", "submit", s.file("pipeline.json", text))
	s.want(0, "pipeline", "watch", id, "--timeout", "30s")
	s.state("completed", "pipeline", "describe", id)
	s.listed(id, "pipeline", "list", "--state", "completed")
	if r := s.ok("pipeline", "output", id); r.out != string(good.answer())+string(other.answer()) {
		s.Errorf("the pipeline's output is %x", r.out)
	}
	s.want(4, "pipeline", "cancel", id, "--reason", "late", "--yes")
	s.want(3, "pipeline", "describe", "00000000000000000000000000")
	s.want(2, "pipeline", "submit", s.file("junk.json", []byte("{")))
}

// deadLetterCommands has a job dead-lettered: its module traps, and the workers agree on that.
func (s *site) deadLetterCommands(module, bad, verified string) {
	s.Helper()
	s.want(1, "job", "submit", module, "--input", bad, "--min-tier", "1", "--wait", "--timeout", "30s")
	var list struct {
		DeadLetters []struct{ ID, Reason string } `json:"dead_letters"`
	}
	s.poll("the dead letter is listed", func() bool {
		s.want(0, "dlq", "list", "--reason-code", "job_failed").json(s.T, &list)
		return len(list.DeadLetters) == 1 && list.DeadLetters[0].Reason == "job_failed"
	})
	id := list.DeadLetters[0].ID
	if r := s.want(0, "dlq", "describe", id); !strings.Contains(r.out, `"attempts"`) || !strings.Contains(r.out, "trap") {
		s.Errorf("dlq describe: %s", r.out)
	}
	s.want(3, "dlq", "describe", verified)
	s.want(2, "dlq", "requeue", id)
	after := s.head()
	s.want(0, "dlq", "requeue", id, "--reason", "once more")
	s.until("it is dead again", after, []string{"JobDeadLettered"}, func(e *seen) bool { return e.Stream == "job-"+id })
	s.want(2, "dlq", "discard", id, "--reason", "it traps") // nobody said yes
	s.poll("it is discarded", func() bool {
		return s.shardy("dlq", "discard", id, "--reason", "it traps", "--yes").code == 0
	})
	s.state("discarded", "job", "describe", id)
	s.want(3, "dlq", "discard", id, "--reason", "again", "--yes")
	s.want(3, "dlq", "requeue", verified, "--reason", "why not")
}

// workerCommands rules over live workers, and the last one is banned.
func (s *site) workerCommands(crew []*worker) {
	s.Helper()
	key := crew[0].key
	s.listed(key, "worker", "list")
	s.state("connected", "worker", "describe", key[:12])
	s.want(0, "worker", "drain", key, "--reason", "rest")
	s.state("draining", "worker", "describe", key)
	s.want(0, "worker", "reinstate", key, "--reason", "rested")
	s.poll("it is reinstated", func() bool { return strings.Contains(s.want(0, "worker", "describe", key).out, `"connected"`) })
	s.want(2, "worker", "ban", key, "--yes") // no reason
	s.want(0, "worker", "ban", key, "--reason", "test", "--yes")
	s.state("banned", "worker", "describe", key)
	s.want(3, "worker", "describe", strings.Repeat("00", 32))
}

func (s *site) contextCommands() {
	s.Helper()
	s.want(0, "context", "add", "here", "--to", s.url())
	s.want(0, "context", "list")
	s.want(0, "context", "select", "here")
	r := command(s.T, []string{"SHARDY_ADDRESS=", "XDG_CONFIG_HOME=", "HOME=" + s.logs}, "status", "--json") // the address is the context's
	if r.code != 0 {
		s.Errorf("status by context: exit %d %s", r.code, r.errOut)
	}
	s.want(0, "context", "remove", "here", "--yes")
}
