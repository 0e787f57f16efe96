package proto

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestGeneratedCodeIsFresh generates again into a copy and compares.
func TestGeneratedCodeIsFresh(t *testing.T) {
	buf, err := exec.LookPath("buf")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("buf is missing; CI must install it")
		}
		t.Skip("buf is not installed")
	}
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(".")); err != nil {
		t.Fatal(err)
	}
	for _, f := range goFiles(t, dir) {
		if err := os.Remove(filepath.Join(dir, f)); err != nil {
			t.Fatal(err)
		}
	}
	// -modfile wants a module's root to stand in for.
	if err := os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module fresh\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	gen := exec.Command(buf, "generate")
	gen.Dir = dir
	if out, err := gen.CombinedOutput(); err != nil {
		t.Fatalf("buf generate: %v\n%s", err, out)
	}
	for _, f := range goFiles(t, ".") {
		want, err := os.ReadFile(filepath.Join(dir, f))
		if err != nil {
			t.Errorf("%s: no schema generates it: %v", f, err)
			continue
		}
		got, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s is stale: run buf generate in proto", f)
		}
	}
}

func goFiles(t *testing.T, dir string) []string {
	t.Helper()
	var files []string
	err := fs.WalkDir(os.DirFS(dir), "shardy", func(path string, d fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, ".go") {
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}
