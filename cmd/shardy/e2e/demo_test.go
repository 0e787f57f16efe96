package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestTheQuickDemo runs it as a newcomer does, and again on the same folder.
func TestTheQuickDemo(t *testing.T) {
	long(t)
	dir := filepath.Join(t.TempDir(), "demo")
	begin := time.Now()
	r := command(t, nil, "demo", "--quick", "--json", "--data-dir", dir)
	took := time.Since(begin)
	if r.code != 0 {
		t.Fatalf("exit %d\n%s%s", r.code, r.out, r.errOut)
	}
	t.Logf("%s: %s", took, r.out)
	if !slow && took > 30*time.Second {
		t.Errorf("took %s", took)
	}
	var sum map[string]any
	r.json(t, &sum)
	for name := range strings.FieldsSeq("jobs verified dead_lettered wrong_results mismatches reassigned ack_timeouts " +
		"honest_contradicted liars_contradicted accuracy picture events seconds") {
		if _, ok := sum[name]; !ok {
			t.Errorf("no field %s", name)
		}
	}
	for name, good := range map[string]func(n float64) bool{
		"jobs":                func(n float64) bool { return n > 50 },
		"verified":            func(n float64) bool { return n == sum["jobs"] },
		"dead_lettered":       func(n float64) bool { return n == 0 },
		"wrong_results":       func(n float64) bool { return n == 0 },
		"honest_contradicted": func(n float64) bool { return n == 0 },
		"liars_contradicted":  func(n float64) bool { return n > 0 },
		"mismatches":          func(n float64) bool { return n > 0 },
		"reassigned":          func(n float64) bool { return n > 0 },
		"accuracy":            func(n float64) bool { return n > 0.85 && n < 1 },
		"events":              func(n float64) bool { return n > 500 },
		"divergences":         func(n float64) bool { return n == 0 },
	} {
		if n, ok := sum[name].(float64); !ok || !good(n) {
			t.Errorf("%s is %v", name, sum[name])
		}
	}
	picture, err := os.ReadFile(fmt.Sprint(sum["picture"]))
	if err != nil {
		t.Fatal(err)
	}
	if img, err := png.Decode(bytes.NewReader(picture)); err != nil || img.Bounds().Dx() != 640 {
		t.Errorf("picture: %v", err)
	}
	again := command(t, nil, "demo", "--quick", "--data-dir", dir)
	if again.code != 2 || !strings.Contains(again.errOut, "holds a log already") || again.out != "" {
		t.Errorf("again on the same folder: exit %d\n%s%s", again.code, again.out, again.errOut)
	}
	if r := command(t, nil, "audit", "replay", "--data-dir", dir, "--json"); r.code != 0 {
		t.Errorf("the folder's audit: exit %d\n%s%s", r.code, r.out, r.errOut)
	}
}

func TestAnImpossibleDemoIsRefused(t *testing.T) {
	long(t)
	for _, args := range []string{
		"--workers 2", "--workers 3 --liars 1", "--liars 5", "--workers -1", "--liars -1", "--droppers -1", "--workers 40",
		"--workers many", "--no-such-flag", "surprise",
	} {
		dir := filepath.Join(t.TempDir(), "demo")
		r := command(t, nil, append([]string{"demo", "--data-dir", dir}, strings.Fields(args)...)...)
		if r.code != 2 || r.errOut == "" || r.out != "" {
			t.Errorf("demo %s: exit %d\n%s%s", args, r.code, r.out, r.errOut)
		}
		if _, err := os.Stat(dir); err == nil {
			t.Errorf("demo %s: left a folder", args)
		}
	}
}

// TestAnInterruptedDemoLeavesNoProcess interrupts it at some moments of its life.
func TestAnInterruptedDemoLeavesNoProcess(t *testing.T) {
	long(t)
	if _, err := os.Stat("/proc/self/environ"); err != nil {
		t.Skip("needs /proc to see whose child a process is")
	}
	for i, until := range []string{"orchestrator is up", "have proven", "picture         ["} {
		t.Run(until, func(t *testing.T) {
			mark := fmt.Sprintf("SHARDY_E2E_MARK=%d-%d-%d", os.Getpid(), time.Now().UnixNano(), i)
			c := exec.Command(product, "demo", "--quick", "--data-dir", filepath.Join(t.TempDir(), "demo"))
			c.Env = append(os.Environ(), mark)
			said, err := c.StderrPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := c.Start(); err != nil {
				t.Fatal(err)
			}
			watchdog := time.AfterFunc(patience(60*time.Second), func() { _ = c.Process.Kill() })
			defer watchdog.Stop()
			var all strings.Builder
			buf := make([]byte, 4096)
			interrupted := false
			for {
				n, err := said.Read(buf)
				all.Write(buf[:n])
				if !interrupted && strings.Contains(all.String(), until) {
					interrupted = true
					if n := len(marked(t, mark)); n < 2 {
						t.Errorf("only %d processes: the search for them finds nothing", n)
					}
					if err := c.Process.Signal(syscall.SIGINT); err != nil {
						t.Fatal(err)
					}
				}
				if err != nil {
					break
				}
			}
			if err := c.Wait(); err == nil {
				t.Error("an interrupted demo says that all is well")
			}
			if !interrupted {
				t.Errorf("it never said %q:\n%s", until, all.String())
			}
			var left []string
			for end := time.Now().Add(2 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
				if left = marked(t, mark); len(left) == 0 {
					return
				}
			}
			t.Errorf("left behind: %v\n%s", left, all.String())
		})
	}
}

// marked lists the processes that inherited the mark.
func marked(t *testing.T, mark string) []string {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, e := range entries {
		if _, err := strconv.Atoi(e.Name()); err != nil {
			continue
		}
		env, err := os.ReadFile(filepath.Join("/proc", e.Name(), "environ"))
		if err != nil || !bytes.Contains(env, []byte(mark)) {
			continue // not ours, or gone
		}
		line, _ := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		found = append(found, e.Name()+" "+string(bytes.ReplaceAll(line, []byte{0}, []byte{' '})))
	}
	return found
}

// TestVersionAndCompletion need no orchestrator.
func TestVersionAndCompletion(t *testing.T) {
	long(t)
	r := command(t, nil, "version", "--json")
	var v struct{ Version, Go string }
	if err := json.Unmarshal([]byte(r.out), &v); err != nil || v.Go == "" || r.code != 0 {
		t.Errorf("version: %v, exit %d, %s", err, r.code, r.out)
	}
	for _, shell := range []string{"bash", "zsh", "fish"} {
		if r := command(t, nil, "completion", shell); r.code != 0 || !strings.Contains(r.out, "shardy") {
			t.Errorf("completion %s: exit %d %s", shell, r.code, r.errOut)
		}
	}
}
