package mesh

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	"github.com/libp2p/go-libp2p/p2p/protocol/ping"
	"github.com/multiformats/go-multiaddr"
	"golang.org/x/sync/errgroup"
)

const (
	parallelDials = 16
	bookDials     = 16   // peers of the book that one round may try
	maxLearned    = 1024 // orchestrators whose addresses are remembered from presence
	pingTimeout   = 10 * time.Second
)

// calls are the peers to be called again when they are lost, and when.
type calls struct {
	boot map[peer.ID][]multiaddr.Multiaddr // immutable

	mu      sync.Mutex
	learned map[peer.ID][]multiaddr.Multiaddr // by presence: signed by the one who can be met there
	waits   map[peer.ID]wait
}

type wait struct {
	failures int
	until    time.Time
}

func newCalls(boot []peer.AddrInfo) *calls {
	c := &calls{boot: map[peer.ID][]multiaddr.Multiaddr{}, learned: map[peer.ID][]multiaddr.Multiaddr{}, waits: map[peer.ID]wait{}}
	for _, b := range boot {
		c.boot[b.ID] = b.Addrs
	}
	return c
}

// learn keeps where an orchestrator says that it can be met.
func (c *calls) learn(id peer.ID, addresses []string) {
	list, err := multiaddrs(addresses)
	if err != nil || len(list) == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.learned[id]; !ok && len(c.learned) >= maxLearned {
		for other := range c.learned { // any: they come again with their next presence
			delete(c.learned, other)
			break
		}
	}
	c.learned[id] = list
}

func (c *calls) addresses(id peer.ID) []multiaddr.Multiaddr {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append(append([]multiaddr.Multiaddr(nil), c.boot[id]...), c.learned[id]...)
}

func (c *calls) due(id peer.ID, now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !now.Before(c.waits[id].until)
}

// tried notes how a dial went: the wait doubles with each failure in a row, up to the cap, with a fifth of jitter.
func (c *calls) tried(id peer.ID, err error, step, limit time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil {
		delete(c.waits, id)
		return
	}
	if len(c.waits) >= 4*maxLearned {
		clear(c.waits)
	}
	w := c.waits[id]
	d := min(limit, step<<min(w.failures, 20))
	w.failures++
	w.until = time.Now().Add(d - d/10 + rand.N(d/5+1))
	c.waits[id] = w
}

// keepCalling looks after lost peers until ctx ends.
func (m *Mesh) keepCalling(ctx context.Context) {
	tick := time.NewTicker(m.cfg.RedialEvery)
	defer tick.Stop()
	guarded := map[peer.ID]bool{}
	for {
		m.protect(guarded)
		m.showOut()
		m.callRound(ctx)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// protect keeps the connection manager from closing connections to validators.
func (m *Mesh) protect(guarded map[peer.ID]bool) {
	now := map[peer.ID]bool{}
	for _, id := range m.members.all() {
		now[id] = true
		if !guarded[id] {
			m.host.ConnManager().Protect(id, "validator")
			guarded[id] = true
		}
	}
	for id := range guarded {
		if !now[id] {
			m.host.ConnManager().Unprotect(id, "validator")
			delete(guarded, id)
		}
	}
}

// showOut closes connections to those who would not be let in any more, as validators of yesterday in a private mesh.
func (m *Mesh) showOut() {
	for _, id := range m.host.Network().Peers() {
		if m.gate.welcome(id) {
			continue
		}
		if err := m.host.Network().ClosePeer(id); err != nil {
			m.cfg.Logger.Debug("connection not closed", "peer", id, "error", err)
		}
	}
}

// callRound dials who is lost and due: bootstrap peers, validators, and while there are few peers those of the book.
func (m *Mesh) callRound(ctx context.Context) {
	var g errgroup.Group
	g.SetLimit(parallelDials)
	asked := map[peer.ID]bool{m.self: true}
	call := func(id peer.ID, more []multiaddr.Multiaddr) {
		if asked[id] || m.connected(id) || !m.calls.due(id, time.Now()) || !m.gate.welcome(id) {
			return
		}
		asked[id] = true
		g.Go(func() error {
			err := m.call(ctx, id, append(m.calls.addresses(id), more...))
			m.calls.tried(id, err, m.cfg.RedialEvery, m.cfg.RedialCap)
			return nil
		})
	}
	for id := range m.calls.boot {
		call(id, nil)
	}
	for _, id := range m.members.all() {
		call(id, nil)
	}
	if len(m.host.Network().Peers()) < m.cfg.LowPeers {
		for _, p := range m.book.best(bookDials) {
			if id, err := peer.Decode(p.Peer); err == nil {
				more, _ := multiaddrs(p.Addresses) // checked when the book was read or written
				call(id, more)
			}
		}
	}
	_ = g.Wait() // calls return nothing
}

func (m *Mesh) call(ctx context.Context, id peer.ID, addresses []multiaddr.Multiaddr) error {
	ctx, cancel := context.WithTimeout(ctx, m.cfg.DialTimeout)
	defer cancel()
	if len(addresses) == 0 && len(m.host.Peerstore().Addrs(id)) == 0 && m.routes != nil {
		info, err := m.routes.FindPeer(ctx, id)
		if err != nil {
			return err
		}
		addresses = info.Addrs
	}
	if s, ok := m.host.Network().(*swarm.Swarm); ok {
		s.Backoff().Clear(id) // the wait is ours
	}
	return m.host.Connect(ctx, peer.AddrInfo{ID: id, Addrs: addresses})
}

func (m *Mesh) connected(id peer.ID) bool {
	return m.host.Network().Connectedness(id) == network.Connected
}

// Connect dials a multiaddr with /p2p once.
func (m *Mesh) Connect(ctx context.Context, address string) error {
	infos, err := AddrInfos([]string{address})
	if err != nil {
		return err
	}
	return m.call(ctx, infos[0].ID, infos[0].Addrs)
}

// Block closes the door to a peer and its connections; zero means for good. Unblock opens the door again.
func (m *Mesh) Block(id peer.ID, d time.Duration) error {
	m.gate.block(id, d)
	return m.host.Network().ClosePeer(id)
}

// Unblock forgives.
func (m *Mesh) Unblock(id peer.ID) { m.gate.unblock(id) }

// meet dials peers that were found in the local network.
func (m *Mesh) meet(ctx context.Context) {
	for {
		select {
		case info := <-m.found:
			if info.ID == m.self || m.connected(info.ID) || !m.gate.welcome(info.ID) {
				continue
			}
			if err := m.call(ctx, info.ID, info.Addrs); err != nil {
				m.cfg.Logger.Debug("local peer not reached", "peer", info.ID, "error", err)
			}
		case <-ctx.Done():
			return
		}
	}
}

// HandlePeerFound implements mdns.Notifee. It does not block: the network repeats itself.
func (m *Mesh) HandlePeerFound(info peer.AddrInfo) {
	select {
	case m.found <- info:
	default:
	}
}

// keepBook writes down who is connected, and saves it, until ctx ends.
func (m *Mesh) keepBook(ctx context.Context) {
	tick := time.NewTicker(m.cfg.BookEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			m.writeBook()
			if err := m.book.save(); err != nil {
				m.cfg.Logger.Warn("peer book not saved", "error", err)
			}
		case <-ctx.Done():
			return
		}
	}
}

func (m *Mesh) writeBook() {
	for _, id := range m.host.Network().Peers() {
		if list := dialable(m.host.Peerstore().Addrs(id)); len(list) > 0 {
			m.book.put(Met{Peer: id.String(), Addresses: list, Seen: time.Now().UTC(), Score: m.gossip.score(id)})
		}
	}
}

// keepPinging measures the way to every peer, one after the other, until ctx ends.
func (m *Mesh) keepPinging(ctx context.Context) {
	tick := time.NewTicker(m.cfg.PingEvery)
	defer tick.Stop()
	for {
		for _, id := range m.host.Network().Peers() {
			m.pingOnce(ctx, id)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// pingOnce leaves what it measured in the peerstore.
func (m *Mesh) pingOnce(ctx context.Context, id peer.ID) {
	ctx, cancel := context.WithTimeout(ctx, pingTimeout)
	defer cancel()
	select {
	case <-ping.Ping(ctx, m.host, id):
	case <-ctx.Done():
	}
}
