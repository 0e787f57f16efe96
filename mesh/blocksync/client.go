package blocksync

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/shardy-network/orchestrator/actors/ledger/light"
	"github.com/shardy-network/orchestrator/mesh"
	"github.com/shardy-network/orchestrator/mesh/chain"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

// Config says how a Client behaves. Zero numbers mean their defaults.
type Config struct {
	Dir string // for what is downloaded of snapshots; empty: no snapshots are taken

	Patience Patience
	Ban      time.Duration // how long a liar is not asked, 10 min
	// SnapshotBehind is how many blocks a chain must be behind to go on from a snapshot although the blocks can be had,
	// 10,000. A snapshot is trusted because validators signed its root; blocks are executed.
	SnapshotBehind uint64
	MaxSnapshot    int64 // bytes of a snapshot, 4 GiB
	Parallel       int   // chunks at once, 4

	// OnLiar is told who was caught and how; it must not block. Nil: nobody.
	OnLiar func(peer.ID, error)
	Log    *slog.Logger // nil: nothing
}

func (c Config) withDefaults() Config {
	c.Patience = c.Patience.withDefaults()
	if c.Ban == 0 {
		c.Ban = 10 * time.Minute
	}
	if c.SnapshotBehind == 0 {
		c.SnapshotBehind = 10_000
	}
	if c.MaxSnapshot == 0 {
		c.MaxSnapshot = 4 << 30
	}
	if c.Parallel == 0 {
		c.Parallel = 4
	}
	if c.OnLiar == nil {
		c.OnLiar = func(peer.ID, error) {}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// Client asks others for what its chain lacks. It has no goroutine of its own: all that a call starts ends with it. Target
// and Pull may be called at any time; CatchUp by one goroutine at a time.
type Client struct {
	host  host.Host
	chain *chain.Chain
	cfg   Config
	ranks *ranking
}

// NewClient makes a client of a host that is connected to others, for a chain.
func NewClient(h host.Host, c *chain.Chain, cfg Config) *Client {
	return &Client{host: h, chain: c, cfg: cfg.withDefaults(), ranks: newRanking()}
}

// liar keeps a peer from being asked for a while, and tells.
func (c *Client) liar(id peer.ID, err error) {
	c.ranks.ban(id, time.Now().Add(c.cfg.Ban))
	c.cfg.Log.Warn("peer lies", "peer", id, "error", err)
	c.cfg.OnLiar(id, err)
}

// judge notes what an error says about a peer.
func (c *Client) judge(ctx context.Context, id peer.ID, err error) {
	switch {
	case err == nil || ctx.Err() != nil:
	case errors.Is(err, ErrLiar):
		c.liar(id, err)
	case errors.Is(err, ErrNotThere) || errors.Is(err, chain.ErrTrust): // no fault
	default:
		c.ranks.failed(id, time.Now())
	}
}

// rest gives a peer that has no time some, longer each time.
func rest(ctx context.Context, err error, times int) {
	if !errors.Is(err, ErrBusy) {
		return
	}
	t := time.NewTimer(100 * time.Millisecond << min(times, 5))
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// PeerOf returns where a validator is reached: its own peer id if it names one, else that of its key.
func PeerOf(v *ledgerv1.Validator) (peer.ID, error) {
	if len(v.GetPeer()) == 0 {
		return mesh.PeerOf(v.GetKey())
	}
	if id, err := peer.IDFromBytes(v.Peer); err == nil {
		return id, nil
	}
	return peer.Decode(string(v.Peer))
}

// validators are the peers of the present validators, without the own one, and how many of all validators may lie.
func (c *Client) validators() (ids []peer.ID, faults int) {
	set := c.chain.Validators().GetValidators()
	for _, v := range set {
		if id, err := PeerOf(v); err == nil && id != c.host.ID() {
			ids = append(ids, id)
		}
	}
	return ids, light.Faults(len(set))
}

// everybody is who may have blocks: validators, and all who are connected and speak the protocol.
func (c *Client) everybody() []peer.ID {
	ids, _ := c.validators()
	for _, id := range c.host.Network().Peers() {
		if slices.Contains(ids, id) {
			continue
		}
		if known, err := c.host.Peerstore().SupportsProtocols(id, blocksProtocol); err == nil && len(known) > 0 {
			ids = append(ids, id)
		}
	}
	return ids
}

// Target is a height that the chain has reached by the word of at least one honest validator, if no more lie than may: the
// (f+1)-th highest of what they report. 0 when too few answer.
func (c *Client) Target(ctx context.Context) (uint64, error) {
	ids, faults := c.validators()
	answers := c.statuses(ctx, c.ranks.sort(ids, time.Now()))
	if err := ctx.Err(); err != nil {
		return 0, context.Cause(ctx)
	}
	if len(answers) <= faults {
		return 0, nil
	}
	return answers[faults].status.Height, nil
}

type report struct {
	id     peer.ID
	status *ledgerv1.ChainStatus
}

// statuses asks peers how far they are, all at once, and returns what they say, the highest first.
func (c *Client) statuses(ctx context.Context, ids []peer.ID) []report {
	ids = ids[:min(len(ids), light.MaxValidators+32)]
	got := make(chan report, len(ids))
	for _, id := range ids {
		go func() {
			s, err := c.status(ctx, id)
			c.judge(ctx, id, err)
			got <- report{id, s}
		}()
	}
	var reports []report
	for range ids {
		if r := <-got; r.status != nil {
			reports = append(reports, r)
		}
	}
	slices.SortFunc(reports, func(a, b report) int {
		switch {
		case a.status.Height > b.status.Height:
			return -1
		case a.status.Height < b.status.Height:
			return 1
		}
		return bytes.Compare([]byte(a.id), []byte(b.id))
	})
	return reports
}

// status asks one peer how far it is.
func (c *Client) status(ctx context.Context, id peer.ID) (*ledgerv1.ChainStatus, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Patience.Status)
	defer cancel()
	q := &ledgerv1.BlockRequest{Kind: &ledgerv1.BlockRequest_Status{Status: &ledgerv1.StatusRequest{}}}
	call, hang, err := ask(ctx, c.host, id, blocksProtocol, c.cfg.Patience, maxRequest, q)
	if err != nil {
		return nil, err
	}
	defer hang()
	var r ledgerv1.BlockResponse
	if err := call.next(&r); err != nil {
		return nil, err
	}
	s := r.GetStatus()
	if s == nil {
		return nil, refusal(r.Kind, r.GetEnd())
	}
	genesis := c.chain.Status().Genesis
	if !bytes.Equal(s.Genesis, genesis[:]) {
		return nil, fmt.Errorf("%w: it is of the chain %x", ErrLiar, s.Genesis)
	}
	return s, nil
}

// refusal is what an end means where something else was asked for.
func refusal(kind any, code ledgerv1.SyncCode) error {
	switch code {
	case ledgerv1.SyncCode_SYNC_CODE_BUSY:
		return ErrBusy
	case ledgerv1.SyncCode_SYNC_CODE_NOT_FOUND, ledgerv1.SyncCode_SYNC_CODE_PRUNED:
		return fmt.Errorf("%w: %s", ErrNotThere, code)
	}
	return fmt.Errorf("%w: %T where it does not belong, code %s", ErrLiar, kind, code)
}
