package assignment

import (
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"unicode/utf8"

	"github.com/shardy-network/orchestrator/actors/quorum"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// checkReturn refuses a result that must not get into the log. One that the door has rejected is evidence, so it may
// say anything as long as it is short.
func checkReturn(c *eventv1.ReturnResult) error {
	switch {
	case eventv1.RejectReason_name[int32(c.Reject)] == "":
		return malformed("reject reason %d is unknown", c.Reject)
	case len(c.Detail) > MaxDetail || !utf8.ValidString(c.Detail):
		return malformed("detail: want at most %d bytes of UTF-8", MaxDetail)
	case len(c.Attestation) > ed25519.SignatureSize:
		return malformed("attestation: want at most %d bytes, got %d", ed25519.SignatureSize, len(c.Attestation))
	case len(c.Output.GetSha256()) > sha256.Size:
		return malformed("output: want a SHA-256 of %d bytes", sha256.Size)
	case c.Reject != eventv1.RejectReason_REJECT_REASON_UNSPECIFIED:
		return nil
	case len(c.Attestation) != 0 && len(c.Attestation) != ed25519.SignatureSize:
		return malformed("attestation: want %d bytes, got %d", ed25519.SignatureSize, len(c.Attestation))
	case len(c.Proof) != 0 && len(c.Proof) != sha256.Size:
		return malformed("proof: want %d bytes, got %d", sha256.Size, len(c.Proof))
	case len(c.ProofSeed) > MaxProofSeed:
		return malformed("proof_seed: want at most %d bytes, got %d", MaxProofSeed, len(c.ProofSeed))
	}
	if err := quorum.Check(c.Status, c.Output); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return nil
}
