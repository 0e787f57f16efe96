package chain

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/shardy-network/orchestrator/actors/ledger"
	"github.com/shardy-network/orchestrator/actors/ledger/light"
	"github.com/shardy-network/orchestrator/events/durable"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

// Install goes on from a snapshot that lies behind the last block. The chunks are read once, in order, and all is
// verified before anything is changed; the blocks before it are given up. It is on disk when Install returns, and so is
// the road to its validators; nil: they are those of the chain, or the snapshot is the trusted one. An error that wraps
// ledger.ErrSnapshot is the fault of who made the manifest: its chunks do not lead to its block.
func (c *Chain) Install(m *ledgerv1.SnapshotManifest, road *Road, chunk func(n uint32) ([]byte, error)) error {
	encoded, err := stable.Marshal(m)
	if err != nil || len(encoded) > MaxManifestBytes {
		return fmt.Errorf("%w: manifest of %d bytes", ErrRefused, len(encoded))
	}
	c.commit.Lock()
	defer c.commit.Unlock()
	if c.failed != nil {
		return c.failed
	}
	if road == nil {
		road = c.Road()
	}
	if err := road.Trusts(m.GetBlock()); err != nil {
		return err
	}
	header, err := light.ParseHeader(c.id, m.Block.Block.Header)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	if header.Height <= c.Height() {
		return fmt.Errorf("%w: snapshot of %d, the chain is at %d", ErrGap, header.Height, c.Height())
	}
	temp := c.snapshots.path(header.Height) + ".installed" + durable.Ending
	if err := errors.Join(os.RemoveAll(temp), os.Mkdir(temp, 0o700)); err != nil {
		return err
	}
	state, err := assemble(c.id, m, func(n uint32) ([]byte, error) {
		b, err := chunk(n)
		if err != nil {
			return nil, err
		}
		return b, writeFile(filepath.Join(temp, chunkName(n)), b)
	})
	if err != nil {
		if errors.Is(err, ledger.ErrSnapshot) {
			err = fmt.Errorf("%w: %w", ErrRefused, err)
		}
		return errors.Join(err, os.RemoveAll(temp))
	}
	if err := c.keepRoad(road, header, m.Block, state); err != nil { // before the snapshot, as with blocks
		return errors.Join(err, os.RemoveAll(temp))
	}
	if err := c.snapshots.finish(temp, header.Height, encoded); err != nil {
		if gone := c.changes.forget(c.Height() + 1); gone != nil {
			c.failed = fmt.Errorf("%w: %w", ErrFailed, gone)
		}
		return errors.Join(err, c.failed, os.RemoveAll(temp))
	}
	if err := c.segments.restart(header.Height + 1); err != nil {
		c.failed = fmt.Errorf("%w: %w", ErrFailed, err)
		return c.failed
	}
	c.publish(view{state: state, block: m.Block})
	return nil
}
