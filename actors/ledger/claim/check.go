package claim

import (
	"bytes"
	"crypto/ed25519"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"
	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/actors/ledger"
	"github.com/shardy-network/orchestrator/actors/ledger/light"
	"github.com/shardy-network/orchestrator/actors/ledger/seal"
	"github.com/shardy-network/orchestrator/actors/proof"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
	workerv1 "github.com/shardy-network/orchestrator/proto/shardy/worker/v1"
)

// Limits of what is decoded.
const (
	MaxBytes   = 64 << 20 // encoded Claim
	MaxChanges = 1024     // of validators

	maxReceiptBytes = 4 << 10
	maxPath         = 64
)

// Decode reads an encoded claim. It checks nothing.
func Decode(encoded []byte) (*ledgerv1.Claim, error) {
	if len(encoded) > MaxBytes {
		return nil, fmt.Errorf("%w: %d bytes, limit %d", ErrMalformed, len(encoded), MaxBytes)
	}
	c := new(ledgerv1.Claim)
	if err := proto.Unmarshal(encoded, c); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return c, nil
}

// Check says what a claim proves to somebody who trusts the validators that the client knows: those of genesis, or later
// ones that the claim's changes go on from. An error, which is one of the package's, says why it proves nothing. The
// client stays as it is.
func Check(c *ledgerv1.Claim, client light.Client) (Verdict, error) {
	worker, at, result, err := receipt(c)
	if err != nil {
		return Verdict{}, err
	}
	tx, settlement, err := settlementOf(c, client.Chain, result.Job)
	if err != nil {
		return Verdict{}, err
	}
	h, err := block(c, client)
	if err != nil {
		return Verdict{}, err
	}
	if err := included(c, h, tx.ID()); err != nil {
		return Verdict{}, err
	}
	if fate := Judge(worker, result, settlement.Decision); fate != LeftOut {
		return Verdict{}, fmt.Errorf("%w: its result is %s", ErrUnfounded, fate)
	}
	v := Verdict{
		Chain: client.Chain, Orchestrator: c.Orchestrator, Worker: worker, Job: result.Job, Slot: result.Slot, Token: result.Token,
		Checksum: result.Checksum, RecordedUs: at, Transaction: tx.ID(), Block: seal.HeaderHash(c.Header),
		Height: h.Height, TimeUs: h.TimeUs, Price: settlement.Price,
	}
	for _, r := range settlement.Decision.Agreeing {
		v.Paid = append(v.Paid, r.Worker)
	}
	return v, nil
}

// receipt is the result that the claim is about, as the orchestrator signed it.
func receipt(c *ledgerv1.Claim) (worker []byte, atUs int64, r *workerv1.RecordedResult, err error) {
	if len(c.GetOrchestrator()) != ed25519.PublicKeySize {
		return nil, 0, nil, fmt.Errorf("%w: key of %d bytes", ErrMalformed, len(c.GetOrchestrator()))
	}
	body, err := proof.VerifyRecorded(c.Orchestrator, nil, &workerv1.Receipts{Body: c.Receipts, Signature: c.Signature})
	if err != nil {
		return nil, 0, nil, fmt.Errorf("%w: %w", ErrReceipt, err)
	}
	if int64(c.Result) >= int64(len(body.Results)) {
		return nil, 0, nil, fmt.Errorf("%w: result %d of %d", ErrMalformed, c.Result, len(body.Results))
	}
	return body.Worker, body.AtUs, body.Results[c.Result], nil
}

// settlementOf is the orchestrator's settlement of a job, with every signature in it checked.
func settlementOf(c *ledgerv1.Claim, chain, job string) (tx ledger.Checked, s *ledgerv1.Settlement, err error) {
	tx, err = ledger.Check(chain, c.Transaction)
	if err != nil {
		return tx, nil, fmt.Errorf("%w: %w", ErrSettlement, err)
	}
	body := tx.Body()
	if !bytes.Equal(body.Sender, c.Orchestrator) {
		return tx, nil, fmt.Errorf("%w: sent by %.8x", ErrSettlement, body.Sender)
	}
	if int64(c.Action) >= int64(len(body.Actions)) {
		return tx, nil, fmt.Errorf("%w: action %d of %d", ErrMalformed, c.Action, len(body.Actions))
	}
	s = body.Actions[c.Action].GetTaskVerified()
	if s == nil || s.GetDecision().GetJob() != job {
		return tx, nil, fmt.Errorf("%w: action %d does not settle job %q", ErrSettlement, c.Action, job)
	}
	return tx, s, nil
}

// block is the header, which a quorum of the validators agreed on that the changes lead to.
func block(c *ledgerv1.Claim, client light.Client) (*ledgerv1.Header, error) {
	if len(c.Changes) > MaxChanges {
		return nil, fmt.Errorf("%w: %d changes of validators", ErrMalformed, len(c.Changes))
	}
	h, err := light.ParseHeader(client.Chain, c.Header)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBlock, err)
	}
	for i, change := range c.Changes {
		if client.Validators.GetVersion() >= h.ValidatorsVersion {
			return nil, fmt.Errorf("%w: %d changes too many", ErrMalformed, len(c.Changes)-i)
		}
		if err := client.Follow(change); err != nil {
			return nil, fmt.Errorf("%w: change %d: %w", ErrBlock, i, err)
		}
	}
	certificate := new(ledgerv1.Certificate)
	if len(c.Certificate) > light.MaxCertificateBytes || proto.Unmarshal(c.Certificate, certificate) != nil {
		return nil, fmt.Errorf("%w: certificate", ErrMalformed)
	}
	if err := light.VerifyCertificate(c.Header, client.Validators, certificate); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBlock, err)
	}
	return h, nil
}

// included holds that the block has the transaction, and that it was carried out: failed ones are in blocks too.
func included(c *ledgerv1.Claim, h *ledgerv1.Header, id ledger.Hash) error {
	r := new(ledgerv1.Receipt)
	if len(c.Receipt) > maxReceiptBytes || proto.Unmarshal(c.Receipt, r) != nil {
		return fmt.Errorf("%w: receipt of the transaction", ErrMalformed)
	}
	if c.Size > ledger.MaxBlockTransactions || c.Index >= c.Size {
		return fmt.Errorf("%w: transaction %d of %d", ErrMalformed, c.Index, c.Size)
	}
	if err := leads(c.TransactionPath, c, h.Transactions, c.Transaction); err != nil {
		return err
	}
	if err := leads(c.ReceiptPath, c, h.Results, c.Receipt); err != nil {
		return fmt.Errorf("its receipt: %w", err)
	}
	if !bytes.Equal(r.Transaction, id[:]) {
		return fmt.Errorf("%w: receipt of transaction %.8x", ErrInclusion, r.Transaction)
	}
	if r.Code != ledgerv1.ReceiptCode_RECEIPT_CODE_OK {
		return fmt.Errorf("%w: %s", ErrFailed, r.Code)
	}
	return nil
}

// leads holds that an entry lies at the claim's index under a root (RFC 6962).
func leads(path [][]byte, c *ledgerv1.Claim, root, entry []byte) error {
	if len(path) > maxPath {
		return fmt.Errorf("%w: path of %d", ErrMalformed, len(path))
	}
	p := make(tlog.RecordProof, len(path))
	for i, b := range path {
		if len(b) != tlog.HashSize {
			return fmt.Errorf("%w: hash of %d bytes", ErrMalformed, len(b))
		}
		p[i] = tlog.Hash(b)
	}
	if err := tlog.CheckRecord(p, int64(c.Size), tlog.Hash(root), int64(c.Index), tlog.RecordHash(entry)); err != nil {
		return fmt.Errorf("%w: %w", ErrInclusion, err)
	}
	return nil
}
