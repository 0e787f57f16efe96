package consensus

import (
	"container/list"
	"context"
	"crypto/sha256"
	"slices"
	"sync"
)

type txID = [sha256.Size]byte

// rememberedTxs is how many committed transactions are known as such.
const rememberedTxs = 1 << 16

// pending are the transactions that were accepted here and are in no block yet, and those that were committed lately. The
// library has its own pool, but that ends with its instance and forgets what waits for long.
type pending struct {
	limit int

	mu     sync.Mutex
	order  *list.List // of pendingTx, oldest first
	byID   map[txID]*list.Element
	room   chan struct{} // closed and replaced when there is room again
	recent map[txID]struct{}
	ring   []txID
	at     int
	count  uint64 // of what was ever added
}

type pendingTx struct {
	id     txID
	tx     []byte
	number uint64 // ascending from 1 on
}

func newPending(limit int) *pending {
	return &pending{
		limit: limit, order: list.New(), byID: map[txID]*list.Element{}, room: make(chan struct{}),
		recent: map[txID]struct{}{},
	}
}

// add keeps a transaction. It waits for room as long as ctx allows, and reports false for one that is known already.
func (p *pending) add(ctx context.Context, id txID, tx []byte) (bool, error) {
	for {
		p.mu.Lock()
		_, done := p.recent[id]
		if _, waits := p.byID[id]; waits || done {
			p.mu.Unlock()
			return false, nil
		}
		if len(p.byID) < p.limit {
			p.count++
			p.byID[id] = p.order.PushBack(pendingTx{id, tx, p.count})
			p.mu.Unlock()
			return true, nil
		}
		room := p.room
		p.mu.Unlock()
		select {
		case <-room:
		case <-ctx.Done():
			return false, ErrFull
		}
	}
}

func (p *pending) committed(ids []txID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	full := len(p.byID) >= p.limit
	for _, id := range ids {
		if e := p.byID[id]; e != nil {
			p.order.Remove(e)
			delete(p.byID, id)
		}
		if _, known := p.recent[id]; known {
			continue
		}
		p.recent[id] = struct{}{}
		if len(p.ring) < rememberedTxs {
			p.ring = append(p.ring, id)
			continue
		}
		delete(p.recent, p.ring[p.at])
		p.ring[p.at] = id
		p.at = (p.at + 1) % rememberedTxs
	}
	if full && len(p.byID) < p.limit {
		close(p.room)
		p.room = make(chan struct{})
	}
}

// known reports whether a transaction waits or was committed lately.
func (p *pending) known(id txID) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, done := p.recent[id]
	_, waits := p.byID[id]
	return done || waits
}

func (p *pending) isCommitted(id txID) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, ok := p.recent[id]
	return ok
}

// last is the number of what was added last.
func (p *pending) last() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.count
}

// between returns what waits with a number above one and not above another, in order.
func (p *pending) between(above, to uint64) []pendingTx {
	p.mu.Lock()
	defer p.mu.Unlock()
	var txs []pendingTx
	for e := p.order.Back(); e != nil; e = e.Prev() {
		tx := e.Value.(pendingTx)
		if tx.number <= above {
			break
		}
		if tx.number <= to {
			txs = append(txs, tx)
		}
	}
	slices.Reverse(txs)
	return txs
}

func (p *pending) size() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.byID)
}
