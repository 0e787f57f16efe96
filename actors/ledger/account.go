package ledger

import (
	"slices"

	"github.com/shardy-network/orchestrator/actors/ledger/light"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

const (
	tooPoor   = ledgerv1.ReceiptCode_RECEIPT_CODE_INSUFFICIENT_BALANCE
	overflow  = ledgerv1.ReceiptCode_RECEIPT_CODE_OVERFLOW
	forbidden = ledgerv1.ReceiptCode_RECEIPT_CODE_NOT_ALLOWED
	outside   = ledgerv1.ReceiptCode_RECEIPT_CODE_OUT_OF_RANGE
)

// jailed reports whether an account earns no bonus and judges nobody. A jail lasts until it is ended by an Unjail.
func jailed(a *ledgerv1.Account) bool { return a.JailedUntil != 0 || a.Tombstoned }

func (d *draft) transfer(sender []byte, t *ledgerv1.Transfer) *refusal {
	from := d.account(sender)
	if from.Balance < t.Amount {
		return refuse(tooPoor, "balance is %d", from.Balance)
	}
	if !move(&from.Balance, &d.account(t.To).Balance, t.Amount) {
		return refuse(overflow, "balance of the receiver")
	}
	return nil
}

func (d *draft) stakeSet(sender []byte, t *ledgerv1.StakeSet) *refusal {
	a := d.account(sender)
	switch {
	case a.Tombstoned:
		return refuse(forbidden, "the key has equivocated")
	case a.Stake >= t.Stake:
		return nil // it is that high
	case a.Balance < t.Stake-a.Stake:
		return refuse(tooPoor, "balance is %d, %d are missing in the stake", a.Balance, t.Stake-a.Stake)
	}
	more := t.Stake - a.Stake
	if !move(&a.Balance, &a.Stake, more) || !move(&d.open.pots.balances, &d.open.pots.stakes, more) {
		return refuse(overflow, "stake")
	}
	return nil
}

func (d *draft) unstake(sender []byte, t *ledgerv1.Unstake) *refusal {
	a := d.account(sender)
	if a.Stake < t.Amount {
		return refuse(ledgerv1.ReceiptCode_RECEIPT_CODE_INSUFFICIENT_STAKE, "stake is %d", a.Stake)
	}
	if light.Member(d.open.validators, sender) && a.Stake-t.Amount < d.params.MinValidatorStake {
		return refuse(forbidden, "a validator keeps a stake of %d", d.params.MinValidatorStake)
	}
	release := later(d.height, d.params.UnbondingBlocks)
	n := len(a.Unbonding)
	switch {
	case n > 0 && a.Unbonding[n-1].Release == release: // of this block
		a.Unbonding[n-1] = &ledgerv1.Unbonding{Amount: a.Unbonding[n-1].Amount + t.Amount, Release: release}
	case n >= MaxUnbonding:
		return refuse(outside, "%d parts of the stake are unbonding", n)
	default:
		a.Unbonding = append(a.Unbonding, &ledgerv1.Unbonding{Amount: t.Amount, Release: release})
		d.at(release, &ledgerv1.Due{Kind: &ledgerv1.Due_Release{Release: sender}})
	}
	a.Stake -= t.Amount
	return nil
}

// release makes unbonding money whose time has come a part of the balance.
func (d *draft) release(key []byte) {
	a := d.account(key)
	a.Unbonding = slices.DeleteFunc(a.Unbonding, func(u *ledgerv1.Unbonding) bool {
		return u.Release <= d.height && move(&d.open.pots.stakes, &d.open.pots.balances, u.Amount) && give(a, u.Amount)
	})
}

// give adds to a balance. All money together fits, so a balance does.
func give(a *ledgerv1.Account, amount uint64) bool {
	a.Balance += amount
	return true
}

func (d *draft) unjail(sender []byte) *refusal {
	a := d.account(sender)
	switch {
	case a.JailedUntil == 0:
		return refuse(forbidden, "the key is not in jail")
	case d.height < a.JailedUntil:
		return refuse(ledgerv1.ReceiptCode_RECEIPT_CODE_JAILED, "until %d", a.JailedUntil)
	}
	a.JailedUntil = 0
	return nil
}

// atRisk is what an account can lose: its stake, and what of it is unbonding.
func atRisk(a *ledgerv1.Account) uint64 {
	all := a.Stake
	for _, u := range a.Unbonding {
		all += u.Amount
	}
	return all
}

// take takes an amount from a stake, then from what is unbonding, the latest first. There is as much.
func take(a *ledgerv1.Account, amount uint64) {
	from := min(a.Stake, amount)
	a.Stake -= from
	amount -= from
	for i := len(a.Unbonding) - 1; i >= 0 && amount > 0; i-- {
		u := a.Unbonding[i]
		from := min(u.Amount, amount)
		amount -= from
		a.Unbonding[i] = &ledgerv1.Unbonding{Amount: u.Amount - from, Release: u.Release}
	}
	a.Unbonding = slices.DeleteFunc(a.Unbonding, func(u *ledgerv1.Unbonding) bool { return u.Amount == 0 })
}
