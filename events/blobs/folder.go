package blobs

import (
	"path"
	"path/filepath"
	"sync"

	"github.com/shardy-network/orchestrator/events/durable"
)

// folder makes names in a local bucket durable.
type folder struct {
	root string
	mu   sync.Mutex      // guards made
	made map[string]bool // folders whose own names are durable; at most 65,792
}

func newFolder(root string) *folder { return &folder{root: root, made: make(map[string]bool)} }

// sync makes a key's name durable: that of the file, and those of the folders above it the first time.
func (f *folder) sync(key string) error {
	for dir := path.Dir(key); ; dir = path.Dir(dir) {
		if err := durable.SyncDir(filepath.Join(f.root, filepath.FromSlash(dir))); err != nil {
			return err
		}
		f.mu.Lock()
		done := f.made[dir]
		f.made[dir] = true
		f.mu.Unlock()
		if done || dir == "." {
			return nil
		}
	}
}
