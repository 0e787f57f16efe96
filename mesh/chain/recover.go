package chain

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/shardy-network/orchestrator/actors/ledger"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

// open makes the state: of genesis or of the newest good snapshot, and of all blocks after it.
func (c *Chain) open() error {
	genesis, err := c.readGenesis()
	if err != nil {
		return err
	}
	state, header, err := ledger.Genesis(genesis)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	c.id, c.genesis = state.Chain(), sha256.Sum256(genesis)
	c.origin = &ledgerv1.CertifiedBlock{Block: &ledgerv1.Block{Header: header}}
	if c.segments, err = openSegmentsIn(filepath.Join(c.cfg.Dir, "blocks"), c.genesis, c.cfg.SegmentBytes); err != nil {
		return err
	}
	if c.snapshots, err = openSnapshots(filepath.Join(c.cfg.Dir, "snapshots")); err != nil {
		return err
	}
	if err := c.openChanges(); err != nil {
		return err
	}
	v, err := c.base(view{state: state, block: c.origin})
	if err != nil {
		return err
	}
	if !c.changes.lead(v.state.Validators().GetVersion(), v.state.Height()) {
		if c.segments.low() == 1 { // the blocks tell
			v = view{state: state, block: c.origin}
		} else {
			c.cfg.Log.Warn("changes of validators are not known from the beginning", "height", v.state.Height())
		}
	}
	if err := c.replay(v); err != nil {
		return err
	}
	if err := c.trusting(); err != nil {
		return err
	}
	return c.changes.forget(c.Height() + 1)
}

// trusting refuses a folder that holds another block than the trusted one at its height.
func (c *Chain) trusting() error {
	t := c.cfg.Trusted
	if t.Height == 0 || t.Height > c.Height() {
		return nil
	}
	there, err := c.At(t.Height)
	if err != nil {
		return nil // pruned: nothing can be said
	}
	if _, err := t.vouches(t.Height, there.Hash); err != nil {
		return fmt.Errorf("%w: %w", ErrFork, err)
	}
	return nil
}

func (c *Chain) openChanges() (err error) {
	var lost int64
	c.changes, lost, err = openChanges(filepath.Join(c.cfg.Dir, "validators"), c.genesis)
	if lost > 0 {
		c.cfg.Log.Warn("changes of validators cannot be read to the end", "bytes", lost)
	}
	return err
}

// base returns the last view that is on disk as a whole, from which the blocks on disk lead on.
func (c *Chain) base(genesis view) (view, error) {
	heights := c.snapshots.list()
	var bad error
	for i := len(heights) - 1; i >= 0; i-- {
		h := heights[i]
		if h+1 < c.segments.low() {
			break // there would be a gap
		}
		state, block, err := c.snapshots.load(c.id, h)
		if err != nil && !unusable(err) {
			return view{}, err
		}
		if err != nil {
			bad = errors.Join(bad, err)
			c.cfg.Log.Warn("snapshot cannot be read", "height", h, "error", err)
			if err := c.snapshots.remove(h); err != nil {
				return view{}, err
			}
			continue
		}
		if h+1 > c.segments.next { // the blocks before it do not reach it
			return view{state: state, block: block}, c.segments.restart(h + 1)
		}
		return view{state: state, block: block}, nil
	}
	switch low := c.segments.low(); {
	case low == 0: // no block was ever written
		return genesis, c.segments.restart(1)
	case low > 1:
		return view{}, errors.Join(fmt.Errorf("%w: blocks begin at %d, and no snapshot leads to them", ErrDamaged, low), bad)
	}
	return genesis, nil
}

// unusable reports whether an error is the snapshot's own, rather than the disk's.
func unusable(err error) bool {
	return errors.Is(err, ErrDamaged) || errors.Is(err, ErrNotFound) || errors.Is(err, ledger.ErrSnapshot)
}

// remember notes where the transactions of the last blocks up to a height are, as far as those blocks can be read: the
// state does not depend on them. It returns the receipts of the last one, unless that came with a snapshot.
func (c *Chain) remember(last uint64) (receipts []*ledgerv1.Receipt) {
	const blocks = 1000
	first := max(c.segments.low(), 1)
	if last > blocks {
		first = max(first, last-blocks+1)
	}
	for h := first; h <= last && h < c.segments.next; h++ {
		r, err := c.segments.read(h)
		var old []*ledgerv1.Receipt
		if err == nil {
			_, old, err = r.decode()
		}
		if err != nil {
			c.cfg.Log.Warn("block before the snapshot cannot be read", "height", h, "error", err)
			continue
		}
		c.recent.addOld(h, old)
		if h == last {
			receipts = old
		}
	}
	return receipts
}

// replay executes the blocks on disk that follow a view.
func (c *Chain) replay(v view) error {
	v.receipts = c.remember(v.state.Height())
	const batch = 64
	for h := v.state.Height() + 1; h < c.segments.next; {
		var blocks []*ledgerv1.CertifiedBlock
		for size := 0; h < c.segments.next && len(blocks) < batch && size < 8<<20; h++ {
			r, err := c.segments.read(h)
			if err != nil {
				return err
			}
			block, _, err := r.decode()
			if err != nil {
				return err
			}
			size += r.size
			blocks = append(blocks, block)
		}
		checked, err := c.checkAll(blocks)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		for i, b := range blocks {
			next, err := v.state.Verify(b.Block.Header, checked[i])
			if err != nil {
				return fmt.Errorf("%w: %w", ErrDamaged, err)
			}
			before := v.state.Validators()
			v = view{state: next.State, block: b, receipts: next.Receipts}
			if m, changed, err := madeBy(before, v); err != nil {
				return err
			} else if changed {
				if err := c.changes.again(m); err != nil {
					return err
				}
			}
			c.recent.add(v.state, next.Receipts)
		}
	}
	v.changed = make(chan struct{})
	c.view.Store(&v)
	return nil
}
