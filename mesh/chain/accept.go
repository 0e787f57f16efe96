package chain

import (
	"bytes"
	"context"
	"fmt"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/shardy-network/orchestrator/actors/ledger"
	"github.com/shardy-network/orchestrator/actors/ledger/light"
	"github.com/shardy-network/orchestrator/actors/ledger/seal"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

// Accept makes blocks of others a part of the chain, in order: they must follow each other, and the last block of the
// chain; those that it has already are passed over. Each is held against its link, its certificate, the root of its
// transactions, their signatures, and what comes out when they are executed; all are on disk before one is published.
//
// It returns how many blocks are in the chain now, those it had before included. An error that wraps ErrRefused, ErrGap
// or ErrFork is the fault of the block after them; any other is not the blocks' fault.
func (c *Chain) Accept(ctx context.Context, blocks []*ledgerv1.CertifiedBlock) (int, error) {
	c.commit.Lock()
	defer c.commit.Unlock()
	if c.failed != nil {
		return 0, c.failed
	}
	done, err := c.passOver(blocks)
	for err == nil && done < len(blocks) {
		if err = ctx.Err(); err != nil {
			break
		}
		n := batchOf(blocks[done:])
		var accepted int
		accepted, err = c.accept(blocks[done : done+n])
		done += accepted
	}
	return done, err
}

// batchOf is how many blocks are written at once: what is verified and not yet written is bounded.
func batchOf(blocks []*ledgerv1.CertifiedBlock) int {
	size := 0
	for i, b := range blocks {
		for _, t := range b.GetBlock().GetTransactions() {
			size += len(t)
		}
		if i == 64 || size > 8<<20 {
			return max(i, 1)
		}
	}
	return len(blocks)
}

// passOver counts the blocks in front that the chain has already.
func (c *Chain) passOver(blocks []*ledgerv1.CertifiedBlock) (int, error) {
	height := c.Height()
	for i, b := range blocks {
		h, err := light.ParseHeader(c.id, b.GetBlock().GetHeader())
		if err != nil {
			return i, fmt.Errorf("%w: %w", ErrRefused, err)
		}
		if h.Height > height {
			return i, nil
		}
		if err := c.same(h.Height, b); err != nil {
			return i, err
		}
	}
	return len(blocks), nil
}

// same refuses a block at a committed height that is not the one committed there.
func (c *Chain) same(height uint64, b *ledgerv1.CertifiedBlock) error {
	there, err := c.Block(height)
	if err != nil {
		return nil // pruned: nothing is known, and nothing depends on it
	}
	if !bytes.Equal(there.Block.Header, b.GetBlock().GetHeader()) {
		return fmt.Errorf("%w: height %d", ErrFork, height)
	}
	return nil
}

// accept verifies blocks and appends those before the first bad one.
func (c *Chain) accept(blocks []*ledgerv1.CertifiedBlock) (int, error) {
	v := *c.view.Load()
	n, refused := c.linked(v.state, blocks)
	n, refused = earlier(n, refused)(c.certified(v.state.Validators(), blocks[:n]))
	checked, err := c.checkAll(blocks[:n])
	n, refused = earlier(n, refused)(len(checked), err)
	views := make([]view, 0, n)
	for i, b := range blocks[:n] {
		next, err := c.execute(v.state, b.Block.Header, checked[i])
		if err != nil {
			refused = fmt.Errorf("%w: %w", ErrRefused, err)
			break
		}
		v = view{state: next.State, block: b, receipts: next.Receipts}
		views = append(views, v)
	}
	if err := c.append(views); err != nil {
		return 0, err
	}
	return len(views), refused
}

// earlier keeps what was found at the lower of two indexes.
func earlier(n int, err error) func(int, error) (int, error) {
	return func(m int, other error) (int, error) {
		if other != nil || m < n {
			return m, other
		}
		return n, err
	}
}

// linked counts the blocks that follow a state and each other, by their headers.
func (c *Chain) linked(s ledger.State, blocks []*ledgerv1.CertifiedBlock) (int, error) {
	height, parent := s.Height(), s.Head()
	for i, b := range blocks {
		header := b.GetBlock().GetHeader()
		h, err := light.ParseHeader(c.id, header)
		if err != nil {
			return i, fmt.Errorf("%w: %w", ErrRefused, err)
		}
		if h.Height != height+1 || !bytes.Equal(h.Parent, parent[:]) {
			return i, fmt.Errorf("%w: height %d with parent %x, after %d %x", ErrGap, h.Height, h.Parent, height, parent)
		}
		height, parent = h.Height, seal.HeaderHash(header)
		if _, err := c.cfg.Trusted.vouches(height, parent); err != nil {
			return i, err
		}
	}
	return len(blocks), nil
}

// certified counts the blocks in front that a quorum of these validators has signed. It ends without an error where a
// block is of later validators: they are known when the blocks before it are executed.
func (c *Chain) certified(set *ledgerv1.ValidatorSet, blocks []*ledgerv1.CertifiedBlock) (int, error) {
	of := len(blocks)
	for i, b := range blocks {
		if h, err := light.ParseHeader(c.id, b.Block.Header); err != nil || h.ValidatorsVersion != set.GetVersion() {
			of = max(i, 1)
			break
		}
	}
	n, err := c.firstBad(of, func(i int) error {
		return light.VerifyCertificate(blocks[i].Block.Header, set, blocks[i].Certificate)
	})
	if err != nil {
		return n, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	return n, nil
}

// checkAll checks the transactions of blocks, in parallel, and returns those of all blocks before the first bad one.
func (c *Chain) checkAll(blocks []*ledgerv1.CertifiedBlock) ([][]ledger.Checked, error) {
	if len(blocks) == 1 { // as an engine commits them: what it has proposed or verified
		if d, ok := c.drafts.get(blocks[0].GetBlock().GetHeader()); ok && d.of(blocks[0].Block.Transactions) {
			return [][]ledger.Checked{d.checked}, nil
		}
	}
	good, refused := c.firstBad(len(blocks), func(i int) error { return c.holds(blocks[i].Block) })
	type place struct{ block, index int }
	var places []place
	checked := make([][]ledger.Checked, good)
	for i, b := range blocks[:good] {
		checked[i] = make([]ledger.Checked, len(b.Block.Transactions))
		for j := range b.Block.Transactions {
			places = append(places, place{i, j})
		}
	}
	n, err := c.firstBad(len(places), func(i int) (err error) {
		p := places[i]
		checked[p.block][p.index], err = c.verified.check(c.id, blocks[p.block].Block.Transactions[p.index])
		return err
	})
	if err != nil {
		good, refused = places[n].block, err
	}
	if refused != nil {
		refused = fmt.Errorf("%w: %w", ErrRefused, refused)
	}
	return checked[:good], refused
}

// holds refuses a block that does not hold the transactions of its header, or more than any block can.
func (c *Chain) holds(b *ledgerv1.Block) error {
	h, err := light.ParseHeader(c.id, b.GetHeader())
	if err != nil {
		return err
	}
	if len(b.Transactions) > ledger.MaxBlockTransactions {
		return fmt.Errorf("block %d has %d transactions, limit %d", h.Height, len(b.Transactions), ledger.MaxBlockTransactions)
	}
	if root := seal.Root(b.Transactions); !bytes.Equal(root[:], h.Transactions) {
		return fmt.Errorf("block %d does not hold the transactions of its header", h.Height)
	}
	return nil
}

// execute makes the state after a block, or remembers it: most blocks were proposed or verified here before.
func (c *Chain) execute(s ledger.State, header []byte, checked []ledger.Checked) (ledger.Next, error) {
	if d, ok := c.drafts.get(header); ok {
		return d.Next, nil
	}
	return s.Verify(header, checked)
}

// firstBad calls f for 0..n-1, in parallel, and returns the first index that is refused, or n.
func (c *Chain) firstBad(n int, f func(i int) error) (int, error) {
	errs := make([]error, n)
	const stride = 8
	var g errgroup.Group
	g.SetLimit(c.workers)
	var bad atomic.Int64 // what lies behind it need not be looked at
	bad.Store(int64(n))
	for from := 0; from < n; from += stride {
		g.Go(func() error {
			for i := from; i < min(from+stride, n) && int64(i) <= bad.Load(); i++ {
				if errs[i] = f(i); errs[i] != nil {
					for b := bad.Load(); int64(i) < b && !bad.CompareAndSwap(b, int64(i)); b = bad.Load() {
					}
					return nil
				}
			}
			return nil
		})
	}
	_ = g.Wait() // none returns an error
	if b := int(bad.Load()); b < n {
		return b, errs[b]
	}
	return n, nil
}

// append puts blocks on disk, all with one sync, and then publishes them.
func (c *Chain) append(views []view) error {
	if len(views) == 0 {
		return nil
	}
	synced := views[0].state.Height() - 1
	records := make([][]byte, len(views))
	for i, v := range views {
		var err error
		records[i], err = appendRecord(nil, v.state.Height(), synced, v.block, ledger.EncodeReceipts(v.receipts))
		if err != nil {
			return err
		}
	}
	if err := c.keepChanges(c.State(), views); err != nil {
		c.failed = fmt.Errorf("%w: %w", ErrFailed, err)
		return c.failed
	}
	if err := c.segments.append(records); err != nil {
		c.failed = fmt.Errorf("%w: %w", ErrFailed, err)
		return c.failed
	}
	for _, v := range views {
		c.publish(v)
	}
	return nil
}

// publish makes a view the last one.
func (c *Chain) publish(v view) {
	v.changed = make(chan struct{})
	c.recent.add(v.state, v.receipts)
	c.drafts.clear()
	old := c.view.Swap(&v)
	close(old.changed)
	c.orderSnapshot()
}
