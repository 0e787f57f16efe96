package blocksync

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

// ranking knows how peers have answered: who is asked first, and who is not asked at all for a while.
type ranking struct {
	mu    sync.Mutex
	peers map[peer.ID]*record
}

type record struct {
	failures int     // halved by every answer
	speed    float64 // bytes a second, moving average
	asked    time.Time
	banned   time.Time // until
}

func newRanking() *ranking { return &ranking{peers: map[peer.ID]*record{}} }

// of must be called with the lock held.
func (r *ranking) of(id peer.ID) *record {
	p := r.peers[id]
	if p != nil {
		return p
	}
	if len(r.peers) >= maxPeers {
		r.forget()
	}
	p = &record{}
	r.peers[id] = p
	return p
}

// forget makes room: of those who are not banned, the one that was asked longest ago; else the ban that ends first.
func (r *ranking) forget() {
	var oldest peer.ID
	var least *record
	for id, p := range r.peers {
		if least == nil || p.banned.Compare(least.banned) < 0 || p.banned.Equal(least.banned) && p.asked.Before(least.asked) {
			oldest, least = id, p
		}
	}
	delete(r.peers, oldest)
}

// answered notes how many bytes came in which time.
func (r *ranking) answered(id peer.ID, bytes int, d time.Duration, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.of(id)
	p.failures /= 2
	p.asked = now
	if bytes > 0 {
		speed := float64(bytes) / max(d, time.Microsecond).Seconds()
		if p.speed > 0 {
			speed = (3*p.speed + speed) / 4
		}
		p.speed = speed
	}
}

// failed notes that nothing useful came.
func (r *ranking) failed(id peer.ID, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.of(id)
	p.failures = min(p.failures+1, 1<<10)
	p.asked = now
}

// ban keeps a peer from being asked.
func (r *ranking) ban(id peer.ID, until time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.of(id).banned = until
}

// sort returns those who may be asked, the best first: fewest failures, then fastest. Whoever was never asked counts as
// fast, so that everybody gets a chance.
func (r *ranking) sort(ids []peer.ID, now time.Time) []peer.ID {
	r.mu.Lock()
	defer r.mu.Unlock()
	var good []peer.ID
	for _, id := range ids {
		if p := r.peers[id]; p == nil || !now.Before(p.banned) {
			good = append(good, id)
		}
	}
	slices.SortStableFunc(good, func(a, b peer.ID) int {
		p, q := r.peers[a], r.peers[b]
		if p == nil {
			p = &record{}
		}
		if q == nil {
			q = &record{}
		}
		if p.failures != q.failures {
			return cmp.Compare(p.failures, q.failures)
		}
		if (p.speed == 0) != (q.speed == 0) {
			if p.speed == 0 {
				return -1
			}
			return 1
		}
		return cmp.Compare(q.speed, p.speed)
	})
	return good
}
