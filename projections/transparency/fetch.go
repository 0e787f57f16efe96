package transparency

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/shardy-network/orchestrator/events"
)

// ErrHistory says that the log is not the one that a signed checkpoint was made of.
var ErrHistory = errors.New("log contradicts a signed checkpoint")

// fetcher reads tiles below an edge that is known to be right, and believes none that does not hash to what the tile
// above it says.
type fetcher struct {
	edge *edge // never changed
	read func(level int, n int64) ([]tlog.Hash, error)
	// heal makes a tile that is missing or wrong from the log. It MUST return the hashes that hash to want, or an
	// error. Nil: such a tile is an error.
	heal  func(level int, n int64, want tlog.Hash) ([]tlog.Hash, error)
	cache *tileCache // of tiles that were found right; may be nil
}

// tile returns the hashes of a tile in the tree of the edge: all 256, or those that there are.
func (f *fetcher) tile(level int, n int64) ([]tlog.Hash, error) {
	if level >= len(f.edge.levels) || n < 0 {
		return nil, fmt.Errorf("%w: %s", ErrBeyond, tileName(level, max(n, 0)))
	}
	switch last := f.edge.size >> (tileHeight * (level + 1)); {
	case n > last:
		return nil, fmt.Errorf("%w: %s", ErrBeyond, tileName(level, n))
	case n == last:
		return f.edge.levels[level], nil
	}
	if hashes, ok := f.cache.get(level, n); ok {
		return hashes, nil
	}
	above, err := f.tile(level+1, n/tileWidth)
	if err != nil {
		return nil, err
	}
	want := above[n%tileWidth]
	hashes, err := f.read(level, n)
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, ErrDamaged) {
		return nil, err
	}
	if err == nil && rootOf(hashes) != want {
		err = fmt.Errorf("%w: %s does not hash to what lies above it", ErrDamaged, tileName(level, n))
	}
	if err != nil {
		if f.heal == nil {
			return nil, err
		}
		if hashes, err = f.heal(level, n, want); err != nil {
			return nil, err
		}
	}
	f.cache.put(level, n, hashes)
	return hashes, nil
}

// ReadHashes answers with stored hashes, as tlog numbers them.
func (f *fetcher) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, index := range indexes {
		t := tlog.TileForIndex(tileHeight, index)
		hashes, err := f.tile(t.L, t.N)
		if err != nil {
			return nil, err
		}
		if t.W > len(hashes) {
			return nil, fmt.Errorf("%w: %s", ErrBeyond, t.Path())
		}
		if out[i], err = tlog.HashFromTile(t, joined(hashes[:t.W]), index); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// edgeAt is the edge that the tree had at a size it has passed.
func (f *fetcher) edgeAt(size int64) (*edge, error) {
	return f.edge.before(size, func(level int, n int64, _ int) ([]tlog.Hash, error) { return f.tile(level, n) })
}

// leaf is the hash of one leaf.
func (f *fetcher) leaf(index int64) (tlog.Hash, error) {
	hashes, err := f.tile(0, index>>tileHeight)
	if err != nil {
		return tlog.Hash{}, err
	}
	if i := index & (tileWidth - 1); i < int64(len(hashes)) {
		return hashes[i], nil
	}
	return tlog.Hash{}, fmt.Errorf("%w: leaf %d", ErrBeyond, index)
}

// cachedTiles bounds a cache: 2 MiB.
const cachedTiles = 256

// tileCache remembers tiles that were found right. A full tile never changes, so that one cache serves all sizes.
type tileCache struct {
	mu    sync.Mutex // guards tiles
	tiles map[tileKey][]tlog.Hash
}

type tileKey struct {
	level int
	n     int64
}

func newTileCache() *tileCache { return &tileCache{tiles: make(map[tileKey][]tlog.Hash)} }

func (c *tileCache) get(level int, n int64) ([]tlog.Hash, bool) {
	if c == nil {
		return nil, false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	h, ok := c.tiles[tileKey{level, n}]
	return h, ok
}

// put forgets any one tile when there are too many.
func (c *tileCache) put(level int, n int64, hashes []tlog.Hash) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.tiles) >= cachedTiles {
		for k := range c.tiles {
			delete(c.tiles, k)
			break
		}
	}
	c.tiles[tileKey{level, n}] = hashes
}

func (c *tileCache) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.tiles)
}

// errEnough ends a scan that has seen what it wanted.
var errEnough = errors.New("enough was read")

// tileFromLog hashes the records below a tile again.
func tileFromLog(ctx context.Context, log Log, s *stored, level int, n int64) ([]tlog.Hash, error) {
	first := n << (tileHeight * (level + 1))
	count := int64(1) << (tileHeight * (level + 1))
	var e edge
	var out []tlog.Hash
	err := scan(ctx, log, before(s.positions, first), 0, func(_ []events.Record, hashes []tlog.Hash) error {
		for _, h := range hashes {
			e.add(h, func(l int, _ int64, hashes []tlog.Hash) {
				if l == level {
					out = append([]tlog.Hash(nil), hashes...)
				}
			})
			if e.size == count {
				return errEnough
			}
		}
		return nil
	})
	if err != nil && !errors.Is(err, errEnough) {
		return nil, err
	}
	if e.size < count {
		return nil, fmt.Errorf("%w: it ends after leaf %d, within what was signed", ErrHistory, first+e.size)
	}
	return out, nil
}
