package transparency

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// Limits of what comes from outside.
const (
	// MaxCheckpointBytes bounds a signed checkpoint with all its signatures.
	MaxCheckpointBytes = 16 << 10
	// MaxSize bounds the size of a tree; the hashes of a larger one could not be numbered.
	MaxSize = 1 << 61
)

var (
	// ErrCheckpoint refuses what is not a checkpoint.
	ErrCheckpoint = errors.New("malformed checkpoint")
	// ErrSignature refuses a checkpoint that the given key did not sign.
	ErrSignature = errors.New("checkpoint is not signed by this key")
)

// Checkpoint is the head of a tree: what its first Size leaves hash to.
type Checkpoint struct {
	Origin string    // names the log
	Size   int64     // number of leaves
	Root   tlog.Hash // RFC 6962 tree hash
}

// Origin is the name under which the log of the server with this key is known.
func Origin(server ed25519.PublicKey) string {
	return "shardy/" + hex.EncodeToString(server[:min(8, len(server))])
}

// Text is what is signed.
func (c Checkpoint) Text() string {
	return fmt.Sprintf("%s\n%d\n%s\n", c.Origin, c.Size, base64.StdEncoding.EncodeToString(c.Root[:]))
}

// ParseCheckpoint reads the text of a checkpoint. Extension lines are passed over: they are signed, and nothing here
// has a meaning for them.
func ParseCheckpoint(text string) (Checkpoint, error) {
	if len(text) > MaxCheckpointBytes {
		return Checkpoint{}, fmt.Errorf("%w: %d bytes, limit %d", ErrCheckpoint, len(text), MaxCheckpointBytes)
	}
	body, ended := strings.CutSuffix(text, "\n")
	lines := strings.Split(body, "\n")
	if !ended || len(lines) < 3 {
		return Checkpoint{}, fmt.Errorf("%w: want origin, size and root on a line each", ErrCheckpoint)
	}
	if slices.Contains(lines, "") {
		return Checkpoint{}, fmt.Errorf("%w: empty line", ErrCheckpoint)
	}
	size, err := parseNumber(lines[1])
	if err != nil {
		return Checkpoint{}, fmt.Errorf("%w: size %w", ErrCheckpoint, err)
	}
	root, err := parseHash(lines[2])
	if err != nil {
		return Checkpoint{}, fmt.Errorf("%w: root %w", ErrCheckpoint, err)
	}
	return Checkpoint{Origin: lines[0], Size: size, Root: root}, nil
}

var errNumber = errors.New("is not a decimal number in range")

// parseNumber reads a size or an index: decimal digits, no leading zero.
func parseNumber(s string) (int64, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 || n > MaxSize || strconv.FormatInt(n, 10) != s {
		return 0, errNumber
	}
	return n, nil
}

var errHash = errors.New("is not a hash in base 64")

func parseHash(s string) (h tlog.Hash, err error) {
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil || len(b) != tlog.HashSize || base64.StdEncoding.EncodeToString(b) != s {
		return h, errHash
	}
	return tlog.Hash(b), nil
}

// SignCheckpoint makes the signed note of a checkpoint. Ed25519 has no dice: the same checkpoint always becomes the same
// bytes.
func SignCheckpoint(c Checkpoint, server ed25519.PrivateKey) ([]byte, error) {
	s, err := newSigner(c.Origin, server)
	if err != nil {
		return nil, err
	}
	signed, err := note.Sign(&note.Note{Text: c.Text()}, s)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCheckpoint, err)
	}
	return signed, nil
}

// OpenCheckpoint reads a signed checkpoint and checks that the server's key signed it under the checkpoint's origin.
// Further signatures, those of witnesses, are passed over.
func OpenCheckpoint(signed []byte, server ed25519.PublicKey) (Checkpoint, error) {
	if len(signed) > MaxCheckpointBytes {
		return Checkpoint{}, fmt.Errorf("%w: %d bytes, limit %d", ErrCheckpoint, len(signed), MaxCheckpointBytes)
	}
	origin, _, _ := bytes.Cut(signed, []byte("\n"))
	vkey, err := note.NewEd25519VerifierKey(string(origin), server)
	if err != nil {
		return Checkpoint{}, fmt.Errorf("%w: %w", ErrSignature, err)
	}
	v, err := note.NewVerifier(vkey)
	if err != nil {
		return Checkpoint{}, fmt.Errorf("%w: origin: %w", ErrCheckpoint, err)
	}
	n, err := note.Open(signed, note.VerifierList(v))
	if err != nil {
		kind := ErrCheckpoint
		if _, ok := errors.AsType[*note.UnverifiedNoteError](err); ok {
			kind = ErrSignature
		} else if _, ok := errors.AsType[*note.InvalidSignatureError](err); ok {
			kind = ErrSignature
		}
		return Checkpoint{}, fmt.Errorf("%w: %w", kind, err)
	}
	return ParseCheckpoint(n.Text)
}

// VerifierKey is the server's key as tools for signed notes take it.
func VerifierKey(server ed25519.PublicKey) (string, error) {
	return note.NewEd25519VerifierKey(Origin(server), server)
}

// signer signs notes with a key as ed25519 has it.
type signer struct {
	name string
	hash uint32
	key  ed25519.PrivateKey
}

var errKey = errors.New("server key is not an ed25519 key")

func newSigner(name string, key ed25519.PrivateKey) (note.Signer, error) {
	if len(key) != ed25519.PrivateKeySize {
		return nil, errKey
	}
	vkey, err := note.NewEd25519VerifierKey(name, key.Public().(ed25519.PublicKey))
	if err != nil {
		return nil, err
	}
	v, err := note.NewVerifier(vkey)
	if err != nil {
		return nil, fmt.Errorf("origin %q: %w", name, err)
	}
	return &signer{name: name, hash: v.KeyHash(), key: key}, nil
}

func (s *signer) Name() string                    { return s.name }
func (s *signer) KeyHash() uint32                 { return s.hash }
func (s *signer) Sign(msg []byte) ([]byte, error) { return ed25519.Sign(s.key, msg), nil }
