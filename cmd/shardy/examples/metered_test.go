package examples

import (
	"bytes"
	"crypto/sha256"
	"testing"
	"time"

	"github.com/shardy-network/orchestrator/actors/admission/wasm"
	"github.com/shardy-network/orchestrator/gateway/agent/sandbox"
)

// What module admission makes of a program computes the same, within the fuel that the program names.
func TestRewrittenModulesComputeTheSame(t *testing.T) {
	box := newSandbox(t)
	classes := map[string]wasm.Class{
		"raytrace": wasm.Float, "cnn8": wasm.Integer, "primes": wasm.Integer,
		"mc": wasm.Float, "xf": wasm.FloatVector, "matmul8": wasm.Integer,
	}
	for _, name := range Names() {
		for _, canonical := range []bool{false, true} {
			info, err := wasm.Lint(Module(name), wasm.Limits{})
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if info.Class != classes[name] {
				t.Errorf("%s: class %s, want %s", name, info.Class, classes[name])
			}
			code, err := wasm.Rewrite(Module(name), wasm.Options{CanonicalNaN: canonical})
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			p := New(name, true)
			chunks := p.Chunks()
			first, last := chunks[0], chunks[len(chunks)-1]
			for _, chunk := range [][]byte{first, last} {
				checkMetered(t, box, p, code, chunk)
			}
		}
	}
}

func checkMetered(t *testing.T, box *sandbox.Sandbox, p Program, code, chunk []byte) {
	t.Helper()
	original := Module(p.Module())
	plain, metered := sha256.Sum256(original), wasm.Name(code)
	for name, b := range map[[32]byte][]byte{plain: original, metered: code} {
		if err := box.Load(t.Context(), name, b); err != nil {
			t.Fatalf("%s: %v", p.Module(), err)
		}
	}
	want, err := box.Run(t.Context(), sandbox.Task{Module: plain, Input: chunk, Unmetered: true})
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	got, err := box.Run(t.Context(), sandbox.Task{Module: metered, Input: chunk, FuelLimit: p.Fuel()})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s: %s, %d units of %d (%.1f %%), %s", p.Module(), got.Status, got.FuelUsed, p.Fuel(),
		100*float64(got.FuelUsed)/float64(p.Fuel()), time.Since(begin).Round(time.Microsecond))
	if got.Status != sandbox.OK || !bytes.Equal(got.Output, want.Output) {
		t.Errorf("%s: metered %s %s, or other output", p.Module(), got.Status, got.Detail)
	}
	if got.FuelUsed*2 > p.Fuel() {
		t.Errorf("%s: %d units used, limit %d is too tight", p.Module(), got.FuelUsed, p.Fuel())
	}
}
