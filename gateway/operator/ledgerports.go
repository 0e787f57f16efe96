package operator

import (
	"context"
	"errors"

	"github.com/shardy-network/orchestrator/actors/ledger"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

// The refusals of a ledger, beside those of package ledger for a transaction that can be in no block.
var (
	// ErrNotOnLedger says that there is no such block or transaction, or none that is known any more.
	ErrNotOnLedger = errors.New("not on the ledger")
	// ErrLedgerPruned says that the block was there, but is not kept here any more.
	ErrLedgerPruned = errors.New("no longer kept here")
	// ErrLedgerFull refuses a transaction because too many wait already.
	ErrLedgerFull = errors.New("too many transactions wait for a block")
	// ErrLedgerDown says that this orchestrator's side of the ledger is closing, or has given up.
	ErrLedgerDown = errors.New("the ledger is not available")
)

// Ledger is the chain that this orchestrator shares with others, and its own part in it.
type Ledger interface {
	LedgerChain
	LedgerTransactions
	LedgerStanding
}

// LedgerChain is the chain as it lies here. What it returns MUST NOT be changed, by either side.
type LedgerChain interface {
	// State is the ledger after the last block.
	State() ledger.State
	// Block returns a block of the chain; ErrNotOnLedger above the last one, ErrLedgerPruned when it is not kept. Block 0
	// MUST always be there.
	Block(height uint64) (LedgerBlock, error)
	// Prove proves what lies at a place of the state after one block, the last one: header and certificate are its own.
	Prove(place ledger.Hash) (header, certificate []byte, proof *ledgerv1.TrieProof, err error)
	// Changes proves how the validators of a version became those of today, in order, at most limit proofs.
	Changes(after uint64, limit int) (proofs []*ledgerv1.ValidatorsProof, more bool, err error)
}

// LedgerTransactions is the way of a transaction.
type LedgerTransactions interface {
	// Check refuses what can be in no block, with the errors of package ledger.
	Check(encoded []byte) (ledger.Checked, error)
	// Submit takes a transaction on its way to the validators. Repeating it MUST change nothing. ErrLedgerFull refuses it
	// for now, a *LedgerRefusal because it could not be executed in the next block. It MAY wait for room while ctx lasts.
	// It keeps encoded.
	Submit(ctx context.Context, encoded []byte) error
	// Find returns what became of one of the last transactions, or ErrNotOnLedger.
	Find(id ledger.Hash) (LedgerOutcome, error)
	// Await waits until a transaction is in a block. It MUST end with ctx.
	Await(ctx context.Context, id ledger.Hash) (LedgerOutcome, error)
}

// LedgerStanding is this orchestrator's part.
type LedgerStanding interface {
	// Genesis is the encoded genesis.
	Genesis() ([]byte, error)
	// Standing is how the ledger stands here. It MUST NOT wait for anything, and it is called often.
	Standing() LedgerStatus
}

// LedgerBlock is a block of the chain.
type LedgerBlock struct {
	Hash     ledger.Hash // of its header
	Block    *ledgerv1.CertifiedBlock
	Receipts []*ledgerv1.Receipt // one for each transaction; none when the block came with a snapshot
}

// LedgerOutcome is where a transaction is.
type LedgerOutcome struct {
	Height      uint64 // of the block
	Index       int    // in the block
	Transaction []byte // encoded
	Receipt     *ledgerv1.Receipt
}

// LedgerStatus is how the ledger stands at this orchestrator.
type LedgerStatus struct {
	Genesis    ledger.Hash // of the header of block 0
	Low        uint64      // height of the first block that is kept here, beside genesis
	Snapshot   uint64      // height of the newest snapshot kept here; 0: none
	Consensus  *operatorv1.ConsensusStatus
	Settlement *operatorv1.SettlementStatus // nil: this orchestrator settles nothing
}
