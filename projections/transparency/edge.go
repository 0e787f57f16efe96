package transparency

import (
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"
)

const (
	tileHeight = 8
	tileWidth  = 1 << tileHeight // hashes in a full tile
	tileBytes  = tileWidth * tlog.HashSize
)

// edge is the right edge of a tree: all that is needed to go on and to know the root.
type edge struct {
	size int64
	// levels holds the partial tile of every level: the hashes of full tiles below (leaf hashes at level 0) that do
	// not fill a tile yet. Each has size/256^level mod 256 of them.
	levels [][]tlog.Hash
}

// add appends a leaf. Every tile that it fills is handed to full, lower levels first; full MUST NOT keep the slice.
func (e *edge) add(leaf tlog.Hash, full func(level int, n int64, hashes []tlog.Hash)) {
	h := leaf
	for level := 0; ; level++ {
		if level == len(e.levels) {
			e.levels = append(e.levels, make([]tlog.Hash, 0, tileWidth))
		}
		e.levels[level] = append(e.levels[level], h)
		if len(e.levels[level]) < tileWidth {
			break
		}
		if full != nil {
			full(level, e.size>>(tileHeight*(level+1)), e.levels[level])
		}
		h = rootOf(e.levels[level])
		e.levels[level] = e.levels[level][:0]
	}
	e.size++
}

// rootOf is the hash of a full tile.
func rootOf(hashes []tlog.Hash) tlog.Hash {
	var row [tileWidth / 2]tlog.Hash
	for i := range row {
		row[i] = tlog.NodeHash(hashes[2*i], hashes[2*i+1])
	}
	for n := len(row) / 2; n > 0; n /= 2 {
		for i := range n {
			row[i] = tlog.NodeHash(row[2*i], row[2*i+1])
		}
	}
	return row[0]
}

var errNotAtEdge = errors.New("hash does not lie at the edge of the tree")

// ReadHashes answers with those stored hashes that lie in the partial tiles.
func (e *edge) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, index := range indexes {
		t := tlog.TileForIndex(tileHeight, index)
		if t.L >= len(e.levels) || t.N != e.size>>(tileHeight*(t.L+1)) || t.W > len(e.levels[t.L]) {
			return nil, fmt.Errorf("%w: %s", errNotAtEdge, t.Path())
		}
		h, err := tlog.HashFromTile(t, joined(e.levels[t.L]), index)
		if err != nil {
			return nil, err
		}
		out[i] = h
	}
	return out, nil
}

// root is the hash of the tree. Its parts all lie at the edge.
func (e *edge) root() tlog.Hash {
	h, err := tlog.TreeHash(e.size, e)
	if err != nil {
		panic(err) // the shape of levels follows from size: not a matter of input
	}
	return h
}

// clone is a copy that goes its own way.
func (e *edge) clone() *edge {
	c := &edge{size: e.size, levels: make([][]tlog.Hash, len(e.levels))}
	for i, l := range e.levels {
		c.levels[i] = append(make([]tlog.Hash, 0, tileWidth), l...)
	}
	return c
}

// before is the edge that the tree had at a size it has passed. Tile reads a tile of the tree: the first want hashes, or more.
func (e *edge) before(size int64, tile func(level int, n int64, want int) ([]tlog.Hash, error)) (*edge, error) {
	if size > e.size {
		return nil, fmt.Errorf("%w: %d of %d leaves", ErrBeyond, size, e.size)
	}
	b := &edge{size: size, levels: make([][]tlog.Hash, levelsOf(size))}
	for l := range b.levels {
		b.levels[l] = make([]tlog.Hash, 0, tileWidth)
		w := width(size, l)
		if w == 0 {
			continue
		}
		hashes, err := tile(l, size>>(tileHeight*(l+1)), w)
		if err != nil {
			return nil, err
		}
		b.levels[l] = append(b.levels[l], hashes[:w]...)
	}
	return b, nil
}

// width is how many hashes the partial tile of a level has in a tree of this size.
func width(size int64, level int) int { return int(size >> (tileHeight * level) & (tileWidth - 1)) }

// levelsOf is how many levels of tiles a tree of this size has.
func levelsOf(size int64) int {
	n := 0
	for ; size > 0; size >>= tileHeight {
		n++
	}
	return n
}

// joined is a tile as its bytes.
func joined(hashes []tlog.Hash) []byte {
	b := make([]byte, 0, len(hashes)*tlog.HashSize)
	for i := range hashes {
		b = append(b, hashes[i][:]...)
	}
	return b
}

// split is the inverse of joined; odd bytes at the end are left out.
func split(b []byte) []tlog.Hash {
	hashes := make([]tlog.Hash, len(b)/tlog.HashSize)
	for i := range hashes {
		copy(hashes[i][:], b[i*tlog.HashSize:])
	}
	return hashes
}
