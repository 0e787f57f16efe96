package consensus

import (
	"errors"
	"testing"
	"time"

	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

// TestDeadlock: an instance that does not go on from a block is replaced, one that does is not. That the library still says
// when it does is held as well.
func TestDeadlock(t *testing.T) {
	t.Parallel()
	net := newNetwork(t, 1, nil)
	n := net.startAll()[0]
	txs := toyTxs(0, 20)
	net.submit([]*node{n}, txs...)
	net.awaitTxs([]*node{n}, txs)
	in := n.engine.running.Load()
	net.await("a library that says of every block that it has handed it over and goes on", func() bool {
		return in.decisions.Load() == n.ledger.Height() && in.deciding.Load() == 0
	})
	in.decides(true)
	net.await("another instance", func() bool { o := n.engine.running.Load(); return o != nil && o != in })
	more := toyTxs(1000, 20)
	net.submit([]*node{n}, more...)
	net.awaitTxs([]*node{n}, more)
	if s := n.engine.Status(); s.Restarts != 1 || !errors.Is(*in.failure.Load(), errDeadlock) {
		t.Fatalf("status %+v, %v", s, *in.failure.Load())
	}
}

// slow is an application whose disk takes its time.
type slow struct {
	Application
	takes time.Duration
}

func (s slow) Commit(b *ledgerv1.Block, c *ledgerv1.Certificate) error {
	time.Sleep(s.takes) // the fault
	return s.Application.Commit(b, c)
}

// TestSlowDisk: a library that waits for the disk is not taken for one that does not go on.
func TestSlowDisk(t *testing.T) {
	t.Parallel()
	net := newNetwork(t, 1, func(c *Config) {
		c.Heartbeat, c.Tick = 800*time.Millisecond, 20*time.Millisecond
		c.Application = slow{c.Application, 5 * c.feedEvery()}
	})
	n := net.startAll()[0]
	for i := range 3 {
		net.submit([]*node{n}, toyTx(i))
		net.awaitTxs([]*node{n}, toyTxs(0, i+1))
	}
	if s := n.engine.Status(); s.Restarts != 0 {
		t.Fatalf("status %+v", s)
	}
}
