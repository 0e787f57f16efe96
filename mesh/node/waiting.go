package node

import (
	"bytes"
	"slices"
	"sync"
	"time"

	"github.com/shardy-network/orchestrator/actors/ledger"
	"github.com/shardy-network/orchestrator/mesh/consensus"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

// maxWaitingBytes bounds the encoded transactions that wait.
const maxWaitingBytes = 128 << 20

// waiting are the transactions that were submitted here and are in no block yet.
type waiting struct {
	limit int
	self  string        // key that has no limit of its own
	wake  chan struct{} // there may be somebody new to offer to; holds one

	mu      sync.Mutex
	byID    map[ledger.Hash]*held
	senders map[string]int
	bytes   int
	serial  uint64
}

type held struct {
	tx     ledger.Checked
	serial uint64            // order of submission
	engine *consensus.Engine // that has it
	said   time.Time         // to the others, last
}

func newWaiting(limit int, self string) *waiting {
	return &waiting{
		limit: limit, self: self, wake: make(chan struct{}, 1), byID: map[ledger.Hash]*held{}, senders: map[string]int{},
	}
}

// add reports whether the transaction is new. Its sender can pay for so many.
func (w *waiting) add(c ledger.Checked, fees uint64) (bool, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.byID[c.ID()] != nil {
		return false, nil
	}
	sender := string(c.Body().Sender)
	size := len(c.Encoded())
	if len(w.byID) >= w.limit || w.bytes+size > maxWaitingBytes || sender != w.self && w.senders[sender] >= w.limit/10 {
		return false, ErrFull
	}
	if uint64(w.senders[sender]) >= fees {
		return false, errPoor
	}
	w.serial++
	w.byID[c.ID()] = &held{tx: c, serial: w.serial}
	w.senders[sender]++
	w.bytes += size
	return true, nil
}

func (w *waiting) drop(ids ...ledger.Hash) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, id := range ids {
		w.remove(id)
	}
}

// remove must be called with the lock held.
func (w *waiting) remove(id ledger.Hash) {
	h := w.byID[id]
	if h == nil {
		return
	}
	delete(w.byID, id)
	w.bytes -= len(h.tx.Encoded())
	sender := string(h.tx.Body().Sender)
	if w.senders[sender]--; w.senders[sender] <= 0 {
		delete(w.senders, sender)
	}
}

// sweep drops what is in a block or can be in none any more, of one sender or, if none is named, of all.
func (w *waiting) sweep(s ledger.State, sender []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for id, h := range w.byID {
		if sender != nil && !bytes.Equal(sender, h.tx.Body().Sender) {
			continue
		}
		switch s.Screen(h.tx) {
		case ledgerv1.ReceiptCode_RECEIPT_CODE_EXPIRED, ledgerv1.ReceiptCode_RECEIPT_CODE_REPLAYED:
			w.remove(id)
		}
	}
}

// given notes which engine has a transaction.
func (w *waiting) given(id ledger.Hash, e *consensus.Engine) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if h := w.byID[id]; h != nil {
		h.engine = e
	}
}

func (w *waiting) said(id ledger.Hash, at time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if h := w.byID[id]; h != nil {
		h.said = at
	}
}

// without returns what an engine has not got, in the order in which it was submitted.
func (w *waiting) without(e *consensus.Engine) []ledger.Checked {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.pick(func(h *held) bool { return h.engine != e }, w.limit)
}

// unsaid returns some of what was said to nobody since a moment, and notes it as said.
func (w *waiting) unsaid(since time.Time, most int) []ledger.Checked {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := w.pick(func(h *held) bool { return h.said.Before(since) }, most)
	for _, c := range out {
		w.byID[c.ID()].said = time.Now()
	}
	return out
}

// pick must be called with the lock held.
func (w *waiting) pick(want func(*held) bool, most int) []ledger.Checked {
	var some []*held
	for _, h := range w.byID {
		if want(h) {
			some = append(some, h)
		}
	}
	slices.SortFunc(some, func(a, b *held) int { return int(int64(a.serial) - int64(b.serial)) })
	out := make([]ledger.Checked, 0, min(len(some), most))
	for _, h := range some[:min(len(some), most)] {
		out = append(out, h.tx)
	}
	return out
}

func (w *waiting) size() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.byID)
}

func (w *waiting) nudge() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}
