package mesh

import (
	"sync"
	"time"

	"github.com/shardy-network/orchestrator/actors/ledger/seal"
)

// recent remembers ids for a while, in two generations: an id is remembered at least while half of the limit follows it,
// or half of the time passes, and at most twice that.
type recent struct {
	limit int
	keep  time.Duration

	mu       sync.Mutex
	now, old map[seal.Hash]struct{}
	turned   time.Time
}

func newRecent(limit int, keep time.Duration) *recent {
	return &recent{limit: max(limit/2, 1), keep: keep / 2, now: map[seal.Hash]struct{}{}, turned: time.Now()}
}

func (r *recent) has(id seal.Hash) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.turn()
	_, a := r.now[id]
	_, b := r.old[id]
	return a || b
}

// add reports whether the id is new.
func (r *recent) add(id seal.Hash) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.turn()
	_, a := r.now[id]
	_, b := r.old[id]
	r.now[id] = struct{}{}
	return !a && !b
}

func (r *recent) forget(id seal.Hash) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.now, id)
	delete(r.old, id)
}

func (r *recent) turn() {
	since := time.Since(r.turned)
	if len(r.now) < r.limit && since < r.keep {
		return
	}
	r.old, r.now = r.now, map[seal.Hash]struct{}{}
	if since >= 2*r.keep {
		r.old = nil
	}
	r.turned = time.Now()
}
