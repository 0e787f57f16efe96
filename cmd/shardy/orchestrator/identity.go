package orchestrator

import (
	"crypto/ed25519"

	"github.com/shardy-network/orchestrator/cmd/shardy/orchestrator/identity"
)

// ErrKeyFile refuses a key file that is not one.
var ErrKeyFile = identity.ErrKeyFile

// loadKey reads the server's ed25519 seed, or makes one.
func loadKey(dir string) (ed25519.PrivateKey, error) { return identity.Server(dir) }

// keptKey reads a secret of 32 bytes that lies beside the log, or makes one.
func keptKey(dir, file string) ([]byte, error) { return identity.Secret(dir, file) }
