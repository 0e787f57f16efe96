package mesh

import (
	"maps"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p/core/control"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
	"golang.org/x/time/rate"
)

// maxDoors bounds the addresses whose rate of dials is remembered.
const maxDoors = 8_192

// gate decides with whom connections are made. It is the connection gater of the host.
type gate struct {
	private, publicOnly bool
	allow               map[peer.ID]bool // immutable
	member              func(peer.ID) bool
	dials, burst        int
	refused             atomic.Int64

	mu      sync.Mutex
	blocked map[peer.ID]time.Time // until; zero: for good
	doors   map[netip.Addr]*rate.Limiter
}

func newGate(c Config, allow, block []peer.ID, member func(peer.ID) bool) *gate {
	g := &gate{
		private: c.Private, publicOnly: c.PublicOnly, member: member, dials: c.DialsPerIP, burst: c.DialBurstPerIP,
		allow: map[peer.ID]bool{}, blocked: map[peer.ID]time.Time{}, doors: map[netip.Addr]*rate.Limiter{},
	}
	for _, id := range allow {
		g.allow[id] = true
	}
	for _, id := range block {
		g.blocked[id] = time.Time{}
	}
	return g
}

// welcome reports whether a peer may be connected.
func (g *gate) welcome(id peer.ID) bool {
	if g.isBlocked(id) {
		return false
	}
	return !g.private || g.allow[id] || g.member(id)
}

func (g *gate) isBlocked(id peer.ID) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	until, ok := g.blocked[id]
	if ok && !until.IsZero() && time.Now().After(until) {
		delete(g.blocked, id)
		return false
	}
	return ok
}

func (g *gate) block(id peer.ID, d time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	var until time.Time
	if d > 0 {
		until = time.Now().Add(d)
	}
	g.blocked[id] = until
}

func (g *gate) unblock(id peer.ID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.blocked, id)
}

func (g *gate) blocks() map[peer.ID]time.Time {
	g.mu.Lock()
	defer g.mu.Unlock()
	return maps.Clone(g.blocked)
}

func (g *gate) count(allow bool) bool {
	if !allow {
		g.refused.Add(1)
	}
	return allow
}

// InterceptPeerDial implements connmgr.ConnectionGater.
func (g *gate) InterceptPeerDial(id peer.ID) bool { return g.count(g.welcome(id)) }

// InterceptAddrDial keeps addresses of private networks out where the configuration says so.
func (g *gate) InterceptAddrDial(_ peer.ID, a multiaddr.Multiaddr) bool {
	return g.count(!g.publicOnly || manet.IsPublicAddr(a))
}

// InterceptAccept bounds the rate of connections of one address, before anything is spent on a handshake.
func (g *gate) InterceptAccept(c network.ConnMultiaddrs) bool {
	ip, err := manet.ToIP(c.RemoteMultiaddr())
	if err != nil {
		return true // no address to bound; the resource limits hold
	}
	addr, ok := netip.AddrFromSlice(ip)
	if !ok {
		return g.count(false)
	}
	return g.count(g.knock(addr.Unmap(), time.Now()))
}

func (g *gate) knock(addr netip.Addr, now time.Time) bool {
	if addr.IsLoopback() {
		return true
	}
	if addr.Is6() {
		if p, err := addr.Prefix(64); err == nil {
			addr = p.Addr()
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	l, ok := g.doors[addr]
	if !ok {
		if len(g.doors) >= maxDoors {
			g.forget(now)
		}
		l = rate.NewLimiter(rate.Limit(g.dials), g.burst)
		g.doors[addr] = l
	}
	return l.AllowN(now, 1)
}

// forget makes room for a quarter: addresses whose allowance is whole again go first, then any.
func (g *gate) forget(now time.Time) {
	for a, l := range g.doors {
		if l.TokensAt(now) >= float64(g.burst) {
			delete(g.doors, a)
		}
	}
	for a := range g.doors {
		if len(g.doors) <= maxDoors*3/4 {
			return
		}
		delete(g.doors, a)
	}
}

// InterceptSecured decides when it is known who the other is.
func (g *gate) InterceptSecured(_ network.Direction, id peer.ID, _ network.ConnMultiaddrs) bool {
	return g.count(g.welcome(id))
}

// InterceptUpgraded implements connmgr.ConnectionGater.
func (g *gate) InterceptUpgraded(network.Conn) (bool, control.DisconnectReason) { return true, 0 }
