package sandbox

import (
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/shardy-network/orchestrator/actors/admission/wasm"
)

// Probes that make NaNs in ways whose bits depend on the engine and store them as integers. The compiler and the
// interpreter of wazero differ on some of them; canonical NaNs make them, and every other engine, agree.
func TestNaNsAreCanonical(t *testing.T) {
	nan1 := "\x43\x01\x00\xc0\x7f" // f32.const with payload 1
	nan2 := "\x43\x02\x00\xc0\xff" // negative, payload 2
	zero, one := "\x43\x00\x00\x00\x00", "\x43\x00\x00\x80\x3f"
	wide := "\x44\x01\x00\x00\x00\x00\x00\xf8\x7f"
	splat := func(x string) string { return x + "\xfd\x13" }
	scalars := []string{
		zero + zero + "\x95", nan1 + nan2 + "\x92", nan2 + nan1 + "\x92", nan1 + nan2 + "\x94", nan1 + one + "\x96",
		one + nan2 + "\x97", "\x43\x00\x00\x80\xbf\x91", one + nan2 + "\x98", nan1 + "\x8c", wide + "\xb6",
	}
	vectors := []string{
		splat(zero) + splat(zero) + "\xfd\xe7\x01", splat(nan1) + splat(nan2) + "\xfd\xe4\x01",
		splat(nan2) + splat(nan1) + "\xfd\xe8\x01" + splat(one) + "\xfd\xe6\x01",
		splat(nan1) + splat(nan2) + "\xfd\xe4\x01\xfd\x5f", splat(nan1) + splat(nan2) + "\xfd\xea\x01",
	}
	var run []byte
	at := int64(0)
	put := func(expression, store string, size int64) {
		run = append(constant(run, i32Const, at), expression...)
		run = append(append(run, store...), "\x00\x00"...)
		at += size
	}
	for _, x := range scalars {
		put(x, "\x38", 4)
		put(x+"\xbc", "\x36", 4)
	}
	for _, x := range vectors {
		put(x, "\xfd\x0b", 16)
	}
	module := assembler{run: append(run, output(0, uint32(at))...)}.build()
	code, err := wasm.Rewrite(module, wasm.Options{CanonicalNaN: true})
	if err != nil {
		t.Fatal(err)
	}
	s := sharedSandbox(t)
	canary, err := s.Trial(t.Context(), module, code, nil, CanaryFuel)
	if err != nil {
		t.Fatal(err)
	}
	if canary.Result.Status != OK {
		t.Fatalf("%s: %s", canary.Result.Status, canary.Result.Detail)
	}
	out := canary.Result.Output
	for i := range 2 * len(scalars) {
		if x := [4]byte(out[4*i:]); x != [4]byte{0, 0, 0xc0, 0x7f} && x != [4]byte{0, 0, 0x80, 0xbf} && x != [4]byte{0, 0, 0x80, 0x3f} {
			t.Errorf("probe %d left %x", i/2, x)
		}
	}
	agreesWithV8(t, code, canary.Result)
}

// agreesWithV8 runs a module without input in Node, where that is installed.
func agreesWithV8(t *testing.T, code []byte, want Result) {
	t.Helper()
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("not compared with V8: node is missing")
	}
	module, chunk := filepath.Join(t.TempDir(), "module.wasm"), filepath.Join(t.TempDir(), "chunk.bin")
	for path, b := range map[string][]byte{module: code, chunk: nil} {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	out, err := exec.CommandContext(t.Context(), node, "../../../cmd/shardy/examples/testdata/run.mjs", module, chunk, "1000000").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	line := fmt.Sprintf("%x %d\n", sha256.Sum256(want.Output), want.FuelUsed)
	if string(out) != line+line {
		t.Errorf("V8 says %s, wazero %s", out, line)
	}
}
