package settlement

import (
	"context"
	"errors"
	"slices"

	"github.com/shardy-network/orchestrator/actors/ledger"
	"github.com/shardy-network/orchestrator/actors/settle"
	"github.com/shardy-network/orchestrator/mesh/chain"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

// following hears every block until ctx ends, and then returns nil, or until blocks end.
func (s *Settlement) following(ctx context.Context) error {
	for {
		b, err := s.blocks.Next(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, chain.ErrPruned):
			if err := s.skip(); err != nil {
				return err
			}
			continue
		case err != nil:
			return err
		}
		s.block(b)
	}
}

// skip goes on behind blocks that are not there any more. What they did is found out from the ledger's refusals.
func (s *Settlement) skip() error {
	to := s.blocks.Skip()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.remembered(to); err != nil {
		return err
	}
	s.config.Logger.Warn("settlement passes over blocks that are not kept", "from", s.book.Height()+1, "to", to-1)
	s.gap = true
	return nil
}

// unheard takes from the road what was executed in blocks whose receipts are not there: they were passed over, or came
// with a snapshot. It must be called with the lock held.
func (s *Settlement) unheard() {
	s.gap = false
	executed := s.config.Ledger.State().Executed
	s.book.Unheard(executed)
	s.road = slices.DeleteFunc(s.road, func(t *trip) bool { return executed(t.id) })
	s.dirty = true
}

// block hears one block. Only receipts of own transactions are looked at.
func (s *Settlement) block(b chain.Committed) {
	end := s.pace.work()
	s.mu.Lock()
	var own []*ledgerv1.Receipt
	for _, r := range b.Receipts {
		i := s.find(r.GetTransaction())
		if i < 0 || r.Code == ledgerv1.ReceiptCode_RECEIPT_CODE_REPLAYED {
			continue
		}
		own = append(own, r)
		s.money(s.road[i], r)
		s.road = append(s.road[:i], s.road[i+1:]...)
	}
	s.refused(s.book.Committed(b.Height, own))
	before := len(s.road)
	s.road = slices.DeleteFunc(s.road, func(t *trip) bool { return t.until <= b.Height })
	s.dirty = s.dirty || len(own) > 0 || len(s.road) != before
	if s.gap || len(b.Receipts) < len(b.Block.GetBlock().GetTransactions()) {
		s.unheard()
	}
	s.look()
	doubts := len(s.book.Doubts(1)) > 0
	s.mu.Unlock()
	end()
	signal(s.kick)
	if doubts {
		signal(s.doubted)
	}
}

// find is the place of a transaction on the road, or -1. It must be called with the lock held.
func (s *Settlement) find(id []byte) int {
	if len(id) != len(ledger.Hash{}) {
		return -1
	}
	for i, t := range s.road {
		if t.id == ledger.Hash(id) {
			return i
		}
	}
	return -1
}

// money notes what a receipt says about the own account. It must be called with the lock held.
func (s *Settlement) money(t *trip, r *ledgerv1.Receipt) {
	switch r.Code {
	case ledgerv1.ReceiptCode_RECEIPT_CODE_OK:
		s.poor = nil
	case ledgerv1.ReceiptCode_RECEIPT_CODE_INSUFFICIENT_BALANCE:
		s.impoverish(t.need)
	}
}

// refused notes what the ledger will never do. It must be called with the lock held.
func (s *Settlement) refused(all []settle.Refusal) {
	for _, r := range all {
		s.refusal = &Refused{Refusal: r, Height: s.book.Height(), At: s.now()}
		if s.loud("refused " + r.Code.String()) {
			s.config.Logger.Warn("the ledger refuses a deed for good", "kind", r.Kind, "job", r.Job, "code", r.Code, "detail", r.Detail)
		}
	}
}
