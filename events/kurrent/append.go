package kurrent

import (
	"context"
	"errors"
	"math"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/shared"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/streams"

	"github.com/shardy-network/orchestrator/events"
)

// maxRev is the last revision that a server can hold: it keeps revisions in 63 bits and gives the numbers beyond
// meanings of its own.
const maxRev = math.MaxInt64

// Append adds events to one stream in one call. When the server finds the expectation broken, the stream is read where
// the events would lie: a repeat is answered with the first answer.
func (l *Log) Append(ctx context.Context, stream string, want events.Expect, evs ...events.Draft) (events.Appended, error) {
	if err := events.CheckAppend(stream, evs); err != nil {
		return events.Appended{}, err
	}
	if err := l.begin(ctx); err != nil {
		return events.Appended{}, err
	}
	defer l.calls.Done()
	c, cancel := l.bound(ctx)
	defer cancel()
	got, err := l.append(c, stream, want, evs)
	return got, l.fault(ctx, err)
}

func (l *Log) append(ctx context.Context, stream string, want events.Expect, evs []events.Draft) (events.Appended, error) {
	if rev, ok := want.Rev(); ok && rev > maxRev {
		return events.Appended{}, l.conflict(ctx, stream, want)
	}
	put := func(cc *grpc.ClientConn) (events.Appended, error) { return l.put(ctx, cc, stream, want, evs) }
	got, err := toLeader(ctx, l, put)
	var away *unreachable
	if errors.Is(err, events.ErrUnavailable) && !errors.As(err, &away) && repeatable(want) && ctx.Err() == nil {
		// The answer was lost, with a connection as a rule. The same append finds out what became of it.
		got, err = toLeader(ctx, l, put)
	}
	var somewhere *nowhere
	if errors.As(err, &somewhere) {
		return l.locate(ctx, stream, somewhere.rev, evs[len(evs)-1].ID)
	}
	var conflict *events.Conflict
	if errors.As(err, &conflict) {
		if first, ok, lookErr := l.repeated(ctx, conflict, evs); lookErr != nil {
			return events.Appended{}, lookErr
		} else if ok {
			return first, nil
		}
	}
	return got, err
}

// locate finds the position of an event whose append was answered without one.
func (l *Log) locate(ctx context.Context, stream string, rev uint64, id events.ID) (events.Appended, error) {
	rs, _, err := l.page(ctx, &query{stream: stream, rev: rev, limit: 1})
	switch {
	case err != nil:
		return events.Appended{}, unavailable("the events were written, and cannot be read: %v", err)
	case len(rs) == 0 || rs[0].ID != id || rs[0].Rev != rev:
		return events.Appended{}, unavailable("the events are not where the server said")
	}
	return events.Appended{Rev: rev, Pos: rs[0].Pos}, nil
}

// repeatable says whether a second append of the same events can be told from the first: the expectation of one that
// was written no longer holds.
func repeatable(want events.Expect) bool {
	_, at := want.Rev()
	return at || want == events.Absent
}

// toLeader makes a call that only the leader takes. It is made again when a node refused it because of that.
func toLeader[T any](ctx context.Context, l *Log, call func(*grpc.ClientConn) (T, error)) (T, error) {
	for attempt := 0; ; attempt++ {
		cc, err := l.writes.conn(ctx)
		if err != nil {
			var none T
			return none, err
		}
		got, err := call(cc)
		var no *notLeader
		if !errors.As(err, &no) || attempt == 2 {
			return got, err
		}
		if err := l.writes.follow(cc, no.addr); err != nil {
			return got, err
		}
	}
}

// leaderOnly asks a node that is not the leader to refuse.
func leaderOnly(ctx context.Context) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "requires-leader", "true")
}

// send makes one append in a call of its own. A broken expectation is a *events.Conflict.
func send(ctx context.Context, cc *grpc.ClientConn, stream string, want events.Expect, evs []events.Draft) (events.Appended, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // also frees what an early return leaves open
	var trailer metadata.MD
	s, err := streams.NewStreamsClient(cc).Append(leaderOnly(ctx), grpc.Trailer(&trailer))
	if err != nil {
		return events.Appended{}, typed(err, trailer, stream)
	}
	err = s.Send(&streams.AppendReq{Content: &streams.AppendReq_Options_{Options: appendOptions(stream, want)}})
	for i := range evs {
		if err != nil {
			break // the reason comes with the answer
		}
		err = s.Send(&streams.AppendReq{Content: &streams.AppendReq_ProposedMessage_{ProposedMessage: proposed(&evs[i])}})
	}
	resp, err := s.CloseAndRecv()
	if err != nil {
		err = typed(err, trailer, stream)
		var wrong *wrongVersion
		if errors.As(err, &wrong) {
			err = &events.Conflict{Stream: stream, Want: want, Got: wrong.got}
		}
		return events.Appended{}, err
	}
	if wrong := resp.GetWrongExpectedVersion(); wrong != nil {
		return events.Appended{}, &events.Conflict{Stream: stream, Want: want, Got: current(wrong)}
	}
	ok := resp.GetSuccess()
	_, known := ok.GetCurrentRevisionOption().(*streams.AppendResp_Success_CurrentRevision)
	switch {
	case !known:
		return events.Appended{}, unavailable("the server did not say where the events are")
	case ok.GetPosition() == nil:
		return events.Appended{}, &nowhere{rev: ok.GetCurrentRevision()}
	}
	return events.Appended{Rev: ok.GetCurrentRevision(), Pos: events.Position(ok.GetPosition().GetCommitPosition())}, nil
}

func current(w *streams.AppendResp_WrongExpectedVersion) events.Expect {
	if _, ok := w.GetCurrentRevisionOption().(*streams.AppendResp_WrongExpectedVersion_CurrentRevision); ok && w.GetCurrentRevision() <= maxRev {
		return events.At(w.GetCurrentRevision())
	}
	return events.Absent
}

func appendOptions(stream string, want events.Expect) *streams.AppendReq_Options {
	o := &streams.AppendReq_Options{StreamIdentifier: &shared.StreamIdentifier{StreamName: []byte(stream)}}
	rev, at := want.Rev()
	switch {
	case at:
		o.ExpectedStreamRevision = &streams.AppendReq_Options_Revision{Revision: rev}
	case want == events.Absent:
		o.ExpectedStreamRevision = &streams.AppendReq_Options_NoStream{NoStream: &shared.Empty{}}
	case want == events.Exists:
		o.ExpectedStreamRevision = &streams.AppendReq_Options_StreamExists{StreamExists: &shared.Empty{}}
	default:
		o.ExpectedStreamRevision = &streams.AppendReq_Options_Any{Any: &shared.Empty{}}
	}
	return o
}

func proposed(d *events.Draft) *streams.AppendReq_ProposedMessage {
	return &streams.AppendReq_ProposedMessage{
		Id: uuid(d.ID), Metadata: systemMetadata(d), CustomMetadata: d.Meta, Data: d.Data,
	}
}

// conflict is the refusal of an expectation that cannot hold, with the stream as it is.
func (l *Log) conflict(ctx context.Context, stream string, want events.Expect) error {
	c := &events.Conflict{Stream: stream, Want: want, Got: events.Absent}
	last, _, err := l.page(ctx, &query{stream: stream, back: true, fromEnd: true, limit: 1})
	switch {
	case errors.Is(err, events.ErrNotFound):
	case err != nil:
		return err
	case len(last) > 0:
		c.Got = events.At(last[0].Rev)
	}
	return c
}

// repeated looks for the events where their expectation would have put them.
func (l *Log) repeated(ctx context.Context, c *events.Conflict, evs []events.Draft) (events.Appended, bool, error) {
	q := &query{stream: c.Stream, limit: len(evs)}
	last, exists := c.Got.Rev()
	rev, at := c.Want.Rev()
	if !exists || at && rev >= last || !at && c.Want != events.Absent {
		return events.Appended{}, false, nil
	}
	if at {
		q.rev = rev + 1
	}
	found := 0
	var first events.Appended
	for found < len(evs) {
		rs, more, err := l.page(ctx, q)
		if errors.Is(err, events.ErrNotFound) {
			return events.Appended{}, false, nil
		}
		if err != nil {
			return events.Appended{}, false, err
		}
		for i := range rs {
			if found == len(evs) || rs[i].ID != evs[found].ID {
				return events.Appended{}, false, nil
			}
			found++
			first = events.Appended{Rev: rs[i].Rev, Pos: rs[i].Pos}
		}
		if found < len(evs) && (!more || len(rs) == 0) {
			return events.Appended{}, false, nil
		}
		q.rev, q.limit = first.Rev+1, len(evs)-found
	}
	return first, true, nil
}

// Delete hides a stream's events.
func (l *Log) Delete(ctx context.Context, stream string, want events.Expect) error {
	if err := events.CheckStream(stream); err != nil {
		return err
	}
	if err := l.begin(ctx); err != nil {
		return err
	}
	defer l.calls.Done()
	c, cancel := l.bound(ctx)
	defer cancel()
	return l.fault(ctx, l.delete(c, stream, want))
}

func (l *Log) delete(ctx context.Context, stream string, want events.Expect) error {
	// A server deletes what is not there without a word.
	last, _, err := l.page(ctx, &query{stream: stream, back: true, fromEnd: true, limit: 1})
	got := events.Absent
	switch {
	case err != nil && !errors.Is(err, events.ErrNotFound):
		return err
	case err == nil && len(last) > 0:
		got = events.At(last[0].Rev)
	}
	if _, at := want.Rev(); at && want != got || want == events.Exists && got == events.Absent || want == events.Absent && got != events.Absent {
		return &events.Conflict{Stream: stream, Want: want, Got: got}
	}
	if got == events.Absent {
		return events.ErrNotFound
	}
	_, err = toLeader(ctx, l, func(cc *grpc.ClientConn) (*streams.DeleteResp, error) {
		var trailer metadata.MD
		resp, err := streams.NewStreamsClient(cc).Delete(leaderOnly(ctx), deleteRequest(stream, want), grpc.Trailer(&trailer))
		return resp, typed(err, trailer, stream)
	})
	var wrong *wrongVersion
	if errors.As(err, &wrong) {
		return &events.Conflict{Stream: stream, Want: want, Got: wrong.got}
	}
	return err
}

func deleteRequest(stream string, want events.Expect) *streams.DeleteReq {
	o := &streams.DeleteReq_Options{StreamIdentifier: &shared.StreamIdentifier{StreamName: []byte(stream)}}
	switch rev, at := want.Rev(); {
	case at:
		o.ExpectedStreamRevision = &streams.DeleteReq_Options_Revision{Revision: rev}
	case want == events.Exists:
		o.ExpectedStreamRevision = &streams.DeleteReq_Options_StreamExists{StreamExists: &shared.Empty{}}
	default:
		o.ExpectedStreamRevision = &streams.DeleteReq_Options_Any{Any: &shared.Empty{}}
	}
	return &streams.DeleteReq{Options: o}
}
