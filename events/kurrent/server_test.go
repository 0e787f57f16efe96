package kurrent_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/shardy-network/orchestrator/events"
	"github.com/shardy-network/orchestrator/events/esdbserver"
	"github.com/shardy-network/orchestrator/events/eventstest"
	"github.com/shardy-network/orchestrator/events/kurrent"
	"github.com/shardy-network/orchestrator/events/memlog"
)

// TestASilentSubscriptionIsReplaced drops a subscription without a word, as servers and networks do.
func TestASilentSubscriptionIsReplaced(t *testing.T) {
	s := serve(t, memlog.New(), esdbserver.Config{})
	p := proxied(t, s.addr)
	l := open(t, "esdb://"+p.addr+"?tls=false", kurrent.Options{Watch: 30 * time.Millisecond})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var dropped atomic.Int64
	deaf := func(subscription int64, b []byte) []byte {
		if subscription == 1 { // a later one works
			dropped.Add(1)
			return nil
		}
		return b
	}
	seen := 0
	for tick, err := range l.Tail(ctx, 0, events.Filter{}) {
		if err != nil {
			t.Fatalf("tail after %d events: %v", seen, err)
		}
		if e := tick.Event; e != nil {
			if e.Rev != uint64(seen) {
				t.Fatalf("revision %d, want %d", e.Rev, seen)
			}
			seen++
		}
		if seen == 6 {
			break
		}
		if tick.Live && seen == 0 {
			if _, err := l.Append(ctx, "s", events.Any, eventstest.Draft("A")); err != nil {
				t.Fatal(err)
			}
		}
		if seen == 1 && p.answers.Load() == nil { // the subscription works; from now on it does not
			p.answers.Store(&deaf)
			for range 5 {
				if _, err := l.Append(ctx, "s", events.Any, eventstest.Draft("A")); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	if seen != 6 || dropped.Load() == 0 {
		t.Errorf("%d events seen, %d messages dropped", seen, dropped.Load())
	}
}

// TestTheLeaderIsFollowed lets a node refuse appends and name the leader.
func TestTheLeaderIsFollowed(t *testing.T) {
	leader := serve(t, memlog.New(), esdbserver.Config{})
	p := proxied(t, leader.addr)
	var refused atomic.Int64
	host, port, _ := net.SplitHostPort(leader.addr)
	refuse := func(method string) (metadata.MD, error) {
		if !strings.HasSuffix(method, "/Append") && !strings.HasSuffix(method, "/BatchAppend") {
			return nil, nil
		}
		refused.Add(1)
		return metadata.Pairs("exception", "not-leader", "leader-endpoint-host", host, "leader-endpoint-port", port), status.Error(codes.NotFound, "leader info available")
	}
	p.refuse.Store(&refuse)
	l := open(t, "kurrentdb://"+p.addr+"?tls=false", kurrent.Options{})
	for i := range 3 {
		got, err := l.Append(t.Context(), "s", events.Any, eventstest.Draft("A"))
		if err != nil || got.Rev != uint64(i) {
			t.Fatalf("append %d: %+v, %v", i, got, err)
		}
	}
	if refused.Load() != 1 {
		t.Errorf("the node that is not the leader was asked %d times", refused.Load())
	}
}

// TestAServerWithoutBatches takes each append in a call of its own.
func TestAServerWithoutBatches(t *testing.T) {
	s := serve(t, memlog.New(), esdbserver.Config{})
	p := proxied(t, s.addr)
	var batches, calls atomic.Int64
	refuse := func(method string) (metadata.MD, error) {
		switch {
		case strings.HasSuffix(method, "/BatchAppend"):
			batches.Add(1)
			return nil, status.Error(codes.Unimplemented, "unknown method")
		case strings.HasSuffix(method, "/Append"):
			calls.Add(1)
		}
		return nil, nil
	}
	p.refuse.Store(&refuse)
	l := open(t, "esdb://"+p.addr+"?tls=false", kurrent.Options{})
	for i := range 5 {
		got, err := l.Append(t.Context(), "s", events.Any, eventstest.Draft("A"))
		if err != nil || got.Rev != uint64(i) {
			t.Fatalf("append %d: %+v, %v", i, got, err)
		}
	}
	var conflict *events.Conflict
	if _, err := l.Append(t.Context(), "s", events.At(1), eventstest.Draft("A")); !errors.As(err, &conflict) || conflict.Got != events.At(4) {
		t.Errorf("conflict: %v", err)
	}
	if batches.Load() != 1 || calls.Load() != 6 {
		t.Errorf("%d batches, %d calls", batches.Load(), calls.Load())
	}
}

func TestAClusterIsAskedForItsLeader(t *testing.T) {
	s := serve(t, memlog.New(), esdbserver.Config{})
	nobody, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody.Close()
	for _, uri := range []string{
		"esdb+discover://" + s.addr + "?tls=false",
		"kurrentdb+discover://" + s.addr + "?tls=false&nodePreference=follower",
		"esdb://" + nobody.Addr().String() + "," + s.addr + "?tls=false&nodePreference=random",
	} {
		l := open(t, uri, kurrent.Options{})
		if _, err := l.Append(t.Context(), "s", events.Any, eventstest.Draft("A")); err != nil {
			t.Errorf("%s: %v", uri, err)
		}
		s.stop()
		s.start()
		if _, err := l.Append(t.Context(), uri, events.Absent, eventstest.Draft("A")); err != nil {
			t.Errorf("%s after a restart: %v", uri, err)
		}
	}
}

// TestNonsenseFromTheServerIsAnError changes every answer to a read, and holds that nothing worse than an error follows.
func TestNonsenseFromTheServerIsAnError(t *testing.T) {
	s := serve(t, memlog.New(), esdbserver.Config{})
	p := proxied(t, s.addr)
	l := open(t, "esdb://"+p.addr+"?tls=false", kurrent.Options{CallTimeout: 500 * time.Millisecond})
	if _, err := l.Append(t.Context(), "s", events.Any, eventstest.Draft("A")); err != nil {
		t.Fatal(err)
	}
	for _, nonsense := range []string{"", "\x0a\x00", "\x0a\x02\x0a\x00", "\x0a\x02\x12\x00", "\x22\x00", "\xff", "\x0a\x0a\x0a\x08\x0a\x02\x12\x00\x12\x00"} {
		change := func(int64, []byte) []byte { return []byte(nonsense) }
		p.answers.Store(&change)
		for range l.Read(t.Context(), "s", events.Span{}) {
		}
		for range l.ReadAll(t.Context(), 0, events.Filter{}) {
		}
		_, _ = l.Head(t.Context())
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		for range l.Tail(ctx, 0, events.Filter{}) {
		}
		cancel()
	}
	p.answers.Store(nil)
	for _, err := range l.Read(t.Context(), "s", events.Span{}) {
		if err != nil {
			t.Error(err)
		}
	}
}

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
