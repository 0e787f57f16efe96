// Package relay is a TCP relay whose connections can be cut in the middle or frozen: the abrupt end of a network that
// neither side expects, and the silence of one that drops every packet. Demonstrations, measurements and end-to-end
// tests put it in front of an orchestrator.
//
// It forwards bytes and knows nothing of them. It is not for production traffic.
package relay

import (
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Relay forwards connections to a target.
type Relay struct {
	ln     net.Listener
	target string
	alive  sync.WaitGroup
	ended  chan struct{} // closed by Close
	held   atomic.Int64

	mu     sync.Mutex
	closed bool
	links  map[*Link]struct{}
	frozen chan struct{} // closed by Thaw; nil: not frozen
}

// Link is one forwarded connection.
type Link struct {
	near, far net.Conn // of those who dialled the relay, and of the target
	since     time.Time
	cut       chan struct{} // closed by Cut
	once      sync.Once
}

// Start opens a relay to the target on a free port of this machine.
func Start(target string) (*Relay, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &Relay{ln: ln, target: target, links: map[*Link]struct{}{}, ended: make(chan struct{})}
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
		r.alive.Go(func() { r.link(near) })
	}
}

// link joins a connection with a new one to the target. In a frozen relay it waits before that: a lost network
// answers nobody.
func (r *Relay) link(near net.Conn) {
	l := &Link{near: near, since: time.Now(), cut: make(chan struct{})}
	if !r.pass(l) {
		_ = near.Close()
		return
	}
	far, err := net.Dial("tcp", r.target)
	if err != nil {
		_ = near.Close()
		return
	}
	l.far = far
	r.mu.Lock()
	closed := r.closed
	if !closed {
		r.links[l] = struct{}{}
	}
	r.mu.Unlock()
	if closed {
		l.Cut()
		return
	}
	r.forward(l)
}

func (r *Relay) forward(l *Link) {
	var both sync.WaitGroup
	both.Go(func() { r.move(l, l.far, l.near, &r.held) })
	both.Go(func() { r.move(l, l.near, l.far, new(atomic.Int64)) })
	both.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.links, l)
}

// move forwards one direction until it ends, and then ends the other side of it. While the relay is frozen it keeps
// what it has read, the end included.
func (r *Relay) move(l *Link, to, from net.Conn, held *atomic.Int64) {
	defer to.Close()
	b := make([]byte, 32<<10)
	for {
		n, err := from.Read(b)
		held.Add(int64(n))
		passed := r.pass(l)
		held.Add(int64(-n))
		if !passed {
			return
		}
		if n > 0 {
			if _, werr := to.Write(b[:n]); werr != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// pass waits until the relay is not frozen. It is false when the link has ended meanwhile.
func (r *Relay) pass(l *Link) bool {
	for {
		r.mu.Lock()
		frozen := r.frozen
		r.mu.Unlock()
		if frozen == nil {
			return true
		}
		select {
		case <-frozen:
		case <-l.cut:
			return false
		case <-r.ended:
			return false
		}
	}
}

// Freeze stops forwarding, in both directions, and closes nothing: both sides see a peer that says nothing more. What
// they send meanwhile is kept.
func (r *Relay) Freeze() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.frozen == nil {
		r.frozen = make(chan struct{})
	}
}

// Thaw ends a freeze; what was kept is delivered.
func (r *Relay) Thaw() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.frozen != nil {
		close(r.frozen)
		r.frozen = nil
	}
}

// Held is how many bytes on their way to the target are in the relay's hands. It grows to no more than 32 KiB a link:
// then the sender has to keep the rest.
func (r *Relay) Held() int64 { return r.held.Load() }

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
	l.once.Do(func() { close(l.cut) })
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

// Close ends the relay and its links. It is called once.
func (r *Relay) Close() error {
	err := r.ln.Close()
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	close(r.ended)
	r.CutAll()
	r.alive.Wait()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
