package audit

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/shardy-network/orchestrator/events"
	"github.com/shardy-network/orchestrator/projections/transparency"
	auditv1 "github.com/shardy-network/orchestrator/proto/shardy/audit/v1"
)

// Prover proves that records are in the log: all of them against one signed checkpoint, which MUST cover them. Records
// are in the order of the log, and so are the proofs.
type Prover interface {
	Prove(ctx context.Context, records []events.Record) (Anchor, error)
}

// Anchor ties records to one signed state of the log.
type Anchor struct {
	Checkpoint []byte // signed note
	Key        ed25519.PublicKey
	Proofs     []transparency.Proof // one a record
}

// Fingerprint is a key for people to compare: the first 16 bytes of its SHA-256.
func Fingerprint(key ed25519.PublicKey) string {
	sum := sha256.Sum256(key)
	return hex.EncodeToString(sum[:16])
}

// Anchored says what a bundle's records are tied to.
type Anchored struct {
	Key         string `json:"key"` // hex
	Fingerprint string `json:"fingerprint"`
	Trusted     bool   `json:"trusted"` // the key was given by who checks, not taken from the bundle
	Origin      string `json:"origin"`
	Size        int64  `json:"size"` // leaves of the log
	Root        string `json:"root"` // hex
	Proofs      int    `json:"proofs"`
}

// checkAnchor verifies the checkpoint and the records' proofs. Without a checkpoint that holds it answers nil.
func (u *unpacked) checkAnchor(key ed25519.PublicKey, found *findings) *Anchored {
	first := &events.Record{}
	if len(u.records) > 0 {
		first = &u.records[0]
	}
	if u.anchor == nil {
		if key != nil {
			found.add(first, Signature, "the bundle holds no checkpoint: nothing in it is signed by key %s", Fingerprint(key))
		}
		return nil
	}
	trusted := key != nil
	if !trusted {
		key = u.anchor.GetKey()
	}
	if len(key) != ed25519.PublicKeySize {
		found.add(first, Signature, "the bundle's key has %d bytes, want %d", len(key), ed25519.PublicKeySize)
		return nil
	}
	c, err := transparency.OpenCheckpoint(u.anchor.GetCheckpoint(), key)
	if err != nil {
		found.add(first, Signature, "%v (key %s)", err, Fingerprint(key))
		return nil
	}
	at := &Anchored{
		Key: hex.EncodeToString(key), Fingerprint: Fingerprint(key), Trusted: trusted, Origin: c.Origin, Size: c.Size,
		Root: hex.EncodeToString(c.Root[:]),
	}
	last := int64(-1)
	for i := range u.records {
		r, p := &u.records[i], u.proof(i, c.Size)
		if err := transparency.CheckInclusion(c, transparency.LeafHash(*r), p); err != nil {
			found.add(r, Inclusion, "%v", err)
			continue
		}
		if p.Index <= last {
			found.add(r, Order, "leaf %d follows leaf %d", p.Index, last)
		}
		last = p.Index
		at.Proofs++
	}
	return at
}

// proof is the proof of a record that came with it.
func (u *unpacked) proof(i int, size int64) transparency.Proof {
	p := transparency.Proof{Index: u.proofs[i].leaf, Size: size}
	for _, h := range u.proofs[i].path {
		p.Hashes = append(p.Hashes, tlog.Hash(h))
	}
	return p
}

// rawProof is a proof as a bundle has it: every hash has its 32 bytes.
type rawProof struct {
	leaf int64
	path [][]byte
}

func anchorMessage(a *Anchor) *auditv1.Anchor {
	if a == nil {
		return nil
	}
	return &auditv1.Anchor{Checkpoint: a.Checkpoint, Key: a.Key}
}
