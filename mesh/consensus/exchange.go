package consensus

import (
	"sync"

	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

// Exchange connects engines within one process, for tests and simulations. It keeps what Transport demands; links can be
// cut, and what passes can be looked at and changed.
type Exchange struct {
	mu    sync.RWMutex
	ends  map[Key]*exchangeEnd
	cuts  map[[2]Key]bool
	alter func(from, to Key, frame []byte) [][]byte
}

// NewExchange returns one with nobody connected.
func NewExchange() *Exchange {
	return &Exchange{ends: map[Key]*exchangeEnd{}, cuts: map[[2]Key]bool{}}
}

// Join connects an engine; a former one of the same key is left alone with what it has queued.
func (x *Exchange) Join(self Key) Transport {
	end := &exchangeEnd{x: x, self: self, boxes: map[Key]chan []byte{}, done: make(chan struct{})}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.ends[self] = end
	return end
}

// Cut stops what one sends to the other, or lets it pass again.
func (x *Exchange) Cut(from, to Key, cut bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.cuts[[2]Key{from, to}] = cut
}

// Alter replaces every frame that is sent by those that the function returns. It must be safe for concurrent use.
func (x *Exchange) Alter(f func(from, to Key, frame []byte) [][]byte) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.alter = f
}

// Inject sends a frame in the name of a validator, as if its host were a liar's.
func (x *Exchange) Inject(from, to Key, frame []byte) bool {
	x.mu.RLock()
	end := x.ends[to]
	cut := x.cuts[[2]Key{from, to}]
	x.mu.RUnlock()
	return end != nil && !cut && end.put(from, frame)
}

// exchangeEnd is one engine's.
type exchangeEnd struct {
	x       *Exchange
	self    Key
	receive func(Key, []byte) error
	done    chan struct{}
	wg      sync.WaitGroup

	mu     sync.Mutex
	peers  map[Key]bool
	boxes  map[Key]chan []byte // what arrived, by sender
	limit  int
	closed bool
}

func (e *exchangeEnd) Receive(f func(Key, []byte) error) { e.receive = f }

func (e *exchangeEnd) Peers(validators []*ledgerv1.Validator, maxFrame int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.peers, e.limit = map[Key]bool{}, maxFrame
	for _, v := range validators {
		if k, ok := KeyOf(v.GetKey()); ok && k != e.self {
			e.peers[k] = true
		}
	}
}

func (e *exchangeEnd) Send(to Key, frame []byte) bool {
	e.mu.Lock()
	known := e.peers[to] && !e.closed
	e.mu.Unlock()
	if !known {
		return false
	}
	e.x.mu.RLock()
	alter := e.x.alter
	e.x.mu.RUnlock()
	if alter == nil {
		return e.x.Inject(e.self, to, frame)
	}
	sent := true
	for _, f := range alter(e.self, to, frame) {
		sent = e.x.Inject(e.self, to, f) && sent
	}
	return sent
}

func (e *exchangeEnd) put(from Key, frame []byte) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed || !e.peers[from] || len(frame) > e.limit {
		return false
	}
	box := e.boxes[from]
	if box == nil {
		box = make(chan []byte, 1024)
		e.boxes[from] = box
		e.wg.Go(func() { e.serve(from, box) })
	}
	select {
	case box <- frame:
		return true
	default:
		return false
	}
}

func (e *exchangeEnd) serve(from Key, box chan []byte) {
	for {
		select {
		case <-e.done:
			return
		case frame := <-box:
			_ = e.receive(from, frame) // a broken protocol costs the frame
		}
	}
}

func (e *exchangeEnd) Close() error {
	e.mu.Lock()
	if !e.closed {
		e.closed = true
		close(e.done)
	}
	e.mu.Unlock()
	e.wg.Wait()
	return nil
}
