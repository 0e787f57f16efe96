package consensus

import (
	"context"
	"sync"

	"golang.org/x/time/rate"
)

// What one peer may send a second, and at once. An honest validator sends four messages a block, and now and then what
// waits in its pool.
const (
	pace       = 5000
	burst      = 2 * pace
	paceBytes  = 64 << 20
	burstBytes = paceBytes
)

// paces slows down peers that send too much: their streams wait, nobody else's.
type paces struct {
	mu sync.Mutex
	of map[Key]*peerPace
}

type peerPace struct{ messages, bytes *rate.Limiter }

func (p *paces) wait(ctx context.Context, from Key, size int) error {
	p.mu.Lock()
	l := p.of[from]
	if l == nil {
		if p.of == nil {
			p.of = map[Key]*peerPace{}
		}
		l = &peerPace{rate.NewLimiter(pace, burst), rate.NewLimiter(paceBytes, burstBytes)}
		p.of[from] = l
	}
	p.mu.Unlock()
	if err := l.messages.Wait(ctx); err != nil {
		return err
	}
	return l.bytes.WaitN(ctx, min(size, burstBytes))
}

// So many messages of one peer wait for the library, and so many bytes of them beside one, before its stream has to.
const (
	maxInbox      = 256
	maxInboxBytes = 2 * maxProposal
)

// ingress brings the messages of peers through the gate to one instance of the library. Each peer has a goroutine of its
// own that hands them over: one that the library lets wait keeps no other waiting.
type ingress struct {
	handle func(from uint64, m *message)

	mu     sync.Mutex
	gate   *gate
	boxes  map[uint64]*inbox
	closed bool
	wg     sync.WaitGroup // of the goroutines of the boxes
}

// inbox is one peer's; guarded by ingress.mu.
type inbox struct {
	queue []admitted
	bytes int
	moved *sync.Cond // on ingress.mu: the queue became longer or shorter, or all is closed
}

func (b *inbox) full() bool { return len(b.queue) >= maxInbox || b.bytes > maxInboxBytes }

func newIngress(g *gate, handle func(uint64, *message)) *ingress {
	return &ingress{gate: g, handle: handle, boxes: map[uint64]*inbox{}}
}

// take brings in a message; it waits while too many of the same peer wait.
func (in *ingress) take(from uint64, m *message, size int) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if b := in.boxes[from]; b != nil {
		for b.full() && !in.closed {
			b.moved.Wait()
		}
	}
	in.put(in.gate.Admit(from, m, size))
}

// begun, changing, pausing, moved and tick pass on what the gate must know.
func (in *ingress) begun(view uint64) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.put(in.gate.Begun(view))
}

func (in *ingress) changing(height uint64, m *members) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.gate.Changing(height, m)
}

func (in *ingress) pausing(ticks int) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.gate.Pausing(ticks)
}

func (in *ingress) moved() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.put(in.gate.Moved())
}

func (in *ingress) tick() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.put(in.gate.Tick())
}

func (in *ingress) put(messages []admitted) {
	if in.closed {
		return
	}
	for _, a := range messages {
		b := in.boxes[a.from]
		if b == nil {
			b = &inbox{moved: sync.NewCond(&in.mu)}
			in.boxes[a.from] = b
			in.wg.Go(func() { in.deliver(a.from, b) })
		}
		b.queue = append(b.queue, a)
		b.bytes += a.size
		b.moved.Broadcast()
	}
}

func (in *ingress) deliver(from uint64, b *inbox) {
	for {
		in.mu.Lock()
		for len(b.queue) == 0 && !in.closed {
			b.moved.Wait()
		}
		if in.closed {
			in.mu.Unlock()
			return
		}
		a := b.queue[0]
		b.queue[0] = admitted{}
		b.queue = b.queue[1:]
		b.bytes -= a.size
		b.moved.Broadcast()
		in.mu.Unlock()
		in.handle(from, a.m)
	}
}

// shut lets nothing more through. wait returns when nothing is handed over any more.
func (in *ingress) shut() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.closed = true
	for _, b := range in.boxes {
		b.queue = nil
		b.moved.Broadcast()
	}
}

func (in *ingress) wait() { in.wg.Wait() }
