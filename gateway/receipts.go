package gateway

import (
	"sync"
	"time"

	"github.com/shardy-network/orchestrator/actors/proof"
	"github.com/shardy-network/orchestrator/gateway/wire"
	workerv1 "github.com/shardy-network/orchestrator/proto/shardy/worker/v1"
)

// batch is results that were recorded and whose receipt is still to be signed. It has one owner.
type batch struct {
	buf  *buffer // encoded results; nil: none yet
	size int     // bytes of buf that are in use
	n    int     // results, at most proof.MaxRecorded
}

const (
	firstBatch  = 1 << minClass // bytes: a dozen results
	recordedMax = 96            // of an encoded result, without its job
)

func (b *batch) add(r proof.Recorded) {
	room := b.size + len(r.Job) + recordedMax
	switch {
	case b.buf == nil:
		b.buf = takeBuffer(max(firstBatch, room))
	case room > len(b.buf.b):
		next := takeBuffer(max(4*len(b.buf.b), room))
		copy(next.b, b.buf.b[:b.size])
		releaseBuffer(b.buf)
		b.buf = next
	}
	b.size = len(proof.AppendRecorded(b.buf.b[:b.size], r))
	b.n++
}

func (b *batch) drop() {
	releaseBuffer(b.buf)
	b.buf = nil
}

// receipt signs a batch, which is gone afterwards.
func (d *Door) receipt(worker []byte, b *batch) *workerv1.FromOrchestrator {
	m := proof.SignRecorded(d.cfg.Key, worker, time.Now().UnixMicro(), b.buf.b[:b.size])
	b.drop()
	d.count.receipts.Add(1)
	return &workerv1.FromOrchestrator{Kind: &workerv1.FromOrchestrator_Receipts{Receipts: m}}
}

// owe notes a recorded result for the worker's next receipt. It reports false when the session has ended. It signs
// nothing itself: its caller is an entity's goroutine.
func (s *session) owe(r proof.Recorded) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return false
	}
	if n := len(s.owed); n == 0 || s.owed[n-1].n >= proof.MaxRecorded {
		s.owed = append(s.owed, &batch{})
	}
	last := s.owed[len(s.owed)-1]
	last.add(r)
	switch {
	case last.n >= proof.MaxRecorded || s.leaving():
		s.sign()
	case last.n == 1 && len(s.owed) == 1:
		s.remind()
	}
	return true
}

// leaving says that nothing more will come from a worker that drains. The caller holds mu.
func (s *session) leaving() bool { return s.drained && len(s.tasks)+len(s.settling) == 0 }

// remind has the receipts signed in a while. The caller holds mu.
func (s *session) remind() {
	if s.due == nil {
		s.due = time.AfterFunc(s.door.cfg.ReceiptInterval, s.settleUp)
		return
	}
	s.due.Reset(s.door.cfg.ReceiptInterval)
}

// settleUp has receipts signed for all that is owed.
func (s *session) settleUp() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ended {
		s.sign()
	}
}

// sign hands what is owed to a goroutine that signs it. Before the worker is welcome nothing else may be said to it, so
// it waits. The caller holds mu, and the session has not ended: so the crew has not either.
func (s *session) sign() {
	if !s.welcomed || len(s.owed) == 0 {
		return
	}
	if s.due != nil {
		s.due.Stop()
	}
	owed := s.owed
	s.owed = nil
	s.door.crew.Go(func() {
		for _, b := range owed {
			s.say(s.door.receipt(s.key[:], b))
		}
	})
}

// inherit takes over what another session owed the worker.
func (s *session) inherit(owed []*batch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case len(owed) == 0:
		return
	case s.ended:
		s.door.arrears.put(s.key, owed, time.Now().Add(arrearsGrace))
		return
	}
	s.owed = append(owed, s.owed...)
	s.sign()
}

// unpaid takes what an ended session still owes.
func (s *session) unpaid() []*batch {
	s.mu.Lock()
	defer s.mu.Unlock()
	owed := s.owed
	s.owed = nil
	return owed
}

// keepOwed keeps what an ended session still owes for the next one of its worker.
func (s *session) keepOwed() {
	s.door.arrears.put(s.key, s.unpaid(), time.Now().Add(arrearsGrace))
	s.door.handOver(s.key)
}

// handOver gives a worker that is back what came into its arrears after it had looked there.
func (d *Door) handOver(worker [32]byte) {
	if now := d.table.get(worker[:]); now != nil && !now.hasEnded() {
		now.inherit(d.arrears.take(worker))
	}
}

// lastReceipts are the receipts that go out with the last words.
func (s *session) lastReceipts() (encoded [][]byte) {
	for _, b := range s.unpaid() {
		if m, err := wire.AppendFromOrchestrator(nil, s.door.receipt(s.key[:], b)); err == nil {
			encoded = append(encoded, m)
		}
	}
	return encoded
}

// arrears keeps what is owed to workers whose socket is gone, for those that come back soon.
type arrears struct {
	mu   sync.Mutex
	m    map[[32]byte]*arrear // guarded by mu
	size int                  // bytes of the buffers in m; guarded by mu
}

type arrear struct {
	owed  []*batch
	until time.Time
}

const (
	// maxArrears is how many bytes of results are kept for workers that are away.
	maxArrears = 16 * mebibyte
	// arrearsGrace is for how long.
	arrearsGrace = time.Minute
)

func (a *arrears) put(worker [32]byte, owed []*batch, until time.Time) {
	if len(owed) == 0 {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, b := range owed {
		if a.size+len(b.buf.b) > maxArrears {
			b.drop()
			continue
		}
		a.size += len(b.buf.b)
		x := a.of(worker)
		x.owed, x.until = append(x.owed, b), until
	}
}

// add notes a result that was recorded while its worker was away.
func (a *arrears) add(worker [32]byte, r proof.Recorded, until time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.size > maxArrears {
		return
	}
	x := a.of(worker)
	if n := len(x.owed); n == 0 || x.owed[n-1].n >= proof.MaxRecorded {
		x.owed = append(x.owed, &batch{buf: takeBuffer(firstBatch)})
		a.size += firstBatch
	}
	last := x.owed[len(x.owed)-1]
	before := len(last.buf.b)
	last.add(r)
	a.size += len(last.buf.b) - before
	x.until = until
}

// of is a worker's. The caller holds mu.
func (a *arrears) of(worker [32]byte) *arrear {
	if a.m == nil {
		a.m = make(map[[32]byte]*arrear)
	}
	if a.m[worker] == nil {
		a.m[worker] = &arrear{}
	}
	return a.m[worker]
}

func (a *arrears) take(worker [32]byte) []*batch {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.remove(worker)
}

// remove takes a worker's out. The caller holds mu.
func (a *arrears) remove(worker [32]byte) []*batch {
	x := a.m[worker]
	if x == nil {
		return nil
	}
	delete(a.m, worker)
	for _, b := range x.owed {
		a.size -= len(b.buf.b)
	}
	return x.owed
}

// forget drops what nobody has come for.
func (a *arrears) forget(now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for worker, x := range a.m {
		if now.After(x.until) {
			for _, b := range a.remove(worker) {
				b.drop()
			}
		}
	}
}
