package kurrent_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/streams"

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

// TestAnAnswerWithoutAPosition is what a server gives that recognises a repeat.
func TestAnAnswerWithoutAPosition(t *testing.T) {
	s := serve(t, memlog.New(), esdbserver.Config{})
	p := proxied(t, s.addr)
	strip := func(b []byte) []byte {
		var resp streams.BatchAppendResp
		if err := proto.Unmarshal(b, &resp); err != nil {
			t.Error(err)
		}
		resp.GetSuccess().PositionOption = &streams.BatchAppendResp_Success_NoPosition{}
		b, _ = proto.Marshal(&resp)
		return b
	}
	p.appended.Store(&strip)
	l := open(t, "esdb://"+p.addr+"?tls=false", kurrent.Options{})
	for i, want := range []events.Expect{events.Absent, events.At(1), events.Any, events.Exists} {
		got, err := l.Append(t.Context(), "s", want, eventstest.Draft("A"), eventstest.Draft("B"))
		if err != nil || got.Rev != uint64(2*i+1) || got.Pos != events.Position(2*i+2) {
			t.Errorf("append %d: %+v, %v", i, got, err)
		}
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
		p.answers.Store(nil)
		answer := func([]byte) []byte { return []byte(nonsense) }
		p.appended.Store(&answer)
		if _, err := l.Append(t.Context(), "n", events.Absent, eventstest.Draft("A")); err == nil {
			t.Errorf("an append was taken for written after the answer %q", nonsense)
		}
		p.appended.Store(nil)
	}
	for _, err := range l.Read(t.Context(), "s", events.Span{}) {
		if err != nil {
			t.Error(err)
		}
	}
}
