package transparency

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/shardy-network/orchestrator/events"
)

// Latest is the last published checkpoint, signed, or ErrNone.
func (t *Tree) Latest() ([]byte, error) {
	h, err := t.published()
	if err != nil {
		return nil, err
	}
	return slices.Clone(h.kept.Signed), nil
}

// Kept are the checkpoints that are kept, oldest first.
func (t *Tree) Kept() []Kept {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.kept)
}

// Sign writes and signs what was taken in now, instead of when it is due, and returns the last checkpoint.
func (t *Tree) Sign(context.Context) (Kept, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.key == nil:
		return Kept{}, ErrReadOnly
	case t.closed:
		return Kept{}, events.ErrClosed
	case t.stopped != nil:
		return Kept{}, t.stopped
	}
	if err := t.settle(); err != nil {
		return Kept{}, fmt.Errorf("tree: %w", err)
	}
	h, err := t.published()
	if err != nil {
		return Kept{}, err
	}
	return h.kept, nil
}

func (t *Tree) published() (*head, error) {
	if h := t.head.Load(); h != nil {
		return h, nil
	}
	return nil, ErrNone
}

// IndexOf finds the leaf of the record at a position: ErrNotLeaf if there is none, ErrBeyond if no checkpoint covers it
// yet. It reads up to 256 records.
func (t *Tree) IndexOf(ctx context.Context, pos events.Position) (int64, error) {
	h, err := t.published()
	if err != nil {
		return 0, err
	}
	tile := sort.Search(len(h.positions), func(i int) bool { return h.positions[i] >= pos })
	index := int64(tile) << tileHeight
	for r, err := range t.log.ReadAll(ctx, before(h.positions, index), events.Filter{}) {
		switch {
		case err != nil:
			return 0, err
		case index >= h.edge.size:
			return 0, fmt.Errorf("%w: position %d", ErrBeyond, pos)
		case r.Pos == pos:
			return index, nil
		case r.Pos > pos:
			return 0, fmt.Errorf("%w: position %d", ErrNotLeaf, pos)
		}
		index++
	}
	return 0, fmt.Errorf("%w: position %d", ErrNotLeaf, pos)
}

// Record reads the record of a leaf. It fails with ErrHistory if the record is not the one that was signed.
func (t *Tree) Record(ctx context.Context, index int64) (events.Record, error) {
	h, err := t.published()
	if err != nil {
		return events.Record{}, err
	}
	if index < 0 || index >= h.edge.size {
		return events.Record{}, fmt.Errorf("%w: leaf %d of %d", ErrBeyond, index, h.edge.size)
	}
	want, err := t.fetcher(ctx, h).leaf(index)
	if err != nil {
		return events.Record{}, err
	}
	i := index &^ (tileWidth - 1)
	for r, err := range t.log.ReadAll(ctx, before(h.positions, i), events.Filter{}) {
		if err != nil {
			return events.Record{}, err
		}
		if i == index {
			if LeafHash(r) != want {
				return events.Record{}, fmt.Errorf("%w: leaf %d is not %s", ErrHistory, index, name(&r))
			}
			return r, nil
		}
		i++
	}
	return events.Record{}, fmt.Errorf("%w: the log ends before leaf %d", ErrHistory, index)
}

// Prove proves a leaf to be in the tree of the last published checkpoint, which comes with it.
func (t *Tree) Prove(ctx context.Context, index int64) (Proof, []byte, error) {
	h, err := t.published()
	if err != nil {
		return Proof{}, nil, err
	}
	p, err := InclusionProof(h.edge.size, index, t.fetcher(ctx, h))
	return p, slices.Clone(h.kept.Signed), err
}

// ProveAt proves a leaf to be in the tree as it was at a size.
func (t *Tree) ProveAt(ctx context.Context, index, size int64) (Proof, error) {
	h, err := t.published()
	if err != nil {
		return Proof{}, err
	}
	if size > h.edge.size {
		return Proof{}, fmt.Errorf("%w: %d of %d leaves", ErrBeyond, size, h.edge.size)
	}
	return InclusionProof(size, index, t.fetcher(ctx, h))
}

// Consistency proves the tree of one size to be the beginning of that of another, up to the last published checkpoint.
func (t *Tree) Consistency(ctx context.Context, from, to int64) (Consistency, error) {
	h, err := t.published()
	if err != nil {
		return Consistency{}, err
	}
	if to > h.edge.size {
		return Consistency{}, fmt.Errorf("%w: %d of %d leaves", ErrBeyond, to, h.edge.size)
	}
	return ConsistencyProof(from, to, t.fetcher(ctx, h))
}

// Evidence proves a record of a stream, and signs a checkpoint first if none covers it. A record that the tree has not
// taken in yet is ErrBeyond: wait for the projection.
func (t *Tree) Evidence(ctx context.Context, stream string, rev uint64) (Evidence, error) {
	r, err := t.find(ctx, stream, rev)
	if err != nil {
		return Evidence{}, err
	}
	index, err := t.IndexOf(ctx, r.Pos)
	if t.key != nil && (errors.Is(err, ErrBeyond) || errors.Is(err, ErrNone)) {
		if _, err := t.Sign(ctx); err != nil {
			return Evidence{}, err
		}
		index, err = t.IndexOf(ctx, r.Pos)
	}
	if err != nil {
		return Evidence{}, err
	}
	e := Evidence{Leaf: AppendLeaf(nil, &r)}
	if e.Proof, e.Checkpoint, err = t.Prove(ctx, index); err != nil {
		return Evidence{}, err
	}
	c, err := openFor(e.Checkpoint, nil)
	if err != nil {
		return Evidence{}, err
	}
	if CheckInclusion(c, HashLeaf(e.Leaf), e.Proof) != nil {
		return Evidence{}, fmt.Errorf("%w: leaf %d is not %s", ErrHistory, index, name(&r))
	}
	return e, nil
}

// find reads one record of a stream.
func (t *Tree) find(ctx context.Context, stream string, rev uint64) (events.Record, error) {
	if err := events.CheckStream(stream); err != nil {
		return events.Record{}, err
	}
	for r, err := range t.log.Read(ctx, stream, events.Span{From: rev, Limit: 1}) {
		if err != nil {
			return events.Record{}, err
		}
		if r.Rev == rev && r.Pos == 0 {
			return t.findInAll(ctx, stream, rev)
		}
		if r.Rev == rev {
			return r, nil
		}
	}
	return events.Record{}, fmt.Errorf("%w: %s revision %d", ErrNotLeaf, stream, rev)
}

// findInAll is for old servers, which tell positions only to those who read the whole log.
func (t *Tree) findInAll(ctx context.Context, stream string, rev uint64) (events.Record, error) {
	for r, err := range t.log.ReadAll(ctx, 0, events.Filter{Streams: []string{stream}}) {
		if err != nil {
			return events.Record{}, err
		}
		if r.Stream == stream && r.Rev == rev && r.Pos > 0 {
			return r, nil
		}
	}
	return events.Record{}, fmt.Errorf("%w: %s revision %d", ErrNotLeaf, stream, rev)
}

// Tile is a tile's bytes as c2sp.org/tlog-tiles has them: the first w hashes, 256 for a full one.
func (t *Tree) Tile(ctx context.Context, level int, n int64, w int) ([]byte, error) {
	h, err := t.published()
	if err != nil {
		return nil, err
	}
	hashes, err := t.fetcher(ctx, h).tile(level, n)
	if err != nil {
		return nil, err
	}
	if w < 1 || w > len(hashes) {
		return nil, fmt.Errorf("%w: %d hashes of %s", ErrBeyond, w, tileName(level, n))
	}
	return joined(hashes[:w]), nil
}

// fetcher reads the tiles of what was published, and makes those that are damaged anew.
func (t *Tree) fetcher(ctx context.Context, h *head) *fetcher {
	return t.below(ctx, &stored{dir: t.dir, edge: h.edge, positions: h.positions}, true)
}

// below reads the tiles below a stored edge. When the log cannot make good a tile below what was published, the tree
// stops: its history is another.
func (t *Tree) below(ctx context.Context, s *stored, published bool) *fetcher {
	return &fetcher{
		edge: s.edge, cache: t.cache,
		read: func(level int, n int64) ([]tlog.Hash, error) { return s.tile(level, n, tileWidth) },
		heal: func(level int, n int64, want tlog.Hash) ([]tlog.Hash, error) {
			hashes, err := t.heal(ctx, s, level, n, want)
			if published && errors.Is(err, ErrHistory) {
				t.mu.Lock()
				defer t.mu.Unlock()
				t.stop(err)
			}
			return hashes, err
		},
	}
}

// heal makes a tile anew: from the tiles below it, or else from the log.
func (t *Tree) heal(ctx context.Context, s *stored, level int, n int64, want tlog.Hash) ([]tlog.Hash, error) {
	hashes, err := tileFromTiles(s, level, n)
	if err != nil || rootOf(hashes) != want {
		if hashes, err = tileFromLog(ctx, t.log, s, level, n); err != nil && !errors.Is(err, ErrHistory) {
			return nil, err
		}
	}
	if err == nil && rootOf(hashes) != want {
		err = fmt.Errorf("%w: below %s", ErrHistory, tileName(level, n))
	}
	if err != nil {
		return nil, err
	}
	t.opts.Logger.Warn("tile was damaged and is made anew", "tile", tileName(level, n))
	t.healing.Lock()
	defer t.healing.Unlock()
	if t.key == nil || t.gone {
		return hashes, nil
	}
	if err := t.dir.replace(tileName(level, n), joined(hashes)); err != nil {
		t.opts.Logger.Warn("tile stays damaged on disk", "tile", tileName(level, n), "error", err)
	}
	return hashes, nil
}

// tileFromTiles hashes the tiles below a tile.
func tileFromTiles(s *stored, level int, n int64) ([]tlog.Hash, error) {
	if level == 0 {
		return nil, errNotAtEdge
	}
	hashes := make([]tlog.Hash, tileWidth)
	for i := range hashes {
		below, err := s.tile(level-1, n*tileWidth+int64(i), tileWidth)
		if err != nil {
			return nil, err
		}
		hashes[i] = rootOf(below)
	}
	return hashes, nil
}
