package worker

import (
	"crypto/ed25519"
	"fmt"
	"math"
	"unicode/utf8"

	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrInvalid}, args...)...)
}

func checkTime(atUs int64) error {
	if atUs < 0 || atUs > math.MaxInt64/2 {
		return malformed("at_us %d", atUs)
	}
	return nil
}

func checkText(name, text string, most int) error {
	if len(text) > most || !utf8.ValidString(text) {
		return malformed("%s: want at most %d bytes of UTF-8", name, most)
	}
	return nil
}

func (s *State) checkConnect(c *eventv1.ConnectWorker) error {
	switch {
	case len(c.Key) != ed25519.PublicKeySize:
		return malformed("key: want %d bytes, got %d", ed25519.PublicKeySize, len(c.Key))
	case !s.owns(c.Key):
		return malformed("key: is another worker's")
	case len(c.Owner) != 0 && len(c.Owner) != ed25519.PublicKeySize:
		return malformed("owner: want %d bytes, got %d", ed25519.PublicKeySize, len(c.Owner))
	case len(c.Session) != SessionSize:
		return malformed("session: want %d bytes, got %d", SessionSize, len(c.Session))
	}
	if err := checkText("group", c.Group, MaxGroup); err != nil {
		return err
	}
	return checkText("node", c.Node, MaxNode)
}

func checkChallenge(c *eventv1.RecordChallenge) error {
	switch {
	case c.Kind != eventv1.ChallengeKind_CHALLENGE_KIND_COMPUTE && c.Kind != eventv1.ChallengeKind_CHALLENGE_KIND_MEMORY:
		return malformed("kind %d", c.Kind)
	case len(c.Nonce) == 0 || len(c.Nonce) > MaxNonce:
		return malformed("nonce: want 1 to %d bytes, got %d", MaxNonce, len(c.Nonce))
	case eventv1.RejectionReason_name[int32(c.Failure)] == "":
		return malformed("failure %d", c.Failure)
	case c.ProofTtlS > MaxProofTTL:
		return malformed("proof_ttl_s %d: want at most %d", c.ProofTtlS, MaxProofTTL)
	}
	if err := checkText("detail", c.Detail, MaxReason); err != nil {
		return err
	}
	if c.Failure == eventv1.RejectionReason_REJECTION_REASON_UNSPECIFIED && (c.Work == 0 || c.ElapsedUs == 0) {
		return malformed("work %d in %d us", c.Work, c.ElapsedUs)
	}
	return nil
}
