package pebblelog

import (
	"errors"
	"fmt"
	"path/filepath"
	"syscall"
	"testing"
)

// TestFullFileSystem runs into the end of a small file system of memory, where mounting one is allowed.
func TestFullFileSystem(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("none", dir, "tmpfs", 0, "size=24m"); err != nil {
		t.Skip("cannot mount a small file system:", err)
	}
	defer syscall.Unmount(dir, syscall.MNT_DETACH)
	said := ""
	if code := fill(filepath.Join(dir, "log"), func(f string, args ...any) int { said = fmt.Sprintf(f, args...); return 1 }); code != 0 {
		t.Fatal(said)
	}
	if err := syscall.Mount("none", dir, "tmpfs", syscall.MS_REMOUNT, "size=64m"); err != nil {
		t.Fatal(err)
	}
	rep, err := Fsck(filepath.Join(dir, "log"))
	if errors.Is(err, ErrLocked) {
		t.Skip("the engine is stuck in this process and holds the folder")
	}
	if err != nil || rep.Events == 0 {
		t.Errorf("%+v, %v", rep, err)
	}
}
