// Package ordered makes a chain what a consensus engine orders blocks for.
//
// It promises consensus.Application, as package chain keeps it. It is a room of its own so that those who only read a
// chain do without the engine.
package ordered

import (
	"time"

	"github.com/shardy-network/orchestrator/mesh/chain"
	"github.com/shardy-network/orchestrator/mesh/consensus"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

// Application is a chain as an engine sees it.
type Application struct{ Chain *chain.Chain }

var _ consensus.Application = Application{}

// Check refuses what can be in no block.
func (a Application) Check(tx []byte) error {
	_, err := a.Chain.Check(tx)
	return err
}

// Propose makes the header of the next block.
func (a Application) Propose(at consensus.Place, txs [][]byte, now time.Time) ([]byte, error) {
	return a.Chain.Propose(place(at), txs, now)
}

// Verify refuses a proposed block that no honest leader could have made.
func (a Application) Verify(at consensus.Place, block *ledgerv1.Block) error {
	return a.Chain.Verify(place(at), block)
}

// Commit has a block on disk when it returns.
func (a Application) Commit(block *ledgerv1.Block, certificate *ledgerv1.Certificate) error {
	return a.Chain.Commit(block, certificate)
}

// Height is that of the last block.
func (a Application) Height() uint64 { return a.Chain.Height() }

// Block returns a committed block.
func (a Application) Block(height uint64) (*ledgerv1.CertifiedBlock, error) {
	return a.Chain.Block(height)
}

// Validators are those who agree on the next block.
func (a Application) Validators() (*ledgerv1.ValidatorSet, error) { return a.Chain.Validators(), nil }

func place(at consensus.Place) chain.Place {
	return chain.Place{Height: at.Height, Proposer: at.Proposer[:], ValidatorsVersion: at.ValidatorsVersion}
}
