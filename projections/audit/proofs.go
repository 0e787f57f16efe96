package audit

import (
	"context"
	"errors"
	"fmt"

	"github.com/shardy-network/orchestrator/actors/proof"
	"github.com/shardy-network/orchestrator/events"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// verifiers are the proof systems that a job can ask for beside the attestation.
var verifiers = map[eventv1.ProofSystem]proof.Verifier{
	eventv1.ProofSystem_PROOF_SYSTEM_FREIVALDS_I8:  proof.FreivaldsI8{},
	eventv1.ProofSystem_PROOF_SYSTEM_GROTH16_BN254: proof.Groth16{},
}

// further verifies the further proof of a result that was accepted, where the contents are there to verify it with.
func (x *examiner) further(ctx context.Context, r *events.Record, e *exhibit, f *eventv1.ResultReturned) error {
	system := e.spec.GetProof().GetSystem()
	if x.blobs == nil || system == eventv1.ProofSystem_PROOF_SYSTEM_UNSPECIFIED || f.GetStatus() != eventv1.ResultStatus_RESULT_STATUS_OK {
		return nil
	}
	v, ok := verifiers[system]
	if !ok {
		x.found.add(r, Proof, "proof system %s is not known", system)
		return nil
	}
	evidence := proof.Evidence{Seed: f.GetProofSeed()}
	for _, part := range []struct {
		what string
		sum  []byte
		to   *[]byte
	}{
		{"input", e.spec.GetInput().GetSha256(), &evidence.Input},
		{"output", f.GetOutput().GetSha256(), &evidence.Output},
		{"proof", f.GetProof(), &evidence.Proof},
		{"verification key", e.spec.GetProof().GetVerificationKey().GetSha256(), &evidence.Key},
	} {
		var sum [32]byte
		if !fill(&sum, part.sum) {
			continue // this system has no such part; a verifier that misses it says so
		}
		data, err := x.blobs.Get(ctx, sum)
		if errors.Is(err, events.ErrNotFound) && x.partial {
			return nil
		}
		if errors.Is(err, events.ErrNotFound) {
			x.found.add(r, Blob, "%s %x is missing: the proof cannot be verified", part.what, sum)
			return nil
		}
		if err != nil {
			return fmt.Errorf("read %s %x: %w", part.what, sum, err)
		}
		*part.to = data
	}
	x.sum.Proofs++
	if err := v.Verify(evidence); err != nil {
		x.found.add(r, Proof, "%v", err)
	}
	return nil
}
