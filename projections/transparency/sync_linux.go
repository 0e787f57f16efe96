package transparency

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

const canSyncAll = true

// syncAll makes durable all that was written to the file system that a folder lies on.
func syncAll(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(unix.Syncfs(int(d.Fd())), d.Close())
}
