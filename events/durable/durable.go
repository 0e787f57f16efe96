// Package durable writes small files so that a crash leaves the old content or the new, and keeps a folder for one process.
//
// It promises that what Replace was given is on disk under its name when Replace returns, and that no reader ever sees half
// of it. Limits: a crash may leave the copy that was being made beside it (Sweep removes those), and where the system knows
// no lock that ends with its process, Lock only marks the folder.
package durable

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
)

// ErrLocked refuses a folder that another process writes to.
var ErrLocked = errors.New("in use by another process")

// Ending is that of files and folders which are being made. What ends like this belongs to nobody after a crash.
const Ending = ".new"

// Replace makes a file of these bytes, which only its owner may read, in the place of the one that is there.
func Replace(name string, data ...[]byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+"-*"+Ending) // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, removed(f.Name()))
		}
	}()
	for _, d := range data {
		if _, err := f.Write(d); err != nil {
			return errors.Join(err, f.Close())
		}
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), name); err != nil {
		return err
	}
	return SyncDir(filepath.Dir(name))
}

func removed(name string) error {
	if err := os.Remove(name); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil // it has its name already
}

// SyncDir makes the names in a folder durable.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Sweep removes from a folder what was being made when a process ended. Nobody else may be writing there.
func Sweep(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), Ending) {
			if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}
