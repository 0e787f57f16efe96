package dashboard

import (
	"context"
	"errors"

	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

// Ledger is what the screens of the ledger read. Its questions are those of the API's LedgerService, so that what
// answers there answers here.
//
// A thing that is not there MUST be ErrNotFound; what the viewer should read about another refusal MUST be a *Refusal.
// Answers MUST be bounded as ledger.proto says, MUST NOT change later, and are not changed here.
type Ledger interface {
	LedgerBlocks
	LedgerState
}

// LedgerBlocks is the chain of blocks.
type LedgerBlocks interface {
	// Height is that of the last block. It MUST answer from memory.
	Height() uint64
	// Await returns when there is a block of this height, when ctx ends, or when there will be none any more. It MUST
	// cost nothing while it waits.
	Await(ctx context.Context, height uint64) error
	ListBlocks(context.Context, *operatorv1.ListBlocksRequest) (*operatorv1.ListBlocksResponse, error)
	GetBlock(context.Context, *operatorv1.GetBlockRequest) (*operatorv1.GetBlockResponse, error)
	ListTransactions(context.Context, *operatorv1.ListTransactionsRequest) (*operatorv1.ListTransactionsResponse, error)
	GetTransaction(context.Context, *operatorv1.GetTransactionRequest) (*operatorv1.GetTransactionResponse, error)
}

// LedgerState is the ledger after the last block.
type LedgerState interface {
	GetLedger(context.Context, *operatorv1.GetLedgerRequest) (*operatorv1.GetLedgerResponse, error)
	GetProof(context.Context, *operatorv1.GetProofRequest) (*operatorv1.GetProofResponse, error)
	ListAccounts(context.Context, *operatorv1.ListAccountsRequest) (*operatorv1.ListAccountsResponse, error)
}

// Mesh is what the screen of the mesh reads: the question of the API's MeshService.
type Mesh interface {
	GetMesh(context.Context, *operatorv1.GetMeshRequest) (*operatorv1.GetMeshResponse, error)
}

// errNoMesh is what the pages of the ledger and the mesh say where there is none.
var errNoMesh = errors.New("this orchestrator runs without --mesh")

// ledgerNow is the ledger after the last block.
func (d *Dashboard) ledgerNow(ctx context.Context) (*operatorv1.GetLedgerResponse, error) {
	if d.deps.Ledger == nil {
		return nil, errNoMesh
	}
	return d.deps.Ledger.GetLedger(ctx, &operatorv1.GetLedgerRequest{})
}
