package kurrent_test

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/shardy-network/orchestrator/events"
	"github.com/shardy-network/orchestrator/events/esdbserver"
	"github.com/shardy-network/orchestrator/events/eventstest"
	"github.com/shardy-network/orchestrator/events/kurrent"
	"github.com/shardy-network/orchestrator/events/memlog"
)

// relay passes bytes between a log and its server until it is frozen.
type relay struct {
	net.Listener
	target string
	mu     sync.Mutex
	cond   *sync.Cond
	frozen bool
	conns  []net.Conn
	copies sync.WaitGroup
}

func relayed(t *testing.T, target string) *relay {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{Listener: ln, target: target}
	r.cond = sync.NewCond(&r.mu)
	r.copies.Go(r.accept)
	t.Cleanup(func() {
		_ = ln.Close()
		r.freeze(false)
		r.mu.Lock()
		for _, c := range r.conns {
			_ = c.Close()
		}
		r.mu.Unlock()
		r.copies.Wait()
	})
	return r
}

func (r *relay) freeze(on bool) {
	r.mu.Lock()
	r.frozen = on
	r.mu.Unlock()
	r.cond.Broadcast()
}

func (r *relay) accept() {
	for {
		from, err := r.Accept()
		if err != nil {
			return
		}
		to, err := net.Dial("tcp", r.target)
		if err != nil {
			_ = from.Close()
			continue
		}
		r.mu.Lock()
		r.conns = append(r.conns, from, to)
		r.mu.Unlock()
		r.copies.Go(func() { r.copy(from, to) })
		r.copies.Go(func() { r.copy(to, from) })
	}
}

func (r *relay) copy(from, to net.Conn) {
	defer to.Close()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		r.mu.Lock()
		for r.frozen {
			r.cond.Wait()
		}
		r.mu.Unlock()
		if err != nil {
			return
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}

// TestAServerThatHangs accepts connections and bytes but no longer answers.
func TestAServerThatHangs(t *testing.T) {
	s := serve(t, memlog.New(), esdbserver.Config{})
	r := relayed(t, s.addr)
	uri := "esdb://" + r.Addr().String() + "?tls=false"
	l := open(t, uri, kurrent.Options{})
	r.freeze(true)
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			if _, err := within(t, 300*time.Millisecond, l, "s", events.Any, eventstest.Draft("A")); !errors.Is(err, events.ErrUnavailable) {
				t.Errorf("append to a server that hangs: %v", err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer cancel()
			if _, err := l.Head(ctx); !errors.Is(err, events.ErrUnavailable) {
				t.Errorf("head of a server that hangs: %v", err)
			}
		})
	}
	wg.Wait()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := kurrent.Open(ctx, uri, kurrent.Options{}); !errors.Is(err, events.ErrUnavailable) {
		t.Errorf("open of a server that hangs: %v", err)
	}
	r.freeze(false)
	if _, err := within(t, 10*time.Second, l, "after", events.Absent, eventstest.Draft("A")); err != nil {
		t.Errorf("append after the server hung: %v", err)
	}
}

// TestCloseWithCallsInFlight closes a log whose server hangs.
func TestCloseWithCallsInFlight(t *testing.T) {
	s := serve(t, memlog.New(), esdbserver.Config{})
	r := relayed(t, s.addr)
	l := open(t, "esdb://"+r.Addr().String()+"?tls=false", kurrent.Options{Reads: 4})
	if _, err := l.Append(t.Context(), "s", events.Any, eventstest.Draft("A")); err != nil {
		t.Fatal(err)
	}
	var live, wg sync.WaitGroup
	live.Add(4)
	for range 4 {
		wg.Go(func() {
			var last error
			for tick, err := range l.Tail(t.Context(), 0, events.Filter{}) {
				if last = err; err == nil && tick.Live {
					live.Done()
				}
			}
			if !errors.Is(last, events.ErrClosed) {
				t.Errorf("tail: %v", last)
			}
		})
	}
	live.Wait()
	r.freeze(true)
	begun := make(chan struct{}, 48)
	for range 16 {
		wg.Go(func() {
			begun <- struct{}{}
			if _, err := l.Append(t.Context(), "s", events.Any, eventstest.Draft("B")); !errors.Is(err, events.ErrClosed) {
				t.Errorf("append: %v", err)
			}
		})
		wg.Go(func() {
			begun <- struct{}{}
			for _, err := range l.Read(t.Context(), "s", events.Span{}) {
				if !errors.Is(err, events.ErrClosed) {
					t.Errorf("read: %v", err)
				}
			}
		})
		wg.Go(func() {
			begun <- struct{}{}
			for _, err := range l.ReadAll(t.Context(), 0, events.Filter{}) {
				if !errors.Is(err, events.ErrClosed) {
					t.Errorf("read all: %v", err)
				}
			}
		})
	}
	for range 48 {
		<-begun
	}
	began := time.Now()
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > slack {
		t.Errorf("close took %v", took)
	}
	wg.Wait()
}
