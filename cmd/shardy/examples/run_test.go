package examples

import (
	"crypto/sha256"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/shardy-network/orchestrator/gateway/agent/sandbox"
)

var rewrite = flag.Bool("rewrite", false, "rewrite outputs.lock from what the modules compute")

// TestMain makes the test binary its own sandbox child.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "sandbox-child" {
		if err := sandbox.Child(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func newSandbox(t *testing.T) *sandbox.Sandbox {
	t.Helper()
	box, err := sandbox.New(sandbox.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := box.Close(); err != nil {
			t.Error(err)
		}
	})
	return box
}

// compute runs a program with the unmodified module.
func compute(t *testing.T, box *sandbox.Sandbox, p Program) []byte {
	t.Helper()
	code := Module(p.Module())
	name := sha256.Sum256(code)
	if err := box.Load(t.Context(), name, code); err != nil {
		t.Fatal(err)
	}
	var outputs [][]byte
	for i, chunk := range p.Chunks() {
		r, err := box.Run(t.Context(), sandbox.Task{Module: name, Input: chunk, Unmetered: true})
		if err != nil || r.Status != sandbox.OK {
			t.Fatalf("chunk %d: %v %v %s", i, err, r.Status, r.Detail)
		}
		outputs = append(outputs, r.Output)
	}
	assembled, err := p.Assemble(outputs)
	if err != nil {
		t.Fatal(err)
	}
	return assembled
}

// The committed hashes are what the modules compute. The default sets take half a minute, so they wait for
// SHARDY_SLOW_TESTS or -rewrite.
func TestOutputsMatchTheLock(t *testing.T) {
	sets := []bool{true}
	if *rewrite || os.Getenv("SHARDY_SLOW_TESTS") != "" {
		sets = append(sets, false)
	}
	box := newSandbox(t)
	var lines []string
	for _, name := range Names() {
		for _, quick := range sets {
			p := New(name, quick)
			begin := time.Now()
			assembled := compute(t, box, p)
			story, err := p.Describe(assembled)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%s: %s (%s)", outputKey(name, quick), story, time.Since(begin).Round(time.Millisecond))
			got := Digest(assembled)
			lines = append(lines, fmt.Sprintf("%x  %s\n", got, outputKey(name, quick)))
			if *rewrite {
				continue
			}
			want, err := Reference(name, quick)
			if err != nil {
				t.Fatal(err)
			}
			if got != want {
				t.Errorf("%s: output hash %x, lock says %x", outputKey(name, quick), got, want)
			}
		}
	}
	if *rewrite {
		if err := os.WriteFile("outputs.lock", []byte(strings.Join(lines, "")), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
