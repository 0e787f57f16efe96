package orchestrator

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"

	"github.com/shardy-network/orchestrator/actors/ledger"
	"github.com/shardy-network/orchestrator/actors/ledger/light"
	"github.com/shardy-network/orchestrator/gateway/operator"
	"github.com/shardy-network/orchestrator/mesh/chain"
	"github.com/shardy-network/orchestrator/mesh/node"
	"github.com/shardy-network/orchestrator/projections/dashboard"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

// ledgerNode is the part of a *node.Node that the API asks for.
type ledgerNode interface {
	Submit(ctx context.Context, tx []byte) (ledger.Hash, error)
	Status() node.Status
}

// ledgerAPI is the ledger in the shape that the API wants.
type ledgerAPI struct {
	chain   *chain.Chain
	first   ledger.Hash // of the header of block 0
	node    ledgerNode
	key     []byte                              // of this orchestrator
	genesis string                              // file that holds it
	settled func() *operatorv1.SettlementStatus // nil: this orchestrator settles nothing; MUST NOT wait
}

var _ operator.Ledger = ledgerAPI{}

func (l ledgerAPI) State() ledger.State { return l.chain.State() }

func (l ledgerAPI) Block(height uint64) (operator.LedgerBlock, error) {
	b, err := l.chain.At(height)
	return operator.LedgerBlock{Hash: b.Hash, Block: b.Block, Receipts: b.Receipts}, onLedger(err)
}

func (l ledgerAPI) Prove(place ledger.Hash) (header, certificate []byte, proof *ledgerv1.TrieProof, err error) {
	header, certificate, proof, err = l.chain.Prove(place)
	return header, certificate, proof, onLedger(err)
}

func (l ledgerAPI) Changes(after uint64, limit int) ([]*ledgerv1.ValidatorsProof, bool, error) {
	proofs, more, err := l.chain.Changes(after, limit)
	return proofs, more, onLedger(err)
}

func (l ledgerAPI) Check(encoded []byte) (ledger.Checked, error) { return l.chain.Check(encoded) }

// Submit takes what was in a block for submitted.
func (l ledgerAPI) Submit(ctx context.Context, encoded []byte) error {
	_, err := l.node.Submit(ctx, encoded)
	if r, ok := errors.AsType[*node.Refusal](err); ok {
		if r.Code == ledgerv1.ReceiptCode_RECEIPT_CODE_REPLAYED {
			return nil
		}
		return &operator.LedgerRefusal{Code: r.Code, Detail: r.Detail}
	}
	return onLedger(err)
}

func (l ledgerAPI) Find(id ledger.Hash) (operator.LedgerOutcome, error) {
	at, err := l.chain.Find(id)
	return operator.LedgerOutcome(at), onLedger(err)
}

func (l ledgerAPI) Await(ctx context.Context, id ledger.Hash) (operator.LedgerOutcome, error) {
	at, err := l.chain.Await(ctx, id)
	return operator.LedgerOutcome(at), onLedger(err)
}

// Genesis reads the file anew, as it is seldom asked for, and holds it against the header of block 0.
func (l ledgerAPI) Genesis() ([]byte, error) {
	encoded, err := os.ReadFile(l.genesis)
	if err != nil {
		return nil, fmt.Errorf("genesis: %w", err)
	}
	first, err := l.chain.Block(0)
	if err != nil {
		return nil, onLedger(err)
	}
	h, err := light.ParseHeader(l.chain.ID(), first.Block.Header)
	if err != nil {
		return nil, fmt.Errorf("genesis: %w", err)
	}
	if sum := sha256.Sum256(encoded); !bytes.Equal(sum[:], h.Parent) {
		return nil, fmt.Errorf("genesis: the file is of %x, the chain of %x", sum, h.Parent)
	}
	return encoded, nil
}

func (l ledgerAPI) Standing() operator.LedgerStatus {
	s := l.node.Status()
	c := &operatorv1.ConsensusStatus{
		Role: string(s.Role), Leader: s.Leader, Pending: uint64(max(s.Pending, s.Waiting)), Restarts: s.Restarts, Key: l.key,
	}
	if s.Failure != nil {
		c.Failure = s.Failure.Error()
	}
	out := operator.LedgerStatus{Genesis: l.first, Low: s.Low, Snapshot: s.Snapshot, Consensus: c}
	if l.settled != nil {
		out.Settlement = l.settled()
	}
	return out
}

// onLedger says in the API's words what a chain or a node refuses.
func onLedger(err error) error {
	for _, word := range []struct{ theirs, ours error }{
		{chain.ErrNotFound, operator.ErrNotOnLedger},
		{chain.ErrPruned, operator.ErrLedgerPruned},
		{node.ErrFull, operator.ErrLedgerFull},
		{chain.ErrClosed, operator.ErrLedgerDown},
		{chain.ErrFailed, operator.ErrLedgerDown},
		{node.ErrClosed, operator.ErrLedgerDown},
		{node.ErrFailed, operator.ErrLedgerDown},
	} {
		if errors.Is(err, word.theirs) {
			return fmt.Errorf("%w: %w", word.ours, err)
		}
	}
	return err
}

// ledgerScreens is the ledger in the shape that the screens want: what the API answers, and refuses, in their words.
type ledgerScreens struct {
	api   *operator.API
	chain *chain.Chain
}

var (
	_ dashboard.Ledger = ledgerScreens{}
	_ dashboard.Mesh   = ledgerScreens{}
)

func (s ledgerScreens) Height() uint64 { return s.chain.Height() }

// Await reads nothing from disk: the next block of all is in memory, and one that is no longer there has been there.
func (s ledgerScreens) Await(ctx context.Context, height uint64) error {
	if height <= s.chain.Height() {
		return nil
	}
	_, err := s.chain.Follow(height).Next(ctx)
	if errors.Is(err, chain.ErrPruned) {
		return nil
	}
	return err
}

func (s ledgerScreens) ListBlocks(ctx context.Context, req *operatorv1.ListBlocksRequest) (*operatorv1.ListBlocksResponse, error) {
	return shown(ctx, s.api.ListBlocks, req)
}

func (s ledgerScreens) GetBlock(ctx context.Context, req *operatorv1.GetBlockRequest) (*operatorv1.GetBlockResponse, error) {
	return shown(ctx, s.api.GetBlock, req)
}

func (s ledgerScreens) ListTransactions(ctx context.Context, req *operatorv1.ListTransactionsRequest) (*operatorv1.ListTransactionsResponse, error) {
	return shown(ctx, s.api.ListTransactions, req)
}

func (s ledgerScreens) GetTransaction(ctx context.Context, req *operatorv1.GetTransactionRequest) (*operatorv1.GetTransactionResponse, error) {
	return shown(ctx, s.api.GetTransaction, req)
}

func (s ledgerScreens) GetLedger(ctx context.Context, req *operatorv1.GetLedgerRequest) (*operatorv1.GetLedgerResponse, error) {
	return shown(ctx, s.api.GetLedger, req)
}

func (s ledgerScreens) GetProof(ctx context.Context, req *operatorv1.GetProofRequest) (*operatorv1.GetProofResponse, error) {
	return shown(ctx, s.api.GetProof, req)
}

func (s ledgerScreens) ListAccounts(ctx context.Context, req *operatorv1.ListAccountsRequest) (*operatorv1.ListAccountsResponse, error) {
	return shown(ctx, s.api.ListAccounts, req)
}

func (s ledgerScreens) GetMesh(ctx context.Context, req *operatorv1.GetMeshRequest) (*operatorv1.GetMeshResponse, error) {
	return shown(ctx, s.api.GetMesh, req)
}

func shown[Req, Res any](ctx context.Context, method func(context.Context, *Req) (*Res, error), req *Req) (*Res, error) {
	res, err := method(ctx, req)
	return res, refusal(err)
}
