package main

import (
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// wire is a TCP relay in front of the server whose connections can be cut: an abrupt end that neither side expects.
type wire struct {
	ln     net.Listener
	target string
	alive  sync.WaitGroup

	mu    sync.Mutex // guards what follows
	pairs map[*pair]struct{}
}

type pair struct {
	near, far net.Conn
	since     time.Time
}

// stretch opens a relay to the target on a free port of this machine.
func stretch(target string) (*wire, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	w := &wire{ln: ln, target: target, pairs: make(map[*pair]struct{})}
	w.alive.Go(w.accept)
	return w, nil
}

func (w *wire) addr() string { return w.ln.Addr().String() }

func (w *wire) accept() {
	for {
		near, err := w.ln.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("tcp", w.target)
		if err != nil {
			_ = near.Close()
			continue
		}
		p := &pair{near: near, far: far, since: time.Now()}
		w.mu.Lock()
		w.pairs[p] = struct{}{}
		w.mu.Unlock()
		w.alive.Go(func() { w.relay(p) })
	}
}

func (w *wire) relay(p *pair) {
	var both sync.WaitGroup
	move := func(to, from net.Conn) {
		_, _ = io.Copy(to, from)
		_ = to.Close()
	}
	both.Go(func() { move(p.far, p.near) })
	both.Go(func() { move(p.near, p.far) })
	both.Wait()
	w.mu.Lock()
	delete(w.pairs, p)
	w.mu.Unlock()
}

// oldest is the connection that has stood longest, if it has stood for as long as asked.
func (w *wire) oldest(age time.Duration) *pair {
	w.mu.Lock()
	defer w.mu.Unlock()
	var found *pair
	for p := range w.pairs {
		if time.Since(p.since) >= age && (found == nil || p.since.Before(found.since)) {
			found = p
		}
	}
	return found
}

// cut ends both halves at once with a reset, and says when.
func (p *pair) cut() time.Time {
	at := time.Now()
	for _, c := range []net.Conn{p.far, p.near} {
		if tcp, ok := c.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		_ = c.Close()
	}
	return at
}

func (w *wire) close() error {
	err := w.ln.Close()
	w.mu.Lock()
	for p := range w.pairs {
		err = errors.Join(err, closed(p.near), closed(p.far))
	}
	w.mu.Unlock()
	w.alive.Wait()
	return err
}

// closed closes a connection that may have been closed before.
func closed(c net.Conn) error {
	if err := c.Close(); !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}
