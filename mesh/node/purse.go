package node

import (
	"sync"

	"github.com/shardy-network/orchestrator/actors/ledger"
)

// maxPurses bounds the senders that are counted between two blocks. Each of them has had money for a fee.
const maxPurses = 1 << 16

// purses count what senders could pay for. A fee is taken when a transaction is executed, and each by itself is looked at
// with all the money of its sender: without a count, whoever can pay for one could fill every pool with thousands.
type purses struct {
	mu     sync.Mutex
	height uint64            // of the state that is counted against
	taken  map[string]uint64 // transactions of a sender since then
}

// fees is how many transactions a sender can pay for.
func fees(s ledger.State, sender []byte) uint64 {
	fee := s.Params().Fee
	if fee == 0 {
		return 1 << 62
	}
	a, _ := s.Account(sender)
	return a.Balance / fee
}

// take counts a transaction, and reports false for one that its sender could not pay for beside those before it.
func (p *purses) take(s ledger.State, c ledger.Checked) bool {
	sender := string(c.Body().Sender)
	most := fees(s, c.Body().Sender)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.taken == nil || p.height != s.Height() {
		p.height, p.taken = s.Height(), map[string]uint64{}
	}
	n := p.taken[sender]
	if n >= most {
		return false
	}
	if n > 0 || len(p.taken) < maxPurses {
		p.taken[sender] = n + 1
	}
	return true
}
