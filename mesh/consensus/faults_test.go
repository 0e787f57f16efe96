package consensus

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

// TestLeaderFrozen holds that a leader that is away for a while and comes back does no harm and catches up.
func TestLeaderFrozen(t *testing.T) {
	t.Parallel()
	net := newNetwork(t, 4, func(c *Config) { c.BatchCount = 100 })
	nodes := net.startAll()
	txs := toyTxs(0, 1000)
	net.submit(nodes, txs...)
	leader := net.leader()
	net.awaitHeight(leader, 2)
	net.isolate(leader, true)
	rest := without(nodes, leader)
	more := toyTxs(10000, 1000)
	net.submit(rest, more...)
	// what only the frozen one was told is not lost either
	own := toyTxs(20000, 10)
	net.submit([]*node{leader}, own...)
	net.awaitTxs(rest, append(txs, more...))

	net.isolate(leader, false)
	last := toyTxs(30000, 200)
	net.submit(rest, last...)
	net.awaitTxs(nodes, append(append(append(txs, more...), own...), last...))
	net.agree(nodes)
}

// TestFollowerMissesOneBlock holds that on a quiet chain a node that lacks just the last block notices.
func TestFollowerMissesOneBlock(t *testing.T) {
	t.Parallel()
	net := newNetwork(t, 4, nil)
	nodes := net.startAll()
	net.submit(nodes, toyTx(0))
	net.awaitTxs(nodes, toyTxs(0, 1))
	away := without(nodes, net.leader())[0]
	net.isolate(away, true)
	rest := without(nodes, away)
	net.submit(rest, toyTx(1))
	net.awaitTxs(rest, toyTxs(1, 1))
	net.isolate(away, false)
	net.awaitTxs(nodes, toyTxs(0, 2))
	net.agree(nodes)
}

// TestAllStopped holds that a chain whose validators all stopped goes on from their folders.
func TestAllStopped(t *testing.T) {
	t.Parallel()
	net := newNetwork(t, 4, nil)
	nodes := net.startAll()
	txs := toyTxs(0, 500)
	net.submit(nodes, txs...)
	net.awaitHeight(nodes[0], 1)
	for _, n := range nodes {
		net.stop(n)
	}
	nodes = net.startAll()
	net.submit(nodes, txs...)
	net.awaitTxs(nodes, txs)
	net.agree(nodes)
}

// TestVoteLogDamaged holds that a node survives what a crash may do to its log of votes.
func TestVoteLogDamaged(t *testing.T) {
	t.Parallel()
	last := func(t *testing.T, dir string) string {
		names, err := filepath.Glob(filepath.Join(voteLogDir(dir), "*.wal"))
		if err != nil || len(names) == 0 {
			t.Fatalf("no log of votes: %v", err)
		}
		return names[len(names)-1]
	}
	for name, damage := range map[string]func(t *testing.T, dir string){
		"garbage behind": func(t *testing.T, dir string) {
			f, err := os.OpenFile(last(t, dir), os.O_APPEND|os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			junk := make([]byte, 300)
			for i := range junk {
				junk[i] = byte(rand.Int())
			}
			if _, err := f.Write(junk); err != nil {
				t.Fatal(err)
			}
		},
		"torn": func(t *testing.T, dir string) {
			f := last(t, dir)
			st, err := os.Stat(f)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.Truncate(f, st.Size()-5); err != nil {
				t.Fatal(err)
			}
		},
		"zeros behind": func(t *testing.T, dir string) {
			f := last(t, dir)
			st, err := os.Stat(f)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.Truncate(f, st.Size()+4096); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			net := newNetwork(t, 4, nil)
			nodes := net.startAll()
			txs := toyTxs(0, 300)
			net.submit(nodes, txs...)
			net.awaitTxs(nodes, txs)
			n := without(nodes, net.leader())[0]
			net.stop(n)
			damage(t, n.dir)
			rest := without(nodes, n)
			back := net.start(n.index)
			net.awaitRole(back, Validator)
			more := toyTxs(1000, 100)
			net.submit(append(rest, back), more...)
			net.awaitTxs(append(rest, back), more)
			net.agree(append(rest, back))
		})
	}
}

// TestVoteLogLost holds that a validator without its log watches until a block is final that it cannot have voted for,
// and votes then.
func TestVoteLogLost(t *testing.T) {
	t.Parallel()
	for name, lose := range map[string]func(t *testing.T, dir string){
		"deleted": func(t *testing.T, dir string) {
			if err := os.RemoveAll(voteLogDir(dir)); err != nil {
				t.Fatal(err)
			}
		},
		"all deleted": func(t *testing.T, dir string) {
			if err := os.RemoveAll(dir); err != nil {
				t.Fatal(err)
			}
		},
		"unreadable": func(t *testing.T, dir string) {
			names, err := filepath.Glob(filepath.Join(voteLogDir(dir), "*.wal"))
			if err != nil || len(names) == 0 {
				t.Fatal(err)
			}
			if err := os.WriteFile(names[0], make([]byte, 1000), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(voteLogDir(dir), "00000000000000ff.wal"), []byte("nonsense"), 0o600); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			net := newNetwork(t, 4, nil)
			nodes := net.startAll()
			txs := toyTxs(0, 300)
			net.submit(nodes, txs...)
			net.awaitTxs(nodes, txs)
			n := without(nodes, net.leader())[0]
			net.stop(n)
			lose(t, n.dir)
			rest := without(nodes, n)
			back := net.start(n.index)
			net.awaitRole(back, Observer)
			net.awaitTxs([]*node{back}, txs)
			if r := back.engine.Status().Role; r != Observer {
				t.Fatalf("without its log and without a new block it is %s", r)
			}
			more := toyTxs(1000, 100)
			net.submit(rest, more...)
			net.awaitRole(back, Validator)
			net.awaitTxs(append(rest, back), more)
			// its vote counts: with another one away, a quorum needs it
			away := without(rest, net.leader())[0]
			net.stop(away)
			three := append(without(rest, away), back)
			last := toyTxs(2000, 100)
			net.submit(three, last...)
			net.awaitTxs(three, last)
			net.agree(three)
		})
	}
}

// TestFreshLogByWord holds that an operator's word replaces the wait.
func TestFreshLogByWord(t *testing.T) {
	t.Parallel()
	net := newNetwork(t, 4, func(c *Config) { c.FreshLog = true })
	nodes := net.startAll()
	net.submit(nodes, toyTx(1))
	net.awaitTxs(nodes, toyTxs(1, 1))
	net.stop(nodes[0])
	if err := os.RemoveAll(voteLogDir(nodes[0].dir)); err != nil {
		t.Fatal(err)
	}
	net.awaitRole(net.start(0), Validator)
}

// TestMembership goes from four validators to five and back to four, in transactions, under load.
func TestMembership(t *testing.T) {
	t.Parallel()
	net := newNetwork(t, 4, nil)
	nodes := net.startAll()
	fifth := net.start(4)
	net.awaitRole(fifth, Observer)
	txs := toyTxs(0, 500)
	net.submit(nodes, txs...)
	net.submit(nodes, validatorsTx(testSet(2, 0, 1, 2, 3, 4)))
	net.awaitRole(fifth, Validator)
	five := append(nodes, fifth)
	more := toyTxs(1000, 1000)
	net.submit(five, more...)
	net.awaitTxs(five, append(txs, more...))
	for _, n := range five {
		if v := n.engine.Validators(); v.Version != 2 || len(v.Validators) != 5 {
			t.Fatalf("node %d: validators %v", n.index, v)
		}
	}

	leader := net.leader()
	var rest []int
	for _, n := range without(five, leader) {
		rest = append(rest, n.index)
	}
	net.submit(five, validatorsTx(testSet(3, rest...)))
	net.awaitRole(leader, Observer)
	four := without(five, leader)
	last := toyTxs(5000, 1000)
	net.submit(four, last...)
	net.awaitTxs(four, last)
	net.awaitTxs([]*node{leader}, last) // it still follows
	net.agree(five)

	// one of the four away: three of four are a quorum only if the evicted one is really out
	net.stop(four[0])
	three := four[1:]
	end := toyTxs(9000, 100)
	net.submit(three, end...)
	net.awaitTxs(three, end)
	net.agree(three)
}

// TestGrowFromOne holds that one validator can take in three more.
func TestGrowFromOne(t *testing.T) {
	t.Parallel()
	net := newNetwork(t, 1, nil)
	first := net.startAll()[0]
	txs := toyTxs(0, 100)
	net.submit([]*node{first}, txs...)
	all := []*node{first, net.start(1), net.start(2), net.start(3)}
	net.awaitTxs(all, txs)
	net.submit([]*node{first}, validatorsTx(testSet(2, 0, 1, 2, 3)))
	for _, n := range all {
		net.awaitRole(n, Validator)
	}
	more := toyTxs(1000, 500)
	net.submit(all, more...)
	net.awaitTxs(all, more)
	net.stop(first)
	last := toyTxs(5000, 100)
	net.submit(all[1:], last...)
	net.awaitTxs(all[1:], last)
	net.agree(all[1:])
}

// TestThreeValidators is n = 3: one may crash, none may lie.
func TestThreeValidators(t *testing.T) {
	t.Parallel()
	net := newNetwork(t, 3, nil)
	nodes := net.startAll()
	txs := toyTxs(0, 500)
	net.submit(nodes, txs...)
	net.awaitTxs(nodes, txs)
	leader := net.leader()
	net.stop(leader)
	rest := without(nodes, leader)
	more := toyTxs(1000, 500)
	net.submit(rest, more...)
	net.awaitTxs(rest, more)
	net.agree(rest)
}

// TestDiskFull holds that an engine whose blocks cannot be kept says so, and stops voting, while the others go on.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	failures := make(chan error, 4)
	net := newNetwork(t, 4, func(c *Config) { c.OnFailure = func(err error) { failures <- err } })
	nodes := net.startAll()
	full := errors.New("no space left")
	n := without(nodes, net.leader())[0]
	n.ledger.mu.Lock()
	n.ledger.full = full
	n.ledger.mu.Unlock()
	txs := toyTxs(0, 100)
	rest := without(nodes, n)
	net.submit(rest, txs...)
	net.awaitTxs(rest, txs)
	select {
	case err := <-failures:
		if !errors.Is(err, full) {
			t.Fatalf("failed with %v", err)
		}
	case <-time.After(patience):
		t.Fatal("nobody is told")
	}
	net.await("it refuses transactions", func() bool { return errors.Is(n.engine.Submit(t.Context(), toyTx(1)), ErrFailed) })
	if s := n.engine.Status(); s.Role != Failed || !errors.Is(s.Err, full) {
		t.Fatalf("status %+v", s)
	}
	net.agree(rest)
}

// TestPoolFull holds that Submit waits for room only as long as it may, and that nothing accepted is lost.
func TestPoolFull(t *testing.T) {
	t.Parallel()
	net := newNetwork(t, 4, func(c *Config) { c.BatchCount, c.PoolSize = 10, 20 })
	nodes := net.startAll()
	n := nodes[0]
	for _, o := range nodes[1:] {
		net.isolate(o, true)
	}
	accepted := toyTxs(0, 20)
	net.submit([]*node{n}, accepted...)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := n.engine.Submit(ctx, toyTx(99)); !errors.Is(err, ErrFull) {
		t.Fatalf("the 21st of 20: %v", err)
	}
	if err := n.engine.Submit(ctx, toyTx(0)); err != nil {
		t.Fatalf("one that waits already: %v", err)
	}
	for _, o := range nodes[1:] {
		net.isolate(o, false)
	}
	net.awaitTxs(nodes, accepted)
	if err := n.engine.Submit(t.Context(), toyTx(0)); err != nil {
		t.Fatalf("one that is committed: %v", err)
	}
	net.agree(nodes)
}

// TestLyingServer holds that blocks from a liar are refused and those of others taken.
func TestLyingServer(t *testing.T) {
	t.Parallel()
	net := newNetwork(t, 4, nil)
	nodes := net.startAll()
	txs := toyTxs(0, 300)
	net.submit(nodes, txs...)
	net.awaitTxs(nodes, txs)
	lies := []func(b *ledgerv1.CertifiedBlock){
		func(b *ledgerv1.CertifiedBlock) { b.Block.Transactions[0] = toyTx(666) },
		func(b *ledgerv1.CertifiedBlock) { b.Block.Transactions = append(b.Block.Transactions, toyTx(666)) },
		func(b *ledgerv1.CertifiedBlock) { b.Block.Header = append(b.Block.Header, 0x18, 1) },
		func(b *ledgerv1.CertifiedBlock) { b.Certificate.Signatures = b.Certificate.Signatures[:2] },
		func(b *ledgerv1.CertifiedBlock) { b.Certificate.Metadata = append(b.Certificate.Metadata, 0x18, 1) },
		func(b *ledgerv1.CertifiedBlock) { b.Certificate.Signatures[0] = b.Certificate.Signatures[1] },
		func(b *ledgerv1.CertifiedBlock) { b.Certificate = nil },
		func(b *ledgerv1.CertifiedBlock) { b.Block = nil },
	}
	served := 0
	nodes[0].lies = func(b *ledgerv1.CertifiedBlock) *ledgerv1.CertifiedBlock {
		lie := new(ledgerv1.CertifiedBlock)
		mustUnmarshal(marshal(b), lie)
		lies[served%len(lies)](lie)
		served++
		return lie
	}
	for range lies {
		joiner := net.start(4)
		net.awaitTxs([]*node{joiner}, txs)
		net.agree(append(nodes, joiner))
		net.stop(joiner)
		if err := os.RemoveAll(joiner.dir); err != nil {
			t.Fatal(err)
		}
	}
	if served < len(lies) {
		t.Fatalf("only %d of %d lies were told", served, len(lies))
	}
}
