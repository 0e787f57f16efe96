package mesh

import (
	"context"
	"sync"

	"github.com/libp2p/go-libp2p/core/peer"
)

// lanes lets a few work at once and gives waiting peers turns: one message a peer, round and round, so that whoever sends
// much waits behind its own messages only.
type lanes struct {
	perPeer int

	mu      sync.Mutex
	free    int
	waiting map[peer.ID][]chan struct{} // a turn is given by closing
	round   []peer.ID                   // peers that wait, whose turn it is first
}

func newLanes(width, perPeer int) *lanes {
	return &lanes{perPeer: perPeer, free: width, waiting: map[peer.ID][]chan struct{}{}}
}

// enter waits for a turn. False: the peer has too much waiting already, or ctx is over; then leave must not be called.
func (l *lanes) enter(ctx context.Context, p peer.ID) bool {
	l.mu.Lock()
	if l.free > 0 {
		l.free--
		l.mu.Unlock()
		return true
	}
	queue := l.waiting[p]
	if len(queue) >= l.perPeer {
		l.mu.Unlock()
		return false
	}
	if len(queue) == 0 {
		l.round = append(l.round, p)
	}
	turn := make(chan struct{})
	l.waiting[p] = append(queue, turn)
	l.mu.Unlock()
	select {
	case <-turn:
		return true
	case <-ctx.Done():
		return l.giveUp(p, turn)
	}
}

// giveUp takes a turn out of its queue. It returns true when the turn was given in the same moment.
func (l *lanes) giveUp(p peer.ID, turn chan struct{}) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	queue := l.waiting[p]
	for i, t := range queue {
		if t != turn {
			continue
		}
		l.waiting[p] = append(queue[:i:i], queue[i+1:]...)
		if len(l.waiting[p]) == 0 {
			l.drop(p)
		}
		return false
	}
	return true
}

func (l *lanes) drop(p peer.ID) {
	delete(l.waiting, p)
	for i, q := range l.round {
		if q == p {
			l.round = append(l.round[:i:i], l.round[i+1:]...)
			return
		}
	}
}

// leave hands the turn to the next peer.
func (l *lanes) leave() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.round) == 0 {
		l.free++
		return
	}
	p := l.round[0]
	queue := l.waiting[p]
	close(queue[0])
	l.round = l.round[1:]
	if len(queue) == 1 {
		delete(l.waiting, p)
		return
	}
	l.waiting[p] = queue[1:]
	l.round = append(l.round, p)
}
