package blocksync

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/libp2p/go-libp2p/core/peer"
	"golang.org/x/sync/errgroup"

	"github.com/shardy-network/orchestrator/actors/ledger/light"
	"github.com/shardy-network/orchestrator/mesh/chain"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

// roadsAtOnce is how many peers are asked at once for changes of validators: one that drips keeps few others waiting.
const roadsAtOnce = 4

// roads are those that led to the validators of an offer. They are only read.
type roads struct {
	mu  sync.Mutex
	all []*chain.Road
}

func (r *roads) add(road *chain.Road) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, road)
}

func (r *roads) list() []*chain.Road {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.all)
}

// accreditAll is accredit of every offer that was made, the first one first: it mostly leads to all others.
func (c *Client) accreditAll(ctx context.Context, offers []*offer, failed []error) {
	var known roads
	var all errgroup.Group
	all.SetLimit(roadsAtOnce)
	first := true
	for i, o := range offers {
		switch {
		case failed[i] != nil:
		case first:
			first, failed[i] = false, c.accredit(ctx, o, &known)
		default:
			all.Go(func() error {
				failed[i] = c.accredit(ctx, o, &known)
				return nil
			})
		}
	}
	_ = all.Wait() // each has its own error
}

// accredit finds out whether an offer is of validators that are known, or that a road leads to: one that was found before,
// or one of those who make the offer. A peer whose own road contradicts its own offer lies.
func (c *Client) accredit(ctx context.Context, o *offer, known *roads) (err error) {
	o.height, err = c.usable(o.manifest, c.chain.Road())
	header, bad := light.ParseHeader(c.chain.ID(), o.manifest.GetBlock().GetBlock().GetHeader())
	here := c.chain.Validators().GetVersion()
	switch {
	case bad != nil || err != nil && !errors.Is(err, chain.ErrTrust):
		c.judgeOffer(ctx, o, err)
		return err
	case err == nil && header.ValidatorsVersion == here:
		return nil
	case header.ValidatorsVersion < here || header.Height <= c.chain.Height():
		return fmt.Errorf("%w: its snapshot of %d is older than the chain", ErrNotThere, header.Height)
	}
	for _, r := range known.list() {
		if h, bad := c.usable(o.manifest, r); bad == nil {
			o.road, o.height = r, h
			return nil
		}
	}
	trusted := err == nil // by the operator: a road is only kept for others
	for _, id := range o.peers {
		road, bad := c.road(ctx, id, header.ValidatorsVersion)
		if bad == nil {
			h, contradiction := c.usable(o.manifest, road)
			if bad = contradiction; bad == nil {
				known.add(road)
				o.road, o.height = road, h
				return nil
			}
		}
		if o.begun && errors.Is(bad, ErrLiar) && road != nil { // what is on disk is nobody's word
			bad = nil
		}
		c.judge(ctx, id, bad)
		err = errors.Join(err, bad)
	}
	if trusted {
		return nil
	}
	return err
}

// judgeOffer notes what an error says about those who make an offer.
func (c *Client) judgeOffer(ctx context.Context, o *offer, err error) {
	if o.begun { // after a restart nobody knows who
		return
	}
	for _, id := range o.peers {
		c.judge(ctx, id, err)
	}
}

// road follows what a peer proves of how the validators changed, from those of the chain to those of a version.
func (c *Client) road(ctx context.Context, id peer.ID, version uint64) (*chain.Road, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Patience.Total) // however many changes there are, and however slowly they come
	defer cancel()
	road := c.chain.Road()
	for busy := 0; road.Version() < version; {
		m, err := c.changes(ctx, id, road.Version())
		if errors.Is(err, ErrBusy) && busy < triesOfOne {
			rest(ctx, err, busy)
			busy++
			continue
		}
		if err == nil {
			err = follow(road, m, version)
		}
		if err != nil {
			return nil, fmt.Errorf("changes of validators after version %d: %w", road.Version(), err)
		}
	}
	return road, nil
}

// follow goes on by the changes of one answer, as far as is needed.
func follow(road *chain.Road, m *ledgerv1.ValidatorChanges, version uint64) error {
	if n := len(m.Changes); n > chain.MaxChanges || n == 0 && m.More {
		return fmt.Errorf("%w: %d changes in an answer that is not the last", ErrLiar, n)
	}
	for _, p := range m.Changes {
		if road.Version() >= version {
			return nil
		}
		switch err := road.Add(p); {
		case errors.Is(err, chain.ErrTrust):
			return err
		case err != nil:
			return fmt.Errorf("%w: %w", ErrLiar, err)
		}
	}
	if road.Version() < version && !m.More {
		return fmt.Errorf("%w: they end before version %d", ErrNotThere, version)
	}
	return nil
}

// changes asks a peer for some changes of the validators after a version.
func (c *Client) changes(ctx context.Context, id peer.ID, after uint64) (*ledgerv1.ValidatorChanges, error) {
	q := &ledgerv1.BlockRequest{Kind: &ledgerv1.BlockRequest_Changes{Changes: &ledgerv1.ChangesRequest{AfterVersion: after}}}
	call, hang, err := ask(ctx, c.host, id, blocksProtocol, c.cfg.Patience, maxChanges, q)
	if err != nil {
		return nil, err
	}
	defer hang()
	var r ledgerv1.BlockResponse
	if err := call.next(&r); err != nil {
		return nil, err
	}
	if m := r.GetChanges(); m != nil {
		return m, nil
	}
	return nil, refusal(r.Kind, r.GetEnd())
}
