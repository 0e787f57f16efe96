package node

import (
	"crypto/ed25519"
	"errors"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/shardy-network/orchestrator/actors/ledger"
	"github.com/shardy-network/orchestrator/actors/ledger/seal"
	"github.com/shardy-network/orchestrator/mesh/chain"
	"github.com/shardy-network/orchestrator/mesh/chain/chaintest"
	"github.com/shardy-network/orchestrator/mesh/consensus"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

// part keeps two groups from meeting, or lets them meet again.
func (w *world) part(apart bool, left, right []*Node) {
	w.t.Helper()
	for _, a := range left {
		for _, b := range right {
			for _, pair := range [][2]*Node{{a, b}, {b, a}} {
				id, err := peer.Decode(pair[1].Mesh().PeerID())
				if err != nil {
					w.t.Fatal(err)
				}
				if !apart {
					pair[0].Mesh().Unblock(id)
				} else if err := pair[0].Mesh().Block(id, 0); err != nil {
					w.t.Fatal(err)
				}
			}
		}
	}
}

// TestPartition halves the validators: neither half goes on, and both go on together afterwards.
func TestPartition(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 4)
	nodes := w.begin(4)
	w.submit(nodes[0], transfer(nodes[0], 2000, 1), ok, nodes...)
	w.agree(nodes...)
	height := nodes[0].Chain().Height()
	w.part(true, nodes[:2], nodes[2:])
	left, right := transfer(nodes[0], 2001, 1), transfer(nodes[2], 2002, 1)
	for n, tx := range map[*Node][]byte{nodes[0]: left, nodes[2]: right} {
		if _, err := n.Submit(w.ctx(), tx); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(2 * heartbeat) // in which nothing may happen
	for _, n := range nodes {
		if n.Chain().Height() != height {
			t.Fatal("a half went on")
		}
	}
	w.part(false, nodes[:2], nodes[2:])
	for _, tx := range [][]byte{left, right} {
		c, err := nodes[0].Chain().Check(tx)
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range nodes {
			if o, err := n.Chain().Await(w.ctx(), c.ID()); err != nil || o.Receipt.Code != ok {
				t.Fatal(o, err)
			}
		}
	}
	w.agree(nodes...)
}

// TestRestart closes the leader, goes on without it, and opens it from its folder.
func TestRestart(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 4)
	nodes := w.begin(4)
	w.submit(nodes[0], transfer(nodes[0], 2000, 1), ok, nodes...)
	gone := 0
	for i, n := range nodes {
		if string(n.Key()) == string(nodes[0].Status().Leader) {
			gone = i
		}
	}
	w.close(gone)
	rest := append(append([]*Node(nil), nodes[:gone]...), nodes[gone+1:]...)
	for i := range 5 {
		w.submit(rest[0], transfer(rest[0], 2001+i, 1), ok, rest...)
	}
	back := w.open(gone)
	w.await("a validator again", func() bool { return back.Status().Role == consensus.Validator })
	all := append(rest, back)
	w.submit(back, transfer(back, 2010, 1), ok, all...)
	w.agree(all...)
}

// TestAnnounced holds that a block is heard of when it is there, not when the next heartbeat asks for it.
func TestAnnounced(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	w.tune = func(_ int, c *Config) { c.Heartbeat = time.Minute }
	n, o := w.open(0), w.open(1)
	w.await("a peer that listens", func() bool { return n.Mesh().Status().Topics[2].Peers == 1 })
	began := time.Now()
	w.submit(n, transfer(n, 2000, 1), ok, o)
	if d := time.Since(began); d > 30*time.Second {
		t.Fatalf("it took %s", d)
	}
}

// small makes snapshots soon and forgets blocks early.
func small(_ int, c *Config) {
	c.SnapshotBlocks, c.KeepBlocks, c.SegmentBytes = 4, 1, 100
}

func TestJoinByBlocks(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	n := w.open(0)
	for i := range 6 {
		w.submit(n, transfer(n, 2000+i, 1), ok)
	}
	o := w.open(1)
	if s := o.Status(); s.Height != 6 || s.Low != 1 || s.Sync.Phase != Current {
		t.Fatalf("%+v", s)
	}
	w.submit(o, transfer(o, 2010, 1), ok, n)
	w.agree(n, o)
}

func TestJoinBySnapshot(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	w.tune = small
	n := w.open(0)
	for i := range 10 {
		w.submit(n, transfer(n, 2000+i, 1), ok)
	}
	w.await("a snapshot, and no blocks before it", func() bool { s := n.Status(); return s.Snapshot >= 4 && s.Low > 1 })
	o := w.open(1)
	if s := o.Status(); s.Height != 10 || s.Low == 1 || s.Sync.Phase != Current {
		t.Fatalf("%+v", s)
	}
	w.submit(o, transfer(o, 2020, 1), ok, n)
	w.agree(n, o)
}

// TestMetLate has a joiner that meets somebody only after it was opened, by another way than its mesh knows.
func TestMetLate(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	w.tune = func(i int, c *Config) {
		small(i, c)
		c.Mesh.Bootstrap = nil
		if i == 1 {
			c.Meet, c.Heartbeat = 10*time.Millisecond, 20*time.Second
		}
	}
	n := w.open(0)
	for i := range metBehind + 10 {
		w.submit(n, transfer(n, 2000+i, 1), ok)
	}
	o := w.open(1)
	if o.Chain().Height() != 0 {
		t.Fatal("it has met somebody")
	}
	if err := o.Mesh().Connect(w.ctx(), n.Mesh().Bootstrap().Addresses[0]); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	w.await("a joiner", func() bool { return o.Chain().Height() == n.Chain().Height() })
	if d := time.Since(began); d > 15*time.Second {
		t.Fatalf("it took %s", d)
	}
	if o.Status().Low == 1 {
		t.Fatal("it did not go on from a snapshot")
	}
}

// TestLeftBehind cuts an observer off until nobody has its next block any more: it goes on from a snapshot by itself.
func TestLeftBehind(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	w.tune = func(i int, c *Config) {
		small(i, c)
		c.Heartbeat = 200 * time.Millisecond
	}
	n, o := w.open(0), w.open(1)
	w.submit(n, transfer(n, 2000, 1), ok, o)
	w.part(true, []*Node{n}, []*Node{o})
	for i := range 12 {
		w.submit(n, transfer(n, 2001+i, 1), ok)
	}
	w.await("no blocks that the observer could go on by", func() bool { return n.Status().Low > o.Chain().Height()+1 })
	w.part(false, []*Node{n}, []*Node{o})
	w.await("an observer that goes on", func() bool { return o.Chain().Height() == n.Chain().Height() })
	w.submit(o, transfer(o, 2030, 1), ok, n)
	w.agree(n, o)
}

// elect makes a change of validators that these keys approve.
func elect(t *testing.T, n *Node, voters []ed25519.PrivateKey, add ...*ledgerv1.Validator) []byte {
	t.Helper()
	b, err := proto.Marshal(&ledgerv1.ValidatorChangeBody{Version: n.Chain().Validators().Version + 1, Add: add})
	if err != nil {
		t.Fatal(err)
	}
	change := &ledgerv1.ValidatorChange{Body: b}
	for _, k := range voters {
		change.Approvals = append(change.Approvals, &ledgerv1.ValidatorSignature{
			Validator: chaintest.Public(k), Signature: ed25519.Sign(k, seal.ValidatorsText(n.Chain().ID(), b)),
		})
	}
	return transaction(n, voters[0], &ledgerv1.Action{Kind: &ledgerv1.Action_ValidatorSet{ValidatorSet: change}})
}

// TestGrowth makes four validators of one; the three that join have followed before.
func TestGrowth(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	nodes := []*Node{w.open(0)}
	var add []*ledgerv1.Validator
	for i := 1; i < 4; i++ {
		o := w.open(i)
		nodes = append(nodes, o)
		v := &ledgerv1.Validator{Key: o.Key()}
		for _, a := range o.Mesh().Host().Addrs() {
			v.Addresses = append(v.Addresses, a.String())
		}
		add = append(add, v)
	}
	w.submit(nodes[1], transfer(nodes[1], 2000, 1), ok, nodes...)
	w.submit(nodes[1], elect(t, nodes[0], []ed25519.PrivateKey{chaintest.Key(0)}, add...), ok, nodes...)
	w.ready(nodes...)
	for i, n := range nodes {
		w.submit(n, transfer(n, 2001+i, 1), ok, nodes...)
	}
	w.agree(nodes...)
	w.close(0) // the first one is not needed any more
	w.submit(nodes[1], transfer(nodes[1], 2010, 1), ok, nodes[2:]...)
}

// TestEngineGivesUp takes the disk away: the node says that it has failed, and still ends well.
func TestEngineGivesUp(t *testing.T) {
	w := newWorld(t, 1)
	n := w.open(0)
	if err := n.Chain().Close(); err != nil { // nothing can be committed any more
		t.Fatal(err)
	}
	if _, err := n.Submit(w.ctx(), transfer(n, 2000, 1)); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-n.Failed():
		if !errors.Is(err, chain.ErrClosed) {
			t.Fatal(err)
		}
	case <-w.ctx().Done():
		t.Fatal("it does not say that it has failed")
	}
	if s := n.Status(); s.Role != consensus.Failed || s.Failure == nil {
		t.Fatalf("%+v", s)
	}
	if _, err := n.Submit(w.ctx(), transfer(n, 2000, 2)); !errors.Is(err, ErrFailed) {
		t.Fatal(err)
	}
}

// TestLimits holds that what an engine may propose is what the ledger takes.
func TestLimits(t *testing.T) {
	if consensus.MaxBatchCount > ledger.MaxBlockTransactions || consensus.MaxBatchBytes > ledger.MaxBlockBytes || consensus.MaxTxBytes > ledger.MaxTransactionBytes {
		t.Fatal("an engine can propose blocks that are none")
	}
}

func TestOpenRefuses(t *testing.T) {
	w := newWorld(t, 1)
	good := w.config(0)
	for name, edit := range map[string]func(*Config){
		"no key":      func(c *Config) { c.Key = nil },
		"no folder":   func(c *Config) { c.Dir = "" },
		"heartbeat":   func(c *Config) { c.Heartbeat = time.Hour },
		"patience":    func(c *Config) { c.Meet = -1 },
		"no room":     func(c *Config) { c.Waiting = 1 },
		"no genesis":  func(c *Config) { c.Genesis = nil },
		"bad genesis": func(c *Config) { c.Genesis = []byte("none") },
		"bad address": func(c *Config) { c.Mesh.Listen = []string{"nowhere"} },
	} {
		c := good
		c.Dir = t.TempDir()
		edit(&c)
		if n, err := Open(t.Context(), c); err == nil {
			t.Errorf("%s: opened", name)
			_ = n.Close()
		}
	}
	other := newWorld(t, 4)
	w.open(0)
	c := good
	if _, err := Open(t.Context(), c); !errors.Is(err, chain.ErrLocked) {
		t.Errorf("a second time: %v", err)
	}
	w.close(0)
	c.Genesis = other.maker.Genesis
	if _, err := Open(t.Context(), c); !errors.Is(err, chain.ErrGenesis) {
		t.Errorf("another genesis: %v", err)
	}
}
