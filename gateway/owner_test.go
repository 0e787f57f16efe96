package gateway_test

import (
	"crypto/ed25519"
	"encoding/binary"
	"testing"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/gateway/agent"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	workerv1 "github.com/shardy-network/orchestrator/proto/shardy/worker/v1"
)

func TestOwnersWorkersAreOneGroup(t *testing.T) {
	r := newRig(t, nil)
	_, owner, _ := ed25519.GenerateKey(nil)
	var groups []string
	for range 2 {
		key, _, _ := startAgent(t, r, func(c *agent.Config) { c.OwnerKey = owner })
		groups = append(groups, r.host.waitReady(t, key).Group)
		f := factOf[*eventv1.WorkerRegistered](t, r.host, actors.WorkerAddress(key), nil)
		if !owner.Public().(ed25519.PublicKey).Equal(ed25519.PublicKey(f.GetOwner())) {
			t.Fatalf("registered %v", f)
		}
	}
	if groups[0] == "" || groups[0] != groups[1] {
		t.Fatalf("groups %q", groups)
	}
}

// A further proof is checked with a seed that was drawn after the result arrived; a wrong product is the worker's fault.
func TestFurtherProofs(t *testing.T) {
	r := newRig(t, nil)
	w, _ := r.join(t, nil)
	input := make([]byte, 16, 18) // 1 x 1 x 1: 3 times 5
	for i := range 3 {
		binary.LittleEndian.PutUint32(input[4*i:], 1)
	}
	input = append(input, 3, 5)
	for product, want := range map[byte]workerv1.TaskOutcome{
		15: workerv1.TaskOutcome_TASK_OUTCOME_RECORDED,
		16: workerv1.TaskOutcome_TASK_OUTCOME_REJECTED,
	} {
		spec := r.spec(t, input)
		spec.Proof = &eventv1.ProofSpec{System: eventv1.ProofSystem_PROOF_SYSTEM_FREIVALDS_I8}
		m, _ := w.give("job-"+string('a'+product), spec)
		output := []byte{product, 0, 0, 0}
		w.finish(w.result(m, output), output)
		got := w.outcome(m.GetToken())
		if got.GetOutcome() != want {
			t.Fatalf("%d: %v", product, got)
		}
		if want == workerv1.TaskOutcome_TASK_OUTCOME_REJECTED {
			if got.GetReason() != uint32(eventv1.RejectReason_REJECT_REASON_PROOF) {
				t.Fatalf("rejected for %v", got)
			}
			continue
		}
		f := factOf[*eventv1.ResultReturned](t, r.host, actors.SlotAddress(m.GetJob(), 0), nil)
		if len(f.GetProofSeed()) != 32 {
			t.Fatalf("seed of %d bytes on record", len(f.GetProofSeed()))
		}
	}
}
