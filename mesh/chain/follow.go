package chain

import (
	"context"
	"fmt"
	"sync"

	"github.com/shardy-network/orchestrator/actors/ledger"
	"github.com/shardy-network/orchestrator/actors/ledger/seal"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

// maxRecent is how many transactions are remembered with the block that they are in.
const maxRecent = 1 << 17

// recent knows where the last transactions are.
type recent struct {
	mu    sync.Mutex
	at    map[ledgerHash]spot
	order []ledgerHash // as they came; a ring when it is full
	next  int          // of the ring
}

// spot is where a transaction is. One that its block did not execute (it was too early, or expired) has no final spot.
type spot struct {
	height uint64
	index  uint32
	final  bool
}

func newRecent() *recent { return &recent{at: map[ledgerHash]spot{}} }

// add notes what was in the block that led to a state.
func (r *recent) add(s ledger.State, receipts []*ledgerv1.Receipt) {
	r.note(s.Height(), receipts, func(receipt *ledgerv1.Receipt) bool { return s.Executed(ledgerHash(receipt.Transaction)) })
}

// addOld notes what was in a block whose state is no longer there.
func (r *recent) addOld(height uint64, receipts []*ledgerv1.Receipt) {
	r.note(height, receipts, func(receipt *ledgerv1.Receipt) bool {
		return receipt.Code != ledgerv1.ReceiptCode_RECEIPT_CODE_EXPIRED && receipt.Code != ledgerv1.ReceiptCode_RECEIPT_CODE_OUT_OF_RANGE
	})
}

// note keeps the block that executed a transaction: a repetition, or a block that held it too early, does not hide it.
func (r *recent) note(height uint64, receipts []*ledgerv1.Receipt, executed func(*ledgerv1.Receipt) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, receipt := range receipts {
		if receipt.Code == ledgerv1.ReceiptCode_RECEIPT_CODE_REPLAYED || len(receipt.Transaction) != len(ledgerHash{}) {
			continue
		}
		id := ledgerHash(receipt.Transaction)
		here := spot{height, uint32(i), executed(receipt)}
		there, known := r.at[id]
		if known && (there.final || !here.final) {
			continue
		}
		if !known {
			r.remember(id)
		}
		r.at[id] = here
	}
}

// remember forgets the oldest when there is no room.
func (r *recent) remember(id ledgerHash) {
	if len(r.order) < maxRecent {
		r.order = append(r.order, id)
		return
	}
	delete(r.at, r.order[r.next])
	r.order[r.next] = id
	r.next = (r.next + 1) % maxRecent
}

func (r *recent) get(id ledgerHash) (spot, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s, ok := r.at[id]
	return s, ok
}

// Outcome is what became of a transaction.
type Outcome struct {
	Height      uint64 // of the block that holds it
	Index       int    // in the block
	Transaction []byte // encoded SignedTransaction
	Receipt     *ledgerv1.Receipt
}

// Await waits until a transaction is in a block. Of one that is in a block already it knows as much as Find.
func (c *Chain) Await(ctx context.Context, id ledger.Hash) (Outcome, error) {
	for {
		v := c.view.Load()
		if s, ok := c.recent.get(id); ok && s.height <= v.state.Height() { // a later block is just about to be shown
			return c.outcome(s, id)
		}
		select {
		case <-v.changed:
		case <-ctx.Done():
			return Outcome{}, context.Cause(ctx)
		case <-c.stop:
			return Outcome{}, ErrClosed
		}
	}
}

func (c *Chain) outcome(s spot, id ledgerHash) (Outcome, error) {
	b, err := c.At(s.height)
	if err != nil {
		return Outcome{}, err
	}
	if int(s.index) >= len(b.Receipts) || ledgerHash(b.Receipts[s.index].Transaction) != id {
		return Outcome{}, fmt.Errorf("%w: transaction %x in block %d", ErrDamaged, id, s.height)
	}
	return Outcome{s.height, int(s.index), b.Block.Block.Transactions[s.index], b.Receipts[s.index]}, nil
}

// Find returns what became of one of the last transactions, or ErrNotFound.
func (c *Chain) Find(id ledger.Hash) (Outcome, error) {
	s, ok := c.recent.get(id)
	if !ok {
		return Outcome{}, fmt.Errorf("%w: transaction %x", ErrNotFound, id)
	}
	return c.outcome(s, id)
}

// Committed is a block of the chain.
type Committed struct {
	Height   uint64
	Hash     ledger.Hash
	Block    *ledgerv1.CertifiedBlock
	Receipts []*ledgerv1.Receipt // one for each transaction; nil when the block came with a snapshot
}

// At returns a block, or ErrNotFound above the last one and ErrPruned below the first one that is kept. Nothing in it may
// be changed.
func (c *Chain) At(height uint64) (Committed, error) {
	v := c.view.Load()
	switch {
	case height == v.state.Height():
		return Committed{height, v.state.Head(), v.block, v.receipts}, nil
	case height > v.state.Height():
		return Committed{}, fmt.Errorf("%w: block %d", ErrNotFound, height)
	case height == 0:
		return Committed{0, seal.HeaderHash(c.origin.Block.Header), c.origin, nil}, nil
	}
	r, err := c.segments.read(height)
	if err != nil {
		return Committed{}, err
	}
	b, receipts, err := r.decode()
	if err != nil {
		return Committed{}, err
	}
	return Committed{height, seal.HeaderHash(b.Block.Header), b, receipts}, nil
}

// Block returns a block with its certificate; genesis has none. See At.
func (c *Chain) Block(height uint64) (*ledgerv1.CertifiedBlock, error) {
	b, err := c.At(height)
	return b.Block, err
}

// Follower hands out the blocks of a chain in order, each once. It is used by one goroutine at a time, and needs no end.
type Follower struct {
	chain *Chain
	next  uint64
}

// Follow begins with the block at a height. Blocks that are on disk already are read from there, so that a slow follower
// costs nothing and loses nothing.
func (c *Chain) Follow(from uint64) *Follower { return &Follower{c, from} }

// Next waits for the next block. ErrPruned: it is no longer there, because it is old or because the chain went on from a
// snapshot behind it; Skip says where to go on.
func (f *Follower) Next(ctx context.Context) (Committed, error) {
	for {
		v := f.chain.view.Load()
		if f.next <= v.state.Height() {
			b, err := f.chain.At(f.next)
			if err == nil {
				f.next++
			}
			return b, err
		}
		select {
		case <-v.changed:
		case <-ctx.Done():
			return Committed{}, context.Cause(ctx)
		case <-f.chain.stop:
			return Committed{}, ErrClosed
		}
	}
}

// Skip goes to the first block that is there and was not handed out, and returns its height.
func (f *Follower) Skip() uint64 {
	low := f.chain.Status().Low
	if h := f.chain.Height(); low > h {
		low = h // what came with a snapshot
	}
	f.next = max(f.next, low)
	return f.next
}
