package sandbox

import (
	"testing"
	"time"

	"github.com/shardy-network/orchestrator/actors/admission/challenge"
	"github.com/shardy-network/orchestrator/actors/admission/wasm"
)

// ask runs a challenge and returns its answer.
func ask(t *testing.T, s *Sandbox, q challenge.Question, interpreter bool) (Result, time.Duration) {
	t.Helper()
	code, err := wasm.Rewrite(q.Module(), wasm.Options{})
	if err != nil {
		t.Fatal(err)
	}
	name := load(t, s, code)
	begin := time.Now()
	r, err := s.Run(t.Context(), Task{Module: name, Input: q.Input(), FuelLimit: q.Fuel(), Interpreter: interpreter})
	if err != nil || r.Status != OK || len(r.Output) != 32 {
		t.Fatalf("%v: %s %s, %d bytes", err, r.Status, r.Detail, len(r.Output))
	}
	if r.FuelUsed*2 > q.Fuel() {
		t.Errorf("%d units used, limit %d is too tight", r.FuelUsed, q.Fuel())
	}
	return r, time.Since(begin)
}

func TestChallenges(t *testing.T) {
	s := sharedSandbox(t)
	must := func(q challenge.Question, err error) challenge.Question {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return q
	}
	for name, make := range map[string]func(uint64, [32]byte) (challenge.Question, error){
		"compute": challenge.NewCompute, "memory": challenge.NewMemory,
	} {
		t.Run(name, func(t *testing.T) {
			size := uint64(challenge.MinMemory)
			first, _ := ask(t, s, must(make(size, [32]byte{1})), false)
			again, _ := ask(t, s, must(make(size, [32]byte{1})), true)
			other, _ := ask(t, s, must(make(size, [32]byte{2})), false)
			if string(first.Output) != string(again.Output) || first.FuelUsed != again.FuelUsed {
				t.Errorf("engines disagree: %x after %d, %x after %d", first.Output, first.FuelUsed, again.Output, again.FuelUsed)
			}
			if string(first.Output) == string(other.Output) {
				t.Error("two nonces, one answer")
			}
		})
	}
	q := must(challenge.NewCompute(1<<28, [32]byte{3}))
	r, took := ask(t, s, q, false)
	t.Logf("compute: %d FLOP in %s, %d milli-GFLOPS, fuel %d of %d", q.Work(), took, challenge.MilliGFLOPS(q.Work(), took), r.FuelUsed, q.Fuel())
	q = must(challenge.NewMemory(64<<20, [32]byte{4}))
	r, took = ask(t, open(t, Config{MaxModuleMemory: 64 << 20}), q, false) // who has what it claims passes
	t.Logf("memory: %d bytes in %s, fuel %d of %d", q.Work(), took, r.FuelUsed, q.Fuel())
}
