package ledger

import (
	"fmt"

	"github.com/shardy-network/orchestrator/actors/ledger/seal"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

// seen is what lies where nothing but the place matters.
var seen = []byte{1}

// refusal says why an action fails. It never leaves the package but as a Receipt.
type refusal struct {
	code   ledgerv1.ReceiptCode
	detail string
}

func refuse(code ledgerv1.ReceiptCode, format string, args ...any) *refusal {
	return &refusal{code, fmt.Sprintf(format, args...)}
}

// Execute makes the next block's state and one receipt for each transaction, in order. It fails only for what never was
// a block of this chain: another height, transactions that were not checked for this chain, or more of them than fit.
func (s State) Execute(height uint64, txs []Checked) (State, []*ledgerv1.Receipt, error) {
	if height != s.height+1 || height > MaxHeight {
		return State{}, nil, fmt.Errorf("%w: height %d after %d", ErrBlock, height, s.height)
	}
	if err := s.fits(txs); err != nil {
		return State{}, nil, err
	}
	d := newDraft(s, height)
	d.doDue()
	receipts := make([]*ledgerv1.Receipt, len(txs))
	for i, t := range txs {
		receipts[i] = d.transact(t)
	}
	next, err := d.close()
	return next, receipts, err
}

// fits refuses what no honest validator would take for the transactions of a block.
func (s State) fits(txs []Checked) error {
	if len(txs) > MaxBlockTransactions {
		return fmt.Errorf("%w: %d transactions, limit %d", ErrBlock, len(txs), MaxBlockTransactions)
	}
	size := 0
	for i, t := range txs {
		if t.body == nil || t.body.ChainId != s.chain {
			return fmt.Errorf("%w: transaction %d was not checked for chain %s", ErrBlock, i, s.chain)
		}
		size += len(t.encoded)
	}
	if size > MaxBlockBytes {
		return fmt.Errorf("%w: %d bytes of transactions, limit %d", ErrBlock, size, MaxBlockBytes)
	}
	return nil
}

// Screen says what would become of a transaction in the next block as far as its frame decides it: replayed, expired, too
// early, or too poor for the fee. It is for those who choose transactions; a block may hold the others too.
func (s State) Screen(c Checked) ledgerv1.ReceiptCode {
	if r := screen(c, s.height+1, s.params.WindowBlocks, s.Executed(c.id)); r != nil {
		return r.code
	}
	if a, _ := s.Account(c.body.Sender); a.Balance < s.params.Fee {
		return ledgerv1.ReceiptCode_RECEIPT_CODE_INSUFFICIENT_BALANCE
	}
	return ledgerv1.ReceiptCode_RECEIPT_CODE_OK
}

func screen(c Checked, height, window uint64, executed bool) *refusal {
	switch {
	case executed:
		return refuse(ledgerv1.ReceiptCode_RECEIPT_CODE_REPLAYED, "it was in a block before")
	case c.body.ValidUntil < height:
		return refuse(ledgerv1.ReceiptCode_RECEIPT_CODE_EXPIRED, "it was valid until %d", c.body.ValidUntil)
	case c.body.ValidUntil > height+window:
		return refuse(ledgerv1.ReceiptCode_RECEIPT_CODE_OUT_OF_RANGE, "valid until %d is more than %d blocks away", c.body.ValidUntil, window)
	}
	return nil
}

// transact executes one transaction, all of it or none.
func (d *draft) transact(c Checked) *ledgerv1.Receipt {
	place := seal.TransactionKey(c.id)
	if r := screen(c, d.height, d.params.WindowBlocks, d.get(place) != nil); r != nil {
		return receipt(c, 0, r)
	}
	d.set(place, seen)
	d.at(later(c.body.ValidUntil, 1), &ledgerv1.Due{Kind: &ledgerv1.Due_Forget{Forget: place[:]}})
	if !d.charge(c.body.Sender) {
		d.keep()
		return receipt(c, 0, refuse(ledgerv1.ReceiptCode_RECEIPT_CODE_INSUFFICIENT_BALANCE, "the fee is %d", d.params.Fee))
	}
	d.keep()
	for i, a := range c.body.Actions {
		if r := d.act(c.body.Sender, a); r != nil {
			d.drop()
			return receipt(c, i, r)
		}
	}
	d.keep()
	return receipt(c, 0, nil)
}

// charge takes the fee, or what there is of it.
func (d *draft) charge(sender []byte) bool {
	if d.params.Fee == 0 {
		return true
	}
	if !d.exists(sender) {
		return false
	}
	a := d.account(sender)
	fee := min(d.params.Fee, a.Balance)
	a.Balance -= fee
	move(&d.open.pots.balances, &d.open.pots.treasury, fee)
	return fee == d.params.Fee
}

func receipt(c Checked, action int, r *refusal) *ledgerv1.Receipt {
	out := &ledgerv1.Receipt{Transaction: c.id[:], Code: ledgerv1.ReceiptCode_RECEIPT_CODE_OK}
	if r != nil {
		out.Code, out.Action, out.Detail = r.code, uint32(action), r.detail
	}
	return out
}

// act executes one action.
func (d *draft) act(sender []byte, a *ledgerv1.Action) *refusal {
	switch k := a.Kind.(type) {
	case *ledgerv1.Action_Transfer:
		return d.transfer(sender, k.Transfer)
	case *ledgerv1.Action_StakeSet:
		return d.stakeSet(sender, k.StakeSet)
	case *ledgerv1.Action_Unstake:
		return d.unstake(sender, k.Unstake)
	case *ledgerv1.Action_Unjail:
		return d.unjail(sender)
	case *ledgerv1.Action_JobEscrow:
		return d.escrow(sender, k.JobEscrow)
	case *ledgerv1.Action_TaskVerified:
		return d.settle(sender, k.TaskVerified)
	case *ledgerv1.Action_Refund:
		return d.refund(sender, k.Refund)
	case *ledgerv1.Action_ConsensusMismatch:
		return d.slash(sender, k.ConsensusMismatch.Decision)
	case *ledgerv1.Action_Equivocation:
		return d.equivocation(k.Equivocation)
	case *ledgerv1.Action_LogAnchor:
		return d.anchor(sender, k.LogAnchor)
	case *ledgerv1.Action_ValidatorSet:
		return d.changeValidators(k.ValidatorSet)
	case *ledgerv1.Action_VoidSlash:
		return d.void(k.VoidSlash)
	}
	return refuse(ledgerv1.ReceiptCode_RECEIPT_CODE_NOT_ALLOWED, "no such action") // Check takes none
}
