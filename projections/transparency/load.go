package transparency

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io/fs"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/shardy-network/orchestrator/events"
)

// load reads the folder and holds it against the log.
func (t *Tree) load(ctx context.Context) error {
	var server ed25519.PublicKey
	if t.key != nil {
		server = t.key.Public().(ed25519.PublicKey)
	}
	kept, good, err := readKept(t.dir, server)
	t.kept, t.keptBytes = kept, int64(good)
	if err != nil {
		if !errors.Is(err, ErrCheckpoint) && !errors.Is(err, ErrSignature) {
			return err
		}
		t.stop(err)
	}
	s, err := readStored(t.dir)
	if err != nil && !errors.Is(err, ErrDamaged) {
		return err
	}
	if err == nil {
		err = t.adopt(ctx, s)
	}
	if err == nil || t.stopped != nil {
		return nil
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if !errors.Is(err, ErrDamaged) && !errors.Is(err, errUnlike) {
		return err
	}
	// The folder is of no use as it is. Before anything in it is replaced, the log must lead to what was signed: the
	// tiles may be what names the record that differs.
	t.opts.Logger.Warn("tree is of no use as it is, reading the whole log", "error", err)
	if t.key == nil {
		return err
	}
	other, err := contradiction(ctx, t.log, s, t.kept)
	if err != nil {
		return err
	}
	if other != nil {
		t.stop(other)
	}
	t.begin()
	return nil
}

// errUnlike says that tree and log, or tree and checkpoints, do not fit.
var errUnlike = errors.New("tree does not fit")

// unlike makes what the tree's own files say wrong with it an errUnlike, and leaves what the log's failures are.
func unlike(err error) error {
	if errors.Is(err, ErrHistory) || errors.Is(err, ErrBeyond) || errors.Is(err, ErrDamaged) || errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %w", errUnlike, err)
	}
	return err
}

// adopt takes over what is stored, if it leads to the checkpoints and if the log's records at its end are those of its
// last leaves. It publishes the last checkpoint.
func (t *Tree) adopt(ctx context.Context, s *stored) error {
	t.live, t.at, t.positions, t.written, t.writtenAt = s.edge, s.at, s.positions, s.edge.size, s.at
	n := len(t.kept)
	if n > 0 {
		last := t.kept[n-1]
		e, err := t.below(ctx, s, false).edgeAt(last.Checkpoint.Size)
		if err != nil {
			return unlike(err)
		}
		if e.root() != last.Checkpoint.Root {
			return fmt.Errorf("%w: it does not lead to the checkpoint of %d leaves", errUnlike, last.Checkpoint.Size)
		}
		t.checked = n
		t.publish(last, e)
	}
	return t.compareEnd(ctx, s)
}

// compareEnd hashes the records of the last tile again.
func (t *Tree) compareEnd(ctx context.Context, s *stored) error {
	size := s.edge.size
	if size == 0 {
		return nil
	}
	first := (size - 1) &^ (tileWidth - 1)
	want, err := t.below(ctx, s, false).tile(0, first>>tileHeight)
	if err != nil {
		return unlike(err)
	}
	i := 0
	var buf []byte
	var h tlog.Hash
	for r, err := range t.log.ReadAll(ctx, before(s.positions, first), events.Filter{}) {
		if err != nil {
			return fmt.Errorf("read the log: %w", err)
		}
		if h, buf = hashLeaf(buf, &r); h != want[i] {
			return fmt.Errorf("%w: leaf %d is not %s", errUnlike, first+int64(i), name(&r))
		}
		if i++; i == len(want) {
			return nil
		}
	}
	return fmt.Errorf("%w: the log ends after leaf %d, the tree has %d", errUnlike, first+int64(i), size)
}

// contradiction reads the whole log and tells with which checkpoint it does not agree, as an ErrHistory, or nil. It writes
// nothing. A failure to read the log is the second error.
func contradiction(ctx context.Context, log Log, s *stored, kept []Kept) (error, error) {
	if len(kept) == 0 {
		return nil, nil
	}
	c := newComparer(s, kept, nil, defaultMaxFound)
	broken := scan(ctx, log, 0, 0, c.take)
	if broken != nil && !errors.Is(broken, events.ErrCorrupt) {
		return nil, fmt.Errorf("read the log: %w", broken)
	}
	c.finish(broken)
	for _, m := range c.marks {
		if m.matches {
			continue
		}
		err := fmt.Errorf("%w: of %d leaves", ErrHistory, m.checkpoint.Size)
		for _, f := range c.found.kept {
			if f.Kind != Tile {
				return fmt.Errorf("%w: %s", err, f), nil
			}
		}
		return err, nil
	}
	return nil, nil
}
