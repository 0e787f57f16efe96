package ledger

import (
	"testing"

	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

const (
	expired      = ledgerv1.ReceiptCode_RECEIPT_CODE_EXPIRED
	replayed     = ledgerv1.ReceiptCode_RECEIPT_CODE_REPLAYED
	noStake      = ledgerv1.ReceiptCode_RECEIPT_CODE_INSUFFICIENT_STAKE
	inJail       = ledgerv1.ReceiptCode_RECEIPT_CODE_JAILED
	noEscrow     = ledgerv1.ReceiptCode_RECEIPT_CODE_NO_ESCROW
	twiceEscrow  = ledgerv1.ReceiptCode_RECEIPT_CODE_ESCROW_EXISTS
	twiceSettled = ledgerv1.ReceiptCode_RECEIPT_CODE_ALREADY_SETTLED
	oldEvidence  = ledgerv1.ReceiptCode_RECEIPT_CODE_OLD_EVIDENCE
	seenEvidence = ledgerv1.ReceiptCode_RECEIPT_CODE_EVIDENCE_SEEN
	notApproved  = ledgerv1.ReceiptCode_RECEIPT_CODE_NOT_APPROVED
	wrongVersion = ledgerv1.ReceiptCode_RECEIPT_CODE_WRONG_VERSION
	contradicts  = ledgerv1.ReceiptCode_RECEIPT_CODE_CONTRADICTS
)

// code executes one transaction and compares what became of it.
func code(t *testing.T, w *world, want ledgerv1.ReceiptCode, sender int, actions ...*ledgerv1.Action) {
	t.Helper()
	if r := w.block(w.tx(sender, actions...))[0]; r.Code != want {
		t.Errorf("receipt is %v (%s), want %v", r.Code, r.Detail, want)
	}
}

func TestTransfer(t *testing.T) {
	w := newWorld(t, shortParams())
	w.must(client, transfer(stranger, 400))
	expect(t, "client", w.account(client).Balance, 5_000_000-400-10)
	expect(t, "stranger", w.account(stranger).Balance, 400)
	expect(t, "treasury", w.State.Supply().Treasury, 10)
	code(t, w, tooPoor, stranger, transfer(client, 391))
	expect(t, "stranger, who has paid a fee", w.account(stranger).Balance, 390)
	w.must(stranger, transfer(stranger, 380))
	expect(t, "stranger, who paid himself", w.account(stranger).Balance, 380)
	code(t, w, tooPoor, stranger, transfer(client, 370), transfer(client, 1))
	expect(t, "stranger, of whose two transfers one was too much", w.account(stranger).Balance, 370)
	w.must(stranger, transfer(client, 355))
	code(t, w, tooPoor, stranger, transfer(client, 1))
	expect(t, "stranger, who could not pay the whole fee", w.account(stranger).Balance, 0)
	code(t, w, tooPoor, 31, transfer(client, 1))
	if _, known := w.State.Account(pub(31)); known {
		t.Error("somebody who has nothing got an account by failing")
	}
}

func TestStake(t *testing.T) {
	w := newWorld(t, shortParams())
	w.must(client, stakeSet(1_000))
	w.must(client, stakeSet(900)) // it is that high
	expect(t, "stake", w.account(client).Stake, 1_000)
	code(t, w, tooPoor, client, stakeSet(1<<63))
	code(t, w, noStake, client, unstake(1_001))
	w.must(client, unstake(400), unstake(100))
	at := w.State.Height()
	a := w.account(client)
	if len(a.Unbonding) != 1 || a.Unbonding[0].Amount != 500 || a.Unbonding[0].Release != at+12 {
		t.Fatalf("unbonding %v at %d", a.Unbonding, at)
	}
	before := a.Balance
	w.skip(at + 11)
	expect(t, "balance before the release", w.account(client).Balance, before)
	w.skip(at + 12)
	expect(t, "balance after the release", w.account(client).Balance, before+500)
	expect(t, "unbonding", uint64(len(w.account(client).Unbonding)), 0)
	code(t, w, forbidden, val0, unstake(1_000_001))
	w.must(val0, unstake(1_000_000))
}

func TestUnbondingIsBounded(t *testing.T) {
	p := shortParams()
	p.UnbondingBlocks = 100
	w := newWorld(t, p)
	for range MaxUnbonding {
		w.must(worker0, unstake(1))
	}
	code(t, w, outside, worker0, unstake(1))
	w.skip(200)
	expect(t, "balance", w.account(worker0).Balance, 1_000-10*(MaxUnbonding+1)+MaxUnbonding)
}

func TestSettlement(t *testing.T) {
	w := newWorld(t, shortParams())
	before := w.account(val0).Balance
	w.must(val0, escrow("j", 10_000))
	code(t, w, twiceEscrow, val0, escrow("j", 1))
	code(t, w, tooPoor, val0, escrow("k", 1<<62))
	d := decision("j", []int{worker0, stranger})
	code(t, w, noEscrow, val1, settle(1_000, d))
	w.must(val0, settle(1_000, d))
	// worker0's stake is stake_half: half of the bonus. 2 % of each go to the treasury.
	expect(t, "worker0", w.account(worker0).Balance, 1_000+1_470)
	expect(t, "stranger", w.account(stranger).Balance, 980)
	expect(t, "val0", w.account(val0).Balance, before-4*10-2_500)
	expect(t, "escrows", w.State.Supply().Escrows, 0)
	expect(t, "treasury", w.State.Supply().Treasury, 50+5*10)
	expect(t, "reputation", w.account(stranger).ReputationPpm, 500_000+500_000/32)
	expect(t, "settled", w.account(stranger).Settled, 1)
	expect(t, "earned", w.account(stranger).Earned, 980)
	code(t, w, twiceSettled, val0, settle(1_000, d))
	code(t, w, twiceSettled, val0, escrow("j", 10))
	if w.State.Settled(pub(val0), "j") == nil {
		t.Error("not remembered")
	}
	w.skip(w.State.Height() + 12)
	if w.State.Settled(pub(val0), "j") != nil {
		t.Error("never forgotten")
	}
}

func TestRefusedSettlements(t *testing.T) {
	w := newWorld(t, shortParams())
	w.must(val0, escrow("j", 10_000))
	two := []int{worker0, worker1}
	for name, c := range map[string]struct {
		want   ledgerv1.ReceiptCode
		price  uint64
		change func(*ledgerv1.Decision)
	}{
		"dearer than the escrow":   {tooPoor, 5_000, func(*ledgerv1.Decision) {}},
		"reward overflows":         {overflow, 1<<64 - 1, func(*ledgerv1.Decision) {}},
		"sum overflows":            {overflow, MaxSupply / 2, func(*ledgerv1.Decision) {}},
		"quorum of one":            {badEvidence, 1, func(d *ledgerv1.Decision) { d.Agreeing = d.Agreeing[:1] }},
		"one worker twice":         {badEvidence, 1, func(d *ledgerv1.Decision) { d.Agreeing[1] = resultFor("j", worker0, 3, 4, right) }},
		"another checksum":         {badEvidence, 1, func(d *ledgerv1.Decision) { d.Agreeing[1] = result("j", worker1, wrong) }},
		"checksum of nobody":       {badEvidence, 1, func(d *ledgerv1.Decision) { d.Checksum[0]++ }},
		"referee without referee":  {badEvidence, 1, func(d *ledgerv1.Decision) { d.Basis, d.Referee = eventv1.VerdictBasis_VERDICT_BASIS_REFEREE, false }},
		"stress":                   {forbidden, 1, func(d *ledgerv1.Decision) { d.Basis = eventv1.VerdictBasis_VERDICT_BASIS_SINGLE }},
		"known answer":             {forbidden, 1, func(d *ledgerv1.Decision) { d.Basis = eventv1.VerdictBasis_VERDICT_BASIS_KNOWN_ANSWER }},
		"verdict of unknown basis": {forbidden, 1, func(d *ledgerv1.Decision) { d.Basis = 77 }},
	} {
		d := decision("j", two)
		c.change(d)
		if got := w.do(val0, settle(c.price, d)); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
	d := decision("j", two[:1])
	d.Basis = eventv1.VerdictBasis_VERDICT_BASIS_REFEREE
	w.must(val0, settle(1_000, d))
}

// TestStrangersPay holds that anybody may pay, but that only validators' payments make a reputation.
func TestStrangersPay(t *testing.T) {
	w := newWorld(t, shortParams())
	w.must(client, escrow("j", 10_000), settle(1_000, decision("j", []int{worker0, worker1})))
	expect(t, "reputation", w.account(worker0).ReputationPpm, FirstReputation)
	expect(t, "balance", w.account(worker0).Balance, 1_000+1_470)
}

func TestRefund(t *testing.T) {
	w := newWorld(t, shortParams())
	w.must(val0, escrow("j", 1_000), escrow("k", 1_000))
	before := w.account(val0).Balance
	code(t, w, noEscrow, val0, refund("l"))
	code(t, w, noEscrow, val1, refund("j"))
	w.must(val0, refund("j"), refund("k"))
	at := w.State.Height()
	code(t, w, forbidden, val0, refund("j"))
	w.must(val0, settle(100, decision("k", []int{stranger, 31}))) // a settlement wins until then
	w.skip(at + 2)
	if w.State.Escrow(pub(val0), "j") == nil {
		t.Error("paid back too early")
	}
	w.skip(at + 3)
	if w.State.Escrow(pub(val0), "j") != nil {
		t.Error("not paid back")
	}
	expect(t, "val0", w.account(val0).Balance, before-4*10+1_000+800)
	w.must(val0, escrow("j", 5)) // it was not settled: it can be tried again
}

func TestAnchors(t *testing.T) {
	w := newWorld(t, shortParams())
	w.must(val0, anchorOf(head(val0, "log", 5, 1)))
	code(t, w, outside, val0, anchorOf(head(val0, "log", 5, 1)))
	code(t, w, outside, val0, anchorOf(head(val0, "log", 4, 1)))
	code(t, w, contradicts, val0, anchorOf(head(val0, "log", 5, 2)))
	code(t, w, forbidden, val0, anchorOf(head(val0, "other", 9, 2)))
	w.must(val0, anchorOf(head(val0, "log", 6, 2)))
	a := w.State.Anchor(pub(val0))
	if a.Size != 6 || a.Origin != "log" || a.Root[0] != 2 || a.Height != w.State.Height() {
		t.Errorf("anchor %v", a)
	}
	if w.State.Anchor(pub(val1)) != nil {
		t.Error("another's anchor")
	}
	// The refused one stands in a block, so anybody can hold it against its signer.
	w.must(stranger2(w), checkpoints(val0, head(val0, "log", 5, 1), head(val0, "log", 5, 2)))
	code(t, w, forbidden, val0, anchorOf(head(val0, "log", 7, 2)))
}

// stranger2 is somebody with a little money for fees.
func stranger2(w *world) int {
	w.must(client, transfer(stranger, 10_000))
	return stranger
}

func TestValidatorChange(t *testing.T) {
	w := newWorld(t, shortParams())
	join := &ledgerv1.Validator{Key: pub(client), Name: "c"}
	b := &ledgerv1.ValidatorChangeBody{Version: 2, Add: []*ledgerv1.Validator{join}}
	code(t, w, noStake, client, change(b, val0, val1, val2))
	w.must(client, stakeSet(1_000_000))
	code(t, w, notApproved, client, change(b, val0, val1))
	code(t, w, notApproved, client, change(b, val0, val1, val1, stranger))
	b.Version = 3
	code(t, w, wrongVersion, client, change(b, val0, val1, val2))
	b.Version = 2
	w.must(client, change(b, val2, val0, val1))
	if n := len(w.State.Validators().Validators); n != 5 || w.State.Validators().Version != 2 {
		t.Fatalf("%d validators of version %d", n, w.State.Validators().Version)
	}
	code(t, w, wrongVersion, client, change(b, val2, val0, val1, val3))
	three := &ledgerv1.ValidatorChangeBody{Version: 3, Remove: [][]byte{pub(val0), pub(val1)}}
	code(t, w, outside, client, change(three, val0, val1, val2, val3))
	code(t, w, forbidden, client, change(&ledgerv1.ValidatorChangeBody{Version: 3, Remove: [][]byte{pub(stranger)}}, val0, val1, val2, val3))
	twins := &ledgerv1.ValidatorChangeBody{Version: 3, Add: []*ledgerv1.Validator{{Key: pub(client), Peer: []byte{byte(val3)}}}}
	code(t, w, outside, client, change(twins, val0, val1, val2, val3))
	moved := &ledgerv1.ValidatorChangeBody{
		Version: 3, Add: []*ledgerv1.Validator{{Key: pub(client), Name: "d"}}, Remove: [][]byte{pub(val0)},
	}
	w.must(client, change(moved, val0, val1, val2, val3))
	one := &ledgerv1.ValidatorChangeBody{Version: 4, Remove: [][]byte{pub(val1), pub(val2), pub(val3)}}
	w.must(client, change(one, val1, val2, client))
	if set := w.State.Validators().Validators; len(set) != 1 || set[0].Name != "d" {
		t.Fatalf("validators %v", set)
	}
	w.must(val0, unstake(2_000_000)) // it has left: nothing holds its stake
}

func TestFrames(t *testing.T) {
	w := newWorld(t, shortParams())
	a := w.txUntil(client, 1, transfer(stranger, 1))
	b := w.txUntil(client, 21, transfer(stranger, 1))
	far := w.txUntil(client, 22, transfer(stranger, 1))
	poor := w.tx(stranger, transfer(client, 1))
	if w.State.Screen(a) != ok || w.State.Screen(far) != outside || w.State.Screen(poor) != tooPoor {
		t.Error("screened wrongly")
	}
	got := w.block(a, a, b, far)
	for i, want := range []ledgerv1.ReceiptCode{ok, replayed, ok, outside} {
		if got[i].Code != want {
			t.Errorf("transaction %d: %v, want %v", i, got[i].Code, want)
		}
	}
	expect(t, "client, who pays nothing for what is repeated or early", w.account(client).Balance, 5_000_000-2*11)
	if w.State.Screen(a) != replayed || !w.State.Executed(b.ID()) {
		t.Error("not remembered")
	}
	got = w.block(a, far)
	if got[0].Code != expired || got[1].Code != ok {
		t.Errorf("%v, want expired and ok", got)
	}
	w.skip(21)
	if !w.State.Executed(b.ID()) {
		t.Error("forgotten while it could be repeated")
	}
	if got := w.block(b); got[0].Code != expired {
		t.Errorf("%v, want expired", got[0].Code)
	}
	if w.State.Executed(b.ID()) {
		t.Error("remembered for ever")
	}
}
