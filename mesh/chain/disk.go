package chain

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
)

// fresh is the ending of files and folders that are being made. What ends like this belongs to nobody after a crash.
const fresh = ".new"

// replaceFile makes a file appear whole or not at all, and durable.
func replaceFile(path string, data ...[]byte) error {
	if err := writeFile(path+fresh, data...); err != nil {
		return err
	}
	if err := os.Rename(path+fresh, path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// writeFile writes a file and syncs it. Its entry in the folder is not durable yet.
func writeFile(path string, data ...[]byte) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	for _, d := range data {
		if _, err := f.Write(d); err != nil {
			return err
		}
	}
	return f.Sync()
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// sweep removes what was being made when a process ended.
func sweep(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), fresh) {
			if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}
