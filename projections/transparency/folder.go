package transparency

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/shardy-network/orchestrator/events/durable"
)

// folder is where a tree is kept. What a call has written MUST be durable when it returns nil; when it fails, any part
// of it may be there.
type folder interface {
	// read returns a whole file, or fs.ErrNotExist.
	read(name string) ([]byte, error)
	// create writes files that the size record does not cover yet. One that is there with other bytes is replaced.
	create(files []file) error
	// replace makes a file appear whole or not at all.
	replace(name string, data []byte) error
	// extend writes at an offset of a file and cuts off what lies behind.
	extend(name string, at int64, data []byte) error
	close() error
}

type file struct {
	name string
	data []byte
}

// maxFile bounds the files that are read: positions and checkpoints grow, everything else is small.
const maxFile = 1 << 30

// disk is a folder of the file system.
type disk struct {
	dir       string
	lock      *os.File   // nil: opened to be read only
	replacing sync.Mutex // held by replace: two may want to make the same tile anew
}

func openDisk(dir string, write bool) (*disk, error) {
	if !write {
		if _, err := os.Stat(dir); err != nil {
			return nil, err
		}
		return &disk{dir: dir}, nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	lock, err := durable.Lock(filepath.Join(dir, "lock"))
	if err != nil {
		return nil, err
	}
	return &disk{dir: dir, lock: lock}, nil
}

func (d *disk) path(name string) string { return filepath.Join(d.dir, filepath.FromSlash(name)) }

func (d *disk) read(name string) ([]byte, error) {
	info, err := os.Stat(d.path(name))
	if err != nil {
		return nil, err
	}
	if info.Size() > maxFile {
		return nil, fmt.Errorf("%w: %s has %d bytes", ErrDamaged, name, info.Size())
	}
	return os.ReadFile(d.path(name))
}

// manyFiles is from when on one sync of the whole file system is cheaper than one of each file: most of what a tile
// costs is in the file system.
const manyFiles = 5

func (d *disk) create(files []file) error {
	if len(files) == 0 {
		return nil
	}
	each := len(files) < manyFiles || !canSyncAll
	dirs := map[string]bool{}
	for _, f := range files {
		path := d.path(f.name)
		if err := d.mkdir(filepath.Dir(path), dirs); err != nil {
			return err
		}
		err := writeFile(path, os.O_CREATE|os.O_EXCL, 0, f.data, each)
		if errors.Is(err, fs.ErrExist) {
			err = d.again(f)
		}
		if err != nil {
			return err
		}
	}
	if !each {
		return syncAll(d.dir)
	}
	for dir := range dirs {
		if err := durable.SyncDir(dir); err != nil {
			return err
		}
	}
	return nil
}

// again writes a file that is there already. Even the same bytes may not be durable: a crash may have come between.
func (d *disk) again(f file) error {
	there, err := os.ReadFile(d.path(f.name))
	if err == nil && string(there) == string(f.data) {
		return writeFile(d.path(f.name), 0, int64(len(there)), nil, true)
	}
	return d.replace(f.name, f.data)
}

// mkdir makes a folder below the tree's and notes all whose entries may have changed.
func (d *disk) mkdir(dir string, changed map[string]bool) error {
	if changed[dir] {
		return nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for ; len(dir) >= len(d.dir); dir = filepath.Dir(dir) {
		changed[dir] = true
	}
	return nil
}

func (d *disk) replace(name string, data []byte) error {
	d.replacing.Lock()
	defer d.replacing.Unlock()
	path := d.path(name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	temp := path + ".new"
	if err := writeFile(temp, os.O_CREATE|os.O_TRUNC, 0, data, true); err != nil {
		return err
	}
	if err := os.Rename(temp, path); err != nil {
		return err
	}
	return durable.SyncDir(filepath.Dir(path))
}

func (d *disk) extend(name string, at int64, data []byte) error {
	path := d.path(name)
	_, err := os.Stat(path)
	fresh := errors.Is(err, fs.ErrNotExist)
	if err := writeFile(path, os.O_CREATE, at, data, true); err != nil || !fresh {
		return err
	}
	return durable.SyncDir(d.dir)
}

func (d *disk) close() error {
	if d.lock == nil {
		return nil
	}
	return d.lock.Close()
}

// writeFile writes at an offset, where the file then ends.
func writeFile(path string, flags int, at int64, data []byte, sync bool) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|flags, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if flags&(os.O_EXCL|os.O_TRUNC) == 0 {
		if err := f.Truncate(at); err != nil {
			return err
		}
	}
	if _, err := f.WriteAt(data, at); err != nil || !sync {
		return err
	}
	return f.Sync()
}

// memory is a folder that ends with the process.
type memory struct {
	mu    sync.RWMutex
	files map[string][]byte
}

func newMemory() *memory { return &memory{files: map[string][]byte{}} }

func (m *memory) read(name string) ([]byte, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	data, ok := m.files[name]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return append([]byte(nil), data...), nil
}

func (m *memory) create(files []file) error {
	for _, f := range files {
		if err := m.replace(f.name, f.data); err != nil {
			return err
		}
	}
	return nil
}

func (m *memory) replace(name string, data []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.files[name] = append([]byte(nil), data...)
	return nil
}

func (m *memory) extend(name string, at int64, data []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	there := m.files[name]
	if int64(len(there)) < at {
		there = append(there, make([]byte, at-int64(len(there)))...)
	}
	m.files[name] = append(there[:at:at], data...)
	return nil
}

func (m *memory) close() error { return nil }
