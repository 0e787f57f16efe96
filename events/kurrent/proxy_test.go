package kurrent_test

import (
	"context"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/streams"
)

// frame is a message that nobody looked into.
type frame []byte

// raw passes frames as they are.
type raw struct{}

func (raw) Marshal(v any) ([]byte, error)   { return *v.(*frame), nil }
func (raw) Unmarshal(b []byte, v any) error { *v.(*frame) = append(frame(nil), b...); return nil }
func (raw) Name() string                    { return "proto" }

var _ encoding.Codec = raw{}

// proxy stands between a log and its server and does to calls what a bad network or a bad server would.
type proxy struct {
	addr string
	// refuse may end a call before it reaches the server.
	refuse atomic.Pointer[func(method string) (metadata.MD, error)]
	// answers may change, or drop (nil), what the server sends to a read; subscription is its number, 0 for none.
	answers       atomic.Pointer[func(subscription int64, b []byte) []byte]
	subscriptions atomic.Int64
	// appended may change what the server sends to appends.
	appended atomic.Pointer[func(b []byte) []byte]
}

func proxied(t *testing.T, target string) *proxy {
	t.Helper()
	to, err := grpc.NewClient(target, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDefaultCallOptions(grpc.ForceCodec(raw{})))
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{}
	server := grpc.NewServer(grpc.ForceServerCodec(raw{}), grpc.UnknownServiceHandler(func(_ any, s grpc.ServerStream) error { return p.pass(s, to) }))
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p.addr = ln.Addr().String()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = server.Serve(ln)
	}()
	t.Cleanup(func() {
		server.Stop()
		<-ended
		_ = to.Close()
	})
	return p
}

func (p *proxy) pass(from grpc.ServerStream, to *grpc.ClientConn) error {
	method, _ := grpc.MethodFromServerStream(from)
	if refuse := p.refuse.Load(); refuse != nil {
		if trailer, err := (*refuse)(method); err != nil {
			from.SetTrailer(trailer)
			return err
		}
	}
	md, _ := metadata.FromIncomingContext(from.Context())
	ctx, cancel := context.WithCancel(metadata.NewOutgoingContext(from.Context(), md))
	defer cancel()
	s, err := to.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, method)
	if err != nil {
		return err
	}
	var subscription atomic.Int64
	go func() {
		for {
			var f frame
			if err := from.RecvMsg(&f); err != nil {
				_ = s.CloseSend()
				return
			}
			if strings.HasSuffix(method, "/Read") {
				var q streams.ReadReq
				if proto.Unmarshal(f, &q) == nil && q.GetOptions().GetSubscription() != nil {
					subscription.Store(p.subscriptions.Add(1))
				}
			}
			if s.SendMsg(&f) != nil {
				return
			}
		}
	}()
	for {
		var f frame
		if err := s.RecvMsg(&f); err != nil {
			from.SetTrailer(s.Trailer())
			if err == io.EOF {
				return nil
			}
			return status.Convert(err).Err()
		}
		if change := p.answers.Load(); change != nil && strings.HasSuffix(method, "/Read") {
			b := (*change)(subscription.Load(), f)
			if b == nil {
				continue
			}
			f = b
		}
		if change := p.appended.Load(); change != nil && strings.HasSuffix(method, "ppend") {
			f = (*change)(f)
		}
		if err := from.SendMsg(&f); err != nil {
			return err
		}
	}
}
