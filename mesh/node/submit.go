package node

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/shardy-network/orchestrator/actors/ledger"
	"github.com/shardy-network/orchestrator/actors/ledger/light"
	"github.com/shardy-network/orchestrator/mesh"
	"github.com/shardy-network/orchestrator/mesh/consensus"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

// The refusals of a node. Of transactions that can be in no block, Submit returns those of package ledger.
var (
	ErrClosed = errors.New("node: closed")
	ErrFailed = errors.New("node: has given up")
	ErrFull   = errors.New("node: too many transactions wait")
)

// Refusal is what the next block would say of a transaction, or of evidence.
type Refusal struct {
	Code   ledgerv1.ReceiptCode
	Detail string
}

// Error implements error.
func (r *Refusal) Error() string {
	if r.Detail != "" {
		return fmt.Sprintf("node: the next block would refuse it: %s: %s", r.Code, r.Detail)
	}
	return fmt.Sprintf("node: the next block would refuse it: %s", r.Code)
}

// errPoor refuses what its sender can pay for, but not beside what waits already.
var errPoor = &Refusal{
	Code: ledgerv1.ReceiptCode_RECEIPT_CODE_INSUFFICIENT_BALANCE, Detail: "the fees of what waits take all that the sender has",
}

// Submit takes a transaction and returns its id. While the process lives, it is offered until it is in a block or expired.
// One that waits already is taken again without effect; of one that was in a block, the id comes with a *Refusal. It waits
// for room while ctx allows.
func (n *Node) Submit(ctx context.Context, tx []byte) (ledger.Hash, error) {
	switch {
	case n.failure.Load() != nil:
		return ledger.Hash{}, ErrFailed
	case n.ctx.Err() != nil:
		return ledger.Hash{}, ErrClosed
	}
	c, err := n.chain.Check(tx)
	if err != nil {
		return ledger.Hash{}, fmt.Errorf("node: submit: %w", err)
	}
	s := n.chain.State()
	if code := s.Screen(c); code != ledgerv1.ReceiptCode_RECEIPT_CODE_OK {
		return c.ID(), &Refusal{Code: code}
	}
	fresh, err := n.waiting.add(c, fees(s, c.Body().Sender))
	if errors.Is(err, errPoor) { // or what waits was paid for just now
		n.waiting.sweep(s, c.Body().Sender)
		fresh, err = n.waiting.add(c, fees(s, c.Body().Sender))
	}
	if err != nil || !fresh {
		return c.ID(), err
	}
	if err := n.offer(ctx, c); err != nil {
		n.waiting.drop(c.ID())
		return c.ID(), err
	}
	n.gossip(c)
	return c.ID(), nil
}

// votes reports whether this orchestrator is a validator of the next block.
func (n *Node) votes() bool { return light.Member(n.chain.Validators(), n.key) }

// offer hands a transaction to the engine, if it orders. One that is just being started anew gets it later (spread).
func (n *Node) offer(ctx context.Context, c ledger.Checked) error {
	e := n.engine.Load()
	if e == nil || !n.votes() {
		return nil
	}
	err := e.Submit(ctx, c.Encoded())
	switch {
	case err == nil:
		n.waiting.given(c.ID(), e)
		return nil
	case errors.Is(err, consensus.ErrFull):
		return fmt.Errorf("%w: %w", ErrFull, err)
	case errors.Is(err, consensus.ErrClosed):
		return nil
	}
	return fmt.Errorf("node: submit: %w", err)
}

// gossip tells the others, if there are any: what is said to nobody would be taken for said.
func (n *Node) gossip(c ledger.Checked) {
	if len(n.mesh.Host().Network().Peers()) == 0 {
		return
	}
	switch err := n.mesh.Submit(c.Encoded()); {
	case err == nil:
		n.waiting.said(c.ID(), time.Now())
	case errors.Is(err, mesh.ErrBusy) || errors.Is(err, mesh.ErrClosed) || errors.Is(err, mesh.ErrNotNow):
	default:
		n.log.Warn("transaction not passed on", "error", err)
	}
}

// repeatAfter is when an observer says a transaction again. Gossip remembers for two minutes what was said.
const repeatAfter = 130 * time.Second

// spread offers what waits until it is in a block: to each new engine, and to the others as long as this is an observer.
func (n *Node) spread(ctx context.Context) {
	tick := time.NewTicker(n.cfg.Heartbeat)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-n.waiting.wake:
		case <-ctx.Done():
			return
		}
		n.waiting.sweep(n.chain.State(), nil)
		if n.votes() {
			n.offerAll(ctx)
			continue
		}
		if len(n.mesh.Host().Network().Peers()) == 0 {
			continue
		}
		var again [][]byte
		for _, c := range n.waiting.unsaid(time.Now().Add(-repeatAfter), 8*mesh.MaxBatch) {
			again = append(again, c.Encoded())
		}
		if len(again) == 0 {
			continue
		}
		if err := n.mesh.PublishTransactions(ctx, again); err != nil && ctx.Err() == nil {
			n.log.Debug("transactions not passed on", "count", len(again), "error", err)
		}
	}
}

// offerAll gives an engine what it has not got.
func (n *Node) offerAll(ctx context.Context) {
	e := n.engine.Load()
	if e == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, n.cfg.Heartbeat)
	defer cancel()
	for _, c := range n.waiting.without(e) {
		if err := n.offer(ctx, c); err != nil {
			return // at the next tick
		}
	}
}

// salt makes the id of a transaction unique.
func salt() []byte {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // never fails
	return b
}
