package ledger

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"slices"

	"github.com/shardy-network/orchestrator/actors/ledger/light"
	"github.com/shardy-network/orchestrator/actors/ledger/seal"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

// minMargin is by how many workers a decision must lead over the largest group that agrees on something else before
// anybody is punished for it.
const minMargin = 2

// slash punishes the contradicted workers of a decision that the sender has settled.
func (d *draft) slash(sender []byte, dec *ledgerv1.Decision) *refusal {
	if r := d.mayJudge(sender); r != nil {
		return r
	}
	if r := d.unfitSlash(sender, dec); r != nil {
		return r
	}
	beneficiaries := make([][]byte, len(dec.Agreeing))
	for i, r := range dec.Agreeing {
		beneficiaries[i] = r.Worker
	}
	slices.SortFunc(beneficiaries, bytes.Compare)
	// All are measured by the window as it was before: their order does not count.
	inWindow, all := d.open.pots.inWindow, d.open.pots.stakes
	for _, r := range dec.Contradicted {
		places := []Hash{seal.EvidenceKey(attestationID(dec.Job, r)), seal.EvidenceKey(judgementID(sender, r.Worker, dec.Job))}
		if d.get(places[0]) != nil || d.get(places[1]) != nil {
			return refuse(ledgerv1.ReceiptCode_RECEIPT_CODE_EVIDENCE_SEEN, "result of %x for job %s", r.Worker, dec.Job)
		}
		d.set(places[0], seen)
		d.set(places[1], seen)
		d.at(later(d.height, d.params.EvidenceBlocks+1), &ledgerv1.Due{Kind: &ledgerv1.Due_Forget{Forget: places[1][:]}})
		d.freeze(sender, r.Worker, dec.Job, beneficiaries, penaltyOf(d.params, d.params.SlashWrongPpm, inWindow, all))
	}
	return nil
}

// mayJudge refuses those who may not punish.
func (d *draft) mayJudge(sender []byte) *refusal {
	switch a := d.account(sender); {
	case !light.Member(d.open.validators, sender):
		return refuse(forbidden, "only a validator slashes")
	case a.Tombstoned:
		return refuse(forbidden, "the key has equivocated")
	case a.JailedUntil != 0:
		return refuse(ledgerv1.ReceiptCode_RECEIPT_CODE_JAILED, "until %d at least", a.JailedUntil)
	}
	return nil
}

// unfitSlash says why a decision does not show that the contradicted workers were wrong.
func (d *draft) unfitSlash(sender []byte, dec *ledgerv1.Decision) *refusal {
	v := d.get(seal.SettledKey(sender, dec.Job))
	if v == nil {
		return refuse(badEvidence, "the sender has not settled job %s", dec.Job)
	}
	settled := decode(v, new(ledgerv1.Settled))
	switch {
	case !bytes.Equal(settled.Checksum, dec.Checksum):
		return refuse(badEvidence, "job %s was settled with another checksum", dec.Job)
	case d.height-settled.Height > d.params.EvidenceBlocks:
		return refuse(ledgerv1.ReceiptCode_RECEIPT_CODE_OLD_EVIDENCE, "job %s was settled at %d", dec.Job, settled.Height)
	case !dec.Referee && !d.params.SlashOnQuorum:
		return refuse(badEvidence, "the referee has not confirmed the result")
	}
	if r := unfitAgreeing(dec); r != nil {
		return r
	}
	groups := map[Hash]int{}
	largest := 0
	for i, r := range dec.Contradicted {
		sum := checksum(r)
		switch {
		case bytes.Equal(sum[:], dec.Checksum):
			return refuse(badEvidence, "contradicted result %d agrees", i)
		case among(dec.Contradicted[:i], r.Worker) || among(dec.Agreeing, r.Worker):
			return refuse(badEvidence, "worker %x is there twice", r.Worker)
		}
		groups[sum]++
		largest = max(largest, groups[sum])
	}
	if margin := len(dec.Agreeing) - largest; margin < minMargin {
		return refuse(badEvidence, "a margin of %d, want %d", margin, minMargin)
	}
	return nil
}

// penaltyOf says what a fault costs an account.
func penaltyOf(p *ledgerv1.Params, basicPpm, inWindow, all uint64) func(*ledgerv1.Account) uint64 {
	return func(a *ledgerv1.Account) uint64 {
		return penalty(atRisk(a), basicPpm, p.CorrelationFactor, inWindow, all)
	}
}

// freeze takes a penalty, which is given away when the time for appeals is over.
func (d *draft) freeze(orchestrator, worker []byte, job string, beneficiaries [][]byte, cost func(*ledgerv1.Account) uint64) {
	a := d.account(worker)
	p := &ledgerv1.Penalty{Amount: cost(a), Due: later(d.height, d.params.AppealBlocks), Beneficiaries: beneficiaries}
	take(a, p.Amount)
	move(&d.open.pots.stakes, &d.open.pots.penalties, p.Amount)
	d.correlate(p.Amount)
	count(&a.Contradicted, 1)
	count(&a.Slashed, p.Amount)
	before := a.ReputationPpm
	a.ReputationPpm = judged(before, false)
	p.ReputationLost = before - a.ReputationPpm
	if a.ReputationPpm < d.params.ReputationJailPpm && !a.Tombstoned {
		a.JailedUntil = max(a.JailedUntil, later(d.height, d.params.JailBlocks))
		p.JailedUntil = a.JailedUntil
	}
	d.set(seal.PenaltyKey(orchestrator, worker, job), encode(p))
	d.at(p.Due, &ledgerv1.Due{Kind: &ledgerv1.Due_Penalty{
		Penalty: &ledgerv1.DuePenalty{Orchestrator: orchestrator, Worker: worker, Job: job},
	}})
}

// correlate remembers what was slashed for as long as it makes further faults dearer.
func (d *draft) correlate(amount uint64) {
	if amount == 0 {
		return
	}
	count(&d.open.pots.inWindow, amount)
	d.at(later(d.height, d.params.CorrelationBlocks), &ledgerv1.Due{Kind: &ledgerv1.Due_Unslash{Unslash: amount}})
}

// execute gives a penalty away: half to those who were right, in equal parts, and the rest is burned.
func (d *draft) execute(orchestrator, worker []byte, job string) {
	place := seal.PenaltyKey(orchestrator, worker, job)
	v := d.get(place)
	if v == nil {
		return // it was voided
	}
	p := decode(v, new(ledgerv1.Penalty))
	if p.Due > d.height {
		return
	}
	if n := uint64(len(p.Beneficiaries)); n > 0 {
		share := p.Amount / 2 / n
		for _, key := range p.Beneficiaries {
			if share > 0 && move(&d.open.pots.penalties, &d.open.pots.balances, share) {
				a := d.account(key)
				give(a, share)
				count(&a.Earned, share)
				p.Amount -= share
			}
		}
	}
	move(&d.open.pots.penalties, &d.open.pots.burned, p.Amount)
	d.set(place, nil)
}

// void gives a frozen penalty back, with what else the slash took.
func (d *draft) void(t *ledgerv1.SlashVoid) *refusal {
	if r := d.quorum(t.Approvals); r != nil {
		return r
	}
	b, err := voidOf(t)
	if err != nil {
		return refuse(badEvidence, "%v", err) // Check takes none
	}
	place := seal.PenaltyKey(b.Orchestrator, b.Worker, b.Job)
	v := d.get(place)
	if v == nil {
		return refuse(forbidden, "no such penalty is frozen")
	}
	p, a := decode(v, new(ledgerv1.Penalty)), d.account(b.Worker)
	if !move(&d.open.pots.penalties, &d.open.pots.stakes, p.Amount) {
		return refuse(overflow, "stakes")
	}
	a.Stake += p.Amount
	a.Slashed -= min(p.Amount, a.Slashed)
	a.Contradicted -= min(1, a.Contradicted)
	a.ReputationPpm = min(a.ReputationPpm+p.ReputationLost, million)
	if p.JailedUntil != 0 && p.JailedUntil == a.JailedUntil {
		a.JailedUntil = 0
	}
	d.set(place, nil)
	return nil
}

// attestationID names one signed result. It carries no height, so it could be shown again for ever.
func attestationID(job string, r *ledgerv1.Result) Hash {
	b := append([]byte("shardy/judged/v1\x00"), r.Worker...)
	b = binary.BigEndian.AppendUint32(b, r.Slot)
	b = binary.BigEndian.AppendUint64(b, r.Token)
	return sha256.Sum256(append(b, job...))
}

// judgementID names what an orchestrator says about a worker's part in a job.
func judgementID(orchestrator, worker []byte, job string) Hash {
	b := append([]byte("shardy/judgement/v1\x00"), orchestrator...)
	b = append(b, worker...)
	return sha256.Sum256(append(b, job...))
}
