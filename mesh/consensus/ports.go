package consensus

import (
	"context"
	"crypto/ed25519"
	"encoding/hex"
	"time"

	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

// Key names a validator: its ed25519 public key.
type Key [ed25519.PublicKeySize]byte

// String is the beginning of the key, for logs.
func (k Key) String() string { return hex.EncodeToString(k[:4]) }

// KeyOf reads a key; false for what is none.
func KeyOf(b []byte) (Key, bool) {
	if len(b) != len(Key{}) {
		return Key{}, false
	}
	return Key(b), true
}

// Place is where a proposed block belongs: what the engine knows of it beside its bytes. A header MUST agree with it.
type Place struct {
	Height            uint64
	Proposer          Key    // who led when it was proposed
	ValidatorsVersion uint64 // of the set that agrees on it
}

// Application is what blocks are made for. Propose, Verify, Commit and Validators are never called at once; Check, Height
// and Block may be called at any time, from many goroutines.
type Application interface {
	// Check refuses what can be in no block. It MUST depend on the bytes alone: what depends on the state is decided when
	// the block is executed, where a failed transaction is recorded and harms nothing. It is called more than once for
	// the same bytes and SHOULD remember.
	Check(tx []byte) error
	// Propose makes the header of the block at this place after the last committed one, with the state root that these
	// transactions lead to. All have passed Check.
	Propose(at Place, txs [][]byte, now time.Time) (header []byte, err error)
	// Verify recomputes a proposed block on a state that it throws away, Check of each transaction included, and refuses
	// every header that differs in a byte from what Propose of an honest leader could have made.
	Verify(at Place, block *ledgerv1.Block) error
	// Commit executes a block and MUST have it on disk before it returns. It may be one that was never verified here:
	// the certificate says that a quorum did. A height that is committed already is left as it is, without an error.
	Commit(block *ledgerv1.Block, certificate *ledgerv1.Certificate) error
	// Height is of the last committed block; genesis has 0.
	Height() uint64
	// Block returns a committed block with its certificate.
	Block(height uint64) (*ledgerv1.CertifiedBlock, error)
	// Validators are those who agree on block Height()+1.
	Validators() (*ledgerv1.ValidatorSet, error)
}

// Puller fetches blocks from peers. What it returns needs no trust: the engine verifies every certificate.
type Puller interface {
	// Target is a height that the chain has reached by the word of enough peers that one of them is honest: the
	// (f+1)-th highest of what validators report. 0 when too few answer.
	Target(ctx context.Context) (uint64, error)
	// Pull fetches the blocks from..to and hands them over in order, until accept refuses one or it has no more.
	Pull(ctx context.Context, from, to uint64, accept func(*ledgerv1.CertifiedBlock) error) error
}

// Transport carries frames between validators. The sender of a frame MUST be authenticated, frames of one sender MUST
// arrive in the order they were sent; they may be lost.
type Transport interface {
	// Receive names who gets the frames of peers. It is called once, before Peers. The callback may block: only frames
	// of the same peer wait. After an error the peer has broken the protocol.
	Receive(func(from Key, frame []byte) error)
	// Peers replaces the set of who is spoken to and listened to, and how long a frame may be. The own key is left out; an
	// owner that is not among them SHOULD speak to nobody, for nobody listens to it.
	Peers(validators []*ledgerv1.Validator, maxFrame int)
	// Send queues a frame and MUST NOT block: false when the queue is full or the peer unknown. The frame must not be
	// changed afterwards.
	Send(to Key, frame []byte) bool
	// Close ends all streams and returns when no callback runs any more.
	Close() error
}
