package esdbserver

import (
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/events"
	"github.com/shardy-network/orchestrator/events/eventstest"
	"github.com/shardy-network/orchestrator/events/memlog"
	esdbv1 "github.com/shardy-network/orchestrator/proto/shardy/esdb/v1"
)

// fed is a call whose messages come from a fuzzer.
type fed struct {
	ctx   context.Context
	input []byte
	sent  int
}

// next cuts a length-prefixed message off the input.
func (f *fed) next() ([]byte, bool) {
	b, n := protowire.ConsumeBytes(f.input)
	if n < 0 {
		return nil, false
	}
	f.input = f.input[n:]
	return b, true
}

func (f *fed) RecvMsg(m any) error {
	b, ok := f.next()
	if !ok {
		return io.EOF
	}
	if err := proto.Unmarshal(b, m.(proto.Message)); err != nil {
		return status.Error(codes.Internal, "malformed") // as the transport does
	}
	return nil
}

func (f *fed) SendMsg(m any) error {
	b, err := newCodec().Marshal(m)
	if err != nil {
		return err
	}
	b.Free()
	if f.sent++; f.sent > 1000 {
		return io.ErrShortWrite
	}
	return f.ctx.Err()
}
func (f *fed) Context() context.Context     { return f.ctx }
func (f *fed) SetHeader(metadata.MD) error  { return nil }
func (f *fed) SendHeader(metadata.MD) error { return nil }
func (f *fed) SetTrailer(md metadata.MD)    { checkTrailers(md) }
func (f *fed) Method() string               { return "" }
func checkTrailers(md metadata.MD) {
	for k, vs := range md {
		for _, v := range vs {
			if strings.ContainsFunc(k+v, func(r rune) bool { return r < ' ' || r > '~' }) {
				panic(fmt.Sprintf("trailer %q %q", k, v))
			}
		}
	}
}

// FuzzCalls feeds every method with foreign bytes: no panic, and every refusal has a code that says something.
func FuzzCalls(f *testing.F) {
	seed := func(method int, messages ...proto.Message) {
		var b []byte
		for _, m := range messages {
			raw, err := proto.Marshal(m)
			if err != nil {
				f.Fatal(err)
			}
			b = protowire.AppendBytes(b, raw)
		}
		f.Add(uint8(method), b)
	}
	source := &esdbv1.StreamFrom{StreamIdentifier: identifier("s"), From: &esdbv1.StreamFrom_Revision{Revision: 1}}
	member := &esdbv1.GroupReadRequest{Content: &esdbv1.GroupReadRequest_Options_{Options: &esdbv1.GroupReadRequest_Options{
		Source: &esdbv1.GroupReadRequest_Options_StreamIdentifier{StreamIdentifier: identifier("s")}, GroupName: "g", BufferSize: 5, UuidOption: structured(),
	}}}
	ack := &esdbv1.GroupReadRequest{Content: &esdbv1.GroupReadRequest_Ack_{Ack: &esdbv1.GroupReadRequest_Ack{Ids: []*esdbv1.UUID{uuidMessage(events.ID{1}, true)}}}}
	for m := range 20 {
		seed(m, expect("s"), &esdbv1.AppendRequest{Content: &esdbv1.AppendRequest_ProposedMessage{ProposedMessage: proposed(3)}})
		seed(m, followEverything())
		seed(m, member, ack)
		seed(m, &esdbv1.ReadRequest{Options: &esdbv1.ReadOptions{
			Source: &esdbv1.ReadOptions_Stream{Stream: source}, Direction: esdbv1.Direction_DIRECTION_BACKWARDS,
			Amount: &esdbv1.ReadOptions_Count{Count: 3}, UuidOption: structured(),
		}})
		seed(m, &esdbv1.GroupSettingsRequest{Options: &esdbv1.GroupSettingsRequest_Options{
			Source: &esdbv1.GroupSettingsRequest_Options_Stream{Stream: source}, GroupName: "h", Settings: &esdbv1.GroupSettings{MaxRetryCount: 1},
		}})
		seed(m, &esdbv1.BatchAppendRequest{CorrelationId: uuidMessage(events.ID{1}, true), Options: &esdbv1.BatchAppendRequest_Options{
			StreamIdentifier: identifier("s"), Expected: &esdbv1.BatchAppendRequest_Options_Any{Any: &esdbv1.Empty{}},
		}, ProposedMessages: []*esdbv1.ProposedMessage{proposed(3)}, IsFinal: true})
		seed(m, &esdbv1.DeleteRequest{Options: expect("s").GetOptions()})
	}
	f.Fuzz(func(t *testing.T, method uint8, input []byte) {
		log := memlog.New()
		defer log.Close()
		s, err := New(log, Config{Advertise: "127.0.0.1:2113"})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if _, err := log.Append(t.Context(), "s", events.Any, eventstest.Draft("A"), eventstest.Draft("B")); err != nil {
			t.Fatal(err)
		}
		if err := s.groups.create(t.Context(), &esdbv1.GroupConfig{Source: "s", Name: "g", Settings: &esdbv1.GroupSettings{MaxRetryCount: 1}}); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Millisecond)
		defer cancel()
		call := &fed{ctx: ctx, input: input}
		switch err := invoke(s, int(method), call); status.Code(err) {
		case codes.Unknown:
			if ctx.Err() == nil && call.sent <= 1000 {
				t.Errorf("unclear refusal: %v", err)
			}
		case codes.DataLoss, codes.Unavailable:
			t.Errorf("the log is said to have failed: %v", err)
		}
	})
}

// invoke runs the method with this number as the transport would.
func invoke(s *Server, number int, call *fed) error {
	var runs []func() error
	for _, d := range services {
		for _, m := range d.Methods {
			runs = append(runs, func() error {
				ctx := grpc.NewContextWithServerTransportStream(call.ctx, transport{"/" + d.ServiceName + "/" + m.MethodName})
				decode := func(m any) error {
					if err := call.RecvMsg(m); err != io.EOF {
						return err
					}
					return status.Error(codes.Internal, "no message") // as the transport does
				}
				_, err := m.Handler(s, ctx, decode, s.admitUnary)
				return err
			})
		}
		for _, m := range d.Streams {
			runs = append(runs, func() error {
				return s.admitStream(s, call, &grpc.StreamServerInfo{FullMethod: "/" + d.ServiceName + "/" + m.StreamName}, m.Handler)
			})
		}
	}
	return runs[number%len(runs)]()
}

type transport struct{ method string }

func (t transport) Method() string                  { return t.method }
func (t transport) SetHeader(metadata.MD) error     { return nil }
func (t transport) SendHeader(metadata.MD) error    { return nil }
func (t transport) SetTrailer(md metadata.MD) error { checkTrailers(md); return nil }

// FuzzParseMetadata: what bounds a stream comes from outside.
func FuzzParseMetadata(f *testing.F) {
	f.Add([]byte(`{"$maxCount":3,"$maxAge":60,"$tb":9}`))
	f.Add([]byte(`{"$tb":9223372036854775807}`))
	f.Add([]byte(`{"$maxAge":9223372036854775807,"$maxCount":-1}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, age, before := parseMetadata(b)
		if age < 0 || before == softDeleted {
			t.Errorf("%q: %v, %d", b, age, before)
		}
		softDeletes([]events.Draft{{Type: typeMetadata, Data: b}})
	})
}

// FuzzBasic: so do credentials.
func FuzzBasic(f *testing.F) {
	f.Add("Basic YWRtaW46Y2hhbmdlaXQ=")
	f.Add("basic Og==")
	f.Add("Bearer x")
	f.Fuzz(func(t *testing.T, header string) {
		if _, password, ok := basic(header); ok && len(password) > MaxPassword {
			t.Errorf("a password of %d bytes", len(password))
		}
	})
}
