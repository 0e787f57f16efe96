package kurrent

import (
	"context"
	"errors"
	"io"
	"iter"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/shared"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/streams"

	"github.com/shardy-network/orchestrator/events"
)

// A reader takes events in pages, so that a slow one holds no stream of the connection while it works.
const (
	pageEvents = 1024
	pageBytes  = 4 << 20
)

// query asks for one page of a stream, or of the whole log when stream is empty.
type query struct {
	stream  string
	rev     uint64          // of a stream: the first to read
	after   events.Position // of the whole log: the last not to read
	before  events.Position // the same, backwards
	back    bool
	fromEnd bool
	limit   int // events; 0: a full page
}

// size is how many events to ask for.
func (q *query) size() int {
	if q.limit > 0 && q.limit < pageEvents {
		return q.limit
	}
	return pageEvents
}

// page reads one page and says whether there may be more. With an error comes what was good before it. The whole log's
// page is not filtered.
func (l *Log) page(ctx context.Context, q *query) (rs []events.Record, more bool, err error) {
	select {
	case l.slots <- struct{}{}:
		defer func() { <-l.slots }()
	case <-ctx.Done():
		return rs, false, unavailable("too many reads")
	}
	cc, err := l.reads.conn(ctx)
	if err != nil {
		return rs, false, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var trailer metadata.MD
	s, err := streams.NewStreamsClient(cc).Read(l.preferring(ctx), q.request(), grpc.Trailer(&trailer))
	if err != nil {
		return rs, false, typed(err, trailer, q.stream)
	}
	size, seen := 0, 0
	for {
		resp, err := s.Recv()
		if errors.Is(err, io.EOF) {
			return rs, seen >= q.size(), nil
		}
		if err != nil {
			err = typed(err, trailer, q.stream)
			var no *notLeader
			if errors.As(err, &no) {
				err = errors.Join(err, l.reads.follow(cc, no.addr))
			}
			return rs, false, err
		}
		if resp.GetStreamNotFound() != nil {
			return rs, false, events.ErrNotFound
		}
		if resp.GetEvent() == nil {
			continue // news of newer servers
		}
		r, err := record(resp.GetEvent())
		if err != nil {
			return rs, false, err
		}
		seen++
		if q.stream == "" && (!q.back && r.Pos <= q.after || q.back && !q.fromEnd && r.Pos >= q.before) {
			continue // a server may begin with the event that was asked from
		}
		rs = append(rs, r)
		if size += len(r.Data) + len(r.Meta); size >= pageBytes {
			return rs, true, nil
		}
	}
}

// preferring asks for the leader if the connection string does.
func (l *Log) preferring(ctx context.Context) context.Context {
	if l.reads.dialer.cfg.NodePreference == "Leader" {
		return leaderOnly(ctx)
	}
	return ctx
}

func (q *query) request() *streams.ReadReq {
	o := &streams.ReadReq_Options{
		FilterOption: &streams.ReadReq_Options_NoFilter{NoFilter: &shared.Empty{}},
		UuidOption:   &streams.ReadReq_Options_UUIDOption{Content: &streams.ReadReq_Options_UUIDOption_Structured{Structured: &shared.Empty{}}},
	}
	count := uint64(q.size())
	if q.back {
		o.ReadDirection = streams.ReadReq_Options_Backwards
	} else if q.stream == "" && q.after > 0 {
		count++ // the one that is skipped
	}
	o.CountOption = &streams.ReadReq_Options_Count{Count: count}
	if q.stream == "" {
		o.StreamOption = allFrom(max(q.after, q.before), q.fromEnd || q.before == maxRev)
		return &streams.ReadReq{Options: o}
	}
	so := &streams.ReadReq_Options_StreamOptions{StreamIdentifier: &shared.StreamIdentifier{StreamName: []byte(q.stream)}}
	if q.fromEnd {
		so.RevisionOption = &streams.ReadReq_Options_StreamOptions_End{End: &shared.Empty{}}
	} else {
		so.RevisionOption = &streams.ReadReq_Options_StreamOptions_Revision{Revision: min(q.rev, maxRev-1)}
	}
	o.StreamOption = &streams.ReadReq_Options_Stream{Stream: so}
	return &streams.ReadReq{Options: o}
}

func allFrom(after events.Position, end bool) *streams.ReadReq_Options_All {
	a := &streams.ReadReq_Options_AllOptions{}
	switch {
	case end:
		a.AllOption = &streams.ReadReq_Options_AllOptions_End{End: &shared.Empty{}}
	case after == 0:
		a.AllOption = &streams.ReadReq_Options_AllOptions_Start{Start: &shared.Empty{}}
	default:
		a.AllOption = &streams.ReadReq_Options_AllOptions_Position{
			Position: &streams.ReadReq_Options_Position{CommitPosition: uint64(after), PreparePosition: uint64(after)},
		}
	}
	return &streams.ReadReq_Options_All{All: a}
}

// Head returns the position of the last event, of the system's own too.
func (l *Log) Head(ctx context.Context) (events.Position, error) {
	if err := l.begin(ctx); err != nil {
		return 0, err
	}
	defer l.calls.Done()
	return l.head(ctx)
}

func (l *Log) head(ctx context.Context) (events.Position, error) {
	last, _, err := l.bounded(ctx, &query{back: true, fromEnd: true, limit: 1})
	if err != nil || len(last) == 0 {
		return 0, err
	}
	return last[0].Pos, nil
}

// bounded reads one page within a call's time. A page whose connection was lost is read again once.
func (l *Log) bounded(ctx context.Context, q *query) ([]events.Record, bool, error) {
	c, cancel := l.bound(ctx)
	defer cancel()
	rs, more, err := l.page(c, q)
	var away *unreachable
	if errors.Is(err, events.ErrUnavailable) && !errors.As(err, &away) && c.Err() == nil {
		rs, more, err = l.page(c, q)
	}
	return rs, more, l.fault(ctx, err)
}

// Read yields a stream's events.
func (l *Log) Read(ctx context.Context, stream string, span events.Span) iter.Seq2[events.Record, error] {
	return func(yield func(events.Record, error) bool) {
		if err := l.begin(ctx); err != nil {
			yield(events.Record{}, err)
			return
		}
		defer l.calls.Done()
		q := &query{stream: stream, rev: span.From, back: span.Back, fromEnd: span.Back, limit: max(span.Limit, 0)}
		for more := true; more; {
			var rs []events.Record
			var err error
			rs, more, err = l.bounded(ctx, q)
			if !l.yieldAll(ctx, rs, yield) {
				return
			}
			if err != nil {
				yield(events.Record{}, err)
				return
			}
			more = more && q.next(rs)
		}
	}
}

// next moves a stream's query behind what was read, and says whether anything is left to read.
func (q *query) next(rs []events.Record) bool {
	if len(rs) == 0 {
		return false
	}
	last := rs[len(rs)-1].Rev
	if q.limit > 0 {
		if q.limit -= len(rs); q.limit <= 0 {
			return false
		}
	}
	q.fromEnd = false
	if q.back {
		q.rev = last - 1
		return last > 0
	}
	q.rev = last + 1
	return true
}

func (l *Log) yieldAll(ctx context.Context, rs []events.Record, yield func(events.Record, error) bool) bool {
	for i := range rs {
		if err := l.ended(ctx); err != nil {
			yield(events.Record{}, err)
			return false
		}
		if !yield(rs[i], nil) {
			return false
		}
	}
	return true
}

// ReadAll yields the events after a position that are there when it begins. It shows deleted streams too.
func (l *Log) ReadAll(ctx context.Context, after events.Position, f events.Filter) iter.Seq2[events.Record, error] {
	return func(yield func(events.Record, error) bool) {
		head, err := l.Head(ctx)
		if err == nil {
			err = l.begin(ctx)
		}
		if err != nil {
			yield(events.Record{}, err)
			return
		}
		defer l.calls.Done()
		q := &query{after: after}
		for more := true; more && q.after < head; {
			var rs []events.Record
			rs, more, err = l.bounded(ctx, q)
			if len(rs) > 0 {
				q.after = rs[len(rs)-1].Pos
			}
			if !l.yieldAll(ctx, until(rs, head, &f), yield) {
				return
			}
			if err != nil {
				yield(events.Record{}, err)
				return
			}
		}
		if err := l.ended(ctx); err != nil {
			yield(events.Record{}, err)
		}
	}
}

// until keeps what lies not beyond head and passes the filter.
func until(rs []events.Record, head events.Position, f *events.Filter) []events.Record {
	kept := rs[:0]
	for _, r := range rs {
		if r.Pos <= head && f.Match(r.Stream, r.Type) {
			kept = append(kept, r)
		}
	}
	return kept
}

// ReadAllBack yields the events before a position that are there when it begins, newest first. It shows deleted
// streams too.
func (l *Log) ReadAllBack(ctx context.Context, before events.Position, f events.Filter) iter.Seq2[events.Record, error] {
	return func(yield func(events.Record, error) bool) {
		if err := l.begin(ctx); err != nil {
			yield(events.Record{}, err)
			return
		}
		defer l.calls.Done()
		q := &query{back: true, before: min(before, maxRev)}
		for more := true; more && q.before > 0; {
			var rs []events.Record
			var err error
			rs, more, err = l.bounded(ctx, q)
			if len(rs) > 0 {
				q.before = rs[len(rs)-1].Pos
			}
			if !l.yieldAll(ctx, until(rs, maxRev, &f), yield) {
				return
			}
			if err != nil {
				yield(events.Record{}, err)
				return
			}
		}
	}
}
