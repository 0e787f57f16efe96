package kurrent

import (
	"fmt"
	"net"
	"strconv"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/shardy-network/orchestrator/events"
)

func unavailable(format string, args ...any) error {
	return fmt.Errorf("%w: %s", events.ErrUnavailable, fmt.Sprintf(format, args...))
}

// unreachable is an ErrUnavailable that came before anything was sent.
type unreachable struct{ error }

func (u *unreachable) Unwrap() error { return u.error }

// notLeader is the refusal of a node that knows who the leader is. Nothing was written.
type notLeader struct{ addr string }

func (n *notLeader) Error() string { return "the node is not the leader" }

// Is makes it an ErrUnavailable for those who do not follow.
func (n *notLeader) Is(target error) bool { return target == events.ErrUnavailable }

// nowhere is an answer that lacks the position: a server that recognises a repeat by itself may not know it.
type nowhere struct{ rev uint64 }

func (*nowhere) Error() string { return "appended at a position that was not told" }

// wrongVersion is the refusal of an expectation, where it does not come as a reply.
type wrongVersion struct{ got events.Expect }

func (w *wrongVersion) Error() string { return "wrong expected version" }

// typed is a gRPC error in the words of the log. What a server says in trailers goes before its code. Whatever leaves
// open whether something was written is ErrUnavailable.
func typed(err error, trailer metadata.MD, stream string) error {
	if err == nil {
		return nil
	}
	s := status.Convert(err)
	switch first(trailer, "exception") {
	case "not-leader":
		host, port := first(trailer, "leader-endpoint-host"), first(trailer, "leader-endpoint-port")
		if n, err := strconv.ParseUint(port, 10, 16); err == nil && n > 0 && host != "" {
			return &notLeader{addr: net.JoinHostPort(host, port)}
		}
		return unavailable("%s", s.Message())
	case "stream-deleted":
		return fmt.Errorf("%w: %q", events.ErrDeleted, stream)
	case "stream-not-found":
		return fmt.Errorf("%w: %q", events.ErrNotFound, stream)
	case "access-denied", "not-authenticated":
		return fmt.Errorf("%w: %s", events.ErrDenied, s.Message())
	case "maximum-append-size-exceeded", "maximum-append-event-size-exceeded":
		return fmt.Errorf("%w: %s", events.ErrTooLarge, s.Message())
	case "wrong-expected-version":
		w := &wrongVersion{got: events.Absent}
		if n, err := strconv.ParseInt(first(trailer, "actual-version"), 10, 64); err == nil && n >= 0 {
			w.got = events.At(uint64(n))
		}
		return w
	}
	switch s.Code() {
	case codes.Unauthenticated, codes.PermissionDenied:
		return fmt.Errorf("%w: %s", events.ErrDenied, s.Message())
	case codes.InvalidArgument, codes.OutOfRange:
		return fmt.Errorf("%w: %s", events.ErrInvalid, s.Message())
	case codes.NotFound:
		return fmt.Errorf("%w: %s", events.ErrNotFound, s.Message())
	case codes.Unimplemented:
		return fmt.Errorf("%w: %s", events.ErrUnsupported, s.Message())
	case codes.DataLoss:
		return fmt.Errorf("%w: %s", events.ErrCorrupt, s.Message())
	}
	return unavailable("%s: %s", s.Code(), s.Message())
}

// first is the first value of a key, and "" when there is none.
func first(md metadata.MD, key string) string {
	if v := md.Get(key); len(v) > 0 {
		return v[0]
	}
	return ""
}
