// Package relay is a TCP relay whose connections can be cut in the middle: the abrupt end of a network that neither
// side expects. Demonstrations and measurements put it in front of an orchestrator.
//
// It forwards bytes and knows nothing of them. It is not for production traffic.
package relay

import (
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// Relay forwards connections to a target.
type Relay struct {
	ln     net.Listener
	target string
	alive  sync.WaitGroup

	mu    sync.Mutex
	links map[*Link]struct{}
}

// Link is one forwarded connection.
type Link struct {
	near, far net.Conn
	since     time.Time
}

// Start opens a relay to the target on a free port of this machine.
func Start(target string) (*Relay, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &Relay{ln: ln, target: target, links: map[*Link]struct{}{}}
	r.alive.Go(r.accept)
	return r, nil
}

// Addr is where the relay listens.
func (r *Relay) Addr() string { return r.ln.Addr().String() }

func (r *Relay) accept() {
	for {
		near, err := r.ln.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("tcp", r.target)
		if err != nil {
			_ = near.Close()
			continue
		}
		l := &Link{near: near, far: far, since: time.Now()}
		r.mu.Lock()
		r.links[l] = struct{}{}
		r.mu.Unlock()
		r.alive.Go(func() { r.forward(l) })
	}
}

func (r *Relay) forward(l *Link) {
	var both sync.WaitGroup
	move := func(to, from net.Conn) {
		_, _ = io.Copy(to, from) // however it ends, it has ended
		_ = to.Close()
	}
	both.Go(func() { move(l.far, l.near) })
	both.Go(func() { move(l.near, l.far) })
	both.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.links, l)
}

// Oldest is the link that has stood longest, if it has stood for as long as asked; else nil.
func (r *Relay) Oldest(age time.Duration) *Link {
	r.mu.Lock()
	defer r.mu.Unlock()
	var found *Link
	for l := range r.links {
		if time.Since(l.since) >= age && (found == nil || l.since.Before(found.since)) {
			found = l
		}
	}
	return found
}

// Cut ends both halves at once with a reset, and says when.
func (l *Link) Cut() time.Time {
	at := time.Now()
	for _, c := range []net.Conn{l.far, l.near} {
		if tcp, ok := c.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		_ = c.Close()
	}
	return at
}

// CutAll cuts every link.
func (r *Relay) CutAll() {
	r.mu.Lock()
	links := make([]*Link, 0, len(r.links))
	for l := range r.links {
		links = append(links, l)
	}
	r.mu.Unlock()
	for _, l := range links {
		l.Cut()
	}
}

// Close ends the relay and its links.
func (r *Relay) Close() error {
	err := r.ln.Close()
	r.CutAll()
	r.alive.Wait()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
