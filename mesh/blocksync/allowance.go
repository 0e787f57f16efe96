package blocksync

import (
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"golang.org/x/time/rate"
)

// Allowance is what one peer may ask for. Zero numbers mean their defaults.
type Allowance struct {
	Requests float64 // a second, 50; twice as many at once
	Bytes    float64 // a second, 32 MiB; as many at once
	Streams  int     // at once, 8
	Total    int     // streams of all peers at once, 64
	Reads    int     // of the disk at once, 4
}

func (a Allowance) withDefaults() Allowance {
	if a.Requests == 0 {
		a.Requests = 50
	}
	if a.Bytes == 0 {
		a.Bytes = 32 << 20
	}
	if a.Streams == 0 {
		a.Streams = 8
	}
	if a.Total == 0 {
		a.Total = 64
	}
	if a.Reads == 0 {
		a.Reads = 4
	}
	return a
}

// maxPeers is how many peers are remembered. Who is forgotten has a full bucket again, and the streams of all are counted.
const maxPeers = 1024

// allowances count what peers ask for.
type allowances struct {
	a Allowance

	mu    sync.Mutex
	peers map[peer.ID]*allowance
	open  int
}

type allowance struct {
	requests, bytes *rate.Limiter
	streams         int
}

func newAllowances(a Allowance) *allowances {
	return &allowances{a: a, peers: map[peer.ID]*allowance{}}
}

// enter counts a stream; nil when the peer, or all together, have too many of them or ask too often.
func (a *allowances) enter(id peer.ID, now time.Time) *allowance {
	a.mu.Lock()
	defer a.mu.Unlock()
	p := a.peers[id]
	if p == nil {
		a.makeRoom()
		burst := max(int(a.a.Bytes), 2*MaxRangeBytes) // a whole answer fits
		p = &allowance{
			requests: rate.NewLimiter(rate.Limit(a.a.Requests), max(int(2*a.a.Requests), 1)),
			bytes:    rate.NewLimiter(rate.Limit(a.a.Bytes), burst),
		}
		a.peers[id] = p
	}
	if a.open >= a.a.Total || p.streams >= a.a.Streams || !p.requests.AllowN(now, 1) || p.bytes.TokensAt(now) <= 0 {
		return nil
	}
	a.open++
	p.streams++
	return p
}

// makeRoom forgets somebody who asks for nothing now.
func (a *allowances) makeRoom() {
	if len(a.peers) < maxPeers {
		return
	}
	for id, p := range a.peers {
		if p.streams == 0 {
			delete(a.peers, id)
			return
		}
	}
}

// spend counts bytes that were sent. They may be more than are left: then the peer waits longer.
func (p *allowance) spend(n int, now time.Time) { p.bytes.ReserveN(now, min(n, p.bytes.Burst())) }

func (a *allowances) leave(p *allowance) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.open--
	p.streams--
}
