package chain

import (
	"bytes"
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/actors/ledger"
	"github.com/shardy-network/orchestrator/actors/ledger/light"
	"github.com/shardy-network/orchestrator/actors/ledger/seal"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

// Trusted names a block by the word of somebody whom the operator trusts: another one of its height is never taken. Until
// the chain has it, snapshots are taken only of it, or of validators that the chain knows; without it, also of those whom a
// Road leads to.
type Trusted struct {
	Height uint64
	Hash   []byte // of the header
}

// Limits of a Road. Who is further behind needs a trusted block.
const (
	maxRoadChanges = 1 << 16
	maxRoadBytes   = 32 << 20
)

// Road leads from the validators of a chain to later ones, by the proof of every change between them (Changes of another
// chain). Each is certified by a quorum of those before it, so a Road is as good as their word: whoever got hold of the
// keys of a quorum that has long left can lead elsewhere, and only a trusted block stands against that. It is used by one
// goroutine at a time, and worth nothing once the chain has gone on.
type Road struct {
	chain   *Chain
	client  light.Client
	changes []made
	size    int
}

// Road begins where the chain is.
func (c *Chain) Road() *Road {
	s := c.State()
	return &Road{chain: c, client: light.Client{Chain: c.id, Validators: s.Validators(), Height: s.Height()}}
}

// Version is that of the validators to whom it leads.
func (r *Road) Version() uint64 { return r.client.Validators.GetVersion() }

// Add goes on by a change. An error that wraps ErrRefused is the fault of the change: it is not the next one, or was not
// agreed on. ErrTrust: the way is too long.
func (r *Road) Add(p *ledgerv1.ValidatorsProof) error {
	if r.size += proto.Size(p); r.size > maxRoadBytes || len(r.changes) == maxRoadChanges {
		return fmt.Errorf("%w: more changes of validators than are followed", ErrTrust)
	}
	next := r.client
	if err := next.Follow(p); err != nil {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	h, err := light.ParseHeader(r.chain.id, p.Header)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	if h.Height <= r.client.Height {
		return fmt.Errorf("%w: validators changed at height %d, and then at %d", ErrRefused, r.client.Height, h.Height)
	}
	r.changes = append(r.changes, made{change{height: h.Height, from: r.Version(), to: next.Validators.Version}, p})
	r.client = next
	return nil
}

// Trusts is Chain.Trusts with the validators to whom the road leads.
func (r *Road) Trusts(b *ledgerv1.CertifiedBlock) error { return r.chain.trusts(b, r) }

// stale reports whether the chain has gone on since the first change was added.
func (r *Road) stale() bool {
	if len(r.changes) == 0 {
		return false
	}
	s, first := r.chain.State(), r.changes[0]
	return first.from != s.Validators().GetVersion() || first.height <= s.Height()
}

// ends reports whether a certified block is of the validators at the end of the road.
func (r *Road) ends(h *ledgerv1.Header, b *ledgerv1.CertifiedBlock) error {
	if n := len(r.changes); n > 0 && h.Height <= r.changes[n-1].height {
		return fmt.Errorf("%w: block %d is of validators of %d", ErrRefused, h.Height, r.changes[n-1].height)
	}
	if err := light.VerifyCertificate(b.Block.Header, r.client.Validators, b.Certificate); err != nil {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	return nil
}

// Trusts refuses a certified block behind the chain from which it must not go on: one that no validators which are known
// here have signed, and that is not the trusted one. An error that wraps ErrTrust says nothing about who sent it.
func (c *Chain) Trusts(b *ledgerv1.CertifiedBlock) error { return c.trusts(b, c.Road()) }

func (c *Chain) trusts(b *ledgerv1.CertifiedBlock, road *Road) error {
	if len(road.changes) == 0 {
		road = c.Road() // the chain may have gone on
	}
	header := b.GetBlock().GetHeader()
	h, err := light.ParseHeader(c.id, header)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	if err := c.holds(b.Block); err != nil {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	hash := seal.HeaderHash(header)
	if trusted, err := c.cfg.Trusted.vouches(h.Height, hash); trusted || err != nil {
		return err
	}
	switch {
	case road.stale():
		return fmt.Errorf("%w: the chain has gone on since the way to it was asked for", ErrTrust)
	case h.ValidatorsVersion != road.Version():
		return fmt.Errorf("%w: block %d is of validators of version %d", ErrTrust, h.Height, h.ValidatorsVersion)
	case len(road.changes) > 0 && c.cfg.Trusted.Height > c.Height():
		return fmt.Errorf("%w: block %d is not the trusted one, of %d", ErrTrust, h.Height, c.cfg.Trusted.Height)
	}
	return road.ends(h, b)
}

// vouches reports whether a block is the trusted one, and refuses another one of its height.
func (t Trusted) vouches(height uint64, hash ledger.Hash) (bool, error) {
	if t.Height == 0 || t.Height != height {
		return false, nil
	}
	if !bytes.Equal(t.Hash, hash[:]) {
		return false, fmt.Errorf("%w: block %d is %x, and %x is trusted", ErrRefused, height, hash, t.Hash)
	}
	return true, nil
}

// leads reports whether the road leads to the validators of a snapshot, as far as can be told: they have signed its block,
// and are those in its state when its block did not change them.
func (r *Road) leads(h *ledgerv1.Header, b *ledgerv1.CertifiedBlock, state ledger.State) bool {
	if r.stale() || r.Version() != h.ValidatorsVersion || r.ends(h, b) != nil {
		return false
	}
	there := state.Validators()
	return there.GetVersion() != r.Version() || proto.Equal(there, r.client.Validators)
}

// keepRoad puts on disk how the validators became those of a snapshot. When that is not known there is a gap, and Changes
// says so; but only the trusted snapshot may be of validators to whom no road leads.
func (c *Chain) keepRoad(road *Road, h *ledgerv1.Header, b *ledgerv1.CertifiedBlock, state ledger.State) error {
	if len(road.changes) == 0 {
		road = c.Road()
	}
	if !road.leads(h, b, state) {
		if c.cfg.Trusted.Height != h.Height {
			return fmt.Errorf("%w: snapshot of %d is of other validators than those who have signed it", ErrRefused, h.Height)
		}
		c.cfg.Log.Warn("changes of validators before the snapshot are not known", "height", h.Height)
		return nil
	}
	all := slices.Clone(road.changes)
	last, changed, err := madeBy(road.client.Validators, view{state: state, block: b})
	if err != nil {
		return err
	}
	if changed {
		all = append(all, last)
	}
	if err := c.changes.append(all); err != nil {
		c.failed = fmt.Errorf("%w: %w", ErrFailed, err)
		return c.failed
	}
	return nil
}
