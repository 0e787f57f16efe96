package consensus

import (
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

// TestProposalRestored stops all validators when the leader alone has a proposal in its log of votes. After the start it
// proposes it again, and the block comes in the same view: nobody had to complain.
func TestProposalRestored(t *testing.T) {
	t.Parallel()
	net := newNetwork(t, 4, func(c *Config) { c.Heartbeat = 5 * time.Second }) // long before anybody complains
	nodes := net.startAll()
	net.submit(nodes, toyTx(0))
	net.awaitTxs(nodes, toyTxs(0, 1))
	leader := net.leader()
	proposed := make(chan struct{}, 64)
	net.alterOf(leader.key, func(_ Key, m *message) []*message {
		if m.GetPrePrepare() != nil { // it is in the log before it is sent
			proposed <- struct{}{}
			return nil
		}
		return same1(m)
	})
	view := leader.certificate(t).View
	net.submit(nodes, toyTx(1))
	<-proposed
	for _, n := range nodes {
		net.stop(n)
	}
	net.x.Alter(nil)
	nodes = net.startAll()
	net.awaitTxs(nodes, toyTxs(1, 1))
	for _, n := range nodes {
		if c := n.certificate(t); c.View != view {
			t.Errorf("block %d came in view %d, the one before it in %d", c.Height, c.View, view)
		}
	}
	net.agree(nodes)
}

// certificate is of a node's last block.
func (n *node) certificate(t *testing.T) *ledgerv1.Certificate {
	t.Helper()
	b, err := n.ledger.Block(n.ledger.Height())
	if err != nil {
		t.Fatal(err)
	}
	return b.Certificate
}

// TestLossyLinks loses a fifth of what validators say to each other. All goes on without anybody being complained of.
func TestLossyLinks(t *testing.T) {
	t.Parallel()
	net := newNetwork(t, 4, func(c *Config) { c.Heartbeat = 4 * time.Second })
	nodes := net.startAll()
	net.submit(nodes, toyTx(0))
	net.awaitTxs(nodes, toyTxs(0, 1))
	view := nodes[0].certificate(t).View
	dice := rand.New(rand.NewPCG(1, 2))
	var mu sync.Mutex
	net.x.Alter(func(_, _ Key, frame []byte) [][]byte {
		mu.Lock()
		defer mu.Unlock()
		if dice.IntN(5) == 0 {
			return nil
		}
		return [][]byte{frame}
	})
	for i := range 5 {
		txs := toyTxs(10*i+10, 10)
		net.submit(nodes, txs...)
		net.awaitTxs(nodes, txs)
	}
	if c := nodes[0].certificate(t); c.View != view {
		t.Errorf("block %d came in view %d, the first one in %d", c.Height, c.View, view)
	}
	net.agree(nodes)
}
