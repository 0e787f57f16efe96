package ledger

import (
	"bytes"

	"github.com/shardy-network/orchestrator/actors/ledger/light"
	"github.com/shardy-network/orchestrator/actors/ledger/seal"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

const badEvidence = ledgerv1.ReceiptCode_RECEIPT_CODE_BAD_EVIDENCE

func (d *draft) escrow(sender []byte, e *ledgerv1.JobEscrow) *refusal {
	place := seal.EscrowKey(sender, e.Job)
	a := d.account(sender)
	switch {
	case d.get(seal.SettledKey(sender, e.Job)) != nil:
		return refuse(ledgerv1.ReceiptCode_RECEIPT_CODE_ALREADY_SETTLED, "job %s", e.Job)
	case d.get(place) != nil:
		return refuse(ledgerv1.ReceiptCode_RECEIPT_CODE_ESCROW_EXISTS, "job %s", e.Job)
	case a.Balance < e.Amount:
		return refuse(tooPoor, "balance is %d", a.Balance)
	case !move(&d.open.pots.balances, &d.open.pots.escrows, e.Amount):
		return refuse(overflow, "escrows")
	}
	a.Balance -= e.Amount
	d.set(place, encode(&ledgerv1.Escrow{Amount: e.Amount, Opened: d.height}))
	return nil
}

func (d *draft) refund(sender []byte, r *ledgerv1.Refund) *refusal {
	place := seal.EscrowKey(sender, r.Job)
	v := d.get(place)
	if v == nil {
		return refuse(ledgerv1.ReceiptCode_RECEIPT_CODE_NO_ESCROW, "job %s", r.Job)
	}
	e := decode(v, new(ledgerv1.Escrow))
	if e.RefundAt != 0 {
		return refuse(forbidden, "the refund is due at %d", e.RefundAt)
	}
	e.RefundAt = later(d.height, d.params.ClaimBlocks)
	d.set(place, encode(e))
	d.at(e.RefundAt, &ledgerv1.Due{Kind: &ledgerv1.Due_Refund{Refund: &ledgerv1.DueRefund{Owner: sender, Job: r.Job}}})
	return nil
}

// payBack carries a refund out, unless the escrow went to workers meanwhile.
func (d *draft) payBack(owner []byte, job string) {
	place := seal.EscrowKey(owner, job)
	v := d.get(place)
	if v == nil {
		return
	}
	e := decode(v, new(ledgerv1.Escrow))
	if e.RefundAt == 0 || e.RefundAt > d.height || !move(&d.open.pots.escrows, &d.open.pots.balances, e.Amount) {
		return
	}
	give(d.account(owner), e.Amount)
	d.set(place, nil)
}

// settle pays the workers of a decision out of the sender's escrow for its job.
func (d *draft) settle(sender []byte, t *ledgerv1.Settlement) *refusal {
	job := t.Decision.Job
	if d.account(sender).Tombstoned {
		return refuse(forbidden, "the key has equivocated")
	}
	if d.get(seal.SettledKey(sender, job)) != nil {
		return refuse(ledgerv1.ReceiptCode_RECEIPT_CODE_ALREADY_SETTLED, "job %s", job)
	}
	v := d.get(seal.EscrowKey(sender, job))
	if v == nil {
		return refuse(ledgerv1.ReceiptCode_RECEIPT_CODE_NO_ESCROW, "job %s", job)
	}
	if r := unfitDecision(t.Decision); r != nil {
		return r
	}
	rewards, total, r := d.rewards(t)
	if r != nil {
		return r
	}
	e := decode(v, new(ledgerv1.Escrow))
	if total > e.Amount {
		return refuse(tooPoor, "%d to pay, %d in escrow", total, e.Amount)
	}
	d.pay(sender, t.Decision, rewards)
	move(&d.open.pots.escrows, &d.open.pots.balances, e.Amount-total)
	give(d.account(sender), e.Amount-total)
	d.set(seal.EscrowKey(sender, job), nil)
	settled := seal.SettledKey(sender, job)
	d.set(settled, encode(&ledgerv1.Settled{Checksum: t.Decision.Checksum, Height: d.height}))
	d.at(later(d.height, d.params.EvidenceBlocks+1), &ledgerv1.Due{Kind: &ledgerv1.Due_Forget{Forget: settled[:]}})
	return nil
}

// unfitDecision says why nobody is paid for a decision; nil if somebody is.
func unfitDecision(dec *ledgerv1.Decision) *refusal {
	if r := unfitAgreeing(dec); r != nil {
		return r
	}
	switch dec.Basis {
	case eventv1.VerdictBasis_VERDICT_BASIS_QUORUM:
		if len(dec.Agreeing) < 2 {
			return refuse(badEvidence, "a quorum of one")
		}
	case eventv1.VerdictBasis_VERDICT_BASIS_REFEREE:
		if !dec.Referee {
			return refuse(badEvidence, "the sender does not say that it was the referee")
		}
	default:
		return refuse(forbidden, "verdicts of basis %d are not paid", dec.Basis)
	}
	return nil
}

// unfitAgreeing says why the agreeing results do not carry the decision; nil if they do.
func unfitAgreeing(dec *ledgerv1.Decision) *refusal {
	for i, r := range dec.Agreeing {
		if sum := checksum(r); !bytes.Equal(sum[:], dec.Checksum) {
			return refuse(badEvidence, "agreeing result %d has another checksum", i)
		}
		if among(dec.Agreeing[:i], r.Worker) {
			return refuse(badEvidence, "agreeing worker %x is there twice", r.Worker)
		}
	}
	return nil
}

func among(results []*ledgerv1.Result, worker []byte) bool {
	for _, r := range results {
		if bytes.Equal(r.Worker, worker) {
			return true
		}
	}
	return false
}

// rewards are what each agreeing worker earns, and their sum.
func (d *draft) rewards(t *ledgerv1.Settlement) (each []uint64, total uint64, refused *refusal) {
	each = make([]uint64, len(t.Decision.Agreeing))
	for i, r := range t.Decision.Agreeing {
		a := d.account(r.Worker)
		bonus := d.params.StakeBonusPpm
		if jailed(a) {
			bonus = 0
		}
		earned, ok := reward(t.Price, a.Stake, bonus, d.params.StakeHalf)
		if !ok || earned > MaxSupply {
			return nil, 0, refuse(overflow, "reward of %x", r.Worker)
		}
		if total += earned; total > MaxSupply {
			return nil, 0, refuse(overflow, "sum of the rewards")
		}
		each[i] = earned
	}
	return each, total, nil
}

// pay gives the rewards out. The escrow holds them.
func (d *draft) pay(sender []byte, dec *ledgerv1.Decision, rewards []uint64) {
	counts := light.Member(d.open.validators, sender)
	for i, r := range dec.Agreeing {
		a := d.account(r.Worker)
		cut := part(rewards[i], d.params.TreasuryPpm)
		net := rewards[i] - cut
		move(&d.open.pots.escrows, &d.open.pots.treasury, cut)
		move(&d.open.pots.escrows, &d.open.pots.balances, net)
		give(a, net)
		count(&a.Earned, net)
		count(&a.Settled, 1)
		if counts {
			a.ReputationPpm = judged(a.ReputationPpm, true)
		}
	}
}
