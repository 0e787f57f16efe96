package transparency

import (
	"crypto/ed25519"

	"github.com/shardy-network/orchestrator/actors/checkpoint"
)

// Checkpoint is the head of a tree: what its first Size leaves hash to. Package checkpoint says how it is written and
// signed; the ledger anchors the same bytes.
type Checkpoint = checkpoint.Head

// Limits of what comes from outside.
const (
	MaxCheckpointBytes = checkpoint.MaxBytes // a signed checkpoint with all its signatures
	MaxSize            = checkpoint.MaxSize  // leaves of a tree
)

var (
	// ErrCheckpoint refuses what is not a checkpoint.
	ErrCheckpoint = checkpoint.ErrMalformed
	// ErrSignature refuses a checkpoint that the given key did not sign.
	ErrSignature = checkpoint.ErrSignature
)

// Origin is the name under which the log of the server with this key is known.
func Origin(server ed25519.PublicKey) string { return checkpoint.Origin(server) }

// ParseCheckpoint reads the text of a checkpoint.
func ParseCheckpoint(text string) (Checkpoint, error) { return checkpoint.Parse(text) }

// SignCheckpoint makes the signed note of a checkpoint, always the same bytes.
func SignCheckpoint(c Checkpoint, server ed25519.PrivateKey) ([]byte, error) {
	return checkpoint.Sign(c, server)
}

// OpenCheckpoint reads a signed checkpoint and checks that the server's key signed it.
func OpenCheckpoint(signed []byte, server ed25519.PublicKey) (Checkpoint, error) {
	return checkpoint.Open(signed, server)
}

// VerifierKey is the server's key as tools for signed notes take it.
func VerifierKey(server ed25519.PublicKey) (string, error) { return checkpoint.VerifierKey(server) }
