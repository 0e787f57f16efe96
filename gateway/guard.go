package gateway

import (
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/shardy-network/orchestrator/gateway/wire"
	workerv1 "github.com/shardy-network/orchestrator/proto/shardy/worker/v1"
)

// maxHosts bounds the table of addresses; when it is full only those already in it get in, until the sweep.
const maxHosts = 1 << 16

// guard refuses connections before anything was spent on them.
type guard struct {
	cfg    Config
	global *rate.Limiter

	mu    sync.Mutex
	open  int                    // connections; guarded by mu
	hosts map[netip.Prefix]*room // guarded by mu
}

// room is what one address prefix has taken.
type room struct {
	open    int
	limiter *rate.Limiter
	seen    time.Time
}

func newGuard(cfg Config) *guard {
	return &guard{
		cfg:    cfg,
		global: rate.NewLimiter(rate.Limit(cfg.HandshakesPerSecond), cfg.HandshakeBurst),
		hosts:  make(map[netip.Prefix]*room),
	}
}

// admit counts a connection in, or says why not. Every admitted one MUST leave.
func (g *guard) admit(ip netip.Addr, draining bool, now time.Time) *wire.Error {
	if draining {
		return wire.Errorf(workerv1.ErrorCode_ERROR_CODE_DRAINING, "the orchestrator is closing")
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.open >= g.cfg.MaxConnections {
		return wire.Errorf(workerv1.ErrorCode_ERROR_CODE_UNAVAILABLE, "the orchestrator is full")
	}
	if !ip.IsLoopback() {
		if err := g.admitHost(host(ip), now); err != nil {
			return err
		}
	}
	if !g.global.AllowN(now, 1) {
		g.leaveHost(ip)
		return wire.Errorf(workerv1.ErrorCode_ERROR_CODE_RATE, "too many handshakes")
	}
	g.open++
	return nil
}

func (g *guard) admitHost(h netip.Prefix, now time.Time) *wire.Error {
	r := g.hosts[h]
	if r == nil {
		if len(g.hosts) >= maxHosts {
			return wire.Errorf(workerv1.ErrorCode_ERROR_CODE_RATE, "too many addresses at once")
		}
		r = &room{limiter: rate.NewLimiter(rate.Limit(g.cfg.HandshakesPerIPPerSecond), g.cfg.HandshakeBurstPerIP)}
		g.hosts[h] = r
	}
	r.seen = now
	if r.open >= g.cfg.MaxConnectionsPerIP {
		return wire.Errorf(workerv1.ErrorCode_ERROR_CODE_RATE, "too many connections from this address")
	}
	if !r.limiter.AllowN(now, 1) {
		return wire.Errorf(workerv1.ErrorCode_ERROR_CODE_RATE, "too many handshakes from this address")
	}
	r.open++
	return nil
}

func (g *guard) leave(ip netip.Addr) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.open--
	g.leaveHost(ip)
}

func (g *guard) leaveHost(ip netip.Addr) {
	if ip.IsLoopback() {
		return
	}
	if r := g.hosts[host(ip)]; r != nil {
		r.open--
	}
}

// sweep forgets addresses that have nothing open and whose allowance is whole again.
func (g *guard) sweep(now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for h, r := range g.hosts {
		if r.open == 0 && now.Sub(r.seen) > time.Minute {
			delete(g.hosts, h)
		}
	}
}

func (g *guard) connections() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.open
}
