package mesh

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"golang.org/x/time/rate"
	"google.golang.org/protobuf/proto"

	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

// Orchestrator is what one that lives says of itself; Peer, Key and Validator are known for certain.
type Orchestrator struct {
	Peer      string            `json:"peer"`
	Key       ed25519.PublicKey `json:"key"`
	Validator bool              `json:"validator"`
	Node      string            `json:"node"`
	Version   string            `json:"version"`
	Height    uint64            `json:"height"`
	Capacity  Capacity          `json:"capacity"`
	Addresses []string          `json:"addresses"`
	Sequence  uint64            `json:"sequence"`
	At        time.Time         `json:"at"`   // by its clock
	Seen      time.Time         `json:"seen"` // by ours
}

// table is who lives. An orchestrator is dropped when it was silent for the expiry.
type table struct {
	cfg    Config
	member func(peer.ID) bool

	mu    sync.Mutex
	alive map[peer.ID]*place
}

type place struct {
	o    Orchestrator
	rate *rate.Limiter
}

func newTable(c Config, member func(peer.ID) bool) *table {
	return &table{cfg: c, member: member, alive: map[peer.ID]*place{}}
}

// see takes a presence in. It refuses with ErrNotNow what is old, too early, too often, or one too many.
func (t *table) see(author peer.ID, p *ledgerv1.Presence) error {
	now := time.Now()
	at := time.UnixMicro(p.AtUs)
	if d := now.Sub(at); d > t.cfg.PresenceSkew || d < -t.cfg.PresenceSkew {
		return fmt.Errorf("%w: presence of %s, %v from now", ErrNotNow, author, d)
	}
	member := t.member(author)
	t.mu.Lock()
	defer t.mu.Unlock()
	own, ok := t.alive[author]
	switch {
	case ok && p.Sequence <= own.o.Sequence:
		return fmt.Errorf("%w: presence %d of %s, have %d", ErrNotNow, p.Sequence, author, own.o.Sequence)
	case ok && !own.rate.AllowN(now, 1):
		return fmt.Errorf("%w: %s says too often that it lives", ErrNotNow, author)
	case !ok && len(t.alive) >= t.cfg.MaxOrchestrators && !member:
		if t.prune(now); len(t.alive) >= t.cfg.MaxOrchestrators {
			return fmt.Errorf("%w: no place for %s", ErrNotNow, author)
		}
	}
	if !ok {
		own = &place{rate: rate.NewLimiter(rate.Every(t.cfg.PresenceEvery/4), 8)}
		t.alive[author] = own
	}
	own.o = Orchestrator{
		Peer: author.String(), Key: p.Key, Validator: member, Node: p.Node, Version: p.Version, Height: p.Height,
		Capacity: Capacity{FreeCredits: p.FreeCredits}, Addresses: p.Addresses, Sequence: p.Sequence, At: at, Seen: now,
	}
	copy(own.o.Capacity.Idle[:], p.Idle)
	return nil
}

func (t *table) prune(now time.Time) {
	for id, own := range t.alive {
		if now.Sub(own.o.Seen) > t.cfg.PresenceExpiry {
			delete(t.alive, id)
		}
	}
}

// living returns those alive in the order of their ids.
func (t *table) living() []Orchestrator {
	t.mu.Lock()
	t.prune(time.Now())
	out := make([]Orchestrator, 0, len(t.alive))
	for _, own := range t.alive {
		out = append(out, own.o)
	}
	t.mu.Unlock()
	slices.SortFunc(out, func(a, b Orchestrator) int { return strings.Compare(a.Peer, b.Peer) })
	return out
}

func (t *table) find(id peer.ID) (Orchestrator, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	own, ok := t.alive[id]
	if !ok || time.Since(own.o.Seen) > t.cfg.PresenceExpiry {
		return Orchestrator{}, false
	}
	return own.o, true
}

// beat says that this orchestrator lives: at once when somebody joins, and at every interval.
func (m *Mesh) beat(ctx context.Context) {
	tick := time.NewTicker(m.cfg.PresenceEvery)
	defer tick.Stop()
	for {
		if err := m.PublishPresence(ctx); err != nil && ctx.Err() == nil && !errors.Is(err, ErrNotNow) {
			m.cfg.Logger.Warn("presence not published", "error", err)
		}
		gap := time.NewTimer(m.cfg.PresenceEvery / 4) // others take no more
		select {
		case <-gap.C:
		case <-ctx.Done():
			gap.Stop()
			return
		}
		select {
		case <-tick.C:
		case <-m.joined:
		case <-ctx.Done():
			return
		}
	}
}

// PublishPresence says now that this orchestrator lives. It does so by itself at every interval.
func (m *Mesh) PublishPresence(ctx context.Context) error {
	now := time.Now().UnixMicro()
	p := &ledgerv1.Presence{
		Node: m.cfg.Node, Sequence: m.sequence(now), AtUs: now, Height: m.cfg.Ports.Height(), Key: m.key, Version: m.cfg.Version,
	}
	c := m.cfg.Ports.Capacity()
	p.Idle, p.FreeCredits = c.Idle[:], c.FreeCredits
	for _, a := range m.host.Addrs() {
		if s := a.String(); len(p.Addresses) < maxAddresses && len(s) <= maxAddress {
			p.Addresses = append(p.Addresses, s)
		}
	}
	b, err := proto.Marshal(p)
	if err != nil {
		return fmt.Errorf("mesh: presence: %w", err)
	}
	return m.gossip.publish(ctx, PresenceTopic, b)
}

// sequence ascends over restarts as long as the clock does.
func (m *Mesh) sequence(now int64) uint64 {
	for {
		last := m.lastSequence.Load()
		next := max(last+1, uint64(max(now, 1)))
		if m.lastSequence.CompareAndSwap(last, next) {
			return next
		}
	}
}
