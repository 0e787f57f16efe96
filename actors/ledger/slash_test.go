package ledger

import (
	"testing"

	"pgregory.net/rapid"

	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

// trio are as many as must be right before one who is wrong is punished.
var trio = []int{worker0, worker1, stranger}

// settled is a world in which val0 has settled job j with worker0 and worker1.
func settled(t failer, p *ledgerv1.Params) *world {
	w := newWorld(t, p)
	w.must(val0, escrow("j", 10_000), settle(1, decision("j", []int{worker0, worker1})))
	return w
}

func TestSlash(t *testing.T) {
	w := settled(t, shortParams())
	w.must(worker2, unstake(499_000)) // what is unbonding is at risk too
	w.must(val0, slashFor(decision("j", trio, worker2)))
	at := w.State.Height()
	a := w.account(worker2)
	expect(t, "stake", a.Stake, 0)
	expect(t, "unbonding", a.Unbonding[0].Amount, 499_000-4_000)
	expect(t, "slashed", a.Slashed, 5_000)
	expect(t, "contradicted", a.Contradicted, 1)
	expect(t, "reputation", a.ReputationPpm, 500_000-15_625)
	expect(t, "frozen", w.State.Supply().Penalties, 5_000)
	expect(t, "window", w.State.Supply().SlashedInWindow, 5_000)
	before0, before1 := w.account(worker0).Balance, w.account(worker1).Balance
	w.skip(at + 3)
	if w.State.Penalty(pub(val0), pub(worker2), "j") == nil {
		t.Fatal("no appeal is possible")
	}
	w.skip(at + 4)
	expect(t, "worker0", w.account(worker0).Balance, before0+833)
	expect(t, "worker1", w.account(worker1).Balance, before1+833)
	expect(t, "burned with the remainder", w.State.Supply().Burned, 5_000-3*833)
	expect(t, "frozen", w.State.Supply().Penalties, 0)
	w.skip(at + 6)
	expect(t, "window", w.State.Supply().SlashedInWindow, 0)
	code(t, w, forbidden, client, voidFor(val0, worker2, "j", val0, val1, val2))
}

func TestRefusedSlashes(t *testing.T) {
	two, three, four := []int{worker0, worker1}, trio, []int{worker0, worker1, stranger, worker3}
	w := settled(t, shortParams())
	w.must(val1, escrow("j", 100))
	for name, c := range map[string]struct {
		want   ledgerv1.ReceiptCode
		sender int
		d      *ledgerv1.Decision
		change func(*ledgerv1.Decision)
	}{
		"not by a validator":       {forbidden, client, decision("j", three, worker2), nil},
		"settled by another":       {badEvidence, val1, decision("j", three, worker2), nil},
		"another job":              {badEvidence, val0, decision("k", three, worker2), nil},
		"margin of one":            {badEvidence, val0, decision("j", two, worker2), nil},
		"two against three":        {badEvidence, val0, decision("j", three, worker2, worker3), nil},
		"no referee":               {badEvidence, val0, decision("j", three, worker2), func(d *ledgerv1.Decision) { d.Referee = false }},
		"agrees":                   {badEvidence, val0, decision("j", three, worker2), func(d *ledgerv1.Decision) { d.Contradicted[0] = result("j", worker2, right) }},
		"was right and wrong":      {badEvidence, val0, decision("j", four, worker3), nil},
		"wrong twice":              {badEvidence, val0, decision("j", four, worker2, worker2), nil},
		"another decided checksum": {badEvidence, val0, decision("j", three, worker2), swapped},
		"agreeing with another":    {badEvidence, val0, decision("j", three, worker2), func(d *ledgerv1.Decision) { d.Agreeing[1] = result("j", worker1, wronger) }},
	} {
		if c.change != nil {
			c.change(c.d)
		}
		if got := w.do(c.sender, slashFor(c.d)); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
	expect(t, "frozen", w.State.Supply().Penalties, 0)
}

// swapped makes the wrong the right.
func swapped(d *ledgerv1.Decision) {
	for i, r := range d.Agreeing { // a worker's slot is its number
		d.Agreeing[i] = result("j", int(r.Slot), wrong)
	}
	d.Contradicted[0] = result("j", worker2, right)
	sum := checksum(d.Agreeing[0])
	d.Checksum = sum[:]
}

// TestTwoLiarsWhoDiffer holds that the margin is over the largest group, not over all.
func TestTwoLiarsWhoDiffer(t *testing.T) {
	w := settled(t, shortParams())
	d := decision("j", []int{worker0, worker1, worker3}, worker2)
	d.Contradicted = append(d.Contradicted, result("j", stranger, wronger))
	w.must(val0, slashFor(d))
	expect(t, "contradicted", w.account(stranger).Contradicted, 1)
	expect(t, "contradicted", w.account(worker2).Contradicted, 1)
}

func TestSlashOnQuorum(t *testing.T) {
	p := shortParams()
	p.SlashOnQuorum = true
	w := settled(t, p)
	d := decision("j", []int{worker0, worker1, worker3}, worker2)
	d.Referee = false
	w.must(val0, slashFor(d))
}

// TestResultsArePunishedOnce holds that nobody who has read a result on the ledger can use it again, ever.
func TestResultsArePunishedOnce(t *testing.T) {
	w := settled(t, shortParams())
	d := decision("j", trio, worker2)
	w.must(val0, slashFor(d))
	code(t, w, seenEvidence, val0, slashFor(d))
	w.must(val1, escrow("j", 10), settle(1, decision("j", []int{worker0, worker1})))
	code(t, w, seenEvidence, val1, slashFor(d))
	w.skip(w.State.Height() + 30)
	w.must(val0, escrow("j", 10), settle(1, decision("j", []int{worker0, worker1})))
	code(t, w, seenEvidence, val0, slashFor(d))
	again := decision("j", []int{worker0, worker1, val2})
	again.Contradicted = []*ledgerv1.Result{resultFor("j", worker2, 9, 9, wrong), resultFor("j", worker3, 8, 8, wrong)}
	again.Agreeing = append(again.Agreeing, result("j", stranger, right), result("j", client, right))
	w.must(val0, slashFor(again)) // other lies in later rounds
}

func TestOldSlash(t *testing.T) {
	w := settled(t, shortParams())
	at := w.State.Height()
	w.skip(at + 9)
	w.must(val0, slashFor(decision("j", trio, worker2))) // in the last block
	code(t, w, badEvidence, val0, slashFor(decision("j", trio, worker3)))
}

// TestOldSlashBehindDues holds that evidence is too old even while the memory of the job waits to be cleared.
func TestOldSlashBehindDues(t *testing.T) {
	w := settled(t, shortParams())
	d := newDraft(w.State, w.State.Height()+11)
	r := d.slash(pub(val0), decision("j", trio, worker2))
	if r == nil || r.code != oldEvidence {
		t.Errorf("%v, want old evidence", r)
	}
}

func TestVoid(t *testing.T) {
	p := shortParams()
	p.ReputationJailPpm = 490_000
	w := settled(t, p)
	before := w.account(worker2)
	w.must(val0, slashFor(decision("j", trio, worker2)))
	if w.account(worker2).JailedUntil != w.State.Height()+3 {
		t.Error("not jailed")
	}
	code(t, w, notApproved, worker2, voidFor(val0, worker2, "j", val0, val1))
	code(t, w, forbidden, worker2, voidFor(val1, worker2, "j", val0, val1, val3))
	w.must(worker3, voidFor(val0, worker2, "j", val1, val2, val3))
	after := w.account(worker2)
	before.Balance = after.Balance // fees
	if string(encode(before)) != string(encode(after)) {
		t.Errorf("it was %v, after the void %v", before, after)
	}
	w.skip(w.State.Height() + 5)
	expect(t, "burned", w.State.Supply().Burned, 0)
	expect(t, "frozen", w.State.Supply().Penalties, 0)
	code(t, w, seenEvidence, val0, slashFor(decision("j", trio, worker2)))
}

func TestJail(t *testing.T) {
	p := shortParams()
	p.ReputationJailPpm, p.AppealBlocks = 490_000, 1
	w := settled(t, p)
	code(t, w, forbidden, worker2, unjail())
	w.must(val0, slashFor(decision("j", []int{worker0, worker1, worker3, client}, worker2, val3)), transfer(stranger, 100))
	at := w.State.Height()
	code(t, w, inJail, worker2, unjail())
	w.skip(at + 5)
	w.must(val1, escrow("k", 10_000), settle(1_000, decision("k", []int{worker2, val3})))
	expect(t, "earned without bonus", w.account(worker2).Earned, 980)
	code(t, w, inJail, val3, slashFor(decision("k", []int{worker2, worker1, client}, worker0)))
	w.must(worker2, unjail())
	w.must(val1, escrow("l", 10_000), settle(1_000, decision("l", []int{worker2, val3})))
	if earned := w.account(worker2).Earned - 980; earned <= 980 {
		t.Errorf("earned %d out of jail", earned)
	}
}

// TestCorrelation holds that a fault is the dearer, the more was slashed in the same window.
func TestCorrelation(t *testing.T) {
	p := shortParams()
	p.SlashEquivocationPpm = million / 2
	w := settled(t, p)
	w.must(client, votes(val1, vote(val1, 1, 1, "a"), vote(val1, 1, 1, "b"))) // half of 2,000,000
	stakes := w.State.Supply().Stakes
	d := decision("j", trio, worker2)
	w.must(val0, slashFor(d))
	ppm := 10_000 + 3*1_000_000*million/stakes
	expect(t, "slashed", w.account(worker2).Slashed, 500_000*ppm/million)
	w.skip(w.State.Height() + 6)
	w.must(val0, slashFor(decision("j", trio, worker3)))
	expect(t, "slashed after the window", w.account(worker3).Slashed, 5_000)
}

// TestOrderOfResults holds that the order in which results are listed decides nothing.
func TestOrderOfResults(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		run := func(order []int) [3]Hash {
			w := newWorld(t, shortParams())
			pay := decision("j", []int{worker0, worker1, worker3, client, stranger})
			bad := decision("j", []int{worker0, worker1, worker3, client, stranger}, worker2, val2, val3)
			shuffled := func(rs []*ledgerv1.Result) (out []*ledgerv1.Result) {
				for _, i := range order {
					if i < len(rs) {
						out = append(out, rs[i])
					}
				}
				return out
			}
			pay.Agreeing, bad.Agreeing, bad.Contradicted = shuffled(pay.Agreeing), shuffled(bad.Agreeing), shuffled(bad.Contradicted)
			d := newDraft(w.State, 1)
			for _, a := range []*ledgerv1.Action{escrow("j", 1_000_000), settle(12_345, pay), slashFor(bad)} {
				if r := d.act(pub(val0), a); r != nil {
					t.Fatalf("%v", r)
				}
			}
			d.keep()
			accounts := newDraft(w.State, 1)
			for _, n := range []int{val0, val2, val3, worker0, worker1, worker2, worker3, client, stranger} {
				*accounts.account(pub(n)) = *cloneAccount(d.account(pub(n)))
			}
			accounts.keep()
			accounts.block.pots = d.block.pots
			s, err := accounts.close()
			if err != nil {
				t.Fatalf("%v", err)
			}
			return [3]Hash{s.Root()}
		}
		order := rapid.Permutation([]int{0, 1, 2, 3, 4}).Draw(t, "order")
		if run([]int{0, 1, 2, 3, 4}) != run(order) {
			t.Fatal("another order, other money")
		}
	})
}

func TestEquivocations(t *testing.T) {
	for name, c := range map[string]struct {
		accused int
		action  *ledgerv1.Action
	}{
		"votes":       {val1, votes(val1, vote(val1, 3, 1, "a"), vote(val1, 3, 1, "b"))},
		"checkpoints": {val1, checkpoints(val1, head(val1, "log", 5, 1), head(val1, "log", 5, 2))},
		"results":     {worker1, answers("j", resultFor("j", worker1, 1, 2, right), resultFor("j", worker1, 1, 2, wrong))},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, shortParams())
			stake := w.account(c.accused).Stake
			w.must(client, c.action)
			a := w.account(c.accused)
			expect(t, "stake", a.Stake, stake-stake/20)
			expect(t, "burned", w.State.Supply().Burned, stake/40)
			expect(t, "treasury", w.State.Supply().Treasury, stake/40+10)
			if !a.Tombstoned {
				t.Error("not tombstoned")
			}
			for _, v := range w.State.Validators().Validators {
				if string(v.Key) == string(pub(c.accused)) {
					t.Error("still a validator")
				}
			}
			code(t, w, seenEvidence, client, c.action)
			code(t, w, forbidden, c.accused, stakeSet(3_000_000))
			w.must(client, transfer(c.accused, 100_000))
			code(t, w, forbidden, c.accused, escrow("j", 100), settle(1, decision("j", []int{worker0, worker2})))
			code(t, w, forbidden, c.accused, slashFor(decision("j", []int{worker0, worker2}, worker3)))
			back := &ledgerv1.ValidatorChangeBody{Version: w.State.Validators().Version + 1, Add: []*ledgerv1.Validator{{Key: pub(c.accused)}}}
			code(t, w, forbidden, client, change(back, val0, val1, val2, val3))
		})
	}
}

func TestRefusedEquivocations(t *testing.T) {
	w := newWorld(t, shortParams())
	w.skip(20)
	for name, c := range map[string]struct {
		want   ledgerv1.ReceiptCode
		action *ledgerv1.Action
	}{
		"same block":            {badEvidence, votes(val1, vote(val1, 30, 1, "a"), vote(val1, 30, 1, "a"))},
		"another view":          {badEvidence, votes(val1, vote(val1, 19, 1, "a"), vote(val1, 19, 2, "b"))},
		"another height":        {badEvidence, votes(val1, vote(val1, 19, 1, "a"), vote(val1, 18, 1, "b"))},
		"old votes":             {oldEvidence, votes(val1, vote(val1, 9, 1, "a"), vote(val1, 9, 1, "b"))},
		"votes of nobody":       {forbidden, votes(stranger, vote(stranger, 30, 1, "a"), vote(stranger, 30, 1, "b"))},
		"another size":          {badEvidence, checkpoints(val1, head(val1, "log", 5, 1), head(val1, "log", 6, 2))},
		"another origin":        {badEvidence, checkpoints(val1, head(val1, "log", 5, 1), head(val1, "lag", 5, 2))},
		"same root":             {badEvidence, checkpoints(val1, head(val1, "log", 5, 1), head(val1, "log", 5, 1))},
		"another token":         {badEvidence, answers("j", resultFor("j", worker1, 1, 2, right), resultFor("j", worker1, 1, 3, wrong))},
		"another slot":          {badEvidence, answers("j", resultFor("j", worker1, 1, 2, right), resultFor("j", worker1, 2, 2, wrong))},
		"another worker":        {badEvidence, answers("j", resultFor("j", worker1, 1, 2, right), resultFor("j", worker2, 1, 2, wrong))},
		"same result":           {badEvidence, answers("j", resultFor("j", worker1, 1, 2, right), resultFor("j", worker1, 1, 2, right))},
		"highest height is new": {ok, votes(val1, vote(val1, 1<<64-1, 1, "a"), vote(val1, 1<<64-1, 1, "b"))},
	} {
		if got := w.do(client, c.action); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

// TestLastValidatorStays holds that a chain does not end because its only validator has lied.
func TestLastValidatorStays(t *testing.T) {
	w := newWorld(t, shortParams())
	for n := val0; n <= val2; n++ {
		w.must(client, votes(n, vote(n, 1, 1, "a"), vote(n, 1, 1, "b")))
	}
	if v := w.State.Validators(); v.Version != 4 || len(v.Validators) != 1 {
		t.Fatalf("validators %v", v)
	}
	w.must(client, votes(val3, vote(val3, 1, 1, "a"), vote(val3, 1, 1, "b")))
	if v := w.State.Validators(); v.Version != 4 || len(v.Validators) != 1 {
		t.Fatalf("validators %v", v)
	}
	w.must(client, transfer(stranger, 1))
}
