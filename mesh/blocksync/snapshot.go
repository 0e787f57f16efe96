package blocksync

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/actors/ledger"
	"github.com/shardy-network/orchestrator/actors/ledger/light"
	"github.com/shardy-network/orchestrator/mesh/chain"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

// listAt is how many peers are asked for their snapshots: a manifest may have some MiB.
const listAt = 16

// offer is a snapshot and who has it.
type offer struct {
	manifest *ledgerv1.SnapshotManifest
	height   uint64
	peers    []peer.ID
	begun    bool        // parts of it are on disk
	road     *chain.Road // to its validators; nil: they are those of the chain
}

// joinBySnapshot goes on from the best snapshot that can be had. Whoever offered one that turns out to be none is a liar.
func (c *Client) joinBySnapshot(ctx context.Context) error {
	var errs []error
	offers := c.offers(ctx, &errs)
	for _, o := range offers {
		err := c.download(ctx, o)
		if err == nil || ctx.Err() != nil {
			return err
		}
		errs = append(errs, fmt.Errorf("snapshot of %d: %w", o.height, err))
	}
	return errors.Join(append([]error{fmt.Errorf("%w: a snapshot", ErrNobody)}, errs...)...)
}

// offers asks peers for their newest snapshots and returns those that validators have signed and that lie behind the
// chain: first what is on disk in parts, then what more than f peers offer alike, then the highest.
func (c *Client) offers(ctx context.Context, errs *[]error) []*offer {
	ids := c.ranks.sort(c.everybody(), time.Now())
	ids = ids[:min(len(ids), listAt)]
	lists := make([]*offer, len(ids))
	failed := make([]error, len(ids))
	var all sync.WaitGroup
	for i, id := range ids {
		all.Go(func() {
			m, err := c.list(ctx, id)
			c.judge(ctx, id, err)
			if failed[i] = err; err == nil {
				lists[i] = &offer{manifest: m, peers: []peer.ID{id}}
			}
		})
	}
	all.Wait()
	if m := interrupted(c.cfg.Dir); m != nil {
		ids = append(ids, "")                                                            // nobody knows any more who offered it
		lists = append(lists, &offer{manifest: m, peers: ids[:len(ids)-1], begun: true}) // they may have it beside their newest one
		failed = append(failed, nil)
	}
	c.accreditAll(ctx, lists, failed)
	found := map[[32]byte]*offer{}
	for i, o := range lists {
		switch {
		case failed[i] == nil:
			merge(found, o)
		case ids[i] != "":
			*errs = append(*errs, fmt.Errorf("%s: %w", ids[i], failed[i]))
		}
	}
	_, faults := c.validators()
	return ranked(found, faults)
}

// merge counts who offers the same.
func merge(found map[[32]byte]*offer, o *offer) {
	digest := digestOf(o.manifest)
	there := found[digest]
	switch {
	case there == nil:
		found[digest] = o
	case o.begun:
		there.begun = true
	default:
		there.peers = append(there.peers, o.peers...)
	}
}

func ranked(found map[[32]byte]*offer, faults int) []*offer {
	var offers []*offer
	for _, o := range found {
		offers = append(offers, o)
	}
	rank := func(o *offer) int {
		switch {
		case o.begun:
			return 0
		case len(o.peers) > faults:
			return 1
		}
		return 2
	}
	slices.SortFunc(offers, func(a, b *offer) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(b.height, a.height), cmp.Compare(len(b.peers), len(a.peers)))
	})
	return offers
}

// list asks a peer for its newest snapshot.
func (c *Client) list(ctx context.Context, id peer.ID) (*ledgerv1.SnapshotManifest, error) {
	q := &ledgerv1.SnapshotRequest{Kind: &ledgerv1.SnapshotRequest_List{List: &ledgerv1.SnapshotListRequest{}}}
	call, hang, err := ask(ctx, c.host, id, snapshotProtocol, c.cfg.Patience, maxManifest, q)
	if err != nil {
		return nil, err
	}
	defer hang()
	var r ledgerv1.SnapshotResponse
	if err := call.next(&r); err != nil {
		return nil, err
	}
	m := r.GetManifest()
	if m == nil {
		return nil, refusal(r.Kind, r.GetEnd())
	}
	if err := wellFormed(m, c.cfg.MaxSnapshot); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrLiar, err)
	}
	return m, nil
}

// usable refuses a snapshot from which the chain must not go on, or need not.
func (c *Client) usable(m *ledgerv1.SnapshotManifest, road *chain.Road) (uint64, error) {
	err := road.Trusts(m.GetBlock())
	if errors.Is(err, chain.ErrTrust) {
		return 0, err // not the peer's fault
	}
	if err != nil {
		return 0, fmt.Errorf("%w: %w", ErrLiar, err)
	}
	h, err := light.ParseHeader(c.chain.ID(), m.Block.Block.Header)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", ErrLiar, err)
	}
	if h.Height <= c.chain.Height() {
		return 0, fmt.Errorf("%w: its snapshot of %d is older than the chain", ErrNotThere, h.Height)
	}
	return h.Height, nil
}

// download fetches all chunks of a snapshot that are not there yet and installs it.
func (c *Client) download(ctx context.Context, o *offer) error {
	d, err := beginDownload(c.cfg.Dir, o.manifest)
	if err != nil {
		return err
	}
	if err := c.fetchAll(ctx, o, d); err != nil {
		return err
	}
	err = c.chain.Install(o.manifest, o.road, d.chunk)
	if err == nil || errors.Is(err, ledger.ErrSnapshot) || errors.Is(err, chain.ErrRefused) || errors.Is(err, chain.ErrGap) {
		err = errors.Join(err, d.remove())
	}
	if errors.Is(err, ledger.ErrSnapshot) {
		for _, id := range o.peers {
			if !o.begun { // after a restart nobody knows who offered it
				c.liar(id, fmt.Errorf("%w: %w", ErrLiar, err))
			}
		}
	}
	return err
}

// fetchAll fetches chunks from those who have them, several at once, until all are there or nobody is left.
func (c *Client) fetchAll(ctx context.Context, o *offer, d *download) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	h := &holders{left: map[peer.ID]int{}}
	for _, id := range o.peers {
		h.left[id] = triesOfOne
	}
	var workers sync.WaitGroup
	for range c.cfg.Parallel {
		workers.Go(func() {
			for n, ok := d.take(); ok; n, ok = d.take() {
				if err := c.fetchOne(ctx, o.height, n, d, h); err != nil {
					d.giveBack(n)
					cancel(err)
					return
				}
			}
		})
	}
	workers.Wait()
	if d.missing() == 0 {
		return nil
	}
	return context.Cause(ctx)
}

// fetchOne asks one holder after the other for a chunk.
func (c *Client) fetchOne(ctx context.Context, height uint64, n uint32, d *download, h *holders) error {
	var last error
	for tries := 0; ctx.Err() == nil; tries++ {
		id, ok := h.next(c)
		if !ok {
			return errors.Join(fmt.Errorf("%w: chunk %d of snapshot %d", ErrNobody, n, height), last)
		}
		b, err := c.chunk(ctx, id, height, n, d.manifest.Chunks[n])
		c.judge(ctx, id, err)
		if err == nil {
			return d.put(n, b)
		}
		last = fmt.Errorf("%s: %w", id, err)
		h.failed(id, err)
		rest(ctx, err, tries)
	}
	return context.Cause(ctx)
}

// chunk asks a peer for a chunk and verifies its hash.
func (c *Client) chunk(ctx context.Context, id peer.ID, height uint64, n uint32, hash []byte) ([]byte, error) {
	q := &ledgerv1.SnapshotRequest{Kind: &ledgerv1.SnapshotRequest_Chunk{
		Chunk: &ledgerv1.SnapshotChunkRequest{Height: height, Chunk: n},
	}}
	began := time.Now()
	call, hang, err := ask(ctx, c.host, id, snapshotProtocol, c.cfg.Patience, maxChunk, q)
	if err != nil {
		return nil, err
	}
	defer hang()
	var r ledgerv1.SnapshotResponse
	if err := call.next(&r); err != nil {
		return nil, err
	}
	got := r.GetChunk()
	if got == nil {
		return nil, refusal(r.Kind, r.GetEnd())
	}
	// What was sent lies within a message; a chunk has one encoding, which is hashed.
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(got)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrLiar, err)
	}
	if _, err := chain.ParseChunk(b, hash); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrLiar, err)
	}
	c.ranks.answered(id, len(b), time.Since(began), time.Now())
	return b, nil
}

// holders are those who have a snapshot, with how often each may fail yet.
type holders struct {
	mu   sync.Mutex
	left map[peer.ID]int
	turn int
}

// next returns whom to ask: one after the other of those who are left, so that all carry a part.
func (h *holders) next(c *Client) (peer.ID, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var ids []peer.ID
	for id, left := range h.left {
		if left > 0 {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	ids = c.ranks.sort(ids, time.Now())
	if len(ids) == 0 {
		return "", false
	}
	h.turn++
	return ids[h.turn%len(ids)], true
}

// failed counts a failure. Who does not have it, or lies, is not asked again.
func (h *holders) failed(id peer.ID, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.left[id]--
	if errors.Is(err, ErrNotThere) || errors.Is(err, ErrLiar) {
		h.left[id] = 0
	}
}
