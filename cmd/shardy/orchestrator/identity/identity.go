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
	return key, writeDurably(name, key, 0o600)
}

// writeDurably makes the file appear whole or not at all.
func writeDurably(name string, data []byte, mode fs.FileMode) (err error) {
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+"-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	_, werr := f.Write(data)
	if err := errors.Join(werr, f.Chmod(mode), f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), name); err != nil {
		return err
	}
	d, err := os.Open(filepath.Dir(name))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
