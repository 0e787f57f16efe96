package ordered_test

import (
	"context"
	"testing"
	"time"

	"github.com/shardy-network/orchestrator/mesh/blocksync"
	"github.com/shardy-network/orchestrator/mesh/chain"
	"github.com/shardy-network/orchestrator/mesh/chain/chaintest"
	"github.com/shardy-network/orchestrator/mesh/chain/ordered"
	"github.com/shardy-network/orchestrator/mesh/consensus"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

var _ consensus.Puller = (*blocksync.Client)(nil)

// nobody is the puller of a validator that is alone.
type nobody struct{}

func (nobody) Target(context.Context) (uint64, error) { return 0, nil }

func (nobody) Pull(context.Context, uint64, uint64, func(*ledgerv1.CertifiedBlock) error) error {
	return blocksync.ErrNobody
}

// TestAlone has an engine of one validator order transactions for a chain on disk, across a restart of both.
func TestAlone(t *testing.T) {
	m := chaintest.New(t, 1, 2)
	key := m.Validators[0]
	me, ok := consensus.KeyOf(chaintest.Public(key))
	if !ok {
		t.Fatal("no key")
	}
	dir, votes := t.TempDir(), t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	for range 2 {
		c, err := chain.Open(chain.Config{Dir: dir, Genesis: m.Genesis})
		if err != nil {
			t.Fatal(err)
		}
		e, err := consensus.Open(consensus.Config{
			Chain: chaintest.ChainID, Key: key, Dir: votes, Application: ordered.Application{Chain: c},
			Transport: consensus.NewExchange().Join(me), Puller: nobody{}, FreshLog: true,
		})
		if err != nil {
			t.Fatal(err)
		}
		before := c.Height()
		tx := m.Transfer(chaintest.Key(1000), chaintest.Key(1001), 7)
		checked, err := c.Check(tx)
		if err != nil {
			t.Fatal(err)
		}
		if err := e.Submit(ctx, tx); err != nil {
			t.Fatal(err)
		}
		o, err := c.Await(ctx, checked.ID())
		if err != nil || o.Receipt.Code != ledgerv1.ReceiptCode_RECEIPT_CODE_OK || o.Height != before+1 {
			t.Fatal(o, err)
		}
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
