package cli

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"os"
	"path/filepath"
	"testing"

	"github.com/shardy-network/orchestrator/actors/checkpoint"
	"github.com/shardy-network/orchestrator/cmd/shardy/orchestrator/identity"
	"github.com/shardy-network/orchestrator/gateway/agent"
)

// TestKeysOfEveryKind: workers and orchestrators keep their keys as they do, and both can sign.
func TestKeysOfEveryKind(t *testing.T) {
	dir := t.TempDir()
	worker, err := agent.LoadKey(filepath.Join(dir, "worker.key"))
	if err != nil {
		t.Fatal(err)
	}
	server, err := identity.Server(dir)
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := checkpoint.VerifierKey(publicHalf(server))
	if err != nil {
		t.Fatal(err)
	}
	write := func(name string, data []byte, mode os.FileMode) string {
		name = filepath.Join(dir, name)
		if err := os.WriteFile(name, data, mode); err != nil {
			t.Fatal(err)
		}
		return name
	}
	public := write("server.pub", []byte(verifier+"\n"), 0o644)
	for path, want := range map[string][]byte{
		filepath.Join(dir, "worker.key"): publicHalf(worker), filepath.Join(dir, "server.key"): publicHalf(server), dir: publicHalf(server),
	} {
		key, err := loadSigner(path)
		if err != nil || !bytes.Equal(publicHalf(key), want) {
			t.Errorf("%s: %v", path, err)
		}
		if got, err := publicOf("key", path); err != nil || !bytes.Equal(got, want) {
			t.Errorf("public key of %s: %x, %v", path, got, err)
		}
	}
	for _, text := range []string{
		write("hex.pub", []byte(hex.EncodeToString(publicHalf(server))+"\n"), 0o600),
		hex.EncodeToString(publicHalf(server)), base64.StdEncoding.EncodeToString(publicHalf(server)), verifier, public,
	} {
		if got, err := publicOf("key", text); err != nil || !bytes.Equal(got, publicHalf(server)) {
			t.Errorf("%s: %x, %v", text, got, err)
		}
	}
	for path, want := range map[string]int{
		write("open", []byte(hex.EncodeToString(worker.Seed())), 0o640): exitRefused,
		write("short", []byte("00ff"), 0o600):                           exitRefused,
		write("empty", nil, 0o600):                                      exitRefused,
		public:                                                          exitRefused, // others may read it
		filepath.Join(dir, "nowhere"):                                   exitNotFound,
		t.TempDir():                                                     exitNotFound, // a folder without a key
		"":                                                              exitUsage,
	} {
		if _, err := loadSigner(path); exitCode(err) != want {
			t.Errorf("%s: %v, want exit code %d", path, err, want)
		}
	}
	if _, err := publicOf("key", "nowhere"); exitCode(err) != exitUsage {
		t.Error(err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 7 {
		t.Errorf("%d files, %v: reading makes none", len(entries), err)
	}
}
