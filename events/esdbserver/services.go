package esdbserver

import (
	"context"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/shardy-network/orchestrator/events"
	esdbv1 "github.com/shardy-network/orchestrator/proto/shardy/esdb/v1"
)

// The names by which clients call.
const (
	streamsService  = "event_store.client.streams.Streams"
	groupsService   = "event_store.client.persistent_subscriptions.PersistentSubscriptions"
	featuresService = "event_store.client.server_features.ServerFeatures"
	gossipService   = "event_store.client.gossip.Gossip"
)

// services are what the server registers. They are written here and not generated, because the schema has other names
// than the wire.
var services = []*grpc.ServiceDesc{
	{
		ServiceName: streamsService, HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{unary("Delete", (*Server).delete), unary("Tombstone", (*Server).tombstone)},
		Streams: []grpc.StreamDesc{
			streaming("Append", true, false, (*Server).append),
			streaming("BatchAppend", true, true, (*Server).batchAppend),
			answering("Read", (*Server).read),
		},
	},
	{
		ServiceName: groupsService, HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{
			unary("Create", (*Server).createGroup),
			unary("Update", (*Server).updateGroup),
			unary("Delete", (*Server).deleteGroup),
			unary("GetInfo", (*Server).groupInfo),
			unary("List", (*Server).listGroups),
			unary("ReplayParked", (*Server).replayParked),
			unary("RestartSubsystem", (*Server).restartSubsystem),
		},
		Streams: []grpc.StreamDesc{streaming("Read", true, true, (*Server).readGroup)},
	},
	{
		ServiceName: atomicService, HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{unary("AppendRecords", (*Server).appendRecords)},
		Streams: []grpc.StreamDesc{streaming("AppendSession", true, false, (*Server).appendSession)},
	},
	{
		ServiceName: featuresService, HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{unary("GetSupportedMethods", (*Server).supportedMethods)},
	},
	{
		ServiceName: gossipService, HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{unary("Read", (*Server).gossip)},
	},
}

// unary makes a method of a call with one question and one answer.
func unary[Q, A any](name string, call func(*Server, context.Context, *Q) (*A, error)) grpc.MethodDesc {
	return grpc.MethodDesc{MethodName: name, Handler: func(srv any, ctx context.Context, decode func(any) error, around grpc.UnaryServerInterceptor) (any, error) {
		q := new(Q)
		if err := decode(q); err != nil {
			return nil, err
		}
		handle := func(ctx context.Context, q any) (any, error) {
			a, err := call(srv.(*Server), ctx, q.(*Q))
			if err != nil {
				return nil, err // not a nil answer in an interface
			}
			return a, nil
		}
		return around(ctx, q, &grpc.UnaryServerInfo{Server: srv, FullMethod: method(ctx)}, handle)
	}}
}

func method(ctx context.Context) string {
	m, _ := grpc.Method(ctx)
	return m
}

// streaming makes a method of a call in which the client sends many messages.
func streaming[Q, A any](name string, client, server bool, call func(*Server, *grpc.GenericServerStream[Q, A]) error) grpc.StreamDesc {
	return grpc.StreamDesc{StreamName: name, ClientStreams: client, ServerStreams: server, Handler: func(srv any, ss grpc.ServerStream) error {
		return call(srv.(*Server), &grpc.GenericServerStream[Q, A]{ServerStream: ss})
	}}
}

// answering makes a method of a call with one question and many answers.
func answering[Q, A any](name string, call func(*Server, *Q, *grpc.GenericServerStream[Q, A]) error) grpc.StreamDesc {
	return streaming(name, false, true, func(s *Server, ss *grpc.GenericServerStream[Q, A]) error {
		q := new(Q)
		err := ss.RecvMsg(q)
		if err == io.EOF {
			return invalid("a call without a message")
		}
		if err != nil {
			return err
		}
		return call(s, q, ss)
	})
}

// supportedMethods lists what is served, in the lower case in which clients look for it.
func (s *Server) supportedMethods(context.Context, *esdbv1.Empty) (*esdbv1.SupportedMethods, error) {
	m := func(service, name string, features ...string) *esdbv1.SupportedMethod {
		return &esdbv1.SupportedMethod{ServiceName: service, MethodName: name, Features: features}
	}
	const streams = "event_store.client.streams.streams"
	a := &esdbv1.SupportedMethods{ServerVersion: ServedVersion, Methods: []*esdbv1.SupportedMethod{
		m(streams, "read", "position", "events"), m(streams, "append"), m(streams, "delete"), m(streams, "tombstone"),
		m(streams, "batchappend", "deadline_duration"),
		m("event_store.client.gossip.gossip", "read"),
		m("event_store.client.server_features.serverfeatures", "getsupportedmethods"),
	}}
	for _, name := range []string{"create", "update", "delete", "read", "getinfo", "replayparked", "list", "restartsubsystem"} {
		a.Methods = append(a.Methods, m("event_store.client.persistent_subscriptions.persistentsubscriptions", name, "stream", "all"))
	}
	if _, ok := s.log.(events.Atomic); ok {
		const atomic = "kurrentdb.protocol.v2.streams.streamsservice"
		a.Methods = append(a.Methods, m(atomic, "appendsession"), m(atomic, "appendrecords"))
	}
	return a, nil
}

// ServedVersion is the version of EventStoreDB whose manners the server has. Three numbers: clients parse it.
const ServedVersion = "24.10.0"

// gossip tells of the only node.
func (s *Server) gossip(context.Context, *esdbv1.Empty) (*esdbv1.ClusterInfo, error) {
	host, port := s.endpoint()
	if host == "" {
		return nil, status.Error(codes.Unavailable, "the server has no address to tell")
	}
	return &esdbv1.ClusterInfo{Members: []*esdbv1.MemberInfo{{
		InstanceId: uuidMessage(s.id, false), State: esdbv1.MemberInfo_STATE_LEADER, IsAlive: true, TimeStamp: ticksNow(),
		HttpEndPoint: &esdbv1.EndPoint{Address: host, Port: uint32(port)},
	}}}, nil
}
