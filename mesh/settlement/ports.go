package settlement

import (
	"context"
	"errors"
	"iter"

	"github.com/shardy-network/orchestrator/actors/ledger"
	"github.com/shardy-network/orchestrator/events"
	"github.com/shardy-network/orchestrator/mesh/chain"
)

// Ledger is the chain that is settled on.
type Ledger interface {
	// Submit hands an encoded SignedTransaction to those who order. It MUST answer for what no block can hold with an
	// error that wraps one of the ledger's (ErrMalformed, ErrTooLarge, ErrEvidence, ErrSignature, ErrChain), and for
	// nothing else; it MAY forget what it has accepted, and MUST take the same bytes again.
	Submit(ctx context.Context, encoded []byte) (ledger.Hash, error)
	// State is the ledger after the last block that is known here.
	State() ledger.State
	// Follow hands out the blocks from a height on, in order.
	Follow(from uint64) Blocks
	// Genesis tells chains of one name apart.
	Genesis() ledger.Hash
}

// Blocks are followed by one goroutine at a time; *chain.Follower are such.
type Blocks interface {
	// Next waits for the next block; chain.ErrPruned means that it is no longer there.
	Next(ctx context.Context) (chain.Committed, error)
	// Skip goes to the first block that is there, and returns its height.
	Skip() uint64
}

// Submitter is the part of a node that takes transactions.
type Submitter interface {
	Submit(ctx context.Context, encoded []byte) (ledger.Hash, error)
}

// On settles on a chain through a node.
func On(c *chain.Chain, s Submitter) Ledger { return onChain{c, s} }

type onChain struct {
	chain *chain.Chain
	Submitter
}

func (o onChain) State() ledger.State       { return o.chain.State() }
func (o onChain) Follow(from uint64) Blocks { return o.chain.Follow(from) }
func (o onChain) Genesis() ledger.Hash      { return o.chain.Status().Genesis }

// Log is the part of the event log that a stored book is held against.
type Log interface {
	ReadAll(ctx context.Context, after events.Position, f events.Filter) iter.Seq2[events.Record, error]
}

// Referee computes a job on the orchestrator's own machine and returns the consensus checksum of what comes out. It
// returns ErrBudget while it may not compute, and any other error when this job cannot be computed now.
type Referee func(ctx context.Context, job string) (checksum [32]byte, err error)

// ErrBudget is a referee's answer that it may not compute now.
var ErrBudget = errors.New("the referee has no budget left")
