package operator

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/shardy-network/orchestrator/actors/ledger"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

const (
	maxWait  = time.Minute     // for a block
	maxOffer = 5 * time.Second // for room among those that wait
)

// LedgerRefusal is a transaction that could not be executed in the next block.
type LedgerRefusal struct {
	Code   ledgerv1.ReceiptCode
	Detail string // for people; may be empty
}

func (r *LedgerRefusal) Error() string {
	if r.Detail != "" {
		return "transaction would fail: " + r.Detail
	}
	switch r.Code {
	case ledgerv1.ReceiptCode_RECEIPT_CODE_EXPIRED:
		return "transaction has expired"
	case ledgerv1.ReceiptCode_RECEIPT_CODE_OUT_OF_RANGE:
		return "transaction is valid for longer than the chain's window"
	case ledgerv1.ReceiptCode_RECEIPT_CODE_INSUFFICIENT_BALANCE:
		return "the sender's balance does not cover the fee"
	}
	return "transaction would fail: " + plain(r.Code.String(), "RECEIPT_CODE_")
}

// SubmitTransaction takes a transaction to the validators, and may wait for the block that holds it.
func (a *API) SubmitTransaction(ctx context.Context, req *operatorv1.SubmitTransactionRequest) (*operatorv1.SubmitTransactionResponse, error) {
	l, err := a.shared()
	if err != nil {
		return nil, err
	}
	wait := time.Duration(req.WaitMs) * time.Millisecond
	if wait > maxWait {
		return nil, refuse("wait_ms", "at most 60,000")
	}
	c, err := a.check(ctx, l, req.Transaction)
	if err != nil {
		return nil, err
	}
	id := c.ID()
	res := &operatorv1.SubmitTransactionResponse{Id: id[:]}
	code := l.State().Screen(c)
	if at, err := l.Find(id); err == nil && !(tooEarly(at.Receipt) && code == ledgerv1.ReceiptCode_RECEIPT_CODE_OK) {
		visitorOf(ctx).pay(unitsFound)
		return inBlock(res, at), nil
	}
	if err := fit(code); err != nil {
		return nil, err
	}
	leave := func() {}
	if wait > 0 { // before it is sent: who is refused has done nothing
		if leave, err = a.visitors.wait(visitorOf(ctx)); err != nil {
			return nil, err
		}
	}
	defer leave()
	if err := offer(ctx, l, req.Transaction); err != nil {
		return nil, err
	}
	if wait == 0 {
		return res, nil
	}
	return a.awaitBlock(ctx, l, id, wait, res)
}

// check verifies a transaction. Signatures are paid for by its size, as an evidence of a few hundred bytes may hold one.
func (a *API) check(ctx context.Context, l Ledger, encoded []byte) (ledger.Checked, error) {
	if len(encoded) > ledger.MaxTransactionBytes {
		return ledger.Checked{}, fmt.Errorf("%w: %d bytes, limit %d", ledger.ErrTooLarge, len(encoded), ledger.MaxTransactionBytes)
	}
	visitorOf(ctx).pay(len(encoded) / bytesChecked)
	if err := a.checks.enter(ctx); err != nil {
		return ledger.Checked{}, err
	}
	defer a.checks.leave()
	return l.Check(encoded)
}

// fit refuses what cannot be executed in the next block, so that it takes no place in the queue.
func fit(code ledgerv1.ReceiptCode) error {
	switch code {
	case ledgerv1.ReceiptCode_RECEIPT_CODE_OK, ledgerv1.ReceiptCode_RECEIPT_CODE_REPLAYED:
		return nil // what was executed is found by who waits for it
	}
	return &LedgerRefusal{Code: code}
}

// offer submits a transaction. A queue that stays full is full.
func offer(ctx context.Context, l Ledger, encoded []byte) error {
	offering, cancel := context.WithTimeout(ctx, maxOffer)
	defer cancel()
	err := l.Submit(offering, encoded)
	if err != nil && offering.Err() != nil && ctx.Err() == nil {
		return fmt.Errorf("%w: %w", ErrLedgerFull, err)
	}
	return err
}

// tooEarly reports whether a block may have held a transaction without executing it: then it may come again.
func tooEarly(r *ledgerv1.Receipt) bool {
	return r.GetCode() == ledgerv1.ReceiptCode_RECEIPT_CODE_OUT_OF_RANGE
}

// awaitBlock waits for the block that holds a transaction. That there is none in time is no failure.
func (a *API) awaitBlock(ctx context.Context, l Ledger, id ledger.Hash, wait time.Duration, res *operatorv1.SubmitTransactionResponse) (*operatorv1.SubmitTransactionResponse, error) {
	waiting, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	closing, stop := context.WithCancelCause(waiting)
	defer stop(nil)
	defer context.AfterFunc(a.ctx, func() { stop(errClosing) })()
	at, err := l.Await(closing, id)
	switch {
	case err == nil:
		return inBlock(res, at), nil
	case errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil:
		return res, nil
	}
	return nil, err
}

func inBlock(res *operatorv1.SubmitTransactionResponse, at LedgerOutcome) *operatorv1.SubmitTransactionResponse {
	res.Height, res.Receipt = at.Height, at.Receipt
	return res
}
