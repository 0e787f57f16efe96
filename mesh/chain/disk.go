package chain

import (
	"errors"
	"os"
)

// writeFile writes a file in a folder that is being made, and syncs it. Its entry in the folder is not durable yet.
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
