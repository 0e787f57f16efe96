package blocksync

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/actors/ledger"
	"github.com/shardy-network/orchestrator/mesh/chain"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

// digestOf names a snapshot: its block without the certificate, which differs from peer to peer, and its chunks.
func digestOf(m *ledgerv1.SnapshotManifest) [sha256.Size]byte {
	h := sha256.New()
	h.Write([]byte("shardy/snapshot/v1\x00"))
	header := sha256.Sum256(m.GetBlock().GetBlock().GetHeader())
	h.Write(header[:])
	h.Write(binary.BigEndian.AppendUint64(nil, m.GetEntries()))
	for _, c := range m.GetChunks() {
		h.Write(c)
	}
	return [sha256.Size]byte(h.Sum(nil))
}

// download is a folder with what there is of one snapshot: manifest, chunks, and a bitmap of the chunks. Nothing in it is
// trusted after a restart before its hash has been looked at, so nothing in it is synced.
type download struct {
	dir      string
	manifest *ledgerv1.SnapshotManifest

	mu     sync.Mutex
	have   []byte // bitmap of the chunks
	wanted []uint32
}

const (
	manifestFile = "manifest"
	bitmapFile   = "have"
)

func chunkFile(n uint32) string { return fmt.Sprintf("chunk-%05d", n) }

// beginDownload goes on with a folder of this snapshot, or begins one. Folders of other snapshots are removed: one is
// downloaded at a time.
func beginDownload(dir string, m *ledgerv1.SnapshotManifest) (*download, error) {
	digest := digestOf(m)
	name := hex.EncodeToString(digest[:16])
	if err := removeOthers(dir, name); err != nil {
		return nil, err
	}
	d := &download{dir: filepath.Join(dir, name), manifest: m, have: make([]byte, (len(m.Chunks)+7)/8)}
	if err := os.MkdirAll(d.dir, 0o700); err != nil {
		return nil, err
	}
	if had, err := os.ReadFile(filepath.Join(d.dir, bitmapFile)); err == nil && len(had) == len(d.have) {
		copy(d.have, had)
	}
	for n := range uint32(len(m.Chunks)) {
		if d.marked(n) {
			if _, err := d.chunk(n); err == nil {
				continue
			}
			d.have[n/8] &^= 1 << (n % 8)
		}
		d.wanted = append(d.wanted, n)
	}
	encoded, err := proto.Marshal(m)
	if err != nil {
		return nil, err
	}
	return d, os.WriteFile(filepath.Join(d.dir, manifestFile), encoded, 0o600)
}

// interrupted returns the manifest of a download that a restart has interrupted, or nil.
func interrupted(dir string) *ledgerv1.SnapshotManifest {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	for _, e := range entries {
		info, err := os.Stat(filepath.Join(dir, e.Name(), manifestFile))
		if err != nil || info.Size() > maxManifest {
			continue
		}
		b, err := os.ReadFile(filepath.Join(dir, e.Name(), manifestFile))
		m := new(ledgerv1.SnapshotManifest)
		if err != nil || proto.Unmarshal(b, m) != nil || wellFormed(m, int64(len(m.Chunks))*ledger.MaxChunkBytes) != nil {
			continue
		}
		if digest := digestOf(m); hex.EncodeToString(digest[:16]) == e.Name() {
			return m
		}
	}
	return nil
}

func removeOthers(dir, name string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() != name {
			if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// wellFormed refuses a manifest of what is no snapshot, or of a larger one than is taken.
func wellFormed(m *ledgerv1.SnapshotManifest, limit int64) error {
	switch n := len(m.GetChunks()); {
	case n == 0 || n > chain.MaxChunks || int64(n) > max(limit/ledger.MaxChunkBytes, 1):
		return fmt.Errorf("%d chunks", n)
	case slices.ContainsFunc(m.Chunks, func(h []byte) bool { return len(h) != sha256.Size }):
		return errors.New("a hash of a chunk is none")
	}
	return nil
}

func (d *download) marked(n uint32) bool { return d.have[n/8]>>(n%8)&1 == 1 }

// chunk reads a chunk that is there and holds it against its hash.
func (d *download) chunk(n uint32) ([]byte, error) {
	b, err := os.ReadFile(filepath.Join(d.dir, chunkFile(n)))
	if err != nil {
		return nil, err
	}
	if sum := sha256.Sum256(b); !bytes.Equal(sum[:], d.manifest.Chunks[n]) {
		return nil, fmt.Errorf("chunk %d has changed on disk", n)
	}
	return b, nil
}

// take returns a chunk that nobody fetches; false: there is none.
func (d *download) take() (uint32, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.wanted) == 0 {
		return 0, false
	}
	n := d.wanted[0]
	d.wanted = d.wanted[1:]
	return n, true
}

// giveBack says that a chunk is still missing.
func (d *download) giveBack(n uint32) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.wanted = append(d.wanted, n)
}

// put keeps a chunk, whose hash was verified, and notes it in the bitmap.
func (d *download) put(n uint32, b []byte) error {
	if err := os.WriteFile(filepath.Join(d.dir, chunkFile(n)), b, 0o600); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.have[n/8] |= 1 << (n % 8)
	return os.WriteFile(filepath.Join(d.dir, bitmapFile), d.have, 0o600)
}

// missing counts the chunks that are not there.
func (d *download) missing() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := 0
	for i := range uint32(len(d.manifest.Chunks)) {
		if !d.marked(i) {
			n++
		}
	}
	return n
}

func (d *download) remove() error { return os.RemoveAll(d.dir) }
