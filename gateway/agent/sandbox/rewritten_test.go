package sandbox

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/shardy-network/orchestrator/actors/admission/wasm"
)

// Whatever passes the lint and compiles as it is, compiles when rewritten. The modules are the shipped ones and small
// changes of them, most of which survive neither the lint nor the compiler.
func TestRewrittenModulesCompile(t *testing.T) {
	files, err := filepath.Glob("../../../cmd/shardy/examples/wasm/*.wasm")
	if err != nil || len(files) == 0 {
		t.Fatalf("no shipped modules: %v", err)
	}
	s := open(t, Config{MaxModules: 2})
	dice := rand.New(rand.NewPCG(1, 2))
	survivors := 0
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for n := range 150 {
			mutant := append([]byte(nil), b...)
			for range min(n, 3) {
				mutant[dice.IntN(len(mutant))] = byte(dice.Uint32())
			}
			if compilesBothWays(t, s, mutant) {
				survivors++
			}
		}
	}
	t.Logf("%d survivors", survivors)
	if survivors < 2*len(files) {
		t.Errorf("only %d modules got as far as the compiler", survivors)
	}
}

func compilesBothWays(t *testing.T, s *Sandbox, code []byte) bool {
	t.Helper()
	if _, err := wasm.Lint(code, wasm.Limits{}); err != nil {
		return false
	}
	if err := s.Load(t.Context(), wasm.Name(code), code); err != nil {
		wantError(t, err, ErrCompile)
		return false
	}
	for _, canonical := range []bool{false, true} {
		rewritten, err := wasm.Rewrite(code, wasm.Options{CanonicalNaN: canonical})
		if errors.Is(err, wasm.ErrTooLarge) {
			continue
		}
		if err != nil {
			t.Fatalf("rewrite %x: %v", wasm.Name(code), err)
		}
		if err := s.Load(t.Context(), wasm.Name(rewritten), rewritten); err != nil {
			t.Errorf("rewritten, canonical %v: %v", canonical, err)
		}
	}
	return true
}
