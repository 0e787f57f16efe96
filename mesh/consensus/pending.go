package consensus

import (
	"container/list"
	"context"
	"crypto/sha256"
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
}

type pendingTx struct {
	id txID
	tx []byte
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
			p.byID[id] = p.order.PushBack(pendingTx{id, tx})
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

func (p *pending) all() []pendingTx {
	p.mu.Lock()
	defer p.mu.Unlock()
	txs := make([]pendingTx, 0, p.order.Len())
	for e := p.order.Front(); e != nil; e = e.Next() {
		txs = append(txs, e.Value.(pendingTx))
	}
	return txs
}

func (p *pending) size() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.byID)
}
