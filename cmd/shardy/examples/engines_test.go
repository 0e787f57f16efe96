package examples

import (
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/shardy-network/orchestrator/actors/admission/wasm"
	"github.com/shardy-network/orchestrator/gateway/agent/sandbox"
)

// Another engine, V8, computes the same bytes and spends the same fuel: the ground that consensus between native and
// browser workers stands on.
func TestEnginesAgree(t *testing.T) {
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("not compared: node is missing")
	}
	box := newSandbox(t)
	dir := t.TempDir()
	for _, name := range Names() {
		t.Run(name, func(t *testing.T) {
			code, err := wasm.Rewrite(Module(name), wasm.Options{CanonicalNaN: true})
			if err != nil {
				t.Fatal(err)
			}
			if err := box.Load(t.Context(), wasm.Name(code), code); err != nil {
				t.Fatal(err)
			}
			p := New(name, true)
			chunk := p.Chunks()[1]
			r, err := box.Run(t.Context(), sandbox.Task{Module: wasm.Name(code), Input: chunk, FuelLimit: p.Fuel()})
			if err != nil || r.Status != sandbox.OK {
				t.Fatalf("%v: %s", err, r.Status)
			}
			modulePath, chunkPath := filepath.Join(dir, name+".wasm"), filepath.Join(dir, name+".bin")
			for path, b := range map[string][]byte{modulePath: code, chunkPath: chunk} {
				if err := os.WriteFile(path, b, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			fuel := strconv.FormatUint(p.Fuel(), 10)
			out, err := exec.CommandContext(t.Context(), node, "testdata/run.mjs", modulePath, chunkPath, fuel).CombinedOutput()
			if err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			want := fmt.Sprintf("%x %d", sha256.Sum256(r.Output), r.FuelUsed)
			if got := strings.Fields(string(out)); len(got) != 4 || strings.Join(got[:2], " ") != want || strings.Join(got[2:], " ") != want {
				t.Errorf("V8 says %s, wazero %s", got, want)
			}
		})
	}
}
