package esdbserver

import (
	"errors"
	"net"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/shardy-network/orchestrator/events"
	"github.com/shardy-network/orchestrator/events/memlog"
	esdbv1 "github.com/shardy-network/orchestrator/proto/shardy/esdb/v1"
)

// TestCloseEndsWhatLasts: calls without an end of their own are told that the server closes, at once.
func TestCloseEndsWhatLasts(t *testing.T) {
	log := memlog.New()
	defer log.Close()
	s, err := New(log, Config{})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	if err := s.groups.create(t.Context(), &esdbv1.GroupConfig{Source: "s", Name: "g", Settings: &esdbv1.GroupSettings{}}); err != nil {
		t.Fatal(err)
	}
	c, ctx := raw(t, l.Addr().String()), limited(t)
	follower := call(t, ctx, c, methodRead, followEverything())
	member := call(t, ctx, c, methodGroup, &esdbv1.GroupReadRequest{Content: &esdbv1.GroupReadRequest_Options_{Options: &esdbv1.GroupReadRequest_Options{
		Source: &esdbv1.GroupReadRequest_Options_StreamIdentifier{StreamIdentifier: identifier("s")}, GroupName: "g", BufferSize: 5, UuidOption: structured(),
	}}})
	batch := call(t, ctx, c, methodBatch, &esdbv1.BatchAppendRequest{
		CorrelationId: uuidMessage(newUUID(), true), IsFinal: true, ProposedMessages: []*esdbv1.ProposedMessage{proposed(10)},
		Options: &esdbv1.BatchAppendRequest_Options{StreamIdentifier: identifier("s"), Expected: &esdbv1.BatchAppendRequest_Options_Any{Any: &esdbv1.Empty{}}},
	})
	for _, ss := range []interface{ RecvMsg(any) error }{follower, member, batch} { // all have begun
		if err := ss.RecvMsg(&esdbv1.Empty{}); err != nil {
			t.Fatal(err)
		}
	}
	begin := time.Now()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if d := time.Since(begin); d >= closePatience {
		t.Errorf("closing took %v", d)
	}
	for what, ss := range map[string]interface{ RecvMsg(any) error }{"follower": follower, "member": member, "batch": batch} {
		var err error
		for err == nil {
			err = ss.RecvMsg(&esdbv1.Empty{})
		}
		if status.Code(err) != codes.Unavailable {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := <-served; !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	if err := s.Serve(l); !errors.Is(err, ErrClosed) {
		t.Errorf("serve after close: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("closed twice: %v", err)
	}
}

// TestLogGoesAway: when the log is closed under the server, callers hear that it is unavailable.
func TestLogGoesAway(t *testing.T) {
	log := memlog.New()
	_, addr := serve(t, log, Config{})
	c, ctx := raw(t, addr), limited(t)
	follower := call(t, ctx, c, methodRead, followEverything())
	if err := follower.RecvMsg(&esdbv1.Empty{}); err != nil {
		t.Fatal(err)
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	appending := call(t, ctx, c, methodAppend, expect("s"), &esdbv1.AppendRequest{Content: &esdbv1.AppendRequest_ProposedMessage{ProposedMessage: proposed(1)}})
	if err := appending.CloseSend(); err != nil {
		t.Fatal(err)
	}
	for what, ss := range map[string]interface{ RecvMsg(any) error }{"follower": follower, "append": appending} {
		var err error
		for err == nil {
			err = ss.RecvMsg(&esdbv1.Empty{})
		}
		if status.Code(err) != codes.Unavailable {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// TestSlowHandOver makes followers fall behind the hub and catch up again.
func TestSlowHandOver(t *testing.T) {
	log := memlog.New()
	s, _ := serve(t, log, Config{})
	if err := s.hub.start(); err != nil {
		t.Fatal(err)
	}
	ctx := limited(t)
	all, one := &cursor{s: s}, &cursor{s: s, stream: "even"}
	var p page
	var seenAll, seenOne uint64
	total := uint64(0)
	for round := range 40 {
		for range 1 + round*3%97 {
			evs := make([]events.Draft, 1+total%40)
			for i := range evs {
				evs[i] = events.Draft{ID: newUUID(), Type: "E", Data: make([]byte, total%3*1000)}
			}
			if _, err := log.Append(ctx, []string{"even", "odd"}[total%2], events.Any, evs...); err != nil {
				t.Fatal(err)
			}
			total++
		}
		for range round % 5 { // often fewer than would be needed
			if _, err := all.read(ctx, &p); err != nil {
				t.Fatal(err)
			}
			for _, e := range p.records {
				if seenAll++; uint64(e.Pos) != seenAll {
					t.Fatalf("position %d, want %d", e.Pos, seenAll)
				}
			}
			if _, err := one.read(ctx, &p); err != nil {
				t.Fatal(err)
			}
			for _, e := range p.records {
				if e.Stream != "even" || e.Rev != seenOne {
					t.Fatalf("%s at %d, want %d", e.Stream, e.Rev, seenOne)
				}
				seenOne++
			}
		}
	}
	head, err := log.Head(ctx)
	if err != nil {
		t.Fatal(err)
	}
	last, _, err := s.last(ctx, "even")
	if err != nil {
		t.Fatal(err)
	}
	for seenAll < uint64(head) || seenOne <= last {
		for _, c := range []*cursor{all, one} {
			news, err := c.read(ctx, &p)
			if err != nil {
				t.Fatal(err)
			}
			if c == all {
				seenAll += uint64(len(p.records))
			} else {
				seenOne += uint64(len(p.records))
			}
			if news != nil && (c == all && seenAll < uint64(head) || c == one && seenOne <= last) {
				select {
				case <-news:
				case <-ctx.Done():
					t.Fatalf("saw %d of %d and %d of %d", seenAll, head, seenOne, last+1)
				}
			}
		}
	}
	if seenAll != uint64(head) || seenOne != last+1 {
		t.Errorf("saw %d of %d and %d of %d", seenAll, head, seenOne, last+1)
	}
}
