package claim

import (
	"bytes"
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/actors/ledger"
	"github.com/shardy-network/orchestrator/actors/ledger/light"
	"github.com/shardy-network/orchestrator/actors/ledger/seal"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
	workerv1 "github.com/shardy-network/orchestrator/proto/shardy/worker/v1"
)

// Evidence is what a claim is made of.
type Evidence struct {
	Orchestrator []byte // key
	Receipts     *workerv1.Receipts
	Result       int // of Receipts: the one that the claim is about
	Block        *ledgerv1.CertifiedBlock
	Results      []*ledgerv1.Receipt // of the block's transactions
	Index        int                 // of the settlement's transaction in the block
	Action       int                 // of the settlement in the transaction
	Changes      []*ledgerv1.ValidatorsProof
}

// Make puts a claim together. It refuses evidence that does not fit together, but whether it proves anything is for Check
// to say.
func Make(e Evidence) (*ledgerv1.Claim, error) {
	b := e.Block.GetBlock()
	txs, results := b.GetTransactions(), ledger.EncodeReceipts(e.Results)
	if e.Index < 0 || e.Index >= len(txs) || len(results) != len(txs) || e.Result < 0 || e.Action < 0 {
		return nil, fmt.Errorf("%w: transaction %d of %d, with %d receipts", ErrMalformed, e.Index, len(txs), len(results))
	}
	h, err := light.ParseHeader("", b.GetHeader())
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBlock, err)
	}
	txRoot, resultRoot := seal.Root(txs), seal.Root(results)
	if !bytes.Equal(h.Transactions, txRoot[:]) || !bytes.Equal(h.Results, resultRoot[:]) {
		return nil, fmt.Errorf("%w: block %d holds something else", ErrInclusion, h.Height)
	}
	certificate, err := proto.MarshalOptions{Deterministic: true}.Marshal(e.Block.GetCertificate())
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return &ledgerv1.Claim{
		Orchestrator: e.Orchestrator, Receipts: e.Receipts.GetBody(), Signature: e.Receipts.GetSignature(), Result: uint32(e.Result),
		Header: b.Header, Certificate: certificate, Changes: e.Changes,
		Transaction: txs[e.Index], Action: uint32(e.Action), Receipt: results[e.Index], Index: uint32(e.Index), Size: uint32(len(txs)),
		TransactionPath: seal.Path(txs, e.Index), ReceiptPath: seal.Path(results, e.Index),
	}, nil
}
