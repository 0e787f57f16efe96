package chain

import (
	"errors"

	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

// orderSnapshot has the present state written when it is its turn. While one is being written, only the newest waits.
func (c *Chain) orderSnapshot() {
	v := c.view.Load()
	h := v.state.Height()
	if h == 0 || h%c.cfg.SnapshotBlocks != 0 || h <= c.snapshots.newest() {
		return
	}
	for {
		select {
		case c.exports <- *v:
			return
		default:
		}
		select {
		case <-c.exports:
		default:
		}
	}
}

// writeSnapshots is the goroutine that writes what was ordered, then removes what is no longer needed.
func (c *Chain) writeSnapshots() {
	defer c.writer.Done()
	for {
		select {
		case v := <-c.exports:
			c.writeSnapshot(v)
		case <-c.stop:
			return
		}
	}
}

func (c *Chain) writeSnapshot(v view) {
	height := v.state.Height()
	err := c.snapshots.write(v.state, v.block, c.stop)
	if errors.Is(err, ErrClosed) {
		return
	}
	if err == nil {
		err = c.snapshots.prune(c.cfg.KeepSnapshots)
	}
	if err == nil {
		err = c.pruneBlocks()
	}
	if err != nil { // the blocks are there, so the next opening only takes longer
		c.cfg.Log.Error("snapshot cannot be written", "height", height, "error", err)
	}
}

// pruneBlocks removes blocks that nobody is promised. Those after the oldest snapshot lead on from it.
func (c *Chain) pruneBlocks() error {
	heights := c.snapshots.list()
	height := c.Height()
	if c.cfg.KeepBlocks == 0 || height <= c.cfg.KeepBlocks || len(heights) == 0 {
		return nil
	}
	return c.segments.prune(min(height-c.cfg.KeepBlocks, heights[0]) + 1)
}

// Manifest describes the newest snapshot, or one of a height; ErrNotFound: there is none.
func (c *Chain) Manifest(height uint64) (*ledgerv1.SnapshotManifest, error) {
	return c.snapshots.manifest(height)
}

// Chunk returns an encoded chunk of a snapshot, as its manifest's hashes name it.
func (c *Chain) Chunk(height uint64, n uint32) ([]byte, error) { return c.snapshots.chunk(height, n) }
