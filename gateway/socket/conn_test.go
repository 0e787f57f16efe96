package socket

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// countedConn counts the writes that reach the system.
type countedConn struct {
	net.Conn
	writes *atomic.Int64
}

func (c countedConn) Write(p []byte) (int, error) {
	c.writes.Add(1)
	return c.Conn.Write(p)
}

type countedListener struct {
	net.Listener
	writes *atomic.Int64
}

func (l countedListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	return countedConn{c, l.writes}, err
}

// pair returns both ends of a connection. wrap may dress the server's listener.
func pair(t *testing.T, server, client Options, wrap func(net.Listener) net.Listener) (accepted, dialled *Conn) {
	t.Helper()
	got := make(chan *Conn, 1)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := Accept(w, r, "test", nil, server)
		if err != nil {
			t.Error(err)
		}
		got <- c
	}))
	if wrap != nil {
		s.Listener = wrap(s.Listener)
	}
	s.Start()
	t.Cleanup(s.Close)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	dialled, err := Dial(ctx, "ws"+strings.TrimPrefix(s.URL, "http"), "test", client)
	if err != nil {
		t.Fatal(err)
	}
	accepted = <-got
	t.Cleanup(func() {
		_ = accepted.Close()
		_ = dialled.Close()
	})
	return accepted, dialled
}

func readOne(t *testing.T, c *Conn) []byte {
	t.Helper()
	c.SetReadDeadline(time.Now().Add(10 * time.Second))
	_, body, err := c.Next()
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(body)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestMessagesArriveWholeInOrderAndTogether(t *testing.T) {
	for name, wrap := range map[string]func(net.Listener) net.Listener{
		"system reads": nil,
		"plain reads":  func(l net.Listener) net.Listener { return countedListener{l, new(atomic.Int64)} },
	} {
		t.Run(name, func(t *testing.T) {
			a, b := pair(t, Options{}, Options{}, wrap)
			for _, c := range []struct{ from, to *Conn }{{a, b}, {b, a}} {
				var senders sync.WaitGroup
				const each = 200
				for s := range 4 {
					senders.Go(func() {
						for i := range each {
							meta := fmt.Appendf(nil, "%d %d", s, i)
							payload := bytes.Repeat([]byte{byte(s)}, []int{0, 1, 125, 126, 1000, 20_000, 70_000}[i%7])
							if err := c.from.Send(meta, payload); err != nil {
								t.Error(err)
							}
						}
					})
				}
				var last [4]int
				for range 4 * each {
					var s, i int
					meta := readOne(t, c.to)
					if _, err := fmt.Sscanf(string(meta), "%d %d", &s, &i); err != nil || i != last[s] {
						t.Fatalf("meta %q, want %d of sender %d", meta, last[s], s)
					}
					last[s]++
					payload := readOne(t, c.to)
					if want := []int{0, 1, 125, 126, 1000, 20_000, 70_000}[i%7]; len(payload) != want ||
						bytes.Count(payload, []byte{byte(s)}) != want {
						t.Fatalf("payload of %d bytes behind %q", len(payload), meta)
					}
				}
				senders.Wait()
			}
		})
	}
}

// What is queued while a write is under way leaves together.
func TestWritesAreCoalesced(t *testing.T) {
	var writes atomic.Int64
	hold := make(chan struct{})
	var armed atomic.Bool
	a, b := pair(t, Options{Gather: func() {
		if armed.CompareAndSwap(true, false) {
			<-hold
		}
	}}, Options{}, func(l net.Listener) net.Listener {
		return countedListener{l, &writes}
	})
	armed.Store(true)
	for i := range 500 {
		if err := a.Send(fmt.Appendf(nil, "message %d", i)); err != nil {
			t.Fatal(err)
		}
	}
	close(hold)
	for i := range 500 {
		if got := string(readOne(t, b)); got != fmt.Sprintf("message %d", i) {
			t.Fatalf("got %q", got)
		}
	}
	if n := writes.Load(); n > 10 { // the upgrade's own among them
		t.Fatalf("500 messages took %d writes", n)
	}
}

func TestGatherIsAskedAfterAKick(t *testing.T) {
	var c *Conn
	var pending atomic.Bool
	ready := make(chan struct{})
	a, b := pair(t, Options{Gather: func() {
		if pending.CompareAndSwap(true, false) {
			<-ready
			_ = c.Send([]byte("gathered"))
		}
	}}, Options{}, nil)
	c = a
	close(ready)
	for range 100 {
		pending.Store(true)
		a.Kick()
		if got := string(readOne(t, b)); got != "gathered" {
			t.Fatalf("got %q", got)
		}
	}
}

func TestQueueIsBounded(t *testing.T) {
	a, _ := pair(t, Options{MaxQueue: 1 << 20}, Options{}, nil)
	big := make([]byte, 256<<10)
	for range 1000 {
		if err := a.Send(big); err != nil {
			if !errors.Is(err, ErrQueueFull) {
				t.Fatal(err)
			}
			return
		}
	}
	t.Fatal("a reader that does not read took 256 MB")
}

func TestReadIsBounded(t *testing.T) {
	a, b := pair(t, Options{}, Options{}, nil)
	if err := a.Send([]byte("0123456789"), []byte("abc")); err != nil {
		t.Fatal(err)
	}
	_, body, err := b.Next()
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 4)
	if n, next, err := b.Read(body, buf); n != 4 || next != '4' || !errors.Is(err, ErrTooLong) || string(buf) != "0123" {
		t.Fatalf("%d %c %v", n, next, err)
	}
	if rest, err := io.ReadAll(body); err != nil || string(rest) != "56789" {
		t.Fatalf("rest %q %v", rest, err)
	}
	_, body, err = b.Next()
	if err != nil {
		t.Fatal(err)
	}
	if n, _, err := b.Read(body, buf[:3]); n != 3 || err != nil {
		t.Fatalf("exact: %d %v", n, err)
	}
}

// Last words arrive although the other side has written what nobody reads any more.
func TestLastWordsArrive(t *testing.T) {
	a, b := pair(t, Options{}, Options{}, nil)
	for range 50 {
		if err := b.Send(make([]byte, 8<<10)); err != nil {
			t.Fatal(err)
		}
	}
	a.End(4321, "enough", 2*time.Second, []byte("goodbye"))
	go a.Discard()
	if got := string(readOne(t, b)); got != "goodbye" {
		t.Fatalf("got %q", got)
	}
	_, _, err := b.Next()
	if code, reason, ok := CloseCode(err); !ok || code != 4321 || reason != "enough" {
		t.Fatalf("ended with %v", err)
	}
	if err := a.Send([]byte("more")); err == nil {
		t.Fatal("sent after the end")
	}
	_ = b.Close()
	<-a.Closed()
}

func TestPingMeasuresTheRoundTrip(t *testing.T) {
	a, b := pair(t, Options{}, Options{}, nil)
	var readers sync.WaitGroup
	for _, c := range []*Conn{a, b} { // pings are answered by whoever reads
		readers.Go(func() { _, _, _ = c.Next() })
	}
	a.Ping()
	for a.Pongs() == 0 {
		time.Sleep(time.Millisecond)
	}
	if rtt := a.RTT(); rtt <= 0 || rtt > 5*time.Second {
		t.Fatalf("round trip %s", rtt)
	}
	_, _ = a.Close(), b.Close()
	readers.Wait()
}

func TestDialReportsTheHTTPStatus(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "7")
		http.Error(w, "later", http.StatusTooManyRequests)
	}))
	defer s.Close()
	_, err := Dial(t.Context(), "ws"+strings.TrimPrefix(s.URL, "http"), "test", Options{})
	var refused *ErrRefused
	if !errors.As(err, &refused) || refused.Status != http.StatusTooManyRequests || refused.RetryAfter != "7" {
		t.Fatalf("got %v", err)
	}
}
