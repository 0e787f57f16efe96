package identity

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestAKeyIsMadeOnce(t *testing.T) {
	dir := t.TempDir()
	first, err := Server(dir)
	if err != nil {
		t.Fatal(err)
	}
	again, err := Server(dir)
	if err != nil || !again.Equal(first) {
		t.Fatalf("another key, %v", err)
	}
	other, err := Server(t.TempDir())
	if err != nil || other.Equal(first) {
		t.Fatalf("the same key in two folders, %v", err)
	}
	name := filepath.Join(dir, ServerKey)
	info, err := os.Stat(name)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("mode %v, %v", info.Mode(), err)
	}
	if err := os.WriteFile(name, []byte("short"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Server(dir); !errors.Is(err, ErrKeyFile) {
		t.Fatalf("a short key file: %v", err)
	}
	if _, err := Server(filepath.Join(dir, "nowhere")); err == nil {
		t.Fatal("a key in a folder that is not there")
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Fatalf("left behind: %v, %v", entries, err)
	}
}
