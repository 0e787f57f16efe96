package chain

import (
	"testing"

	"github.com/shardy-network/orchestrator/actors/ledger"
	"github.com/shardy-network/orchestrator/mesh/chain/chaintest"
)

// TestAwaitWhilePublished waits for a transaction in the moment when it is known where it is, and its block is not shown
// yet.
func TestAwaitWhilePublished(t *testing.T) {
	m := chaintest.New(t, 1, 2)
	c, err := Open(Config{Dir: t.TempDir(), Genesis: m.Genesis})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	b := m.Next(m.Transfer(chaintest.Key(1000), chaintest.Key(1001), 1))
	c.recent.add(m.State, m.Receipts[0])
	id := ledger.Hash(m.Receipts[0][0].Transaction)
	got := make(chan error, 1)
	began := make(chan struct{})
	go func() {
		close(began)
		o, err := c.Await(t.Context(), id)
		if err == nil && o.Height != 1 {
			t.Errorf("block %d", o.Height)
		}
		got <- err
	}()
	<-began
	if _, err := c.Find(id); err == nil {
		t.Error("found before it is there")
	}
	if err := c.Commit(b.Block, b.Certificate); err != nil {
		t.Fatal(err)
	}
	if err := <-got; err != nil {
		t.Fatal(err)
	}
}
