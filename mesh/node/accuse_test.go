package node

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/shardy-network/orchestrator/actors/checkpoint"
	"github.com/shardy-network/orchestrator/actors/ledger"
	"github.com/shardy-network/orchestrator/actors/ledger/seal"
	"github.com/shardy-network/orchestrator/mesh/chain/chaintest"
	"github.com/shardy-network/orchestrator/mesh/consensus"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

// twoVotes are what the validator with a key would sign if it meant two blocks of one height.
func twoVotes(i int, height, version uint64) *ledgerv1.VotePair {
	key := chaintest.Key(i)
	vote := func(block byte) *ledgerv1.Vote {
		v := &ledgerv1.Vote{
			Height: height, View: 1, Block: bytes.Repeat([]byte{block}, 32), Metadata: bytes.Repeat([]byte{7}, 32), ValidatorsVersion: version,
		}
		v.Signature = seal.SignVote(chaintest.ChainID, v, key)
		return v
	}
	return &ledgerv1.VotePair{Validator: chaintest.Public(key), First: vote(1), Second: vote(2)}
}

// note is a checkpoint of the log of an orchestrator.
func note(t *testing.T, i int, size int64, root byte) []byte {
	t.Helper()
	b, err := checkpoint.Sign(checkpoint.Head{
		Origin: checkpoint.Origin(chaintest.Public(chaintest.Key(i))), Size: size, Root: [32]byte(bytes.Repeat([]byte{root}, 32)),
	}, chaintest.Key(i))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func anchor(note []byte) *ledgerv1.Action {
	return &ledgerv1.Action{Kind: &ledgerv1.Action_LogAnchor{LogAnchor: &ledgerv1.LogAnchor{Checkpoint: note}}}
}

func logs(t *testing.T, i int) *ledgerv1.Equivocation {
	return &ledgerv1.Equivocation{Kind: &ledgerv1.Equivocation_Checkpoints{Checkpoints: &ledgerv1.CheckpointPair{
		Orchestrator: chaintest.Public(chaintest.Key(i)), First: note(t, i, 5, 1), Second: note(t, i, 5, 2),
	}}}
}

func tombstoned(n *Node, i int) bool {
	a, known := n.Chain().State().Account(chaintest.Public(chaintest.Key(i)))
	return known && a.Tombstoned
}

// TestVotesTwice has a validator caught at signing two blocks: it loses money and its seat, and the others go on.
func TestVotesTwice(t *testing.T) {
	w := newWorld(t, 4)
	nodes := w.begin(4)
	w.submit(nodes[0], transfer(nodes[0], 2000, 1), ok, nodes...)
	stake, _ := nodes[0].Chain().State().Account(nodes[3].Key())
	for _, n := range nodes[:3] { // as their engines tell when they see both
		n.accuser.witnessed(twoVotes(3, 1, 1))
	}
	w.await("a seat less", func() bool {
		for _, n := range nodes {
			if !tombstoned(n, 3) || n.Status().Validators != 3 {
				return false
			}
		}
		return true
	})
	if after, _ := nodes[0].Chain().State().Account(nodes[3].Key()); after.Stake >= stake.Stake {
		t.Fatalf("stake is %d after %d", after.Stake, stake.Stake)
	}
	w.await("accusations that are over", func() bool {
		return nodes[0].Status().Accusing+nodes[1].Status().Accusing+nodes[2].Status().Accusing == 0
	})
	w.await("a validator less", func() bool { return nodes[3].Status().Role == consensus.Observer })
	w.submit(nodes[1], transfer(nodes[1], 2001, 1), ok, nodes...)
	w.agree(nodes...)
	if left, err := readDocket(nodes[0].accuser.path); err != nil || len(left) != 0 {
		t.Fatal(left, err)
	}
}

// TestLogsContradict has an orchestrator anchor two heads of one log.
func TestLogsContradict(t *testing.T) {
	w := newWorld(t, 1)
	n := w.open(0)
	contradicts := ledgerv1.ReceiptCode_RECEIPT_CODE_CONTRADICTS
	w.submit(n, transaction(n, chaintest.Key(2), anchor(note(t, 2, 10, 1))), ok)
	w.submit(n, transaction(n, chaintest.Key(2), anchor(note(t, 2, 10, 2))), contradicts)
	w.await("a tombstone", func() bool { return tombstoned(n, 2) })

	// Both in one transaction: nothing of it is anchored, and yet both are signed.
	w.submit(n, transaction(n, chaintest.Key(3), anchor(note(t, 3, 10, 1)), anchor(note(t, 3, 10, 2))), contradicts)
	w.await("a tombstone", func() bool { return tombstoned(n, 3) })

	// Whoever cannot be caught by the anchor of today is caught by that of yesterday: see below.
	w.submit(n, transaction(n, chaintest.Key(4), anchor(note(t, 4, 10, 1))), ok)
	last := w.submit(n, transaction(n, chaintest.Key(4), anchor(note(t, 4, 11, 1))), ok)
	w.await("blocks that were looked at", func() bool { return n.Status().Accusing == 0 })
	b, err := n.Chain().At(last.Height)
	if err != nil {
		t.Fatal(err)
	}
	b.Block = &ledgerv1.CertifiedBlock{Block: &ledgerv1.Block{Transactions: [][]byte{
		transaction(n, chaintest.Key(4), anchor(note(t, 4, 10, 3))),
	}}}
	n.accuser.report(n.accuser.contradiction(b, 0, &ledgerv1.Receipt{Code: contradicts}))
	w.await("a tombstone", func() bool { return tombstoned(n, 4) })
}

// TestAccusationWaits has an orchestrator without money for the fee: it makes no transaction, keeps the accusation across
// a restart, and makes it when there is money.
func TestAccusationWaits(t *testing.T) {
	w := newWorld(t, 1)
	n := w.open(0)
	me := chaintest.Key(0)
	a, _ := n.Chain().State().Account(n.Key())
	fee := n.Chain().State().Params().Fee
	w.submit(n, transaction(n, me, &ledgerv1.Action{Kind: &ledgerv1.Action_Transfer{Transfer: &ledgerv1.Transfer{
		To: chaintest.Public(chaintest.Key(2000)), Amount: a.Balance - fee,
	}}}), ok)
	if err := n.Accuse(logs(t, 2)); err != nil {
		t.Fatal(err)
	}
	if err := n.Accuse(logs(t, 2)); err != nil {
		t.Fatalf("a second time: %v", err)
	}
	height := n.Chain().Height()
	for range 3 { // looks again at every block
		w.submit(n, transfer(n, 2000, 1), ok)
	}
	if s := n.Status(); s.Accusing != 1 || s.Height != height+3 {
		t.Fatalf("%+v", s)
	}
	w.close(0)
	n = w.open(0)
	if s := n.Status(); s.Accusing != 1 || tombstoned(n, 2) {
		t.Fatalf("%+v", s)
	}
	w.submit(n, transaction(n, chaintest.Key(1000), &ledgerv1.Action{Kind: &ledgerv1.Action_Transfer{
		Transfer: &ledgerv1.Transfer{To: n.Key(), Amount: fee},
	}}), ok)
	w.await("a tombstone", func() bool { return tombstoned(n, 2) })
	w.await("nothing to accuse", func() bool { return n.Status().Accusing == 0 })
	var r *Refusal
	if err := n.Accuse(logs(t, 2)); !errors.As(err, &r) || r.Code != ledgerv1.ReceiptCode_RECEIPT_CODE_EVIDENCE_SEEN {
		t.Fatalf("of one that is punished: %v", err)
	}
}

func TestAccuseRefuses(t *testing.T) {
	w := newWorld(t, 1)
	n := w.open(0)
	same := logs(t, 2)
	same.GetCheckpoints().Second = same.GetCheckpoints().First
	forged := logs(t, 2)
	forged.GetCheckpoints().Orchestrator = chaintest.Public(chaintest.Key(3))
	stranger := logs(t, 4711)
	code := func(err error) ledgerv1.ReceiptCode {
		r, _ := errors.AsType[*Refusal](err)
		if r == nil {
			return ledgerv1.ReceiptCode_RECEIPT_CODE_UNSPECIFIED
		}
		return r.Code
	}
	if err := n.Accuse(same); code(err) != ledgerv1.ReceiptCode_RECEIPT_CODE_BAD_EVIDENCE {
		t.Error(err)
	}
	if err := n.Accuse(stranger); code(err) != ledgerv1.ReceiptCode_RECEIPT_CODE_NOT_ALLOWED {
		t.Error(err)
	}
	if err := n.Accuse(forged); !errors.Is(err, ledger.ErrEvidence) {
		t.Error(err)
	}
	if err := n.Accuse(&ledgerv1.Equivocation{}); !errors.Is(err, ledger.ErrMalformed) {
		t.Error(err)
	}
	if err := n.Accuse(nil); !errors.Is(err, ledger.ErrMalformed) {
		t.Error(err)
	}
	if err := n.Accuse(logs(t, 0)); !errors.Is(err, ErrSelf) {
		t.Error(err)
	}
	if s := n.Status(); s.Accusing != 0 {
		t.Errorf("%+v", s)
	}
}

// TestDocketDamaged opens a node whose file of accusations has rotted.
func TestDocketDamaged(t *testing.T) {
	w := newWorld(t, 1)
	c := w.config(0)
	path := filepath.Join(c.Dir, "accusations")
	if err := os.WriteFile(path, []byte("rot"), 0o600); err != nil {
		t.Fatal(err)
	}
	n := w.open(0)
	if n.Status().Accusing != 0 {
		t.Fatal("accusations out of nothing")
	}
	if _, err := os.Stat(path + ".broken"); err != nil {
		t.Fatal(err)
	}
}

func FuzzDocket(f *testing.F) {
	dir := f.TempDir()
	path := filepath.Join(dir, "docket")
	one := &ledgerv1.Equivocation{Kind: &ledgerv1.Equivocation_Votes{Votes: twoVotes(1, 5, 1)}}
	if err := writeDocket(path, []*ledgerv1.Equivocation{one, one}); err != nil {
		f.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		list, err := parseDocket(b)
		if err != nil && !errors.Is(err, errDocket) {
			t.Fatal(err)
		}
		if len(list) > maxCharges {
			t.Fatal(len(list))
		}
	})
}
