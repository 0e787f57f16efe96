package orchestrator

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

// loadKey reads the server's ed25519 seed, or makes one.
func loadKey(dir string) (ed25519.PrivateKey, error) {
	seed, err := keptKey(dir, "server.key")
	if err != nil {
		return nil, err
	}
	return ed25519.NewKeyFromSeed(seed), nil
}

// keptKey reads a secret of 32 bytes that lies beside the log, as long as the log, or makes one. Without a folder it
// lives as long as the process.
func keptKey(dir, file string) ([]byte, error) {
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
	return key, writeFileDurably(name, key, 0o600)
}

// writeFileDurably makes the file appear whole or not at all.
func writeFileDurably(name string, data []byte, mode fs.FileMode) (err error) {
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
