package node

import (
	"errors"
	"testing"
	"time"

	"github.com/shardy-network/orchestrator/actors/ledger"
	"github.com/shardy-network/orchestrator/mesh"
	"github.com/shardy-network/orchestrator/mesh/chain/chaintest"
	"github.com/shardy-network/orchestrator/mesh/consensus"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

// wrong are transactions that Submit refuses, each with what it says.
func wrong(t *testing.T, n *Node) map[string]struct {
	tx   []byte
	err  error
	code ledgerv1.ReceiptCode
} {
	t.Helper()
	pay := &ledgerv1.Action{Kind: &ledgerv1.Action_Transfer{Transfer: &ledgerv1.Transfer{To: chaintest.Public(chaintest.Key(3000)), Amount: 1}}}
	sender := chaintest.Key(1001)
	h := n.Chain().Height()
	foreign := body(n, sender, h+10, pay)
	foreign.ChainId = "other-1"
	large := body(n, sender, h+10)
	for range ledger.MaxActions {
		large.Actions = append(large.Actions, anchor(make([]byte, ledger.MaxNoteBytes)))
	}
	type bad = struct {
		tx   []byte
		err  error
		code ledgerv1.ReceiptCode
	}
	return map[string]bad{
		"forged":       {tx: ledger.Sign(body(n, sender, h+10, pay), chaintest.Key(1002)), err: ledger.ErrSignature},
		"other chain":  {tx: ledger.Sign(foreign, sender), err: ledger.ErrChain},
		"too large":    {tx: ledger.Sign(large, sender), err: ledger.ErrTooLarge},
		"garbage":      {tx: []byte("garbage"), err: ledger.ErrMalformed},
		"nothing":      {err: ledger.ErrMalformed},
		"too early":    {tx: ledger.Sign(body(n, sender, h+100_000, pay), sender), code: ledgerv1.ReceiptCode_RECEIPT_CODE_OUT_OF_RANGE},
		"expired":      {tx: ledger.Sign(body(n, sender, h, pay), sender), code: ledgerv1.ReceiptCode_RECEIPT_CODE_EXPIRED},
		"without fees": {tx: transaction(n, chaintest.Key(9999), pay), code: ledgerv1.ReceiptCode_RECEIPT_CODE_INSUFFICIENT_BALANCE},
	}
}

func TestSubmitRefuses(t *testing.T) {
	w := newWorld(t, 1)
	n := w.open(0)
	tx := transfer(n, 2000, 1)
	w.submit(n, tx, ok)
	for name, bad := range wrong(t, n) {
		_, err := n.Submit(w.ctx(), bad.tx)
		if r, _ := errors.AsType[*Refusal](err); bad.err != nil && !errors.Is(err, bad.err) || bad.err == nil && (r == nil || r.Code != bad.code) {
			t.Errorf("%s: %v", name, err)
		}
	}
	id, err := n.Submit(w.ctx(), tx)
	c, _ := n.Chain().Check(tx)
	if r, _ := errors.AsType[*Refusal](err); r == nil || r.Code != ledgerv1.ReceiptCode_RECEIPT_CODE_REPLAYED || id != c.ID() {
		t.Errorf("replayed: %v", err)
	}
	w.await("nothing that waits", func() bool { s := n.Status(); return s.Waiting == 0 && s.Pending == 0 })
	w.close(0)
	if _, err := n.Submit(w.ctx(), transfer(n, 2000, 1)); !errors.Is(err, ErrClosed) {
		t.Errorf("closed: %v", err)
	}
}

// TestGossipIsHarmless has a peer that checks nothing say all that is wrong, and then something that is right.
func TestGossipIsHarmless(t *testing.T) {
	w := newWorld(t, 1)
	n := w.open(0)
	done := transfer(n, 2000, 1)
	w.submit(n, done, ok)
	height := n.Chain().Height()
	for name, bad := range wrong(t, n) {
		if len(bad.tx) == 0 || len(bad.tx) > ledger.MaxTransactionBytes || name == "garbage" {
			continue // the mesh itself refuses to send it
		}
		rogue, err := mesh.New(mesh.Config{
			Key: chaintest.Key(7), Chain: chaintest.ChainID, NoDHT: true, Bootstrap: n.Mesh().Bootstrap().Addresses, Logger: testLog(),
			RedialEvery: 100 * time.Millisecond, Ports: mesh.Ports{CheckTransaction: func([]byte) error { return nil }},
		})
		if err != nil {
			t.Fatal(err)
		}
		w.await("a peer that listens", func() bool { return rogue.Status().Topics[1].Peers == 1 })
		if err := rogue.PublishTransactions(w.ctx(), [][]byte{bad.tx}); err != nil {
			t.Fatal(name, err)
		}
		if err := rogue.PublishTransactions(w.ctx(), [][]byte{done}); err != nil {
			t.Fatal(err)
		}
		w.await("what was said", func() bool {
			c := n.Mesh().Status().Topics[1].Counts
			return bad.err != nil && c.Rejected > 0 || bad.err == nil && c.Ignored > 0
		})
		if err := rogue.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if s := n.Status(); s.Pending != 0 || s.Height != height {
		t.Fatalf("%+v", s)
	}
	w.submit(n, transfer(n, 2000, 2), ok)
}

// TestObserver follows, and what is submitted to it gets into a block, even when it was alone at first.
func TestObserver(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	n := w.open(0)
	w.submit(n, transfer(n, 2000, 1), ok)
	w.tune = func(_ int, c *Config) { c.Mesh.Bootstrap = nil }
	o := w.open(1)
	w.await("an observer", func() bool { return o.Status().Role == consensus.Observer })
	if s := o.Status(); s.Sync.Phase != Behind || s.Sync.Err == nil {
		t.Fatalf("%+v", s)
	}
	tx := transfer(n, 2001, 1)
	id, err := o.Submit(w.ctx(), tx)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := o.Submit(w.ctx(), tx); err != nil || again != id {
		t.Fatal("taken again:", err)
	}
	if s := o.Status(); s.Waiting != 1 || s.Pending != 0 {
		t.Fatalf("%+v", s)
	}
	if err := o.Mesh().Connect(w.ctx(), n.Mesh().Bootstrap().Addresses[0]); err != nil {
		t.Fatal(err)
	}
	for _, x := range []*Node{n, o} {
		if got, err := x.Chain().Await(w.ctx(), id); err != nil || got.Receipt.Code != ok {
			t.Fatal(got, err)
		}
	}
	w.submit(o, transfer(o, 2002, 1), ok, n)
	w.await("nothing that waits", func() bool { return o.Status().Waiting == 0 })
	w.agree(n, o)
}

func TestWaiting(t *testing.T) {
	w := newWorld(t, 1)
	n := w.open(0)
	list := newWaiting(20, string(n.Key()))
	take := func(sender int) error {
		c, err := n.Chain().Check(transaction(n, chaintest.Key(sender), anchor(note(t, sender, 1, 1))))
		if err != nil {
			t.Fatal(err)
		}
		_, err = list.add(c, 1000)
		return err
	}
	for range 2 {
		if err := take(1001); err != nil {
			t.Fatal(err)
		}
	}
	if err := take(1001); !errors.Is(err, ErrFull) {
		t.Fatalf("more than a tenth for one: %v", err)
	}
	for range 18 {
		if err := take(0); err != nil {
			t.Fatalf("the own: %v", err)
		}
	}
	if err := take(0); !errors.Is(err, ErrFull) {
		t.Fatalf("more than fit: %v", err)
	}
	all := list.unsaid(time.Now(), 100)
	if len(all) != 20 || len(list.unsaid(time.Now().Add(-time.Minute), 100)) != 0 {
		t.Fatal("said twice")
	}
	for i, c := range all {
		list.drop(c.ID(), c.ID())
		if list.size() != 19-i {
			t.Fatal(list.size())
		}
	}
	if len(list.senders) != 0 || list.bytes != 0 {
		t.Fatal(list.senders, list.bytes)
	}
}

// TestPauper has an account with money for three fees say a hundred transactions: others hear of three.
func TestPauper(t *testing.T) {
	w := newWorld(t, 1)
	n := w.open(0)
	pauper := chaintest.Key(4000)
	w.submit(n, transaction(n, chaintest.Key(1000), &ledgerv1.Action{Kind: &ledgerv1.Action_Transfer{Transfer: &ledgerv1.Transfer{
		To: chaintest.Public(pauper), Amount: 3*n.Chain().State().Params().Fee + 1,
	}}}), ok)
	state := n.Chain().State()
	taken, kept := 0, newWaiting(1000, string(n.Key()))
	for i := range 100 {
		c, err := n.Chain().Check(transaction(n, pauper, anchor(note(t, 4000, int64(i+1), 1))))
		if err != nil {
			t.Fatal(err)
		}
		if n.purses.take(state, c) {
			taken++
		}
		if _, err := kept.add(c, fees(state, c.Body().Sender)); (err == nil) != (i < 3) {
			t.Fatalf("%d: %v", i, err)
		}
	}
	if taken != 3 {
		t.Fatalf("%d were taken", taken)
	}
	for i := range 3 {
		w.submit(n, transaction(n, pauper, anchor(note(t, 4000, int64(i+1), 1))), ok)
	}
	r, _ := errors.AsType[*Refusal](func() error {
		_, err := n.Submit(w.ctx(), transaction(n, pauper, anchor(note(t, 4000, 9, 1))))
		return err
	}())
	if r == nil || r.Code != ledgerv1.ReceiptCode_RECEIPT_CODE_INSUFFICIENT_BALANCE {
		t.Fatal(r)
	}
}
