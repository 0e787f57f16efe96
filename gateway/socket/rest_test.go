//go:build linux

package socket

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// sleeper reads a connection as a session does: it rests whenever nothing is there.
type sleeper struct {
	conn  *Conn
	got   chan string
	turns atomic.Int64 // goroutines that read
	ended chan error
}

func sleep(c *Conn) *sleeper {
	s := &sleeper{conn: c, got: make(chan string, 1024), ended: make(chan error, 1)}
	if !c.Rest(s.turn) {
		go s.turn()
	}
	return s
}

func (s *sleeper) turn() {
	s.turns.Add(1)
	for {
		if s.conn.Await() {
			_, body, err := s.conn.Next()
			if err != nil {
				s.ended <- err
				return
			}
			b, err := io.ReadAll(body)
			if err != nil {
				s.ended <- err
				return
			}
			s.got <- string(b)
		}
		if s.conn.Rest(s.turn) {
			return
		}
	}
}

func (l *Lobby) size() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.resting)
}

func until(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("never: " + what)
		}
	}
}

func newLobby(t *testing.T) *Lobby {
	l := NewLobby()
	t.Cleanup(func() {
		if n := l.size(); n != 0 {
			t.Errorf("%d closed connections are still watched", n)
		}
		l.Close()
	})
	return l
}

func TestRestingConnectionWakesForMessages(t *testing.T) {
	l := newLobby(t)
	a, b := pair(t, Options{Lobby: l}, Options{}, nil)
	s := sleep(a)
	for i := range 100 {
		until(t, "rests", func() bool { return l.size() == 1 })
		if err := b.Send(fmt.Appendf(nil, "%d", i), make([]byte, i*1000)); err != nil {
			t.Fatal(err)
		}
		if got := <-s.got; got != fmt.Sprint(i) {
			t.Fatalf("got %q, want %d", got, i)
		}
		if got := <-s.got; len(got) != i*1000 {
			t.Fatalf("got %d bytes, want %d", len(got), i*1000)
		}
	}
}

// The answer to a ping wakes the reader, which takes it and rests again; nothing is read as a message.
func TestPongsAreTakenOnTheWay(t *testing.T) {
	l := newLobby(t)
	a, b := pair(t, Options{Lobby: l}, Options{}, nil)
	s := sleep(a)
	var peer sync.WaitGroup
	peer.Go(func() { _, _, _ = b.Next() }) // answers pings
	for i := range int64(10) {
		a.Ping()
		until(t, "answered", func() bool { return a.Pongs() == i+1 })
		until(t, "rests again", func() bool { return l.size() == 1 })
	}
	if a.RTT() <= 0 {
		t.Error("no round trip was measured")
	}
	if err := b.Send([]byte("after")); err != nil {
		t.Fatal(err)
	}
	if got := <-s.got; got != "after" {
		t.Fatalf("got %q", got)
	}
	_, _ = a.Close(), b.Close()
	peer.Wait()
}

// masked is a frame of a peer, with a mask that changes every byte.
func masked(head byte, data []byte) []byte {
	frame := []byte{head, 0x80 | byte(len(data)), 1, 2, 3, 4}
	for i, x := range data {
		frame = append(frame, x^byte(1+i%4))
	}
	return frame
}

// Pongs of every kind, alone, in a row, cut anywhere, and before and behind messages: the messages come through.
func TestPongsInAnyCut(t *testing.T) {
	var nonce [8]byte
	binary.BigEndian.PutUint64(nonce[:], 0xfedcba9876543210)
	var stream []byte
	want, pongs := 0, 0
	for _, part := range []struct {
		head byte
		data []byte
	}{
		{0x8A, nonce[:]},
		{0x82, []byte("message 0")},
		{0x8A, nonce[:]},
		{0x8A, nonce[:]},
		{0x8A, nil},
		{0x8A, []byte("unasked")},
		{0x82, []byte("message 1")},
		{0x02, []byte("mess")}, // in two fragments, with a pong between them
		{0x8A, nonce[:]},
		{0x80, []byte("age 2")},
		{0x82, []byte("message 3")},
	} {
		stream = append(stream, masked(part.head, part.data)...)
		if part.head == 0x8A {
			pongs++
		} else if part.head&0x80 != 0 {
			want++
		}
	}
	l := newLobby(t)
	for cut := 1; cut < len(stream); cut += 3 {
		a, b := pair(t, Options{Lobby: l}, Options{}, nil)
		a.pinged.Store(int64(-0x123456789abcdf0)) // what nonce says
		s := sleep(a)
		raw := b.duct.raw
		for at := 0; at < len(stream); at += cut {
			if _, err := raw.Write(stream[at:min(at+cut, len(stream))]); err != nil {
				t.Fatal(err)
			}
		}
		for i := range want {
			if got := <-s.got; got != fmt.Sprintf("message %d", i) {
				t.Fatalf("cut at %d: got %q, want message %d", cut, got, i)
			}
		}
		until(t, "every pong is counted", func() bool { return a.Pongs() == int64(pongs) })
		if a.RTT() <= 0 {
			t.Fatalf("cut at %d: the mask was not taken off", cut)
		}
		_, _ = a.Close(), b.Close()
		<-s.ended
	}
}

func TestTheEndWakesWhoRests(t *testing.T) {
	for name, end := range map[string]func(a, b *Conn){
		"peer closes":     func(_, b *Conn) { _ = b.Close() },
		"peer says bye":   func(_, b *Conn) { b.End(1000, "", time.Second) },
		"closed here":     func(a, _ *Conn) { _ = a.Close() },
		"ended here":      func(a, _ *Conn) { a.End(1000, "", 10*time.Millisecond) },
		"ended and close": func(a, _ *Conn) { a.End(1000, "", time.Second); _ = a.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			l := newLobby(t)
			a, b := pair(t, Options{Lobby: l}, Options{}, nil)
			s := sleep(a)
			until(t, "rests", func() bool { return l.size() == 1 })
			end(a, b)
			select {
			case <-s.ended:
			case <-time.After(10 * time.Second):
				t.Fatal("still rests")
			}
			_ = a.Close()
			if a.Rest(func() { t.Error("woken after the end") }) {
				t.Error("rests although it is closed")
			}
		})
	}
}

// Connections come, talk, rest and go at once from many sides; their descriptors are used again all the time.
func TestManyRestAndGo(t *testing.T) {
	l := newLobby(t)
	var all sync.WaitGroup
	for lane := range 8 {
		all.Go(func() {
			for i := range 12 {
				a, b := pair(t, Options{Lobby: l}, Options{}, nil)
				s := sleep(a)
				for m := range i {
					if err := b.Send(fmt.Append(nil, m)); err != nil {
						t.Error(err)
					}
					if m%2 == 0 {
						a.Ping()
					}
				}
				for m := range i {
					select {
					case got := <-s.got:
						if got != fmt.Sprint(m) {
							t.Errorf("got %q, want %d", got, m)
						}
					case err := <-s.ended:
						t.Errorf("ended with %v", err)
						return
					}
				}
				switch (lane + i) % 3 {
				case 0:
					go func() { _ = b.Close() }()
					_ = a.Close()
				case 1:
					_ = b.Close()
				default:
					go a.End(1000, "", 10*time.Millisecond)
					a.End(1000, "", 10*time.Millisecond)
				}
				<-s.ended
				_, _ = a.Close(), b.Close()
			}
		})
	}
	all.Wait()
}

func TestWithoutALobbyNobodyRests(t *testing.T) {
	l := newLobby(t)
	wrap := func(inner net.Listener) net.Listener { return countedListener{inner, new(atomic.Int64)} }
	for name, opt := range map[string]struct {
		options Options
		wrap    func(net.Listener) net.Listener
	}{
		"no lobby":                   {Options{}, nil},
		"no descriptor to be seen":   {Options{Lobby: l}, wrap},
		"no lobby and no descriptor": {Options{}, wrap},
	} {
		t.Run(name, func(t *testing.T) {
			a, b := pair(t, opt.options, Options{}, opt.wrap)
			s := sleep(a)
			for i := range 10 {
				a.Ping()
				if err := b.Send(fmt.Append(nil, i)); err != nil {
					t.Fatal(err)
				}
				if got := <-s.got; got != fmt.Sprint(i) {
					t.Fatalf("got %q", got)
				}
			}
			if n := s.turns.Load(); n != 1 {
				t.Errorf("%d turns", n)
			}
			_ = a.Close()
			<-s.ended
		})
	}
}

func TestClosedLobbyWatchesNobody(t *testing.T) {
	l := NewLobby()
	a, _ := pair(t, Options{Lobby: l}, Options{}, nil)
	l.Close()
	if a.Rest(func() { t.Error("woken") }) {
		t.Error("rests in a closed lobby")
	}
	l.Close()
}
