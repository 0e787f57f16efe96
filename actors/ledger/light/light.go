// Package light checks the ledger for those who do not keep it: with nothing but a genesis and the validators of today it
// verifies that a block was agreed on, and what an account held after it.
//
// It promises that no block passes which fewer than a quorum of the known validators signed, that the known validators
// change only by blocks that the ones before them agreed on, and that an account's proof leads to such a block. Limits:
// it does not execute, so it trusts that a quorum of validators holds at least one honest one; and it cannot know that
// there is no newer block.
package light

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/actors/ledger/seal"
	"github.com/shardy-network/orchestrator/actors/ledger/trie"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

// The refusals of a light client.
var (
	ErrMalformed   = errors.New("malformed header, certificate or proof")
	ErrChain       = errors.New("block of another chain")
	ErrQuorum      = errors.New("too few validators have signed")
	ErrValidators  = errors.New("block of validators that are not known here")
	ErrCertificate = errors.New("certificate of another block")
	ErrProof       = trie.ErrProof
)

// Limits of what is decoded.
const (
	MaxHeaderBytes      = 4 << 10
	MaxCertificateBytes = 64 << 10
	MaxMetadataBytes    = 1 << 10
	MaxValidators       = 128
)

// Quorum is how many of n validators must sign a block: more than half of all and of the at most f = (n-1)/3 liars
// together, so that any two quorums share an honest validator.
func Quorum(n int) int {
	f := (n - 1) / 3
	return (n + f + 2) / 2
}

// Faults is how many of n validators may lie.
func Faults(n int) int { return max(n-1, 0) / 3 }

// ParseHeader reads a header of a chain. An empty chain means any.
func ParseHeader(chain string, b []byte) (*ledgerv1.Header, error) {
	h := new(ledgerv1.Header)
	if len(b) == 0 || len(b) > MaxHeaderBytes || proto.Unmarshal(b, h) != nil {
		return nil, fmt.Errorf("%w: header", ErrMalformed)
	}
	if len(h.State) != 32 || len(h.Transactions) != 32 || len(h.Results) != 32 || len(h.Parent) != 32 {
		return nil, fmt.Errorf("%w: header: a hash has 32 bytes", ErrMalformed)
	}
	if chain != "" && h.ChainId != chain {
		return nil, fmt.Errorf("%w: %q, want %q", ErrChain, h.ChainId, chain)
	}
	return h, nil
}

// VerifyCertificate holds a certificate against the header it is for, and the validators that must agree on it.
func VerifyCertificate(header []byte, set *ledgerv1.ValidatorSet, c *ledgerv1.Certificate) error {
	h, err := ParseHeader("", header)
	if err != nil {
		return err
	}
	hash := seal.HeaderHash(header)
	switch {
	case h.ValidatorsVersion != set.GetVersion():
		return fmt.Errorf("%w: version %d, want %d", ErrValidators, h.ValidatorsVersion, set.GetVersion())
	case c.GetHeight() != h.Height || !bytes.Equal(c.GetBlock(), hash[:]):
		return fmt.Errorf("%w: height %d", ErrCertificate, c.GetHeight())
	case len(c.Metadata) > MaxMetadataBytes || len(c.Signatures) > MaxValidators:
		return fmt.Errorf("%w: certificate", ErrMalformed)
	}
	vote, want := seal.VoteOf(c, set.Version), Quorum(len(set.Validators))
	signed := map[string]bool{}
	for _, s := range c.Signatures { // those that are not a validator's have no weight
		if len(signed) < want && Member(set, s.GetValidator()) && seal.VerifyVote(h.ChainId, vote, s.Validator, s.Signature) {
			signed[string(s.Validator)] = true
		}
	}
	if len(signed) < want || len(set.Validators) == 0 {
		return fmt.Errorf("%w: %d of %d, want %d", ErrQuorum, len(signed), len(set.Validators), want)
	}
	return nil
}

// Member reports whether a key is a validator's.
func Member(set *ledgerv1.ValidatorSet, key []byte) bool {
	return slices.ContainsFunc(set.GetValidators(), func(v *ledgerv1.Validator) bool { return bytes.Equal(v.GetKey(), key) })
}

// Client knows a chain and its validators. It is not safe for concurrent use.
type Client struct {
	Chain      string
	Validators *ledgerv1.ValidatorSet
	Height     uint64    // of the last block that was verified
	Genesis    seal.Hash // of the header of block 0, which nobody signs; zero: it is not believed
}

// Block verifies a header by its certificate.
func (c *Client) Block(header []byte, certificate *ledgerv1.Certificate) (*ledgerv1.Header, error) {
	h, err := ParseHeader(c.Chain, header)
	if err != nil {
		return nil, err
	}
	if err := VerifyCertificate(header, c.Validators, certificate); err != nil {
		return nil, err
	}
	c.Height = max(c.Height, h.Height)
	return h, nil
}

// Account verifies what an account held after a block. Nil: there was none.
func (c *Client) Account(p *ledgerv1.AccountProof) (*ledgerv1.Account, *ledgerv1.Header, error) {
	value, h, err := c.Held(p.GetHeader(), p.GetCertificate(), p.GetProof(), seal.AccountKey(p.GetAccount()))
	if err != nil || value == nil {
		return nil, h, err
	}
	a := new(ledgerv1.Account)
	if err := proto.Unmarshal(value, a); err != nil {
		return nil, nil, fmt.Errorf("%w: account", ErrMalformed)
	}
	return a, h, nil
}

// Change moves on to the validators that a block made, by the proof that they lie in its state.
func (c *Client) Change(header, certificate []byte, proof *ledgerv1.TrieProof) error {
	value, h, err := c.Held(header, certificate, proof, seal.ValidatorsKey())
	if err != nil {
		return err
	}
	set := new(ledgerv1.ValidatorSet)
	if value == nil || proto.Unmarshal(value, set) != nil || len(set.Validators) == 0 || len(set.Validators) > MaxValidators {
		return fmt.Errorf("%w: validators", ErrMalformed)
	}
	if set.Version < c.Validators.GetVersion() { // one block may hold several changes
		return fmt.Errorf("%w: version %d after %d, at height %d", ErrValidators, set.Version, c.Validators.GetVersion(), h.Height)
	}
	c.Validators = set
	return nil
}

// Follow is Change by a proof that must lead on: one that leaves the validators as they are is refused, so that whoever
// sends them comes to an end.
func (c *Client) Follow(p *ledgerv1.ValidatorsProof) error {
	before := c.Validators
	if err := c.Change(p.GetHeader(), p.GetCertificate(), p.GetProof()); err != nil {
		return err
	}
	if c.Validators.Version == before.GetVersion() {
		c.Validators = before
		return fmt.Errorf("%w: no change after version %d", ErrValidators, before.GetVersion())
	}
	return nil
}

// FollowTo is Follow through changes, in order, until the validators of a version agree on blocks. Changes after it are left
// alone.
func (c *Client) FollowTo(version uint64, changes []*ledgerv1.ValidatorsProof) error {
	for _, p := range changes {
		if c.Validators.GetVersion() >= version {
			break
		}
		if err := c.Follow(p); err != nil {
			return err
		}
	}
	if got := c.Validators.GetVersion(); got != version {
		return fmt.Errorf("%w: the changes lead to version %d, want %d", ErrValidators, got, version)
	}
	return nil
}

// Held verifies what lies at a place (package seal names them) of the state after a block. Nil: nothing does.
func (c *Client) Held(header, certificate []byte, proof *ledgerv1.TrieProof, place trie.Hash) ([]byte, *ledgerv1.Header, error) {
	h, err := c.agreed(header, certificate)
	if err != nil {
		return nil, nil, err
	}
	if !bytes.Equal(proof.GetKey(), place[:]) {
		return nil, nil, fmt.Errorf("%w: proof of another key", ErrProof)
	}
	value, err := trie.Verify(trie.Hash(h.State), proof)
	return value, h, err
}

// agreed verifies a header by its encoded certificate, or as that of genesis.
func (c *Client) agreed(header, certificate []byte) (*ledgerv1.Header, error) {
	if len(certificate) == 0 && c.Genesis != (seal.Hash{}) && seal.HeaderHash(header) == c.Genesis {
		return ParseHeader(c.Chain, header)
	}
	cert := new(ledgerv1.Certificate)
	if len(certificate) > MaxCertificateBytes || proto.Unmarshal(certificate, cert) != nil {
		return nil, fmt.Errorf("%w: certificate", ErrMalformed)
	}
	return c.Block(header, cert)
}
