// Package checkpoint reads and writes the signed heads of a server's log: origin, size and root as a signed note.
//
// It promises that the same head always becomes the same bytes, and that what is opened was signed by the given key. It
// knows nothing of the log behind it, so it cannot say whether two heads fit together; two of one size with different
// roots never do.
package checkpoint

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
	// MaxBytes bounds a signed checkpoint with all its signatures.
	MaxBytes = 16 << 10
	// MaxSize bounds the size of a tree; the hashes of a larger one could not be numbered.
	MaxSize = 1 << 61
)

var (
	// ErrMalformed refuses what is not a checkpoint.
	ErrMalformed = errors.New("malformed checkpoint")
	// ErrSignature refuses a checkpoint that the given key did not sign.
	ErrSignature = errors.New("checkpoint is not signed by this key")
)

// Head is a checkpoint: the head of a tree: what its first Size leaves hash to.
type Head struct {
	Origin string    // names the log
	Size   int64     // number of leaves
	Root   tlog.Hash // RFC 6962 tree hash
}

// Origin is the name under which the log of the server with this key is known.
func Origin(server ed25519.PublicKey) string {
	return "shardy/" + hex.EncodeToString(server[:min(8, len(server))])
}

// Text is what is signed.
func (c Head) Text() string {
	return fmt.Sprintf("%s\n%d\n%s\n", c.Origin, c.Size, base64.StdEncoding.EncodeToString(c.Root[:]))
}

// Parse reads the text of a checkpoint. Extension lines are passed over: they are signed, and nothing here
// has a meaning for them.
func Parse(text string) (Head, error) {
	if len(text) > MaxBytes {
		return Head{}, fmt.Errorf("%w: %d bytes, limit %d", ErrMalformed, len(text), MaxBytes)
	}
	body, ended := strings.CutSuffix(text, "\n")
	lines := strings.Split(body, "\n")
	if !ended || len(lines) < 3 {
		return Head{}, fmt.Errorf("%w: want origin, size and root on a line each", ErrMalformed)
	}
	if slices.Contains(lines, "") {
		return Head{}, fmt.Errorf("%w: empty line", ErrMalformed)
	}
	size, err := ParseNumber(lines[1])
	if err != nil {
		return Head{}, fmt.Errorf("%w: size %w", ErrMalformed, err)
	}
	root, err := ParseHash(lines[2])
	if err != nil {
		return Head{}, fmt.Errorf("%w: root %w", ErrMalformed, err)
	}
	return Head{Origin: lines[0], Size: size, Root: root}, nil
}

// ErrNumber refuses a size or an index.
var ErrNumber = errors.New("is not a decimal number in range")

// ParseNumber reads a size or an index: decimal digits, no leading zero.
func ParseNumber(s string) (int64, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 || n > MaxSize || strconv.FormatInt(n, 10) != s {
		return 0, ErrNumber
	}
	return n, nil
}

// ErrHash refuses a root.
var ErrHash = errors.New("is not a hash in base 64")

// ParseHash reads a root: standard base 64, nothing but it.
func ParseHash(s string) (h tlog.Hash, err error) {
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil || len(b) != tlog.HashSize || base64.StdEncoding.EncodeToString(b) != s {
		return h, ErrHash
	}
	return tlog.Hash(b), nil
}

// Sign makes the signed note of a checkpoint. Ed25519 has no dice: the same checkpoint always becomes the same
// bytes.
func Sign(c Head, server ed25519.PrivateKey) ([]byte, error) {
	s, err := newSigner(c.Origin, server)
	if err != nil {
		return nil, err
	}
	signed, err := note.Sign(&note.Note{Text: c.Text()}, s)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return signed, nil
}

// Open reads a signed checkpoint and checks that the server's key signed it under the checkpoint's origin.
// Further signatures, those of witnesses, are passed over.
func Open(signed []byte, server ed25519.PublicKey) (Head, error) {
	if len(signed) > MaxBytes {
		return Head{}, fmt.Errorf("%w: %d bytes, limit %d", ErrMalformed, len(signed), MaxBytes)
	}
	origin, _, _ := bytes.Cut(signed, []byte("\n"))
	vkey, err := note.NewEd25519VerifierKey(string(origin), server)
	if err != nil {
		return Head{}, fmt.Errorf("%w: %w", ErrSignature, err)
	}
	v, err := note.NewVerifier(vkey)
	if err != nil {
		return Head{}, fmt.Errorf("%w: origin: %w", ErrMalformed, err)
	}
	n, err := note.Open(signed, note.VerifierList(v))
	if err != nil {
		kind := ErrMalformed
		if _, ok := errors.AsType[*note.UnverifiedNoteError](err); ok {
			kind = ErrSignature
		} else if _, ok := errors.AsType[*note.InvalidSignatureError](err); ok {
			kind = ErrSignature
		}
		return Head{}, fmt.Errorf("%w: %w", kind, err)
	}
	return Parse(n.Text)
}

// Read reads a signed checkpoint without looking at its signatures: for those who have opened it before.
func Read(signed []byte) (Head, error) {
	if len(signed) > MaxBytes {
		return Head{}, fmt.Errorf("%w: %d bytes, limit %d", ErrMalformed, len(signed), MaxBytes)
	}
	end := bytes.LastIndex(signed, []byte("\n\n"))
	if end < 0 {
		return Head{}, fmt.Errorf("%w: no signatures", ErrMalformed)
	}
	return Parse(string(signed[:end+1]))
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

// ErrKey refuses a key to sign with.
var ErrKey = errors.New("server key is not an ed25519 key")

func newSigner(name string, key ed25519.PrivateKey) (note.Signer, error) {
	if len(key) != ed25519.PrivateKeySize {
		return nil, ErrKey
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
