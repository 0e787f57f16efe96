package esdbserver

import (
	"context"
	"errors"
	"math"
	"slices"

	"google.golang.org/grpc"

	"github.com/shardy-network/orchestrator/events"
	esdbv1 "github.com/shardy-network/orchestrator/proto/shardy/esdb/v1"
)

type readStream = grpc.GenericServerStream[esdbv1.ReadRequest, esdbv1.ReadResponse]

// reader is one call of Read: what was asked for and where the answers go.
type reader struct {
	s        *Server
	ss       *readStream
	o        *esdbv1.ReadOptions
	text     bool // ids as text
	filter   *filter
	back     bool
	left     uint64 // events that may still be sent
	position bool   // the client knows first and last positions of streams
}

// read answers all kinds of reads: of a stream or of the whole log, both ways, once or for good.
func (s *Server) read(q *esdbv1.ReadRequest, ss *readStream) error {
	o := q.GetOptions()
	if o.GetUuidOption().GetContent() == nil {
		return invalid("how ids are to be written is missing")
	}
	f, err := filterOf(o.GetFilter())
	if err != nil {
		return err
	}
	r := &reader{
		s: s, ss: ss, o: o, filter: f, text: o.GetUuidOption().GetText() != nil,
		back: o.GetDirection() == esdbv1.Direction_DIRECTION_BACKWARDS, left: o.GetCount(),
		position: o.GetControlOption().GetCompatibility() >= 1,
	}
	stream := ""
	switch from := o.GetSource().(type) {
	case *esdbv1.ReadOptions_Stream:
		stream = nameOf(from.Stream.GetStreamIdentifier())
		if err := events.CheckStream(stream); err != nil {
			return invalid("%v", err)
		}
	case *esdbv1.ReadOptions_All:
	default:
		return invalid("what to read is missing")
	}
	switch o.GetAmount().(type) {
	case *esdbv1.ReadOptions_Subscription:
		if r.back {
			return invalid("subscriptions go forwards")
		}
		return named(stream, r.follow(stream))
	case *esdbv1.ReadOptions_Count:
	default:
		return invalid("how much to read is missing")
	}
	if stream == "" {
		return r.all()
	}
	return named(stream, r.stream(stream))
}

// send sends one event.
func (r *reader) send(e *events.Record) error {
	return r.ss.SendMsg(&frame{r: e, text: r.text})
}

// all reads the whole log once. Forwards from a position means with it, backwards without.
func (r *reader) all() error {
	from := uint64(0)
	switch v := r.o.GetAll().GetFrom().(type) {
	case *esdbv1.AllFrom_Position:
		from = v.Position.GetCommitPosition()
	case *esdbv1.AllFrom_End:
		from = math.MaxUint64
	}
	if r.back {
		return r.allBack(events.Position(from))
	}
	ctx, after := r.ss.Context(), events.Position(max(from, 1)-1)
	head, err := r.s.log.Head(ctx)
	if err != nil {
		return err
	}
	var p page
	for r.left > 0 && after < head {
		seen, err := r.s.pageAll(ctx, &p, after)
		if err != nil {
			return err
		}
		for _, e := range p.records {
			if e.Pos > head {
				return nil // newer than the read
			}
			if err := r.count(e); err != nil {
				return err
			}
		}
		after = seen
	}
	return nil
}

// count sends an event if it passes and there is still one wanted.
func (r *reader) count(e *events.Record) error {
	if r.left == 0 || !r.filter.passes(e) {
		return nil
	}
	r.left--
	return r.send(e)
}

func (r *reader) allBack(before events.Position) error {
	back, ok := r.s.log.(events.Backward)
	if !ok {
		return events.ErrUnsupported
	}
	var p page
	for r.left > 0 && before > 0 {
		p.reset()
		atEnd, err := p.fill(back.ReadAllBack(r.ss.Context(), before, r.filter.pushed()))
		if err != nil {
			return err
		}
		for _, e := range p.records {
			before = e.Pos
			if err := r.count(e); err != nil {
				return err
			}
		}
		if atEnd {
			return nil
		}
	}
	return nil
}

// stream reads one stream once.
func (r *reader) stream(stream string) error {
	ctx := r.ss.Context()
	last, ok, err := r.s.last(ctx, stream)
	if err != nil {
		return err
	}
	if !ok {
		return r.ss.SendMsg(&esdbv1.ReadResponse{Content: &esdbv1.ReadResponse_StreamNotFound_{
			StreamNotFound: &esdbv1.ReadResponse_StreamNotFound{StreamIdentifier: identifier(stream)},
		}})
	}
	w, err := r.s.window(ctx, stream)
	if err != nil {
		return err
	}
	from, fromEnd := uint64(0), false
	switch v := r.o.GetStream().GetFrom().(type) {
	case *esdbv1.StreamFrom_Revision:
		from = v.Revision
	case *esdbv1.StreamFrom_End:
		fromEnd = true
	}
	switch {
	case r.back && fromEnd:
		return r.streamBack(ctx, stream, w, last)
	case r.back:
		return r.streamBack(ctx, stream, w, min(from, last))
	case fromEnd:
		from = last + 1
	}
	return r.streamForth(ctx, stream, w, from, last)
}

func (r *reader) streamForth(ctx context.Context, stream string, w window, from, last uint64) error {
	if r.position && w.first > 0 {
		if err := r.ss.SendMsg(&esdbv1.ReadResponse{Content: &esdbv1.ReadResponse_FirstStreamPosition{FirstStreamPosition: w.first}}); err != nil {
			return err
		}
	}
	from = max(from, w.first)
	var p page
	for r.left > 0 && from <= last {
		atEnd, err := r.s.pageStream(ctx, &p, stream, from)
		if err != nil {
			return err
		}
		for _, e := range p.records {
			if from = e.Rev + 1; e.Rev > last || !w.shows(e) {
				continue
			}
			if err := r.count(e); err != nil {
				return err
			}
		}
		if atEnd {
			break
		}
	}
	if r.position && r.left > 0 {
		return r.ss.SendMsg(&esdbv1.ReadResponse{Content: &esdbv1.ReadResponse_LastStreamPosition{LastStreamPosition: last}})
	}
	return nil
}

// streamBack reads backwards from a revision. The log knows backwards from the end alone, so that pages are read
// forwards and turned round.
func (r *reader) streamBack(ctx context.Context, stream string, w window, from uint64) error {
	var p page
	for r.left > 0 && from >= w.first {
		low := max(w.first, from-min(from, pageRecords-1))
		if r.left < pageRecords { // no more than are wanted
			low = max(low, from-min(from, r.left-1))
		}
		begins, err := r.between(ctx, &p, stream, low, from)
		if err != nil {
			return err
		}
		for i := len(p.records) - 1; i >= 0; i-- {
			e := p.records[i]
			if !w.shows(e) {
				return nil
			}
			if err := r.count(e); err != nil {
				return err
			}
			low = e.Rev
		}
		if begins || low == 0 {
			return nil
		}
		from = low - 1
	}
	return nil
}

// between fills a page with the last of the revisions low to high, and says whether there is nothing before them.
func (r *reader) between(ctx context.Context, p *page, stream string, low, high uint64) (begins bool, err error) {
	p.reset()
	begins = true
	for e, err := range r.s.log.Read(ctx, stream, events.Span{From: low, Limit: int(high - low + 1)}) {
		if errors.Is(err, events.ErrNotFound) {
			break
		}
		if err != nil {
			return false, err
		}
		if e.Rev > high {
			break
		}
		if e.Rev == low {
			begins = low == 0
		}
		p.add(&e)
		for len(p.records) > 1 && p.bytes > pageBytes {
			p.bytes -= len(p.records[0].Data) + len(p.records[0].Meta)
			p.records = slices.Delete(p.records, 0, 1)
			begins = false
		}
	}
	return begins, nil
}
