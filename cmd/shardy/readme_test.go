package main

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

var runnable = regexp.MustCompile("(?s)<!-- run -->\n```sh\n(.*?)```")

// TestReadme runs the snippets of the README, one after another in one shell, as a reader would from the root of the
// repository: only the port is another, and the binary is built once.
func TestReadme(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := runnable.FindAllStringSubmatch(string(text), -1)
	if len(blocks) < 6 {
		t.Fatalf("found %d snippets that can be run: the README or this test has changed", len(blocks))
	}
	dir := t.TempDir()
	script := new(strings.Builder)
	script.WriteString("set -euo pipefail -m\ntrap 'kill $(jobs -p) 2>/dev/null || true; wait' EXIT\n")
	for _, b := range blocks {
		if strings.Contains(b[1], "build.sh") && !have("clang-19", "wasm-ld-19") {
			missing(t, "clang-19 and lld-19: the module snippet is left out")
			continue
		}
		if strings.Contains(b[1], "npm install") && (os.Getenv("CI") == "" || !have("node", "npm")) {
			missing(t, "node and the npm registry: the snippet of the official client is left out")
			continue
		}
		for line := range strings.Lines(b[1]) {
			if line != "go install ./cmd/shardy\n" {
				script.WriteString(line)
			}
		}
	}
	for _, program := range []string{"bash", "python3", "curl"} {
		if !have(program) {
			missing(t, program)
			t.Skip("the README's snippets need it")
		}
	}
	build := exec.Command("go", "build", "-o", filepath.Join(dir, "bin", "shardy"), ".")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(root, "cmd"), filepath.Join(dir, "cmd")); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	run := exec.CommandContext(ctx, "bash", "-c", strings.NewReplacer("7420", freePort(t), "7425", freePort(t), "7435", freePort(t), "2113", freePort(t)).Replace(script.String()))
	run.Dir = dir
	run.Env = append(os.Environ(), "PATH="+filepath.Join(dir, "bin")+":"+os.Getenv("PATH"), "XDG_CONFIG_HOME="+dir, "SHARDY_CONTEXT=")
	run.WaitDelay = 10 * time.Second
	out, err := run.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{"connected", "verdict:   clean", "verified", "against genesis", "verdict:       good"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("no %q in what the snippets print:\n%s", want, out)
		}
	}
	if primes, err := os.ReadFile(filepath.Join(dir, "primes.bin")); err != nil || len(primes) == 0 {
		t.Errorf("the tour left no output: %v", err)
	}
}

func have(programs ...string) bool {
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			return false
		}
	}
	return true
}

// missing lets a reader's test run pass without an extra, and fails where everything must be there.
func missing(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatalf("not installed: %s", what)
	}
	t.Logf("not installed: %s", what)
}

func freePort(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	_, port, err := net.SplitHostPort(ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}
