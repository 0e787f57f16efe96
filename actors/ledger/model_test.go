package ledger

import (
	"bytes"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"testing"

	"pgregory.net/rapid"

	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

// model is the ledger as one would write it without hashes, pages or drafts: maps of people's numbers.
type model struct {
	p                *ledgerv1.Params
	h                uint64
	people           map[int]*person
	escrows          map[deal]mEscrow
	settled          map[deal]mSettled
	frozen           map[verdict]mPenalty
	judged           map[[2]any]bool // worker and job
	said             map[verdict]uint64
	window           []mSlashed
	treasury, burned uint64
	validators       map[int]bool
}

type person struct {
	balance, stake, rep, jail uint64
	unbonding                 []mPart
	tomb                      bool
}

type (
	mPart struct{ amount, release uint64 }
	deal  struct {
		owner int
		job   string
	}
	verdict struct {
		owner, worker int
		job           string
	}
	mEscrow  struct{ amount, refundAt uint64 }
	mSettled struct {
		height uint64
		fuel   uint64
	}
	mPenalty struct {
		amount, due, lost, jail uint64
		heirs                   []int
	}
	mSlashed struct{ amount, until uint64 }
)

func newModel(g *ledgerv1.Genesis) *model {
	m := &model{
		p: g.Params, people: map[int]*person{}, escrows: map[deal]mEscrow{}, settled: map[deal]mSettled{},
		frozen: map[verdict]mPenalty{}, judged: map[[2]any]bool{}, said: map[verdict]uint64{}, validators: map[int]bool{},
	}
	for _, e := range g.Endowments {
		m.people[numberOf(e.Key)] = &person{balance: e.Balance, stake: e.Stake, rep: 500_000}
	}
	for _, v := range g.Validators {
		m.validators[numberOf(v.Key)] = true
	}
	return m
}

func numberOf(key []byte) int {
	for n := range 64 {
		if bytes.Equal(pub(n), key) {
			return n
		}
	}
	return -1
}

func (m *model) clone() *model {
	c := *m
	c.people = map[int]*person{}
	for n, p := range m.people {
		q := *p
		q.unbonding = slices.Clone(p.unbonding)
		c.people[n] = &q
	}
	c.escrows, c.settled, c.frozen = maps.Clone(m.escrows), maps.Clone(m.settled), maps.Clone(m.frozen)
	c.judged, c.said, c.validators = maps.Clone(m.judged), maps.Clone(m.said), maps.Clone(m.validators)
	c.window = slices.Clone(m.window)
	return &c
}

func (m *model) of(n int) *person {
	if m.people[n] == nil {
		m.people[n] = &person{rep: 500_000}
	}
	return m.people[n]
}

// next is the beginning of a block.
func (m *model) next() {
	m.h++
	for _, p := range m.people {
		p.unbonding = slices.DeleteFunc(p.unbonding, func(u mPart) bool {
			if u.release == m.h {
				p.balance += u.amount
			}
			return u.release == m.h
		})
	}
	for d, e := range m.escrows {
		if e.refundAt == m.h {
			m.of(d.owner).balance += e.amount
			delete(m.escrows, d)
		}
	}
	for v, f := range m.frozen {
		if f.due == m.h {
			for _, n := range f.heirs {
				share := f.amount / 2 / uint64(len(f.heirs))
				m.of(n).balance += share
				m.burned -= share
			}
			m.burned += f.amount
			delete(m.frozen, v)
		}
	}
	m.window = slices.DeleteFunc(m.window, func(s mSlashed) bool { return s.until == m.h })
	maps.DeleteFunc(m.settled, func(_ deal, s mSettled) bool { return m.h > s.height+m.p.EvidenceBlocks })
	maps.DeleteFunc(m.said, func(_ verdict, at uint64) bool { return m.h > at+m.p.EvidenceBlocks })
}

// ratio is floor(a*b/c), without any care for overflow.
func ratio(a, b, c uint64) *big.Int {
	x := new(big.Int).Mul(new(big.Int).SetUint64(a), new(big.Int).SetUint64(b))
	return x.Div(x, new(big.Int).SetUint64(c))
}

func (m *model) stakes() (all uint64) {
	for _, p := range m.people {
		all += p.risk()
	}
	return all
}

func (p *person) risk() uint64 {
	all := p.stake
	for _, u := range p.unbonding {
		all += u.amount
	}
	return all
}

func (m *model) inWindow() (all uint64) {
	for _, s := range m.window {
		all += s.amount
	}
	return all
}

// lose takes a penalty from somebody.
func (m *model) lose(n int, ppm, inWindow, all uint64) uint64 {
	p := m.of(n)
	rate := new(big.Int).SetUint64(ppm)
	if all > 0 {
		rate.Add(rate, ratio(inWindow, m.p.CorrelationFactor*million, all))
	}
	if rate.Cmp(big.NewInt(million)) > 0 {
		rate.SetInt64(million)
	}
	cost := ratio(p.risk(), rate.Uint64(), million).Uint64()
	left := cost - min(cost, p.stake)
	p.stake -= min(cost, p.stake)
	for i := len(p.unbonding) - 1; i >= 0; i-- {
		part := min(left, p.unbonding[i].amount)
		p.unbonding[i].amount -= part
		left -= part
	}
	p.unbonding = slices.DeleteFunc(p.unbonding, func(u mPart) bool { return u.amount == 0 })
	if cost > 0 {
		m.window = append(m.window, mSlashed{cost, m.h + m.p.CorrelationBlocks})
	}
	return cost
}

// act is one action: whether it works, and what it does.
func (m *model) act(sender int, a *ledgerv1.Action) bool {
	p := m.of(sender)
	switch k := a.Kind.(type) {
	case *ledgerv1.Action_Transfer:
		if p.balance < k.Transfer.Amount {
			return false
		}
		p.balance -= k.Transfer.Amount
		m.of(numberOf(k.Transfer.To)).balance += k.Transfer.Amount
	case *ledgerv1.Action_StakeSet:
		return m.stakeSet(p, k.StakeSet.Stake)
	case *ledgerv1.Action_Unstake:
		return m.unstake(sender, p, k.Unstake.Amount)
	case *ledgerv1.Action_Unjail:
		if p.jail == 0 || p.jail > m.h {
			return false
		}
		p.jail = 0
	case *ledgerv1.Action_JobEscrow:
		d := deal{sender, k.JobEscrow.Job}
		_, open := m.escrows[d]
		_, done := m.settled[d]
		if open || done || p.balance < k.JobEscrow.Amount {
			return false
		}
		p.balance -= k.JobEscrow.Amount
		m.escrows[d] = mEscrow{amount: k.JobEscrow.Amount}
	case *ledgerv1.Action_Refund:
		d := deal{sender, k.Refund.Job}
		e, open := m.escrows[d]
		if !open || e.refundAt != 0 {
			return false
		}
		e.refundAt = m.h + m.p.ClaimBlocks
		m.escrows[d] = e
	case *ledgerv1.Action_TaskVerified:
		return m.settle(sender, k.TaskVerified)
	case *ledgerv1.Action_ConsensusMismatch:
		return m.slash(sender, k.ConsensusMismatch.Decision)
	case *ledgerv1.Action_Equivocation:
		return m.equivocate(numberOf(k.Equivocation.GetVotes().Validator))
	case *ledgerv1.Action_VoidSlash:
		return m.void(k.VoidSlash)
	}
	return true
}

func (m *model) stakeSet(p *person, to uint64) bool {
	if p.tomb || to > p.stake && p.balance < to-p.stake {
		return false
	}
	if to > p.stake {
		p.balance -= to - p.stake
		p.stake = to
	}
	return true
}

func (m *model) unstake(n int, p *person, amount uint64) bool {
	if p.stake < amount || m.validators[n] && p.stake-amount < m.p.MinValidatorStake {
		return false
	}
	p.stake -= amount
	for i := range p.unbonding {
		if p.unbonding[i].release == m.h+m.p.UnbondingBlocks {
			p.unbonding[i].amount += amount
			return true
		}
	}
	p.unbonding = append(p.unbonding, mPart{amount, m.h + m.p.UnbondingBlocks})
	return true
}

func (m *model) settle(sender int, s *ledgerv1.Settlement) bool {
	d := deal{sender, s.Decision.Job}
	e, open := m.escrows[d]
	_, done := m.settled[d]
	if m.of(sender).tomb || done || !open || len(s.Decision.Agreeing) < 2 {
		return false
	}
	total := new(big.Int)
	each := map[int]*big.Int{}
	for _, r := range s.Decision.Agreeing {
		w := m.of(numberOf(r.Worker))
		factor := uint64(million)
		if w.jail == 0 && !w.tomb {
			factor += ratio(m.p.StakeBonusPpm, w.stake, w.stake+m.p.StakeHalf).Uint64()
		}
		each[numberOf(r.Worker)] = ratio(s.Price, factor, million)
		total.Add(total, each[numberOf(r.Worker)])
	}
	if total.Cmp(new(big.Int).SetUint64(e.amount)) > 0 {
		return false
	}
	for n, earned := range each {
		cut := ratio(earned.Uint64(), m.p.TreasuryPpm, million).Uint64()
		m.treasury += cut
		m.of(n).balance += earned.Uint64() - cut
		if m.validators[sender] {
			m.of(n).rep += (million - m.of(n).rep) / 32
		}
	}
	m.of(sender).balance += e.amount - total.Uint64()
	delete(m.escrows, d)
	m.settled[d] = mSettled{m.h, s.Decision.Agreeing[0].Fuel}
	return true
}

func (m *model) slash(sender int, dec *ledgerv1.Decision) bool {
	was, done := m.settled[deal{sender, dec.Job}]
	p := m.of(sender)
	if !m.validators[sender] || p.tomb || p.jail != 0 || !done || was.fuel != dec.Agreeing[0].Fuel ||
		len(dec.Agreeing)-len(dec.Contradicted) < 2 {
		return false
	}
	inWindow, all := m.inWindow(), m.stakes()
	for _, r := range dec.Contradicted {
		n := numberOf(r.Worker)
		v := verdict{sender, n, dec.Job}
		if _, said := m.said[v]; said || m.judged[[2]any{n, dec.Job}] {
			return false
		}
		m.said[v], m.judged[[2]any{n, dec.Job}] = m.h, true
		w := m.of(n)
		f := mPenalty{amount: m.lose(n, m.p.SlashWrongPpm, inWindow, all), due: m.h + m.p.AppealBlocks, lost: w.rep / 32}
		w.rep -= f.lost
		if w.rep < m.p.ReputationJailPpm && !w.tomb {
			w.jail = max(w.jail, m.h+m.p.JailBlocks)
			f.jail = w.jail
		}
		for _, g := range dec.Agreeing {
			f.heirs = append(f.heirs, numberOf(g.Worker))
		}
		m.frozen[v] = f
	}
	return true
}

func (m *model) equivocate(n int) bool {
	p, is := m.people[n]
	if !is || p.tomb {
		return false
	}
	cost := m.lose(n, m.p.SlashEquivocationPpm, m.inWindow(), m.stakes())
	p.tomb = true
	m.treasury += cost / 2
	m.burned += cost - cost/2
	if len(m.validators) > 1 {
		delete(m.validators, n)
	}
	return true
}

func (m *model) void(t *ledgerv1.SlashVoid) bool {
	voices := 0
	for _, s := range t.Approvals {
		if m.validators[numberOf(s.Validator)] {
			voices++
		}
	}
	n := len(m.validators)
	b, _ := voidOf(t)
	v := verdict{numberOf(b.Orchestrator), numberOf(b.Worker), b.Job}
	f, frozen := m.frozen[v]
	if 3*voices <= 2*n && !(n <= 3 && 2*voices > n) || !frozen {
		return false
	}
	w := m.of(v.worker)
	w.stake += f.amount
	w.rep = min(w.rep+f.lost, million)
	if f.jail != 0 && w.jail == f.jail {
		w.jail = 0
	}
	delete(m.frozen, v)
	return true
}

// transact is a transaction: fee first, then all or nothing.
func (m *model) transact(t *ledgerv1.Transaction) (*model, bool) {
	n := numberOf(t.Sender)
	p := m.people[n]
	if p == nil {
		return m, false
	}
	fee := min(p.balance, m.p.Fee)
	p.balance -= fee
	m.treasury += fee
	if fee < m.p.Fee {
		return m, false
	}
	try := m.clone()
	for _, a := range t.Actions {
		if !try.act(n, a) {
			return m, false
		}
	}
	return try, true
}

var everybody = []int{val0, val1, val2, val3, worker0, worker1, worker2, worker3, client, stranger}

// actions are drawn so that most make sense and some are hostile.
func drawAction(t *rapid.T) *ledgerv1.Action {
	job := rapid.SampledFrom([]string{"j", "k", "l"}).Draw(t, "job")
	who := func() int { return rapid.SampledFrom(everybody).Draw(t, "who") }
	amount := func() uint64 {
		return rapid.OneOf(rapid.Uint64Range(1, 3_000), rapid.Uint64Range(1, 3_000_000),
			rapid.SampledFrom([]uint64{1<<64 - 1, 1 << 63, 1 << 62, 1<<62 - 1})).Draw(t, "amount")
	}
	fuel := rapid.SampledFrom([]uint64{right, right, right, wrong}).Draw(t, "fuel")
	split := func(most int) *ledgerv1.Decision {
		order := rapid.Permutation(everybody).Draw(t, "workers")
		good := rapid.IntRange(1, 5).Draw(t, "agreeing")
		d := decision(job, nil)
		for _, n := range order[:good] {
			d.Agreeing = append(d.Agreeing, result(job, n, fuel))
		}
		for _, n := range order[good : good+rapid.IntRange(1, most).Draw(t, "contradicted")] {
			d.Contradicted = append(d.Contradicted, result(job, n, right+wrong-fuel))
		}
		sum := checksum(d.Agreeing[0])
		d.Checksum = sum[:]
		return d
	}
	switch rapid.IntRange(0, 13).Draw(t, "kind") {
	case 0, 1:
		return transfer(who(), amount())
	case 2:
		return stakeSet(amount())
	case 3:
		return unstake(amount())
	case 4:
		return unjail()
	case 5, 6:
		return escrow(job, amount())
	case 7:
		return refund(job)
	case 8, 9:
		return settle(amount(), split(1))
	case 10, 11:
		return slashFor(split(3))
	case 12:
		if rapid.IntRange(0, 5).Draw(t, "rarely") > 0 {
			return transfer(who(), amount())
		}
		n := who()
		return votes(n, vote(n, 1<<30, 1, "a"), vote(n, 1<<30, 1, "b"))
	}
	return voidFor(rapid.IntRange(val0, val3).Draw(t, "judge"), who(), job, rapid.Permutation(everybody[:4]).Draw(t, "voices")[:3]...)
}

// drawWork is what an honest orchestrator does: it locks, pays and has liars punished.
func drawWork(t *rapid.T) (sender int, actions []*ledgerv1.Action) {
	job := rapid.SampledFrom([]string{"j", "k", "l"}).Draw(t, "job")
	order := rapid.Permutation(everybody).Draw(t, "workers")
	bad := order[4 : 4+rapid.IntRange(1, 2).Draw(t, "liars")]
	d := decision(job, order[:4], bad...)
	return rapid.IntRange(val0, val3).Draw(t, "validator"), []*ledgerv1.Action{
		escrow(job, rapid.Uint64Range(5_000, 100_000).Draw(t, "locked")),
		settle(rapid.Uint64Range(1, 1_500).Draw(t, "price"), d), slashFor(d),
	}[:rapid.IntRange(2, 3).Draw(t, "far")]
}

// TestModel holds the ledger against the model over random blocks: which transactions work, what everybody has after each
// block, and that no money is made or lost.
func TestModel(t *testing.T) {
	p := shortParams()
	p.ReputationJailPpm = 490_000
	counts, kinds := map[ledgerv1.ReceiptCode]int{}, map[string]int{}
	rapid.Check(t, func(t *rapid.T) {
		w, m := newWorld(t, p), newModel(genesisOf(p))
		for range rapid.IntRange(1, 12).Draw(t, "blocks") {
			var txs []Checked
			for range rapid.IntRange(0, 4).Draw(t, "transactions") {
				sender := rapid.SampledFrom(append(everybody, val0, val0, val1, val1)).Draw(t, "sender")
				actions := make([]*ledgerv1.Action, rapid.SampledFrom([]int{1, 1, 2, 3}).Draw(t, "actions"))
				for i := range actions {
					actions[i] = drawAction(t)
				}
				if rapid.Bool().Draw(t, "honest") {
					sender, actions = drawWork(t)
				}
				txs = append(txs, w.tx(sender, actions...))
			}
			receipts := w.block(txs...)
			m.next()
			for i, c := range txs {
				var works bool
				if m, works = m.transact(c.body); works != (receipts[i].Code == ok) {
					t.Fatalf("height %d: %v: the model says %v, the ledger %v (%s)", m.h, c.body.Actions, works, receipts[i].Code, receipts[i].Detail)
				}
				counts[receipts[i].Code]++
				for _, a := range c.body.Actions {
					if works {
						kinds[fmt.Sprintf("%T", a.Kind)]++
					}
				}
			}
			compare(t, w.State, m)
		}
	})
	t.Log(counts, kinds)
}

func compare(t *rapid.T, s State, m *model) {
	t.Helper()
	for _, n := range everybody {
		a, _ := s.Account(pub(n))
		p := m.people[n]
		if p == nil {
			p = &person{rep: 500_000}
		}
		if a.Balance != p.balance || atRisk(a) != p.risk() || a.Stake != p.stake || a.ReputationPpm != p.rep || a.JailedUntil != p.jail || a.Tombstoned != p.tomb {
			t.Fatalf("height %d: account %d is %v, want %+v", m.h, n, a, *p)
		}
	}
	v := s.Supply()
	if v.Treasury != m.treasury || v.Burned != m.burned || v.SlashedInWindow != m.inWindow() || v.Stakes != m.stakes() {
		t.Fatalf("height %d: supply %v, want treasury %d, burned %d, window %d, stakes %d", m.h, v, m.treasury, m.burned, m.inWindow(), m.stakes())
	}
	if n := len(slices.Collect(s.Accounts())); s.CountAccounts() != uint64(n) {
		t.Fatalf("height %d: %d accounts, counted %d", m.h, n, s.CountAccounts())
	}
	if sum(v) != v.Total || v.Total != 4*12_000_000+4*501_000+5_000_000 {
		t.Fatalf("height %d: supply %v", m.h, v)
	}
}
