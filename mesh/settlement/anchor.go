package settlement

import (
	"bytes"
	"crypto/ed25519"
	"fmt"
	"time"

	"github.com/shardy-network/orchestrator/actors/checkpoint"
)

// anchoring is what is known of anchors that are asked for.
type anchoring struct {
	next  time.Time // when to ask for a checkpoint
	size  uint64    // of the last log checkpoint that was handed to the book
	asked bool      // it has not been sealed yet
}

// anchorIfDue has the newest checkpoint of the log anchored, if the log has grown.
func (s *Settlement) anchorIfDue() {
	if s.config.Checkpoint == nil {
		return
	}
	s.mu.Lock()
	due := !s.now().Before(s.anchor.next) && s.poor == nil
	if due {
		s.anchor.next = s.now().Add(s.config.AnchorEvery)
	}
	s.mu.Unlock()
	if !due {
		return
	}
	defer s.pace.work()()
	signed, err := s.config.Checkpoint()
	if err == nil {
		err = s.anchorTo(signed)
	}
	if err == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.trouble = err
	if s.loud("anchor") {
		s.config.Logger.Warn("the log is not anchored", "error", err)
	}
}

// anchorTo hands a checkpoint to the book. One that the ledger's anchor contradicts MUST NOT be sent: it would be evidence
// against the own key.
func (s *Settlement) anchorTo(signed []byte) error {
	if len(signed) == 0 {
		return nil // nothing was signed yet
	}
	head, err := checkpoint.Open(signed, s.key().Public().(ed25519.PublicKey))
	if err != nil {
		return err
	}
	size := uint64(head.Size)
	a := s.config.Ledger.State().Anchor(s.rules.Sender)
	switch {
	case a == nil:
	case a.Origin != head.Origin:
		return fmt.Errorf("%w: it is named %q, the anchored one %q", ErrAnchor, head.Origin, a.Origin)
	case size == a.Size && !bytes.Equal(head.Root[:], a.Root):
		return fmt.Errorf("%w: another root at size %d", ErrAnchor, size)
	case size < a.Size:
		return fmt.Errorf("%w: %d records, %d are anchored", ErrAnchor, size, a.Size)
	case size == a.Size:
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if size <= s.anchor.size {
		return nil
	}
	s.book.Anchor(signed)
	s.anchor.size, s.anchor.asked = size, true
	return nil
}
