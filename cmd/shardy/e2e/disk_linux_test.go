package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/shardy-network/orchestrator/cmd/shardy/orchestrator"
	"github.com/shardy-network/orchestrator/events/pebblelog"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

// cramped are two ways to run the orchestrator on a disk that fills up. Each is a shell script that execs or runs its
// arguments; KEEP is the data folder.
var cramped = []struct {
	name, script string
	namespace    bool // in a mount namespace of its own
}{
	{"a limit on the size of files", `ulimit -f 6000; exec "$@"`, false}, // 512-byte or 1 KiB blocks
	{"a full file system", `
		mount -t tmpfs -o size=24m shardy "$KEEP.small" || exit 77
		(cd "$KEEP" 2>/dev/null && cp -a . "$KEEP.small")
		mount --bind "$KEEP.small" "$KEEP" || exit 77
		"$@"; code=$?
		umount "$KEEP"; cp -a "$KEEP.small/." "$KEEP" || exit 78
		exit $code`, true},
}

// TestAFullDiskStopsItCleanly fills the disk of an orchestrator with work: it says so, ends with an error, and has
// damaged nothing. On a larger disk it finishes everything that it had accepted.
func TestAFullDiskStopsItCleanly(t *testing.T) {
	long(t)
	for _, c := range cramped {
		t.Run(c.name, func(t *testing.T) {
			s := folder(t, quickPolicy())
			s.must(os.MkdirAll(s.dir, 0o700))
			s.must(os.MkdirAll(s.dir+".small", 0o700))
			cmd, said := s.cramp(c.script, c.namespace)
			primes := s.admit("primes", (&task{low: 0, high: 1000}).chunk())
			tasks := s.fill(primes)
			t.Logf("%d jobs were accepted", len(tasks))
			code := s.ended(cmd)
			t.Logf("exit %d: %s", code, tail(said.String(), 400))
			if code != 1 {
				t.Errorf("exit %d\n%s", code, said)
			}
			if text := said.String(); !strings.Contains(text, "shardy: event log stopped") ||
				!strings.Contains(text, "file too large") && !strings.Contains(text, "no space left") ||
				strings.Contains(text, "goroutine ") {
				t.Errorf("it said:\n%s", text)
			}
			if _, err := pebblelog.Fsck(orchestrator.LogDir(s.dir)); err != nil {
				t.Errorf("fsck: %v", err)
			}
			s.start()
			s.crew(2)
			s.settled(tasks)
			s.stop()
			h := s.history()
			s.judge(h, tasks)
			s.sound()
		})
	}
}

// cramp starts the orchestrator below a script and waits for its address.
func (s *site) cramp(script string, namespace bool) (*exec.Cmd, *bytes.Buffer) {
	s.Helper()
	args, address := s.serveArgs()
	cmd := exec.Command("sh", append([]string{"-c", script, "sh", product}, args...)...)
	said := new(bytes.Buffer)
	cmd.Stderr, cmd.Env = said, append(os.Environ(), "KEEP="+s.dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if namespace {
		cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWNS | syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	if err := cmd.Start(); err != nil {
		if namespace && (errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOSPC)) {
			s.Skipf("this system gives no mount namespace: %v", err)
		}
		s.Fatal(err)
	}
	s.Cleanup(func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
	for end := time.Now().Add(patience(20 * time.Second)); ; time.Sleep(10 * time.Millisecond) {
		if data, err := os.ReadFile(address); err == nil && bytes.HasSuffix(data, []byte("\n")) {
			s.connect(strings.TrimSpace(string(data)))
			return cmd, said
		}
		var status syscall.WaitStatus
		if pid, _ := syscall.Wait4(cmd.Process.Pid, &status, syscall.WNOHANG, nil); pid != 0 {
			if status.ExitStatus() == 77 {
				s.Skip("this system mounts nothing for us")
			}
			s.Fatalf("it ended with %d at once: %s", status.ExitStatus(), said)
		}
		if time.Now().After(end) {
			s.Fatalf("it does not serve: %s", said)
		}
	}
}

// fill submits jobs between contents of 60 KiB until the orchestrator is gone, and returns the jobs that it accepted.
func (s *site) fill(module []byte) []*task {
	s.Helper()
	var kept []*task
	d := dice(s.T)
	for i := range 2000 {
		part := small(d, 2)
		ctx, cancel := context.WithTimeout(s.Context(), patience(10*time.Second))
		res, err := s.jobs.SubmitJobs(ctx, request(module, fmt.Sprint("fill-", i), part, nil))
		if err == nil && accepted(part, res) == nil {
			kept = append(kept, part...)
		}
		noise := make([]byte, 60<<10)
		for k := range noise {
			noise[k] = byte(d.Uint32())
		}
		_, perr := s.modules.PutBlob(ctx, &operatorv1.PutBlobRequest{Data: noise})
		cancel()
		if err != nil && perr != nil {
			return kept
		}
	}
	s.Fatalf("the disk is not full after %d jobs", len(kept))
	return nil
}

func (s *site) ended(cmd *exec.Cmd) int {
	s.Helper()
	timer := time.AfterFunc(patience(30*time.Second), func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
	defer timer.Stop()
	_ = cmd.Wait() // the state says it all
	return cmd.ProcessState.ExitCode()
}
