package blocksync

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/shardy-network/orchestrator/mesh/chain"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

// CatchUp brings the chain to where the others are and returns its height then. It goes on from a snapshot when nobody has
// the blocks any more, or when it is very far behind; else by blocks. ErrNoTarget: nobody could be asked.
func (c *Client) CatchUp(ctx context.Context) (uint64, error) {
	for {
		reports, target := c.targets(ctx)
		if ctx.Err() != nil {
			return c.chain.Height(), context.Cause(ctx)
		}
		if len(reports) == 0 {
			return c.chain.Height(), ErrNoTarget
		}
		height := c.chain.Height()
		if target <= height {
			return height, nil
		}
		var refused error
		if c.wantsSnapshot(height, target, reports) {
			if refused = c.joinBySnapshot(ctx); refused == nil {
				continue // blocks have been made since
			}
			c.cfg.Log.Warn("no snapshot to go on from", "height", height, "error", refused)
		}
		err := c.pullInto(ctx, target)
		if errors.Is(err, ErrNobody) && refused == nil && c.cfg.Dir != "" { // whoever said to have the blocks has not
			if refused = c.joinBySnapshot(ctx); refused == nil {
				continue
			}
		}
		if err != nil {
			return c.chain.Height(), errors.Join(err, refused)
		}
		return c.chain.Height(), nil
	}
}

// targets asks validators, or everybody when too few of those answer: a joiner may know only validators of long ago. How
// far is only how far to try; what is taken is certified.
func (c *Client) targets(ctx context.Context) ([]report, uint64) {
	validators, faults := c.validators()
	reports := c.statuses(ctx, c.ranks.sort(validators, time.Now()))
	if len(reports) > faults {
		return reports, reports[faults].status.Height
	}
	reports = c.statuses(ctx, c.ranks.sort(c.everybody(), time.Now()))
	if len(reports) == 0 {
		return nil, 0
	}
	return reports, reports[min(faults, len(reports)-1)].status.Height
}

// wantsSnapshot reports whether going on by blocks is impossible or would take long.
func (c *Client) wantsSnapshot(height, target uint64, reports []report) bool {
	if c.cfg.Dir == "" {
		return false
	}
	byBlocks := false
	for _, r := range reports {
		byBlocks = byBlocks || r.status.LowHeight <= height+1 && r.status.Height > height
	}
	return !byBlocks || target-height >= c.cfg.SnapshotBehind
}

// pullInto fetches ranges and has the chain accept each as a whole: signatures are verified in parallel, and a range
// costs one sync. While one is accepted, the next one is fetched.
func (c *Client) pullInto(ctx context.Context, to uint64) error {
	l := &link{c: c, next: c.chain.Height() + 1}
	return c.walk(ctx, l, to, func(ctx context.Context, id peer.ID, l *link, to uint64) error {
		return c.pipe(ctx, id, l, to)
	})
}

// pipe fetches ranges from one peer and accepts them, until it fails or a height is reached.
func (c *Client) pipe(ctx context.Context, id peer.ID, l *link, to uint64) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type fetched struct {
		blocks []*ledgerv1.CertifiedBlock
		err    error
	}
	ranges := make(chan fetched)
	go func() {
		defer close(ranges)
		for next := l.next; next <= to; {
			var f fetched
			f.err = c.fetch(ctx, id, next, min(MaxRange, to-next+1), func(b *ledgerv1.CertifiedBlock) error {
				f.blocks = append(f.blocks, b)
				return nil
			})
			next += uint64(len(f.blocks))
			select {
			case ranges <- f:
			case <-ctx.Done():
				return
			}
			if f.err != nil {
				return
			}
		}
	}()
	defer func() {
		cancel()
		for range ranges { // until the goroutine has ended
		}
	}()
	for f := range ranges {
		n, err := c.chain.Accept(ctx, f.blocks)
		l.next += uint64(n)
		switch {
		case err == nil:
		case errors.Is(err, chain.ErrRefused) || errors.Is(err, chain.ErrGap) || errors.Is(err, chain.ErrFork):
			return fmt.Errorf("%w: %w", ErrLiar, err)
		case ctx.Err() != nil:
			return context.Cause(ctx)
		default:
			return fmt.Errorf("%w: %w", errAccept, err)
		}
		if f.err != nil {
			return f.err
		}
	}
	return nil
}
