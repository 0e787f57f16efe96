package pebblelog

import (
	"context"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

// Backup makes a copy of the log in a folder that must not exist yet, while the log goes on. The copy holds every
// event acknowledged before the call and is opened like the log itself; on the same file system it shares the log's
// unchanging files by hard links. Several calls may run at once.
func (l *Log) Backup(ctx context.Context, dir string) error {
	if err := l.begin(ctx); err != nil {
		return err
	}
	defer l.calls.Done()
	if l.disk.frozen() {
		return l.unavailable()
	}
	if err := l.db.Checkpoint(dir, pebble.WithFlushedWAL()); err != nil {
		return fmt.Errorf("backup: %w", typed(err))
	}
	return nil
}
