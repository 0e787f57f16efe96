package transparency

import (
	"crypto/ed25519"
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/shardy-network/orchestrator/events"
)

// maxProofHashes bounds a proof: one hash a level of the largest tree, and one more.
const maxProofHashes = 64

var (
	// ErrProof refuses a proof that does not hold.
	ErrProof = errors.New("proof does not hold")
	// ErrBeyond refuses an index or a size beyond the tree.
	ErrBeyond = errors.New("beyond the end of the tree")
)

// Proof shows that a leaf is in a tree.
type Proof struct {
	Index  int64       // of the leaf
	Size   int64       // of the tree
	Hashes []tlog.Hash // RFC 6962, section 2.1.1, the leaf's sibling first
}

// Consistency shows that a tree is the beginning of another.
type Consistency struct {
	From, To int64       // sizes
	Hashes   []tlog.Hash // RFC 6962, section 2.1.2
}

// InclusionProof proves the leaf with this index in the tree of this size, reading stored hashes as tlog numbers them.
func InclusionProof(size, index int64, r tlog.HashReader) (Proof, error) {
	if index < 0 || index >= size || size > MaxSize {
		return Proof{}, fmt.Errorf("%w: leaf %d of %d", ErrBeyond, index, size)
	}
	p, err := tlog.ProveRecord(size, index, r)
	if err != nil {
		return Proof{}, err
	}
	return Proof{Index: index, Size: size, Hashes: p}, nil
}

// ConsistencyProof proves that the tree of one size is the beginning of the tree of another.
func ConsistencyProof(from, to int64, r tlog.HashReader) (Consistency, error) {
	if from < 0 || from > to || to > MaxSize {
		return Consistency{}, fmt.Errorf("%w: from %d to %d leaves", ErrBeyond, from, to)
	}
	c := Consistency{From: from, To: to}
	if from == 0 { // every tree begins with the empty one
		return c, nil
	}
	p, err := tlog.ProveTree(to, from, r)
	c.Hashes = p
	return c, err
}

// CheckInclusion verifies that a leaf with this hash is where the proof says, in the tree of the checkpoint.
func CheckInclusion(c Checkpoint, leaf tlog.Hash, p Proof) error {
	switch {
	case p.Size != c.Size:
		return fmt.Errorf("%w: made for %d leaves, the checkpoint has %d", ErrProof, p.Size, c.Size)
	case p.Index < 0 || p.Index >= p.Size || p.Size > MaxSize:
		return fmt.Errorf("%w: leaf %d of %d", ErrProof, p.Index, p.Size)
	case len(p.Hashes) > maxProofHashes:
		return fmt.Errorf("%w: %d hashes", ErrProof, len(p.Hashes))
	}
	if err := tlog.CheckRecord(p.Hashes, p.Size, c.Root, p.Index, leaf); err != nil {
		return fmt.Errorf("%w: %w", ErrProof, err)
	}
	return nil
}

// CheckConsistency verifies that the later checkpoint's tree begins with the earlier one's.
func CheckConsistency(earlier, later Checkpoint, p Consistency) error {
	switch {
	case p.From != earlier.Size || p.To != later.Size:
		return fmt.Errorf("%w: made for %d to %d leaves, the checkpoints have %d and %d", ErrProof, p.From, p.To, earlier.Size, later.Size)
	case p.From < 0 || p.From > p.To || p.To > MaxSize:
		return fmt.Errorf("%w: from %d to %d leaves", ErrProof, p.From, p.To)
	case len(p.Hashes) > maxProofHashes:
		return fmt.Errorf("%w: %d hashes", ErrProof, len(p.Hashes))
	case p.From == 0:
		if len(p.Hashes) > 0 || earlier.Root != emptyRoot {
			return fmt.Errorf("%w: of an empty tree", ErrProof)
		}
		return nil
	}
	if err := tlog.CheckTree(p.Hashes, p.To, later.Root, p.From, earlier.Root); err != nil {
		return fmt.Errorf("%w: %w", ErrProof, err)
	}
	return nil
}

// VerifyInclusion verifies with the server's key and nothing else that a record is in the log: the signature of the
// checkpoint, and the proof that leads from the record to the checkpoint's root.
func VerifyInclusion(signed []byte, server ed25519.PublicKey, r events.Record, p Proof) error {
	c, err := OpenCheckpoint(signed, server)
	if err != nil {
		return err
	}
	return CheckInclusion(c, LeafHash(r), p)
}
