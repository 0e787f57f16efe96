package esdbserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/events"
	"github.com/shardy-network/orchestrator/events/eventstest"
	"github.com/shardy-network/orchestrator/events/memlog"
	"github.com/shardy-network/orchestrator/events/pebblelog"
	esdbv1 "github.com/shardy-network/orchestrator/proto/shardy/esdb/v1"
)

// raw is a connection without an official client.
func raw(t testing.TB, addr string) *grpc.ClientConn {
	t.Helper()
	// Windows of a fixed size: what grows at the client is not to be blamed on the server.
	c, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithStaticStreamWindowSize(64<<10), grpc.WithStaticConnWindowSize(16<<20))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

var bothWays = &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}

// call opens a call and sends what is given.
func call(t testing.TB, ctx context.Context, c *grpc.ClientConn, method string, messages ...proto.Message) grpc.ClientStream {
	t.Helper()
	ss, err := c.NewStream(ctx, bothWays, method)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range messages {
		if err := ss.SendMsg(m); err != nil {
			t.Fatal(err)
		}
	}
	if method == methodRead {
		if err := ss.CloseSend(); err != nil {
			t.Fatal(err)
		}
	}
	return ss
}

func followEverything() *esdbv1.ReadRequest {
	return &esdbv1.ReadRequest{Options: &esdbv1.ReadOptions{
		Source: &esdbv1.ReadOptions_All{All: &esdbv1.AllFrom{From: &esdbv1.AllFrom_Start{Start: &esdbv1.Empty{}}}},
		Amount: &esdbv1.ReadOptions_Subscription{Subscription: &esdbv1.Empty{}}, UuidOption: structured(),
	}}
}

func structured() *esdbv1.UUIDOption {
	return &esdbv1.UUIDOption{Content: &esdbv1.UUIDOption_Structured{Structured: &esdbv1.Empty{}}}
}

const (
	methodRead   = "/" + streamsService + "/Read"
	methodAppend = "/" + streamsService + "/Append"
	methodBatch  = "/" + streamsService + "/BatchAppend"
	methodGroup  = "/" + groupsService + "/Read"
)

func expect(stream string) *esdbv1.AppendRequest {
	return &esdbv1.AppendRequest{Content: &esdbv1.AppendRequest_Options{Options: &esdbv1.StreamExpectation{
		StreamIdentifier: identifier(stream), Expected: &esdbv1.StreamExpectation_Any{Any: &esdbv1.Empty{}},
	}}}
}

func proposed(size int) *esdbv1.ProposedMessage {
	return &esdbv1.ProposedMessage{
		Id: uuidMessage(newUUID(), false), Metadata: map[string]string{"type": "E", "content-type": contentBinary}, Data: make([]byte, size),
	}
}

// TestSlowFollowers: hundreds of followers that never read cost a bounded amount each, and nobody else notices.
func TestSlowFollowers(t *testing.T) {
	const conns, each, size = 6, 100, 2 << 10
	log, err := pebblelog.Open(t.TempDir(), pebblelog.Options{})
	if err != nil {
		t.Fatal(err)
	}
	s, addr := serve(t, log, Config{})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	fill := func(n int) {
		t.Helper()
		for range n {
			evs := make([]events.Draft, 64)
			for i := range evs {
				evs[i] = eventstest.Draft("E")
				evs[i].Data = make([]byte, size)
			}
			if _, err := log.Append(ctx, "s", events.Any, evs...); err != nil {
				t.Fatal(err)
			}
		}
	}
	fill(16) // 2 MiB, more than a follower's windows hold
	before := heap()
	for range conns {
		c := raw(t, addr)
		for range each {
			call(t, ctx, c, methodRead, followEverything())
		}
	}
	fill(64) // 8 MiB more, while they stand
	wait(t, "followers", func() bool { return s.subs.Load() == conns*each })
	// The figure holds both ends: 64 KiB at the client, 64 KiB in the transport, and the follower's page.
	if grown := (heap() - before) / (conns * each); grown > 400<<10 {
		t.Errorf("%d bytes for each follower", grown)
	}
	// Somebody who reads gets everything at once.
	c := dial(t, "esdb://"+addr+"?tls=false")
	sub, err := c.SubscribeToAll(limited(t), esdb.SubscribeToAllOptions{From: esdb.Start{}})
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Close()
	begin := time.Now()
	for n := 0; n < 80*64; {
		e := sub.Recv()
		if e.SubscriptionDropped != nil {
			t.Fatal(e.SubscriptionDropped.Error)
		}
		if e.EventAppeared != nil {
			n++
		}
	}
	put(t, c, "t", esdb.Any{}, event("E", `{}`))
	t.Logf("%d events in %v beside %d followers that do not read", 80*64, time.Since(begin), conns*each)
	cancel()
	wait(t, "followers to be gone", func() bool { return s.subs.Load() == 1 })
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse + m.StackInuse)
}

func wait(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// TestClientsVanish cuts connections in the middle of everything.
func TestClientsVanish(t *testing.T) {
	log := memlog.New()
	s, addr := serve(t, log, Config{})
	c := dial(t, "esdb://"+addr+"?tls=false")
	createGroup(t, c, "s", "g", esdb.Start{}, nil)
	for i := range 5 {
		put(t, c, "s", esdb.Any{}, event("E", fmt.Sprint(i)))
	}
	var calls []grpc.ClientStream
	for range 20 {
		gone, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		ctx := limited(t)
		half := call(t, ctx, gone, methodAppend, expect("half"), &esdbv1.AppendRequest{Content: &esdbv1.AppendRequest_ProposedMessage{ProposedMessage: proposed(10)}})
		follower := call(t, ctx, gone, methodRead, followEverything())
		batch := call(t, ctx, gone, methodBatch, &esdbv1.BatchAppendRequest{
			CorrelationId: uuidMessage(newUUID(), true), ProposedMessages: []*esdbv1.ProposedMessage{proposed(10)},
			Options: &esdbv1.BatchAppendRequest_Options{StreamIdentifier: identifier("half"), Expected: &esdbv1.BatchAppendRequest_Options_Any{Any: &esdbv1.Empty{}}},
		})
		member := call(t, ctx, gone, methodGroup, &esdbv1.GroupReadRequest{Content: &esdbv1.GroupReadRequest_Options_{Options: &esdbv1.GroupReadRequest_Options{
			Source: &esdbv1.GroupReadRequest_Options_StreamIdentifier{StreamIdentifier: identifier("s")}, GroupName: "g", BufferSize: 5, UuidOption: structured(),
		}}})
		var a esdbv1.ReadResponse
		if err := follower.RecvMsg(&a); err != nil {
			t.Fatal(err)
		}
		var m esdbv1.GroupReadResponse
		if err := member.RecvMsg(&m); err != nil {
			t.Fatal(err)
		}
		if err := gone.Close(); err != nil {
			t.Fatal(err)
		}
		calls = append(calls, half, follower, batch, member)
	}
	wait(t, "calls to end", func() bool { return s.subs.Load() == 0 })
	for _, x := range calls {
		for x.RecvMsg(&esdbv1.Empty{}) == nil { // what had come before the end
		}
	}
	if _, err := streamOf(limited(t), c, "half", esdb.ReadStreamOptions{From: esdb.Start{}}, 1); code(err) != esdb.ErrorCodeResourceNotFound {
		t.Errorf("half an append was written: %v", err)
	}
	// What they had in their hands comes to whoever stays.
	sub := joinGroup(t, c, "s", "g", 10)
	for want := range uint64(5) {
		e := given(t, sub)
		if e.Event.Event.EventNumber != want {
			t.Errorf("event %d, want %d", e.Event.Event.EventNumber, want)
		}
		if err := sub.Ack(e.Event); err != nil {
			t.Fatal(err)
		}
	}
}

func TestOversizedAppends(t *testing.T) {
	_, addr := serve(t, memlog.New(), Config{MaxMessageBytes: 2 << 20})
	c, conn := dial(t, "esdb://"+addr+"?tls=false"), raw(t, addr)
	ctx := limited(t)
	put(t, c, "s", esdb.NoStream{}, esdb.EventData{EventID: [16]byte{1}, EventType: "Big", Data: make([]byte, events.MaxAppendBytes), ContentType: esdb.ContentTypeBinary})
	for what, sizes := range map[string][]int{"one": {events.MaxAppendBytes + 1}, "several": {600 << 10, 600 << 10}} {
		messages := []proto.Message{expect("s")}
		for _, n := range sizes {
			messages = append(messages, &esdbv1.AppendRequest{Content: &esdbv1.AppendRequest_ProposedMessage{ProposedMessage: proposed(n)}})
		}
		ss := call(t, ctx, conn, methodAppend, messages...)
		if err := ss.CloseSend(); err != nil {
			t.Fatal(err)
		}
		err := ss.RecvMsg(&esdbv1.AppendResponse{})
		if x := ss.Trailer().Get("exception"); status.Code(err) != codes.InvalidArgument || len(x) != 1 || x[0] != "maximum-append-size-exceeded" {
			t.Errorf("%s too large: %v, %v", what, err, x)
		}
	}
	ss := call(t, ctx, conn, methodAppend, expect("s"))
	if err := ss.SendMsg(&esdbv1.AppendRequest{Content: &esdbv1.AppendRequest_ProposedMessage{ProposedMessage: proposed(3 << 20)}}); err != nil && !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	if err := ss.RecvMsg(&esdbv1.AppendResponse{}); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("message beyond the limit: %v", err)
	}
	if got, err := streamOf(ctx, c, "s", esdb.ReadStreamOptions{From: esdb.Start{}}, 9); err != nil || got != "Big0" {
		t.Errorf("%q, %v", got, err)
	}
}

// TestLimits holds the server to its limits on connections, subscriptions and time.
func TestLimits(t *testing.T) {
	_, addr := serve(t, memlog.New(), Config{MaxConns: 2, MaxSubscriptions: 1, CallTimeout: 50 * time.Millisecond})
	conn := raw(t, addr)
	ctx := limited(t)
	first := call(t, ctx, conn, methodRead, followEverything())
	if err := first.RecvMsg(&esdbv1.ReadResponse{}); err != nil {
		t.Fatal(err)
	}
	if err := call(t, ctx, conn, methodRead, followEverything()).RecvMsg(&esdbv1.ReadResponse{}); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("one subscription too many: %v", err)
	}
	if err := call(t, ctx, conn, methodAppend, expect("s")).RecvMsg(&esdbv1.AppendResponse{}); status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("an append without an end: %v", err)
	}
	d := net.Dialer{}
	for i := range 3 {
		c, err := d.DialContext(ctx, "tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if err := c.SetReadDeadline(time.Now().Add(200 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		// A server greets with settings, and closes what it does not take.
		_, err = c.Read(make([]byte, 1))
		if taken := err == nil; taken != (i == 0) {
			t.Errorf("connection %d: taken %v, %v", i+2, taken, err)
		}
	}
}

// TestBatchesKeepTheirOrder pipelines appends to one stream, each of which expects the one before it.
func TestBatchesKeepTheirOrder(t *testing.T) {
	const n = 500
	log := memlog.New()
	_, addr := serve(t, log, Config{})
	ss := call(t, limited(t), raw(t, addr), methodBatch)
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range n {
			o := &esdbv1.BatchAppendRequest_Options{StreamIdentifier: identifier("s"), Expected: &esdbv1.BatchAppendRequest_Options_NoStream{NoStream: &esdbv1.Empty{}}}
			if i > 0 {
				o.Expected = &esdbv1.BatchAppendRequest_Options_StreamPosition{StreamPosition: uint64(i - 1)}
			}
			id := uuidMessage(newUUID(), true)
			for _, m := range []*esdbv1.BatchAppendRequest{
				{CorrelationId: id, Options: o},
				{CorrelationId: id, ProposedMessages: []*esdbv1.ProposedMessage{proposed(9)}, IsFinal: true},
			} {
				if err := ss.SendMsg(m); err != nil {
					t.Error(err)
					return
				}
			}
		}
		if err := ss.CloseSend(); err != nil {
			t.Error(err)
		}
	})
	for i := range n {
		var a esdbv1.BatchAppendResponse
		if err := ss.RecvMsg(&a); err != nil {
			t.Fatal(err)
		}
		if a.GetSuccess() == nil {
			t.Fatalf("batch %d: %v", i, a.GetError())
		}
	}
	if err := ss.RecvMsg(&esdbv1.BatchAppendResponse{}); err != io.EOF {
		t.Errorf("end: %v", err)
	}
	wg.Wait()
}

func TestBatchRefusals(t *testing.T) {
	log := memlog.New()
	_, addr := serve(t, log, Config{})
	ss := call(t, limited(t), raw(t, addr), methodBatch)
	nothing := &esdbv1.BatchAppendRequest_Options_Any{Any: &esdbv1.Empty{}}
	twice := proposed(1)
	twice.Metadata = nil
	for what, c := range map[string]struct {
		m      *esdbv1.BatchAppendRequest
		detail string
	}{
		"conflict": {&esdbv1.BatchAppendRequest{
			Options:          &esdbv1.BatchAppendRequest_Options{StreamIdentifier: identifier("s"), Expected: &esdbv1.BatchAppendRequest_Options_StreamPosition{StreamPosition: 9}},
			ProposedMessages: []*esdbv1.ProposedMessage{proposed(1)},
		}, "WrongExpectedVersion"},
		"too large": {&esdbv1.BatchAppendRequest{
			Options:          &esdbv1.BatchAppendRequest_Options{StreamIdentifier: identifier("s"), Expected: nothing},
			ProposedMessages: []*esdbv1.ProposedMessage{proposed(1 << 20), proposed(1)},
		}, "MaximumAppendSizeExceeded"},
		"no name": {&esdbv1.BatchAppendRequest{
			Options: &esdbv1.BatchAppendRequest_Options{Expected: nothing}, ProposedMessages: []*esdbv1.ProposedMessage{proposed(1)},
		}, "BadRequest"},
		"no type": {&esdbv1.BatchAppendRequest{
			Options:          &esdbv1.BatchAppendRequest_Options{StreamIdentifier: identifier("s"), Expected: nothing},
			ProposedMessages: []*esdbv1.ProposedMessage{twice},
		}, "BadRequest"},
		"no options": {&esdbv1.BatchAppendRequest{}, "BadRequest"},
	} {
		c.m.CorrelationId, c.m.IsFinal = uuidMessage(newUUID(), true), true
		if err := ss.SendMsg(c.m); err != nil {
			t.Fatal(err)
		}
		var a esdbv1.BatchAppendResponse
		if err := ss.RecvMsg(&a); err != nil {
			t.Fatal(err)
		}
		d := a.GetError().GetDetails()
		if len(d) != 1 || d[0].GetTypeUrl() != "type.googleapis.com/event_store.client."+c.detail || !proto.Equal(a.GetCorrelationId(), c.m.GetCorrelationId()) {
			t.Errorf("%s: %v", what, &a)
		}
	}
}
