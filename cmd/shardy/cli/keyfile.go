package cli

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/hex"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/shardy-network/orchestrator/cmd/shardy/orchestrator/identity"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

// maxKeyFile bounds a file that holds a key.
const maxKeyFile = 4096

// loadSigner reads a private key: of a worker (one line of hex), of an orchestrator (32 bytes), or of the data folder of
// one. It makes none.
func loadSigner(path string) (ed25519.PrivateKey, error) {
	if path == "" {
		return nil, usage("--key is empty")
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		path = filepath.Join(path, identity.ServerKey)
		if info, err = os.Stat(path); err != nil {
			return nil, err
		}
	}
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		return nil, failed(exitRefused, "%s holds a private key and others can read it: chmod 600 it", path)
	}
	data, err := readKeyFile(path)
	if err != nil {
		return nil, err
	}
	if seed := decodeSeed(data); seed != nil {
		return ed25519.NewKeyFromSeed(seed), nil
	}
	return nil, failed(exitRefused, "%s holds no private key: neither 32 bytes nor a line of hex", path)
}

// decodeSeed reads a private key as workers and orchestrators keep it.
func decodeSeed(data []byte) []byte {
	if len(data) == ed25519.SeedSize {
		return data
	}
	seed, err := hex.DecodeString(strings.TrimSpace(string(data)))
	if err != nil || len(seed) != ed25519.SeedSize {
		return nil
	}
	return seed
}

func readKeyFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxKeyFile))
}

// decodePublic reads a public key as text: hex, base 64, or a verifier key as signed notes have it.
func decodePublic(text string) (ed25519.PublicKey, bool) {
	if key, ok := decodeServerKey(text); ok {
		return key, true
	}
	key, err := base64.StdEncoding.DecodeString(strings.TrimSpace(text))
	return key, err == nil && len(key) == ed25519.PublicKeySize
}

// publicOf reads a public key, or takes it from the file of a private one or from the data folder of an orchestrator. A line
// of hex in a file is a worker's private key, unless the file is called .pub.
func publicOf(what, text string) (ed25519.PublicKey, error) {
	if key, ok := decodePublic(text); ok {
		return key, nil
	}
	info, err := os.Stat(text)
	if err != nil {
		return nil, usage("%s %q: neither a public key (hex or base 64) nor a key file nor a data folder", what, text)
	}
	if !info.IsDir() {
		data, err := readKeyFile(text)
		if err != nil {
			return nil, err
		}
		if strings.HasSuffix(text, ".pub") || info.Size() != ed25519.SeedSize && !isHex32(strings.TrimSpace(string(data))) {
			if key, ok := decodePublic(string(data)); ok {
				return key, nil
			}
		}
	}
	key, err := loadSigner(text)
	if err != nil {
		return nil, err
	}
	return key.Public().(ed25519.PublicKey), nil
}

// accountKey is publicOf, or completes the first characters of an account's key.
func (c *api) accountKey(ctx context.Context, text string) ([]byte, error) {
	if _, err := os.Stat(text); err == nil {
		return publicOf("account", text)
	}
	if key, ok := decodePublic(text); ok {
		return key, nil
	}
	id, err := complete("account", text, isHex32, func(token string) ([]string, string, error) {
		res, err := c.ListAccounts(ctx, &operatorv1.ListAccountsRequest{PageSize: 500, PageToken: token})
		if err != nil {
			return nil, "", err
		}
		ids := make([]string, len(res.Accounts))
		for i, a := range res.Accounts {
			ids[i] = hexID(a.Key)
		}
		return ids, res.NextPageToken, nil
	})
	if err != nil {
		return nil, err
	}
	return hex.DecodeString(id)
}

// shortID is the beginning of a key or hash, which commands complete.
func shortID(b []byte) string { return hexID(b[:min(8, len(b))]) }

func publicHalf(key ed25519.PrivateKey) ed25519.PublicKey { return key.Public().(ed25519.PublicKey) }

// makeDir makes a data folder that is not there yet.
func makeDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return failed(exitRefused, "%w", err)
	}
	return nil
}
