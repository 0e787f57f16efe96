package esdbserver

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"math"

	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/shardy-network/orchestrator/events"
	esdbv1 "github.com/shardy-network/orchestrator/proto/shardy/esdb/v1"
)

const atomicService = "kurrentdb.protocol.v2.streams.StreamsService"

type sessionStream = grpc.GenericServerStream[esdbv1.SessionPart, esdbv1.SessionResponse]

// atomicAppend gathers an append to several streams, in the order in which they are first named. The records of one
// stream stay in their order; between streams there is none.
type atomicAppend struct {
	s     *Server
	ctx   context.Context
	at    map[string]int // of a stream in parts
	parts []events.Batch
	size  load
}

func (s *Server) newAtomic(ctx context.Context) (*atomicAppend, error) {
	if _, ok := s.log.(events.Atomic); !ok {
		return nil, events.ErrUnsupported
	}
	return &atomicAppend{s: s, ctx: ctx, at: make(map[string]int)}, nil
}

// part finds or adds a stream's part, which expects nothing yet.
func (a *atomicAppend) part(stream string) (*events.Batch, error) {
	if i, ok := a.at[stream]; ok {
		return &a.parts[i], nil
	}
	if err := events.CheckStream(stream); err != nil {
		return nil, invalid("%v", err)
	}
	if len(a.parts) == events.MaxAppendParts {
		return nil, invalid("more than %d streams", events.MaxAppendParts)
	}
	a.at[stream] = len(a.parts)
	a.parts = append(a.parts, events.Batch{Stream: stream, Want: events.Any})
	return &a.parts[len(a.parts)-1], nil
}

func (a *atomicAppend) add(stream string, m *esdbv1.AtomicRecord) error {
	if err := a.s.mayAppend(a.ctx, stream); err != nil {
		return err
	}
	p, err := a.part(stream)
	if err != nil {
		return err
	}
	id, err := parseUUID(m.GetRecordId())
	if m.GetRecordId() == "" {
		id, err = newUUID(), nil
	}
	if err != nil {
		return err
	}
	content := contentBinary
	if m.GetSchema().GetFormat() == esdbv1.SchemaInfo_FORMAT_JSON {
		content = contentJSON
	}
	var meta []byte
	if len(m.GetProperties()) > 0 {
		values := make(map[string]any, len(m.GetProperties()))
		for k, v := range m.GetProperties() {
			values[k] = v.AsInterface()
		}
		if meta, err = json.Marshal(values); err != nil {
			return invalid("properties: %v", err)
		}
	}
	a.size.drafts = nil
	err = a.size.add(&esdbv1.ProposedMessage{
		Id: uuidMessage(id, false), Metadata: map[string]string{"type": m.GetSchema().GetName(), "content-type": content},
		CustomMetadata: meta, Data: m.GetData(),
	})
	if err != nil {
		return err
	}
	p.Events = append(p.Events, a.size.drafts[0])
	return nil
}

// append writes all or nothing.
func (a *atomicAppend) append() ([]events.Appended, error) {
	return a.s.log.(events.Atomic).AppendAll(a.ctx, a.parts...)
}

// appendSession appends one part for each message.
func (s *Server) appendSession(ss *sessionStream) error {
	a, err := s.newAtomic(ss.Context())
	if err != nil {
		return err
	}
	for {
		m, err := ss.Recv()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		if _, twice := a.at[m.GetStream()]; twice {
			return invalid("stream %s twice", printable(m.GetStream()))
		}
		p, err := a.part(m.GetStream())
		if err != nil {
			return err
		}
		if m.ExpectedRevision != nil {
			if p.Want, err = stateOf(m.GetExpectedRevision()); err != nil {
				return err
			}
		}
		for _, r := range m.GetRecords() {
			if err := a.add(m.GetStream(), r); err != nil {
				return err
			}
		}
	}
	got, err := a.append()
	var conflict *events.Conflict
	if errors.As(err, &conflict) {
		return detailed(codes.FailedPrecondition, conflict.Error(), "StreamRevisionConflictErrorDetails", &esdbv1.StreamRevisionConflict{
			Stream: conflict.Stream, ExpectedRevision: stateNumber(conflict.Want), ActualRevision: stateNumber(conflict.Got),
		})
	}
	if err != nil {
		return a.refused(err)
	}
	m := &esdbv1.SessionResponse{}
	for i, p := range a.parts {
		if len(p.Events) == 0 {
			continue
		}
		pos := int64(got[i].Pos)
		m.Output = append(m.Output, &esdbv1.SessionPartResponse{Stream: p.Stream, StreamRevision: int64(got[i].Rev), Position: &pos})
		m.Position = max(m.Position, pos)
	}
	return ss.SendMsg(m)
}

// appendRecords appends records of several streams under checks of the same or other streams.
func (s *Server) appendRecords(ctx context.Context, q *esdbv1.AppendRecordsRequest) (*esdbv1.AppendRecordsResponse, error) {
	a, err := s.newAtomic(ctx)
	if err != nil {
		return nil, err
	}
	checks := make(map[string]int)
	for i, c := range q.GetChecks() {
		stream := c.GetStreamState().GetStream()
		if _, twice := checks[stream]; twice {
			return nil, invalid("stream %s is checked twice", printable(stream))
		}
		checks[stream] = i
		p, err := a.part(stream)
		if err != nil {
			return nil, err
		}
		if p.Want, err = stateOf(c.GetStreamState().GetExpectedState()); err != nil {
			return nil, err
		}
	}
	for _, r := range q.GetRecords() {
		if err := a.add(r.GetStream(), r); err != nil {
			return nil, err
		}
	}
	got, err := a.append()
	var conflict *events.Conflict
	if errors.As(err, &conflict) {
		return nil, detailed(codes.FailedPrecondition, conflict.Error(), "AppendConsistencyViolationErrorDetails", &esdbv1.AppendConsistencyViolation{
			Violations: []*esdbv1.ConsistencyViolation{{
				CheckIndex: int32(checks[conflict.Stream]),
				Kind: &esdbv1.ConsistencyViolation_StreamState_{StreamState: &esdbv1.ConsistencyViolation_StreamState{
					Stream: conflict.Stream, ExpectedState: stateNumber(conflict.Want), ActualState: stateNumber(conflict.Got),
				}},
			}},
		})
	}
	if err != nil {
		return nil, a.refused(err)
	}
	m := &esdbv1.AppendRecordsResponse{}
	for i, p := range a.parts {
		if len(p.Events) > 0 {
			m.Revisions = append(m.Revisions, &esdbv1.StreamRevision{Stream: p.Stream, Revision: int64(got[i].Rev)})
			m.Position = max(m.Position, int64(got[i].Pos))
		}
	}
	return m, nil
}

// refused names the stream that has ended, as far as that can be told: the log does not say which one it was.
func (a *atomicAppend) refused(err error) error {
	if !errors.Is(err, events.ErrDeleted) {
		return err
	}
	for _, p := range a.parts {
		if _, _, err := a.s.last(a.ctx, p.Stream); errors.Is(err, events.ErrDeleted) {
			return detailed(codes.FailedPrecondition, "stream "+p.Stream+" is tombstoned", "StreamTombstonedErrorDetails", &esdbv1.StreamTombstoned{Stream: p.Stream})
		}
	}
	return err
}

// stateOf reads an expectation written as a number.
func stateOf(n int64) (events.Expect, error) {
	switch {
	case n >= 0:
		return events.At(uint64(n)), nil
	case n == -1:
		return events.Absent, nil
	case n == -2:
		return events.Any, nil
	case n == -4:
		return events.Exists, nil
	}
	return events.Expect{}, invalid("expected revision %d", n)
}

func stateNumber(e events.Expect) int64 {
	if rev, ok := e.Rev(); ok {
		return int64(min(rev, math.MaxInt64))
	}
	switch e {
	case events.Absent:
		return -1
	case events.Exists:
		return -4
	default:
		return -2
	}
}

// detailed makes a status whose detail newer clients look at.
func detailed(code codes.Code, text, name string, m proto.Message) error {
	b, err := proto.Marshal(m)
	if err != nil {
		return err
	}
	return status.ErrorProto(&spb.Status{Code: int32(code), Message: text, Details: []*anypb.Any{
		{TypeUrl: "type.googleapis.com/kurrentdb.protocol.v2.streams.errors." + name, Value: b},
	}})
}
