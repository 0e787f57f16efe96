package gateway

import (
	"context"
	"net/netip"
	"sync"
)

// turns lets few hosts be measured at once, and of one host one worker: two at a time would slow each other, and one
// machine could pass for two.
type turns struct {
	slots chan struct{}

	mu    sync.Mutex
	hosts map[netip.Prefix]*turn // guarded by mu
}

type turn struct {
	free    chan struct{} // holds one token
	waiting int           // those that hold or want it; guarded by turns.mu
}

func newTurns(parallel int) *turns {
	return &turns{slots: make(chan struct{}, parallel), hosts: make(map[netip.Prefix]*turn)}
}

// take waits for the host's turn. done gives it back.
func (t *turns) take(ctx context.Context, h netip.Prefix) (done func(), err error) {
	own := t.join(h)
	select {
	case <-own.free:
	case <-ctx.Done():
		t.part(h, own)
		return nil, context.Cause(ctx)
	}
	select {
	case t.slots <- struct{}{}:
	case <-ctx.Done():
		own.free <- struct{}{}
		t.part(h, own)
		return nil, context.Cause(ctx)
	}
	return func() {
		<-t.slots
		own.free <- struct{}{}
		t.part(h, own)
	}, nil
}

func (t *turns) join(h netip.Prefix) *turn {
	t.mu.Lock()
	defer t.mu.Unlock()
	own := t.hosts[h]
	if own == nil {
		own = &turn{free: make(chan struct{}, 1)}
		own.free <- struct{}{}
		t.hosts[h] = own
	}
	own.waiting++
	return own
}

func (t *turns) part(h netip.Prefix, own *turn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if own.waiting--; own.waiting == 0 {
		delete(t.hosts, h)
	}
}
