package receipts

import (
	"crypto/ed25519"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/events/durable"
	workerv1 "github.com/shardy-network/orchestrator/proto/shardy/worker/v1"
)

// The refusals.
var (
	ErrConfig = errors.New("receipts: bad configuration")
	ErrTooBig = errors.New("receipts: receipt is too large")
	ErrFull   = errors.New("receipts: too many orchestrators")
	ErrClosed = errors.New("receipts: closed")
)

const (
	// MaxOrchestrators is how many keys receipts are kept of: a key costs nothing, and each may fill a folder.
	MaxOrchestrators = 16
	// MaxEntry is the largest encoded receipt.
	MaxEntry = 512 << 10

	parts      = 8 // a folder is rotated in such parts of its bound
	headerSize = 8 // of an entry: length and CRC-32C, big endian
	suffix     = ".receipts"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Config of a store. The zero value of a field means the default that is named with it.
type Config struct {
	// MaxBytes bounds what is kept of each orchestrator; the oldest goes first. Default 64 MiB, at least 1 MiB.
	MaxBytes int64
	// SyncAfter is how long a receipt may wait for the disk. Default 1 s.
	SyncAfter time.Duration
}

// Store writes. Its methods are safe for concurrent use, and two processes may write to one folder.
type Store struct {
	dir string
	cfg Config

	mu     sync.Mutex
	shelf  map[string]*shelf // by orchestrator; guarded by mu
	sync   *time.Timer       // pending when something is not synced; guarded by mu
	armed  bool              // guarded by mu
	failed error             // of a sync in the background; told by the next call; guarded by mu
	closed bool              // guarded by mu
}

// shelf is the folder of one orchestrator.
type shelf struct {
	dir   string
	file  *os.File // the last part; nil: none is open
	size  int64    // of file
	dirty bool     // file holds what is not synced
}

// Open makes the folder.
func Open(dir string, cfg Config) (*Store, error) {
	if cfg.MaxBytes == 0 {
		cfg.MaxBytes = 64 << 20
	}
	if cfg.SyncAfter == 0 {
		cfg.SyncAfter = time.Second
	}
	if cfg.MaxBytes < 1<<20 || cfg.SyncAfter < 0 {
		return nil, fmt.Errorf("%w: %d bytes, sync after %s", ErrConfig, cfg.MaxBytes, cfg.SyncAfter)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	return &Store{dir: dir, cfg: cfg, shelf: make(map[string]*shelf)}, nil
}

// Keep appends a receipt. When it returns nil the receipt has left this process; it is synced within SyncAfter.
func (s *Store) Keep(k *workerv1.KeptReceipt) error {
	if len(k.GetOrchestrator()) != ed25519.PublicKeySize {
		return fmt.Errorf("%w: key of %d bytes", ErrConfig, len(k.GetOrchestrator()))
	}
	entry, err := encode(k)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	f, err := s.open(hex.EncodeToString(k.Orchestrator))
	if err == nil {
		err = s.append(f, entry)
	}
	err = errors.Join(err, s.failed)
	s.failed = nil
	return err
}

// encode makes an entry.
func encode(k *workerv1.KeptReceipt) ([]byte, error) {
	b, err := proto.MarshalOptions{}.MarshalAppend(make([]byte, headerSize), k)
	if err != nil {
		return nil, err
	}
	if len(b)-headerSize > MaxEntry {
		return nil, fmt.Errorf("%w: %d bytes", ErrTooBig, len(b)-headerSize)
	}
	binary.BigEndian.PutUint32(b, uint32(len(b)-headerSize))
	binary.BigEndian.PutUint32(b[4:], crc32.Checksum(b[headerSize:], castagnoli))
	return b, nil
}

// open finds an orchestrator's shelf. The caller holds mu.
func (s *Store) open(name string) (*shelf, error) {
	if f := s.shelf[name]; f != nil {
		return f, nil
	}
	all, err := folders(s.dir)
	if err != nil {
		return nil, err
	}
	if !slices.Contains(all, name) && len(all) >= MaxOrchestrators {
		return nil, fmt.Errorf("%w: %d", ErrFull, len(all))
	}
	f := &shelf{dir: filepath.Join(s.dir, name)}
	if err := os.MkdirAll(f.dir, 0o700); err != nil {
		return nil, err
	}
	if err := durable.SyncDir(s.dir); err != nil {
		return nil, err
	}
	s.shelf[name] = f
	return f, nil
}

// append writes an entry with one call, so that two processes do not mix theirs. The caller holds mu.
func (s *Store) append(f *shelf, entry []byte) error {
	if f.file == nil || f.size+int64(len(entry)) > s.cfg.MaxBytes/parts {
		if err := s.rotate(f, int64(len(entry))); err != nil {
			return err
		}
	}
	n, err := f.file.Write(entry)
	f.size += int64(n)
	if err != nil { // the entry is torn: what follows goes to another file
		return errors.Join(err, f.finish())
	}
	f.dirty = true
	if !s.armed {
		s.armed = true
		if s.sync == nil {
			s.sync = time.AfterFunc(s.cfg.SyncAfter, s.flush)
		} else {
			s.sync.Reset(s.cfg.SyncAfter)
		}
	}
	return nil
}

// rotate opens the part that more bytes go to: the last one if it is sound and has room, or a new one, for which the
// oldest give way.
func (s *Store) rotate(f *shelf, more int64) error {
	fresh := f.file == nil
	if err := f.finish(); err != nil {
		return err
	}
	names, err := partsOf(f.dir)
	if err != nil {
		return err
	}
	last := 0
	if n := len(names); n > 0 {
		last = number(names[n-1])
		if fresh {
			if ok, err := f.resume(filepath.Join(f.dir, names[n-1]), s.cfg.MaxBytes/parts-more); ok || err != nil {
				return err
			}
		}
	}
	if err := prune(f.dir, names, s.cfg.MaxBytes-s.cfg.MaxBytes/parts); err != nil {
		return err
	}
	for { // another process may have been faster
		last++
		f.file, err = os.OpenFile(filepath.Join(f.dir, fmt.Sprintf("%08d%s", last, suffix)), os.O_CREATE|os.O_EXCL|os.O_APPEND|os.O_WRONLY, 0o600)
		if !errors.Is(err, fs.ErrExist) {
			break
		}
	}
	if err != nil {
		return err
	}
	f.size = 0
	return durable.SyncDir(f.dir)
}

// resume goes on with a part that an earlier run has left, if it ends with a whole entry and has room.
func (f *shelf) resume(path string, room int64) (bool, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return false, err
	}
	end, err := entries(data, func(*workerv1.KeptReceipt) bool { return true })
	if err != nil || int64(end) > room {
		return false, nil // what is torn is left as it is
	}
	file, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return false, err
	}
	f.file, f.size = file, int64(end)
	return true, nil
}

// prune takes the oldest parts away until the others fit.
func prune(dir string, names []string, limit int64) error {
	var total int64
	sizes := make([]int64, len(names))
	for i, name := range names {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err == nil {
			sizes[i] = info.Size()
		}
		total += sizes[i]
	}
	for i, name := range names {
		if total <= limit {
			return nil
		}
		if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		total -= sizes[i]
	}
	return nil
}

// finish syncs and closes the part.
func (f *shelf) finish() error {
	if f.file == nil {
		return nil
	}
	err := f.flush()
	err = errors.Join(err, f.file.Close())
	f.file, f.size = nil, 0
	return err
}

func (f *shelf) flush() error {
	if !f.dirty {
		return nil
	}
	f.dirty = false
	return f.file.Sync()
}

// flush syncs what was written.
func (s *Store) flush() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.armed = false
	for _, f := range s.shelf {
		if f.file != nil {
			s.failed = errors.Join(s.failed, f.flush())
		}
	}
}

// Close syncs everything.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	if s.sync != nil {
		s.sync.Stop()
	}
	err := s.failed
	for _, f := range s.shelf {
		err = errors.Join(err, f.finish())
	}
	return err
}

// folders lists the orchestrators.
func folders(dir string) (names []string, err error) {
	all, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	for _, e := range all {
		if key, err := hex.DecodeString(e.Name()); err == nil && len(key) == ed25519.PublicKeySize && e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names, err
}

// partsOf lists the files of a shelf, the oldest first.
func partsOf(dir string) (names []string, err error) {
	all, err := os.ReadDir(dir)
	for _, e := range all {
		if number(e.Name()) > 0 {
			names = append(names, e.Name())
		}
	}
	slices.SortFunc(names, func(a, b string) int { return number(a) - number(b) })
	return names, err
}

// number is that of a part, or 0.
func number(name string) int {
	digits, ok := strings.CutSuffix(name, suffix)
	n, err := strconv.Atoi(digits)
	if !ok || err != nil || n < 0 {
		return 0
	}
	return n
}

// Beside is the folder for the receipts of the worker whose key is in a file.
func Beside(keyFile string) string { return strings.TrimSuffix(keyFile, ".key") + suffix }
