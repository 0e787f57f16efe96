package chain

import (
	"fmt"

	"github.com/shardy-network/orchestrator/actors/ledger"
	"github.com/shardy-network/orchestrator/actors/ledger/seal"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

// ID is the chain's id.
func (c *Chain) ID() string { return c.id }

// Height is that of the last block; genesis has 0.
func (c *Chain) Height() uint64 { return c.State().Height() }

// State is the ledger after the last block. It never changes: the next block makes another one.
func (c *Chain) State() ledger.State { return c.view.Load().state }

// Validators are those who agree on the next block.
func (c *Chain) Validators() *ledgerv1.ValidatorSet { return c.State().Validators() }

// Status is how far a chain is.
type Status struct {
	Height   uint64      // of the last block
	Hash     ledger.Hash // of its header
	Low      uint64      // of the first block that is kept, beside genesis
	Snapshot uint64      // height of the newest snapshot; 0: none
	Genesis  ledger.Hash
}

// Status says how far the chain is.
func (c *Chain) Status() Status {
	s := c.State()
	return Status{Height: s.Height(), Hash: s.Head(), Low: max(c.segments.low(), 1), Snapshot: c.snapshots.newest(), Genesis: c.genesis}
}

// AccountProof proves what an account holds after the last block, for a client that knows the validators
// (light.Client.Account).
func (c *Chain) AccountProof(key []byte) (*ledgerv1.AccountProof, error) {
	header, certificate, proof, err := c.Prove(seal.AccountKey(key))
	if err != nil {
		return nil, err
	}
	return &ledgerv1.AccountProof{Header: header, Certificate: certificate, Account: key, Proof: proof}, nil
}

// Prove proves what lies at a place of the state after the last block (package seal names the places), or that nothing
// does: with the header whose root it leads to, and the certificate, which is empty for genesis.
func (c *Chain) Prove(place ledger.Hash) (header, certificate []byte, proof *ledgerv1.TrieProof, err error) {
	v := c.view.Load()
	if v.block.Certificate != nil {
		if certificate, err = stable.Marshal(v.block.Certificate); err != nil {
			return nil, nil, nil, fmt.Errorf("encode certificate: %w", err)
		}
	}
	return v.block.Block.Header, certificate, v.state.Prove(place), nil
}
