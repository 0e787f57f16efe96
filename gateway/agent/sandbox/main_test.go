package sandbox

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/shardy-network/orchestrator/actors/admission/wasm"
)

// TestMain makes the test binary its own child, as main does for the real one.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "sandbox-child" {
		if err := Child(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if len(os.Args) > 1 && os.Args[1] == "sandbox-parent" {
		parent()
	}
	code := m.Run()
	if shared.box != nil {
		_ = shared.box.Close()
	}
	os.Exit(code)
}

// parent starts an endless task, says which process runs it, and waits to be killed.
func parent() {
	s, err := New(Config{})
	if err != nil {
		panic(err)
	}
	code := spin.build()
	if err := s.Load(context.Background(), wasm.Name(code), code); err != nil {
		panic(err)
	}
	fmt.Println(s.child.cmd.Process.Pid)
	_, err = s.Run(context.Background(), Task{Module: wasm.Name(code), Unmetered: true})
	panic(err)
}

// A parent that is killed without a chance to clean up takes its child with it, even in the middle of a task.
func TestChildDiesWithItsParent(t *testing.T) {
	cmd := exec.Command(os.Args[0], "sandbox-parent")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, 0); err != nil {
		t.Fatalf("child %d does not run: %v", pid, err)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	for deadline := time.Now().Add(5 * time.Second); running(pid); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			_ = syscall.Kill(pid, syscall.SIGKILL)
			t.Fatalf("child %d outlived its parent", pid)
		}
	}
}

// running reports whether a process exists and is no zombie that waits for init.
func running(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(b), ") Z ")
}
