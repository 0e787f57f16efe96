package transparency

import (
	"errors"
	"fmt"
	"io/fs"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/shardy-network/orchestrator/events"
)

// mark is a checkpoint that the log must lead to.
type mark struct {
	checkpoint Checkpoint
	outside    int // index among those from outside, or -1
	reached    bool
	matches    bool
}

// comparer takes in the log leaf by leaf and holds it against tiles and checkpoints. Its owner is one goroutine.
type comparer struct {
	tiles  *stored
	signed *fetcher // tiles below the last checkpoint that they lead to; nil: there is none
	all    *fetcher // tiles below the size record
	marks  []mark   // by size

	now   edge // of the log as it is
	next  int  // among marks
	shift int64
	last  events.Record // the last one taken in
	found findings
	leafs int64 // findings about leaves
	clues int
	ended bool // nothing more comes

	region  int64 // number of the tile in tile; -1: none
	tile    []tlog.Hash
	unknown bool           // the tile in question is damaged
	want    tlog.Hash      // what a damaged tile should hash to; zero: not known
	told    map[int64]bool // damaged tiles that were reported
	window  *window        // what follows a difference
}

// window holds what is needed to tell one kind of difference from another.
type window struct {
	first   int64 // leaf
	records []events.Record
	hashes  []tlog.Hash
}

// windowLeaves is how far a difference is followed: that many records may be missing, inserted or out of order.
const windowLeaves = 1024

func newComparer(tiles *stored, kept []Kept, outside []Checkpoint, maxFound int) *comparer {
	c := &comparer{tiles: tiles, found: findings{max: maxFound}, region: -1, told: map[int64]bool{}}
	for _, k := range kept {
		c.marks = append(c.marks, mark{checkpoint: k.Checkpoint, outside: -1})
	}
	for i, o := range outside {
		c.marks = append(c.marks, mark{checkpoint: o, outside: i})
	}
	sortMarks(c.marks)
	c.all = &fetcher{edge: tiles.edge, read: c.readTile, cache: newTileCache()}
	for i := len(kept) - 1; i >= 0 && c.signed == nil; i-- {
		if e, err := tiles.edgeAt(kept[i].Checkpoint.Size); err == nil && e.root() == kept[i].Checkpoint.Root {
			c.signed = &fetcher{edge: e, read: c.readTile, cache: newTileCache()}
		}
	}
	return c
}

func (c *comparer) readTile(level int, n int64) ([]tlog.Hash, error) {
	return c.tiles.tile(level, n, tileWidth)
}

// take takes in some records.
func (c *comparer) take(records []events.Record, hashes []tlog.Hash) error {
	c.passMarks() // a checkpoint of an empty log
	for i := range records {
		index := c.now.size
		c.now.add(hashes[i], c.fullTile)
		c.compare(index, &records[i], hashes[i])
		c.passMarks()
	}
	if n := len(records); n > 0 {
		c.last = records[n-1]
	}
	return nil
}

// passMarks compares the roots of the checkpoints that have as many leaves as were taken in.
func (c *comparer) passMarks() {
	for ; c.next < len(c.marks) && c.marks[c.next].checkpoint.Size == c.now.size; c.next++ {
		m := &c.marks[c.next]
		m.reached, m.matches = true, c.now.root() == m.checkpoint.Root
	}
}

// fullTile compares a tile above the leaves; leaves are compared one by one.
func (c *comparer) fullTile(level int, n int64, hashes []tlog.Hash) {
	if level == 0 {
		c.endRegion(n, hashes)
		return
	}
	if c.leafs > 0 || n >= c.tiles.edge.size>>(tileHeight*(level+1)) {
		return
	}
	there, err := c.readTile(level, n)
	if err == nil && rootOf(there) != rootOf(hashes) {
		err = fmt.Errorf("%w: %s", ErrDamaged, tileName(level, n))
	}
	if err != nil {
		first := n << (tileHeight * (level + 1))
		c.found.add(at(Tile, first, int64(1)<<(tileHeight*(level+1)), nil, "%v", describe(err)))
	}
}

// endRegion says about a damaged tile whether the log is as it was.
func (c *comparer) endRegion(n int64, hashes []tlog.Hash) {
	if c.region != n || !c.unknown || c.shift != 0 {
		return
	}
	first := n << tileHeight
	if c.want == (tlog.Hash{}) || rootOf(hashes) == c.want {
		return
	}
	c.leafs++
	c.found.add(at(History, first, tileWidth, nil, "one or more of these records changed; the tile that would tell which is damaged"))
}

// compare holds one leaf against the recorded one.
func (c *comparer) compare(index int64, r *events.Record, h tlog.Hash) {
	if c.window != nil {
		c.window.records, c.window.hashes = append(c.window.records, *r), append(c.window.hashes, h)
		if len(c.window.hashes) == windowLeaves {
			c.settle()
		}
		return
	}
	want, ok := c.recorded(index + c.shift)
	if !ok || want == h {
		return
	}
	c.window = &window{first: index, records: []events.Record{*r}, hashes: []tlog.Hash{h}}
}

// recorded is the hash of a leaf as the tiles have it. Those below a checkpoint are believed only when they lead to it.
func (c *comparer) recorded(index int64) (tlog.Hash, bool) {
	if index >= c.tiles.edge.size || index < 0 {
		return tlog.Hash{}, false
	}
	if n := index >> tileHeight; n != c.region {
		c.region = n
		c.load(n)
	}
	if i := index & (tileWidth - 1); i < int64(len(c.tile)) {
		return c.tile[i], true
	}
	return tlog.Hash{}, false
}

func (c *comparer) load(n int64) {
	c.unknown, c.want = false, tlog.Hash{}
	f := c.all
	if c.signed != nil && (n+1)<<tileHeight <= c.signed.edge.size {
		f = c.signed
	}
	var err error
	if c.tile, err = f.tile(0, n); err == nil {
		return
	}
	c.unknown, c.tile = true, nil
	if above, err := f.tile(1, n/tileWidth); err == nil && n%tileWidth < int64(len(above)) {
		c.want = above[n%tileWidth]
	}
	if !c.told[n] {
		c.told[n] = true
		c.found.add(at(Tile, n<<tileHeight, tileWidth, nil, "%v", describe(err)))
	}
}

func describe(err error) string {
	if errors.Is(err, fs.ErrNotExist) {
		return "a tile is missing: " + err.Error()
	}
	return err.Error()
}
