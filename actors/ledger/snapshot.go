package ledger

import (
	"bytes"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/shardy-network/orchestrator/actors/ledger/light"
	"github.com/shardy-network/orchestrator/actors/ledger/seal"
	"github.com/shardy-network/orchestrator/actors/ledger/trie"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

// Limits of snapshots.
const (
	MaxChunkBytes = 1 << 20   // encoded SnapshotChunk
	MaxEntryBytes = 512 << 10 // value of an entry; the largest is a full set of validators, of some 350 KiB
)

// Chunks yields the state in the order of its places, in chunks of at most MaxChunkBytes.
func (s State) Chunks() func(yield func(*ledgerv1.SnapshotChunk) bool) {
	return func(yield func(*ledgerv1.SnapshotChunk) bool) {
		chunk := new(ledgerv1.SnapshotChunk)
		const frame = 16 // the chunk's number
		size := frame
		for place, value := range s.trie.All(Hash{}) {
			n := entrySize(value)
			if size+n > MaxChunkBytes {
				if !yield(chunk) {
					return
				}
				chunk, size = &ledgerv1.SnapshotChunk{Chunk: chunk.Chunk + 1}, frame
			}
			size += n
			chunk.Entries = append(chunk.Entries, &ledgerv1.SnapshotEntry{Key: place[:], Value: value})
		}
		yield(chunk)
	}
}

// entrySize is how many bytes an entry takes in a chunk.
func entrySize(value []byte) int {
	entry := 2 + protowire.SizeBytes(len(value)) + protowire.SizeBytes(len(Hash{}))
	return 1 + protowire.SizeBytes(entry)
}

// Import makes a state of the chunks of a snapshot. It is used by one goroutine, once.
type Import struct {
	header *ledgerv1.Header
	head   Hash
	trie   trie.Trie
	last   []byte
	chunks uint32
	people uint64
}

// NewImport begins with the header of the block that the snapshot follows. The caller MUST have verified its certificate,
// or trust it for another reason: all that is imported is held against it.
func NewImport(chain string, header []byte) (*Import, error) {
	h, err := light.ParseHeader(chain, header)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSnapshot, err)
	}
	return &Import{header: h, head: seal.HeaderHash(header)}, nil
}

// Add takes the next chunk. Its values are kept and MUST NOT be changed any more.
func (i *Import) Add(c *ledgerv1.SnapshotChunk) error {
	if c.GetChunk() != i.chunks {
		return fmt.Errorf("%w: chunk %d, want %d", ErrSnapshot, c.GetChunk(), i.chunks)
	}
	changes := make([]trie.Change, len(c.GetEntries()))
	for n, e := range c.GetEntries() {
		switch {
		case len(e.GetKey()) != len(Hash{}) || len(e.Value) == 0 || len(e.Value) > MaxEntryBytes:
			return fmt.Errorf("%w: malformed entry", ErrSnapshot)
		case i.last != nil && bytes.Compare(i.last, e.Key) >= 0:
			return fmt.Errorf("%w: entry %x is not in order", ErrSnapshot, e.Key)
		}
		changes[n] = trie.Change{Key: Hash(e.Key), Value: e.Value}
		i.last = e.Key
		if isAccount(Hash(e.Key), e.Value) {
			i.people++
		}
	}
	i.trie = i.trie.Update(changes)
	i.chunks++
	return nil
}

// Finish refuses what is not the state of the block.
func (i *Import) Finish() (State, error) {
	if root := i.trie.Root(); !bytes.Equal(root[:], i.header.State) {
		return State{}, fmt.Errorf("%w: root is %x, want %x", ErrSnapshot, root, i.header.State)
	}
	s := State{
		chain: i.header.ChainId, height: i.header.Height, head: i.head, timeUs: i.header.TimeUs, trie: i.trie, people: i.people,
	}
	s.params = held[ledgerv1.Params](s, seal.ParamsKey())
	s.validators = held[ledgerv1.ValidatorSet](s, seal.ValidatorsKey())
	s.supply = held[ledgerv1.Supply](s, seal.SupplyKey())
	switch {
	case ValidateParams(s.params) != nil:
		return State{}, fmt.Errorf("%w: parameters", ErrSnapshot)
	case len(s.validators.GetValidators()) < 1 || len(s.validators.Validators) > light.MaxValidators:
		return State{}, fmt.Errorf("%w: validators", ErrSnapshot)
	case s.supply.GetTotal() == 0 || s.supply.Total > MaxSupply || sum(s.supply) != s.supply.Total:
		return State{}, fmt.Errorf("%w: money", ErrSnapshot)
	}
	return s, nil
}
