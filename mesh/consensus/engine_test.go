package consensus

import (
	"errors"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

func TestOneValidator(t *testing.T) {
	net := newNetwork(t, 1, nil)
	nodes := net.startAll()
	txs := toyTxs(0, 2000)
	net.submit(nodes, txs...)
	net.awaitTxs(nodes, txs)
	net.agree(nodes)

	net.stop(nodes[0])
	nodes = net.startAll()
	more := toyTxs(10000, 100)
	net.submit(nodes, more...)
	net.awaitTxs(nodes, append(txs, more...))
	net.agree(nodes)
}

func TestFourValidators(t *testing.T) {
	net := newNetwork(t, 4, nil)
	nodes := net.startAll()
	txs := toyTxs(0, 5000)
	net.submit(nodes, txs...)
	net.awaitTxs(nodes, txs)
	net.agree(nodes)
	if len(net.evidence) > 0 {
		t.Fatalf("honest validators are accused: %v", net.evidence)
	}
}

// TestLeaderStopped holds that the others go on after about a heartbeat, with a backlog that fills more than one block.
func TestLeaderStopped(t *testing.T) {
	net := newNetwork(t, 4, func(c *Config) { c.BatchCount = 50 })
	nodes := net.startAll()
	txs := toyTxs(0, 3000)
	net.submit(nodes, txs...)
	leader := net.leader()
	net.awaitHeight(leader, 3)
	began := time.Now()
	net.stop(leader)
	rest := without(nodes, leader)
	h := rest[0].ledger.Height()
	net.awaitHeight(rest[0], h+2)
	t.Logf("blocks again %s after the leader's end began", time.Since(began))
	net.awaitTxs(rest, txs)
	net.agree(rest)
	for _, n := range rest { // the gate learns it from a line that the library logs
		in := n.engine.running.Load().in
		in.mu.Lock()
		if view := in.gate.view; view == 0 || in.gate.next != 0 {
			t.Errorf("node %d: view %d, %d about to begin: the gate did not hear that a view has begun", n.index, view, in.gate.next)
		}
		in.mu.Unlock()
	}

	back := net.start(leader.index)
	more := toyTxs(100000, 500)
	net.awaitRole(back, Validator)
	net.submit(append(rest, back), more...)
	net.awaitTxs(append(rest, back), append(txs, more...))
	net.agree(append(rest, back))
}

func TestSubmitRefuses(t *testing.T) {
	net := newNetwork(t, 1, nil)
	n := net.startAll()[0]
	ctx := t.Context()
	if err := n.engine.Submit(ctx, []byte("x")); !errors.Is(err, ErrRefused) {
		t.Errorf("nonsense: %v", err)
	}
	if err := n.engine.Submit(ctx, make([]byte, MaxTxBytes+1)); !errors.Is(err, ErrTooBig) {
		t.Errorf("too big: %v", err)
	}
	if err := n.engine.Submit(ctx, nil); !errors.Is(err, ErrTooBig) {
		t.Errorf("nothing: %v", err)
	}
}
