package esdbserver

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/shardy-network/orchestrator/events"
)

// refusal is an error with the trailers by which clients tell it from others.
type refusal struct {
	code     codes.Code
	text     string
	trailers []string // keys and values
}

func (r *refusal) Error() string { return r.text }

func refuse(code codes.Code, text string, trailers ...string) error {
	return &refusal{code: code, text: text, trailers: trailers}
}

func invalid(format string, args ...any) error {
	return refuse(codes.InvalidArgument, fmt.Sprintf(format, args...))
}

func streamDeleted(stream string) error {
	return refuse(codes.FailedPrecondition, "Event stream '"+stream+"' is deleted.", "exception", "stream-deleted", "stream-name", printable(stream))
}

func denied(format string, args ...any) error {
	return refuse(codes.PermissionDenied, "Access Denied: "+fmt.Sprintf(format, args...), "exception", "access-denied")
}

func tooLarge() error {
	limit := strconv.Itoa(events.MaxAppendBytes)
	return refuse(codes.InvalidArgument, "Maximum Append Size of "+limit+" Exceeded.",
		"exception", "maximum-append-size-exceeded", "maximum-append-size", limit)
}

// wrongVersion tells of a conflict in an answer that has no field for it.
func wrongVersion(what string, c *events.Conflict) error {
	want, got := expectNumber(c.Want), expectNumber(c.Got)
	return refuse(codes.FailedPrecondition,
		fmt.Sprintf("%s failed due to WrongExpectedVersion. Stream: %s, Expected version: %s, Actual version: %s", what, c.Stream, want, got),
		"exception", "wrong-expected-version", "stream-name", printable(c.Stream), "expected-version", want, "actual-version", got)
}

// expectNumber writes an expectation as clients do: a revision, or a negative number.
func expectNumber(e events.Expect) string {
	if rev, ok := e.Rev(); ok {
		return strconv.FormatUint(rev, 10)
	}
	switch e {
	case events.Absent:
		return "-1"
	case events.Exists:
		return "-4"
	default:
		return "-2"
	}
}

// printable makes text fit for a trailer, which holds visible ASCII alone.
func printable(s string) string {
	for i := range len(s) {
		if s[i] < 0x20 || s[i] > 0x7e {
			return strconv.QuoteToASCII(s)
		}
	}
	return s
}

// refused turns what went wrong into what the caller is told: its status, and its trailers if it has some.
func (s *Server) refused(ctx context.Context, method, stream string, err error) (*status.Status, metadata.MD) {
	var r *refusal
	if !errors.As(err, &r) {
		if st, ok := status.FromError(err); ok {
			return st, nil
		}
		var typed error
		if typed = translate(stream, err); typed == nil && s.end.Err() != nil {
			typed = refuse(codes.Unavailable, "server is closing")
		} else if typed == nil && ctx.Err() != nil {
			return status.FromContextError(ctx.Err()), nil
		} else if typed == nil {
			s.cfg.Logger.Error("log server failed", "method", method, "error", err)
			typed = refuse(codes.Unknown, "the log failed")
		}
		if !errors.As(typed, &r) {
			return status.New(codes.Unknown, "the log failed"), nil
		}
	}
	return status.New(r.code, r.text), metadata.Pairs(r.trailers...)
}

// translate finds the refusal for a log's error.
func translate(stream string, err error) error {
	var conflict *events.Conflict
	switch {
	case errors.As(err, &conflict):
		return wrongVersion("Write", conflict)
	case errors.Is(err, events.ErrDeleted):
		return streamDeleted(stream)
	case errors.Is(err, events.ErrTooLarge):
		return tooLarge()
	case errors.Is(err, events.ErrInvalid):
		return invalid("%v", err)
	case errors.Is(err, events.ErrNotFound):
		return refuse(codes.NotFound, "Event stream '"+stream+"' is not found.", "exception", "stream-not-found", "stream-name", printable(stream))
	case errors.Is(err, events.ErrDenied):
		return denied("the log refuses")
	case errors.Is(err, events.ErrUnavailable), errors.Is(err, events.ErrClosed):
		return refuse(codes.Unavailable, "the log is unavailable")
	case errors.Is(err, events.ErrUnsupported):
		return refuse(codes.Unimplemented, "not supported by this log")
	case errors.Is(err, events.ErrCorrupt):
		return refuse(codes.DataLoss, "the log is corrupt")
	}
	return nil
}
