package esdbserver

import (
	"context"
	"errors"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"github.com/shardy-network/orchestrator/events"
	esdbv1 "github.com/shardy-network/orchestrator/proto/shardy/esdb/v1"
)

type appendStream = grpc.GenericServerStream[esdbv1.AppendRequest, esdbv1.AppendResponse]

// append takes one append: what the client expects first, then the events.
func (s *Server) append(ss *appendStream) error {
	m, err := ss.Recv()
	if err == io.EOF {
		return invalid("a call without a message")
	}
	if err != nil {
		return err
	}
	o := m.GetOptions()
	if o == nil {
		return invalid("the first message must hold the options")
	}
	stream := nameOf(o.GetStreamIdentifier())
	want, err := expectOf(o)
	if err != nil {
		return err
	}
	if err := s.mayAppend(ss.Context(), stream); err != nil {
		return err
	}
	var load load
	for {
		m, err := ss.Recv()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		if err := load.add(m.GetProposedMessage()); err != nil {
			return err
		}
	}
	got, err := s.write(ss.Context(), stream, want, load.drafts)
	var conflict *events.Conflict
	switch {
	case errors.As(err, &conflict):
		return ss.SendMsg(&esdbv1.AppendResponse{Result: &esdbv1.AppendResponse_WrongExpectedVersion_{WrongExpectedVersion: conflictMessage(conflict)}})
	case err != nil:
		return named(stream, err)
	}
	return ss.SendMsg(&esdbv1.AppendResponse{Result: &esdbv1.AppendResponse_Success_{Success: got}})
}

// Bounds of what is read of a refused append, so that the client can finish sending: official clients that are cut off
// before that report the end of the stream and not why.
const (
	drainMessages = events.MaxAppendEvents
	drainBytes    = 8 * events.MaxAppendBytes
)

func drain(ss grpc.ServerStream) {
	size := 0
	for range drainMessages {
		var m esdbv1.AppendRequest
		if ss.RecvMsg(&m) != nil {
			return
		}
		p := m.GetProposedMessage()
		if size += len(p.GetData()) + len(p.GetCustomMetadata()); size > drainBytes {
			return
		}
	}
}

// named gives the stream's name to a refusal that needs one.
func named(stream string, err error) error {
	if t := translate(stream, err); t != nil {
		return t
	}
	return err
}

func (s *Server) mayAppend(ctx context.Context, stream string) error {
	if err := events.CheckStream(stream); err != nil {
		return invalid("%v", err)
	}
	return s.mayWrite(ctx, stream)
}

// write appends and answers in the client's terms. A stream's end is moved by its metadata too.
func (s *Server) write(ctx context.Context, stream string, want events.Expect, drafts []events.Draft) (*esdbv1.AppendResponse_Success, error) {
	if len(drafts) == 0 {
		return s.check(ctx, stream, want)
	}
	got, err := s.log.Append(ctx, stream, want, drafts...)
	if err != nil {
		return nil, err
	}
	if of, ok := metadataOf(stream); ok && softDeletes(drafts) {
		if err := s.log.Delete(ctx, of, events.Any); err != nil && !errors.Is(err, events.ErrNotFound) {
			return nil, err
		}
	}
	return &esdbv1.AppendResponse_Success{
		Current: &esdbv1.AppendResponse_Success_CurrentRevision{CurrentRevision: got.Rev},
		Place:   &esdbv1.AppendResponse_Success_Position{Position: place(got.Pos)},
	}, nil
}

// check answers an append of nothing: it holds when the expectation does.
func (s *Server) check(ctx context.Context, stream string, want events.Expect) (*esdbv1.AppendResponse_Success, error) {
	got := events.Absent
	for r, err := range s.log.Read(ctx, stream, events.Span{Back: true, Limit: 1}) {
		if err != nil && !errors.Is(err, events.ErrNotFound) {
			return nil, err
		}
		if err == nil {
			got = events.At(r.Rev)
		}
	}
	rev, exists := got.Rev()
	if want != events.Any && want != got && (want != events.Exists || !exists) {
		return nil, &events.Conflict{Stream: stream, Want: want, Got: got}
	}
	a := &esdbv1.AppendResponse_Success{
		Current: &esdbv1.AppendResponse_Success_NoStream{NoStream: &esdbv1.Empty{}},
		Place:   &esdbv1.AppendResponse_Success_NoPosition{NoPosition: &esdbv1.Empty{}},
	}
	if exists {
		a.Current = &esdbv1.AppendResponse_Success_CurrentRevision{CurrentRevision: rev}
	}
	return a, nil
}

// load is what a client has sent of one append, bounded as it comes in.
type load struct {
	drafts []events.Draft
	bytes  int
}

func (l *load) add(m *esdbv1.ProposedMessage) error {
	if m == nil {
		return invalid("a message without an event")
	}
	d, err := draftOf(m)
	if err != nil {
		return err
	}
	l.bytes += len(d.Data) + len(d.Meta)
	if l.bytes > events.MaxAppendBytes || len(l.drafts) >= events.MaxAppendEvents {
		return tooLarge()
	}
	l.drafts = append(l.drafts, d)
	return nil
}

func draftOf(m *esdbv1.ProposedMessage) (events.Draft, error) {
	typ, content := m.GetMetadata()["type"], m.GetMetadata()["content-type"]
	if typ == "" || content == "" {
		return events.Draft{}, refuse(codes.InvalidArgument, "Required Metadata Property 'type' or 'content-type' is missing",
			"exception", "missing-required-metadata-property", "required-metadata-properties", "type,content-type")
	}
	id, err := uuidOf(m.GetId())
	if err != nil {
		return events.Draft{}, err
	}
	if id == (events.ID{}) {
		return events.Draft{}, invalid("an event without an id")
	}
	if typ == typeTombstone {
		return events.Draft{}, invalid("events of type %s are the server's own", typ)
	}
	return events.Draft{ID: id, Type: typ, JSON: content == contentJSON, Data: m.GetData(), Meta: m.GetCustomMetadata()}, nil
}

func expectOf(o *esdbv1.StreamExpectation) (events.Expect, error) {
	switch v := o.GetExpected().(type) {
	case *esdbv1.StreamExpectation_Revision:
		return events.At(v.Revision), nil
	case *esdbv1.StreamExpectation_NoStream:
		return events.Absent, nil
	case *esdbv1.StreamExpectation_StreamExists:
		return events.Exists, nil
	case *esdbv1.StreamExpectation_Any:
		return events.Any, nil
	default:
		return events.Expect{}, invalid("no expected revision")
	}
}

func conflictMessage(c *events.Conflict) *esdbv1.AppendResponse_WrongExpectedVersion {
	type wrong = esdbv1.AppendResponse_WrongExpectedVersion
	m := &wrong{Current: &esdbv1.AppendResponse_WrongExpectedVersion_CurrentNoStream{CurrentNoStream: &esdbv1.Empty{}}}
	if rev, ok := c.Got.Rev(); ok {
		m.Current = &esdbv1.AppendResponse_WrongExpectedVersion_CurrentRevision{CurrentRevision: rev}
	}
	rev, ok := c.Want.Rev()
	switch {
	case ok:
		m.Expected = &esdbv1.AppendResponse_WrongExpectedVersion_ExpectedRevision{ExpectedRevision: rev}
	case c.Want == events.Absent:
		m.Expected = &esdbv1.AppendResponse_WrongExpectedVersion_ExpectedNoStream{ExpectedNoStream: &esdbv1.Empty{}}
	case c.Want == events.Exists:
		m.Expected = &esdbv1.AppendResponse_WrongExpectedVersion_ExpectedStreamExists{ExpectedStreamExists: &esdbv1.Empty{}}
	default:
		m.Expected = &esdbv1.AppendResponse_WrongExpectedVersion_ExpectedAny{ExpectedAny: &esdbv1.Empty{}}
	}
	return m
}
