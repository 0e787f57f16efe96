package operatortest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/actors/ledger"
	"github.com/shardy-network/orchestrator/actors/ledger/seal"
	"github.com/shardy-network/orchestrator/gateway/operator"
	"github.com/shardy-network/orchestrator/mesh/chain/chaintest"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

// Ledger is a real chain in memory, whose blocks are made when the test says so.
type Ledger struct {
	mu      sync.Mutex
	maker   *chaintest.Maker // guarded by mu, as all below
	genesis operator.LedgerBlock
	waiting [][]byte
	bells   map[chan struct{}]int // closed when more than so many wait
	full    bool
	low     uint64 // of the blocks that are kept
	reads   int    // of blocks
	found   map[ledger.Hash]operator.LedgerOutcome
	changes []*ledgerv1.ValidatorsProof // one for each version after the first
	changed chan struct{}               // closed by the next block
}

// NewLedger begins a chain of four validators, and of accounts with money: chaintest.Key(1000) and on.
func NewLedger(t testing.TB, accounts int) *Ledger {
	t.Helper()
	m := chaintest.New(t, 4, accounts)
	_, header, err := ledger.Genesis(m.Genesis)
	if err != nil {
		t.Fatal(err)
	}
	return &Ledger{
		maker: m, low: 1, bells: map[chan struct{}]int{}, found: map[ledger.Hash]operator.LedgerOutcome{}, changed: make(chan struct{}),
		genesis: operator.LedgerBlock{Hash: seal.HeaderHash(header), Block: &ledgerv1.CertifiedBlock{Block: &ledgerv1.Block{Header: header}}},
	}
}

// Make calls a function that may make transactions and blocks.
func (l *Ledger) Make(do func(m *chaintest.Maker)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	before := len(l.maker.Blocks)
	do(l.maker)
	for i := before; i < len(l.maker.Blocks); i++ {
		for n, r := range l.maker.Receipts[i] {
			id := ledger.Hash(r.Transaction)
			if _, known := l.found[id]; !known {
				l.found[id] = operator.LedgerOutcome{
					Height: uint64(i + 1), Index: n, Transaction: l.maker.Blocks[i].Block.Transactions[n], Receipt: r,
				}
			}
		}
	}
	if len(l.maker.Blocks) > before {
		close(l.changed)
		l.changed = make(chan struct{})
	}
}

// Mine makes a block of what was submitted.
func (l *Ledger) Mine() {
	l.Make(func(m *chaintest.Maker) {
		m.Next(l.waiting...)
		l.waiting = nil
	})
}

// Swap replaces a validator by the n-th candidate, in a block.
func (l *Ledger) Swap(n int) {
	l.Make(func(m *chaintest.Maker) {
		b := m.Swap(chaintest.Key(n))
		c, err := proto.Marshal(b.Certificate)
		if err != nil {
			m.T.Fatal(err)
		}
		l.changes = append(l.changes, &ledgerv1.ValidatorsProof{
			Header: b.Block.Header, Certificate: c, Proof: m.State.Prove(seal.ValidatorsKey()),
		})
	})
}

// Fill has the queue refuse what comes.
func (l *Ledger) Fill(full bool) { l.mu.Lock(); defer l.mu.Unlock(); l.full = full }

// Waiting is how many transactions are in the queue.
func (l *Ledger) Waiting() int { l.mu.Lock(); defer l.mu.Unlock(); return len(l.waiting) }

// Longer returns a channel that is closed when more than n transactions are in the queue.
func (l *Ledger) Longer(n int) <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	bell := make(chan struct{})
	if len(l.waiting) > n {
		close(bell)
		return bell
	}
	l.bells[bell] = n
	return bell
}

// Prune gives up the blocks below a height.
func (l *Ledger) Prune(low uint64) { l.mu.Lock(); defer l.mu.Unlock(); l.low = low }

// Reads is how many blocks were read.
func (l *Ledger) Reads() int { l.mu.Lock(); defer l.mu.Unlock(); return l.reads }

// State is the ledger after the last block.
func (l *Ledger) State() ledger.State { l.mu.Lock(); defer l.mu.Unlock(); return l.maker.State }

// Block returns a block.
func (l *Ledger) Block(height uint64) (operator.LedgerBlock, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reads++
	switch {
	case height == 0:
		return l.genesis, nil
	case height > uint64(len(l.maker.Blocks)):
		return operator.LedgerBlock{}, fmt.Errorf("%w: block %d", operator.ErrNotOnLedger, height)
	case height < l.low:
		return operator.LedgerBlock{}, fmt.Errorf("%w: block %d", operator.ErrLedgerPruned, height)
	}
	b := l.maker.Blocks[height-1]
	return operator.LedgerBlock{Hash: seal.HeaderHash(b.Block.Header), Block: b, Receipts: l.maker.Receipts[height-1]}, nil
}

// Prove proves a place.
func (l *Ledger) Prove(place ledger.Hash) (header, certificate []byte, p *ledgerv1.TrieProof, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	header = l.genesis.Block.Block.Header
	if n := len(l.maker.Blocks); n > 0 {
		header = l.maker.Blocks[n-1].Block.Header
		if certificate, err = proto.Marshal(l.maker.Blocks[n-1].Certificate); err != nil {
			return nil, nil, nil, err
		}
	}
	return header, certificate, l.maker.State.Prove(place), nil
}

// Changes proves what Swap did.
func (l *Ledger) Changes(after uint64, limit int) ([]*ledgerv1.ValidatorsProof, bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	rest := l.changes[after-1:]
	return rest[:min(limit, len(rest))], len(rest) > limit, nil
}

// Check is the ledger's.
func (l *Ledger) Check(encoded []byte) (ledger.Checked, error) {
	return ledger.Check(chaintest.ChainID, encoded)
}

// Submit puts a transaction into the queue, once.
func (l *Ledger) Submit(ctx context.Context, encoded []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.full:
		return operator.ErrLedgerFull
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case !slices.ContainsFunc(l.waiting, func(tx []byte) bool { return string(tx) == string(encoded) }):
		l.waiting = append(l.waiting, encoded)
		for bell, n := range l.bells {
			if len(l.waiting) > n {
				close(bell)
				delete(l.bells, bell)
			}
		}
	}
	return nil
}

// Find knows all that was in a block.
func (l *Ledger) Find(id ledger.Hash) (operator.LedgerOutcome, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	at, ok := l.found[id]
	if !ok {
		return at, operator.ErrNotOnLedger
	}
	return at, nil
}

// Await waits for a block.
func (l *Ledger) Await(ctx context.Context, id ledger.Hash) (operator.LedgerOutcome, error) {
	for {
		l.mu.Lock()
		at, ok := l.found[id]
		changed := l.changed
		l.mu.Unlock()
		if ok {
			return at, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return at, context.Cause(ctx)
		}
	}
}

// Genesis is that of the chain.
func (l *Ledger) Genesis() ([]byte, error) { return l.maker.Genesis, nil }

// Standing is made up.
func (l *Ledger) Standing() operator.LedgerStatus {
	l.mu.Lock()
	defer l.mu.Unlock()
	return operator.LedgerStatus{
		Genesis: l.genesis.Hash, Low: l.low, Consensus: &operatorv1.ConsensusStatus{Role: "validator", Pending: uint64(len(l.waiting))},
	}
}
