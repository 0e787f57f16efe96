package chain

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/actors/ledger"
	"github.com/shardy-network/orchestrator/events/durable"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

// Limits of snapshots.
const (
	MaxChunks = 65_536
	// MaxManifestBytes bounds an encoded SnapshotManifest: its block, and the hashes of its chunks.
	MaxManifestBytes = MaxBlockBytes + MaxChunks*(sha256.Size+2) + 64
)

const manifestName = "manifest" // encoded, then its SHA-256

// stable encodes what is hashed. The messages hold neither maps nor floats.
var stable = proto.MarshalOptions{Deterministic: true}

// snapshots are the states on disk: one folder each, which is there whole or not at all.
type snapshots struct {
	dir string

	mu      sync.RWMutex
	heights []uint64                   // ascending
	asked   *ledgerv1.SnapshotManifest // of the chunk that was last read
	askedAt uint64                     // its height
}

func openSnapshots(dir string) (*snapshots, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if err := durable.Sweep(dir); err != nil {
		return nil, err
	}
	heights, err := listHeights(dir, "")
	return &snapshots{dir: dir, heights: heights}, err
}

func (s *snapshots) path(height uint64) string {
	return filepath.Join(s.dir, fmt.Sprintf("%020d", height))
}

func chunkName(n uint32) string { return fmt.Sprintf("chunk-%05d", n) }

// list returns the heights of the states on disk, ascending.
func (s *snapshots) list() []uint64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return slices.Clone(s.heights)
}

func (s *snapshots) newest() uint64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if len(s.heights) == 0 {
		return 0
	}
	return s.heights[len(s.heights)-1]
}

// write makes a snapshot of the state after a block. It stops when stop is closed.
func (s *snapshots) write(state ledger.State, block *ledgerv1.CertifiedBlock, stop <-chan struct{}) error {
	temp := s.path(state.Height()) + durable.Ending
	if err := errors.Join(os.RemoveAll(temp), os.Mkdir(temp, 0o700)); err != nil {
		return err
	}
	m := &ledgerv1.SnapshotManifest{Block: block, Entries: uint64(state.Len())}
	for chunk := range state.Chunks() {
		select {
		case <-stop:
			return ErrClosed
		default:
		}
		encoded, err := stable.Marshal(chunk)
		if err != nil {
			return err
		}
		hash := sha256.Sum256(encoded)
		if m.Chunks = append(m.Chunks, hash[:]); len(m.Chunks) > MaxChunks {
			return fmt.Errorf("state after block %d is larger than %d chunks", state.Height(), MaxChunks)
		}
		if err := writeFile(filepath.Join(temp, chunkName(chunk.Chunk)), encoded); err != nil {
			return err
		}
	}
	encoded, err := stable.Marshal(m)
	if err != nil {
		return err
	}
	return s.finish(temp, state.Height(), encoded)
}

// finish gives a folder that holds all chunks of a snapshot its manifest and its name.
func (s *snapshots) finish(temp string, height uint64, manifest []byte) error {
	sum := sha256.Sum256(manifest)
	if err := writeFile(filepath.Join(temp, manifestName), manifest, sum[:]); err != nil {
		return err
	}
	if err := durable.SyncDir(temp); err != nil {
		return err
	}
	if err := os.RemoveAll(s.path(height)); err != nil {
		return err
	}
	if err := os.Rename(temp, s.path(height)); err != nil {
		return err
	}
	if err := durable.SyncDir(s.dir); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if n, found := slices.BinarySearch(s.heights, height); !found {
		s.heights = slices.Insert(s.heights, n, height)
	}
	return nil
}

// manifest reads what a snapshot consists of.
func (s *snapshots) manifest(height uint64) (*ledgerv1.SnapshotManifest, error) {
	b, err := s.file(height, manifestName, MaxManifestBytes+sha256.Size)
	if err != nil {
		return nil, err
	}
	n := len(b) - sha256.Size
	if n < 0 || sha256.Sum256(b[:n]) != [sha256.Size]byte(b[n:]) {
		return nil, fmt.Errorf("%w: manifest of snapshot %d", ErrDamaged, height)
	}
	m := new(ledgerv1.SnapshotManifest)
	if proto.Unmarshal(b[:n], m) != nil || m.Block.GetBlock() == nil {
		return nil, fmt.Errorf("%w: manifest of snapshot %d", ErrDamaged, height)
	}
	return m, nil
}

// chunk reads an encoded chunk and holds it against the manifest: what has rotted here must not be given to others, who
// would take it for a lie.
func (s *snapshots) chunk(height uint64, n uint32) ([]byte, error) {
	m, err := s.manifestAsked(height)
	if err != nil {
		return nil, err
	}
	if int64(n) >= int64(len(m.Chunks)) {
		return nil, fmt.Errorf("%w: chunk %d of snapshot %d", ErrNotFound, n, height)
	}
	b, err := s.file(height, chunkName(n), ledger.MaxChunkBytes)
	if err != nil {
		return nil, err
	}
	if sum := sha256.Sum256(b); !bytes.Equal(sum[:], m.Chunks[n]) {
		return nil, fmt.Errorf("%w: chunk %d of snapshot %d", ErrDamaged, n, height)
	}
	return b, nil
}

// manifestAsked is manifest, remembered for the next chunk.
func (s *snapshots) manifestAsked(height uint64) (*ledgerv1.SnapshotManifest, error) {
	s.mu.RLock()
	m, at := s.asked, s.askedAt
	s.mu.RUnlock()
	if m != nil && at == height {
		return m, nil
	}
	m, err := s.manifest(height)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked, s.askedAt = m, height
	return m, nil
}

func (s *snapshots) file(height uint64, name string, limit int64) ([]byte, error) {
	path := filepath.Join(s.path(height), name)
	info, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s of snapshot %d", ErrNotFound, name, height)
	}
	if err != nil {
		return nil, err
	}
	if info.Size() > limit {
		return nil, fmt.Errorf("%w: %s of snapshot %d has %d bytes", ErrDamaged, name, height, info.Size())
	}
	return os.ReadFile(path)
}

// load makes the state that a snapshot holds.
func (s *snapshots) load(chain string, height uint64) (ledger.State, *ledgerv1.CertifiedBlock, error) {
	m, err := s.manifest(height)
	if err != nil {
		return ledger.State{}, nil, err
	}
	state, err := assemble(chain, m, func(n uint32) ([]byte, error) { return s.chunk(height, n) })
	if err == nil && state.Height() != height {
		err = fmt.Errorf("%w: snapshot %d is of height %d", ErrDamaged, height, state.Height())
	}
	return state, m.Block, err
}

// assemble makes a state of chunks and holds each against the manifest's hash, and all against the header's root.
func assemble(chain string, m *ledgerv1.SnapshotManifest, chunk func(n uint32) ([]byte, error)) (ledger.State, error) {
	if len(m.Chunks) > MaxChunks {
		return ledger.State{}, fmt.Errorf("%w: %d chunks", ledger.ErrSnapshot, len(m.Chunks))
	}
	imported, err := ledger.NewImport(chain, m.GetBlock().GetBlock().GetHeader())
	if err != nil {
		return ledger.State{}, err
	}
	for n, want := range m.Chunks {
		b, err := chunk(uint32(n))
		if err != nil {
			return ledger.State{}, err
		}
		c, err := ParseChunk(b, want)
		if err != nil {
			return ledger.State{}, fmt.Errorf("chunk %d: %w", n, err)
		}
		if err := imported.Add(c); err != nil {
			return ledger.State{}, err
		}
	}
	state, err := imported.Finish()
	if err == nil && uint64(state.Len()) != m.Entries {
		err = fmt.Errorf("%w: %d entries, the manifest says %d", ledger.ErrSnapshot, state.Len(), m.Entries)
	}
	return state, err
}

// ParseChunk reads an encoded chunk that must have this hash.
func ParseChunk(b, hash []byte) (*ledgerv1.SnapshotChunk, error) {
	if sum := sha256.Sum256(b); !bytes.Equal(sum[:], hash) {
		return nil, fmt.Errorf("%w: a chunk has another hash", ledger.ErrSnapshot)
	}
	c := new(ledgerv1.SnapshotChunk)
	if err := proto.Unmarshal(b, c); err != nil {
		return nil, fmt.Errorf("%w: %w", ledger.ErrSnapshot, err)
	}
	return c, nil
}

// prune keeps the newest states.
func (s *snapshots) prune(keep int) error {
	s.mu.Lock()
	n := max(len(s.heights)-keep, 0)
	gone := slices.Clone(s.heights[:n])
	s.heights = slices.Delete(s.heights, 0, n)
	s.mu.Unlock()
	for _, h := range gone {
		if err := s.remove(h); err != nil {
			return err
		}
	}
	return nil
}

// remove takes a snapshot away. Its name goes first, so that no half of it is ever taken for a whole.
func (s *snapshots) remove(height uint64) error {
	s.mu.Lock()
	if n, found := slices.BinarySearch(s.heights, height); found {
		s.heights = slices.Delete(s.heights, n, n+1)
	}
	s.mu.Unlock()
	temp := s.path(height) + durable.Ending
	if err := errors.Join(os.RemoveAll(temp), os.Rename(s.path(height), temp)); err != nil {
		return err
	}
	return os.RemoveAll(temp)
}
