package transparency

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/shardy-network/orchestrator/actors/checkpoint"
	"github.com/shardy-network/orchestrator/events"
)

const (
	proofTag   = "c2sp.org/tlog-proof@v1"
	proofExtra = "extra "
	proofIndex = "index "
)

// MaxProofBytes bounds a proof in a file.
const MaxProofBytes = (MaxLeafBytes+2)/3*4 + MaxCheckpointBytes + 64*maxProofHashes + 256

// ErrProofText refuses what is not a proof in a file.
var ErrProofText = errors.New("malformed proof")

// Evidence is a record's leaf with the proof that it is in the log, complete for whoever has the server's public key.
type Evidence struct {
	Leaf       []byte // of the record; see [ParseLeaf]
	Proof      Proof
	Checkpoint []byte // signed, of the proof's size
}

// Text is the evidence as a c2sp.org/tlog-proof, whose extra data is the leaf.
func (e Evidence) Text() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s\n", proofTag)
	if len(e.Leaf) > 0 {
		fmt.Fprintf(&b, "%s%s\n", proofExtra, base64.StdEncoding.EncodeToString(e.Leaf))
	}
	fmt.Fprintf(&b, "%s%d\n", proofIndex, e.Proof.Index)
	for _, h := range e.Proof.Hashes {
		fmt.Fprintf(&b, "%s\n", base64.StdEncoding.EncodeToString(h[:]))
	}
	b.WriteString("\n")
	b.Write(e.Checkpoint)
	return b.Bytes()
}

// ParseEvidence reads a c2sp.org/tlog-proof. Nothing in it is to be trusted before Verify.
func ParseEvidence(text []byte) (Evidence, error) {
	var e Evidence
	if len(text) > MaxProofBytes {
		return e, fmt.Errorf("%w: %d bytes, limit %d", ErrProofText, len(text), MaxProofBytes)
	}
	head, signed, ok := strings.Cut(string(text), "\n\n")
	lines := strings.Split(head, "\n")
	if !ok || lines[0] != proofTag {
		return e, fmt.Errorf("%w: is no %s", ErrProofText, proofTag)
	}
	lines = lines[1:]
	if len(lines) > 0 && strings.HasPrefix(lines[0], proofExtra) {
		leaf, err := base64.StdEncoding.Strict().DecodeString(lines[0][len(proofExtra):])
		if err != nil || len(leaf) == 0 || len(leaf) > MaxLeafBytes {
			return e, fmt.Errorf("%w: extra data", ErrProofText)
		}
		e.Leaf, lines = leaf, lines[1:]
	}
	if len(lines) == 0 || !strings.HasPrefix(lines[0], proofIndex) {
		return e, fmt.Errorf("%w: no index", ErrProofText)
	}
	index, err := checkpoint.ParseNumber(lines[0][len(proofIndex):])
	if err != nil {
		return e, fmt.Errorf("%w: index %w", ErrProofText, err)
	}
	if lines = lines[1:]; len(lines) > maxProofHashes {
		return e, fmt.Errorf("%w: %d hashes", ErrProofText, len(lines))
	}
	for _, l := range lines {
		h, err := checkpoint.ParseHash(l)
		if err != nil {
			return e, fmt.Errorf("%w: line %q %w", ErrProofText, l, err)
		}
		e.Proof.Hashes = append(e.Proof.Hashes, h)
	}
	// The size is the one that the checkpoint claims; Verify asks whether it is signed.
	text2, _, ok := strings.Cut(signed, "\n\n")
	if !ok {
		return e, fmt.Errorf("%w: no checkpoint", ErrProofText)
	}
	c, err := ParseCheckpoint(text2 + "\n")
	if err != nil {
		return e, fmt.Errorf("%w: %w", ErrProofText, err)
	}
	e.Proof.Index, e.Proof.Size, e.Checkpoint = index, c.Size, []byte(signed)
	return e, nil
}

// Verify checks the evidence with the server's key and returns the record, without position and time, and the signed
// checkpoint.
func (e Evidence) Verify(server ed25519.PublicKey) (events.Record, Checkpoint, error) {
	c, err := OpenCheckpoint(e.Checkpoint, server)
	if err != nil {
		return events.Record{}, c, err
	}
	if err := CheckInclusion(c, HashLeaf(e.Leaf), e.Proof); err != nil {
		return events.Record{}, c, err
	}
	r, err := ParseLeaf(e.Leaf)
	return r, c, err
}

// emptyRoot is the hash of a tree without leaves.
var emptyRoot = func() tlog.Hash {
	h, _ := tlog.TreeHash(0, nil) // reads nothing and cannot fail
	return h
}()
