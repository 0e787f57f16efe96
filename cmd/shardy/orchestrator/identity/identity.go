// Package identity keeps an orchestrator's secrets in its data folder.
//
// It promises that a secret is made once, is on disk before it is used, and is never seen half. It does not encrypt: who
// can read the folder is the orchestrator.
package identity

import (
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/shardy-network/orchestrator/events/durable"
)

// ErrKeyFile refuses a key file that is not one.
var ErrKeyFile = errors.New("malformed key file")

// ServerKey is the file of the orchestrator's ed25519 seed: it signs its log, and on the ledger it is its account.
const ServerKey = "server.key"

// Server reads the orchestrator's key, or makes one.
func Server(dir string) (ed25519.PrivateKey, error) {
	seed, err := Secret(dir, ServerKey)
	if err != nil {
		return nil, err
	}
	return ed25519.NewKeyFromSeed(seed), nil
}

// Secret reads a secret of 32 bytes that lies beside the log, as long as the log, or makes one. Without a folder it lives
// as long as the process.
func Secret(dir, file string) ([]byte, error) {
	key := make([]byte, 32)
	rand.Read(key) // never fails
	if dir == "" {
		return key, nil
	}
	name := filepath.Join(dir, file)
	kept, err := os.ReadFile(name)
	switch {
	case err == nil && len(kept) == len(key):
		return kept, nil
	case err == nil:
		return nil, fmt.Errorf("%w: %s has %d bytes, want %d", ErrKeyFile, name, len(kept), len(key))
	case !errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return key, durable.Replace(name, key)
}
