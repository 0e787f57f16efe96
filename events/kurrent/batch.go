package kurrent

import (
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/shared"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/streams"

	"github.com/shardy-network/orchestrator/events"
)

// correlation is the id by which the answer to the n-th append of a lane is known.
func correlation(n uint64) events.ID {
	var id events.ID
	for i := range 8 {
		id[15-i] = byte(n >> (8 * i))
	}
	id[6], id[8] = 0x80, id[8]|0x80 // a UUID of its own kind
	return id
}

// number is the n of a correlation; a lane does not live to see 2^56 of them.
func number(id events.ID) (n uint64) {
	for _, b := range id[9:] {
		n = n<<8 | uint64(b)
	}
	return n
}

func batchRequest(n uint64, stream string, want events.Expect, evs []events.Draft) *streams.BatchAppendReq {
	o := &streams.BatchAppendReq_Options{StreamIdentifier: &shared.StreamIdentifier{StreamName: []byte(stream)}}
	switch rev, at := want.Rev(); {
	case at:
		o.ExpectedStreamPosition = &streams.BatchAppendReq_Options_StreamPosition{StreamPosition: rev}
	case want == events.Absent:
		o.ExpectedStreamPosition = &streams.BatchAppendReq_Options_NoStream{NoStream: &emptypb.Empty{}}
	case want == events.Exists:
		o.ExpectedStreamPosition = &streams.BatchAppendReq_Options_StreamExists{StreamExists: &emptypb.Empty{}}
	default:
		o.ExpectedStreamPosition = &streams.BatchAppendReq_Options_Any{Any: &emptypb.Empty{}}
	}
	req := &streams.BatchAppendReq{
		CorrelationId: uuid(correlation(n)), Options: o, IsFinal: true,
		ProposedMessages: make([]*streams.BatchAppendReq_ProposedMessage, len(evs)),
	}
	for i := range evs {
		d := &evs[i]
		req.ProposedMessages[i] = &streams.BatchAppendReq_ProposedMessage{
			Id: uuid(d.ID), Metadata: systemMetadata(d), CustomMetadata: d.Meta, Data: d.Data,
		}
	}
	return req
}

// read is the answer in the words of the log.
func (p *parcel) read(resp *streams.BatchAppendResp) answer {
	if ok := resp.GetSuccess(); ok != nil {
		_, known := ok.GetCurrentRevisionOption().(*streams.BatchAppendResp_Success_CurrentRevision)
		switch {
		case !known:
			return answer{err: unavailable("the server did not say where the events are")}
		case ok.GetPosition() == nil:
			return answer{err: &nowhere{rev: ok.GetCurrentRevision()}}
		}
		return answer{at: events.Appended{Rev: ok.GetCurrentRevision(), Pos: events.Position(ok.GetPosition().GetCommitPosition())}}
	}
	s := resp.GetError()
	if s == nil {
		return answer{err: unavailable("the server gave an empty answer")}
	}
	var detail proto.Message
	if all := s.GetDetails(); len(all) > 0 {
		detail, _ = all[0].UnmarshalNew() // one that is not known says nothing
	}
	switch d := detail.(type) {
	case *shared.WrongExpectedVersion:
		got := events.Absent
		if _, ok := d.GetCurrentStreamRevisionOption().(*shared.WrongExpectedVersion_CurrentStreamRevision); ok && d.GetCurrentStreamRevision() <= maxRev {
			got = events.At(d.GetCurrentStreamRevision())
		}
		return answer{err: &events.Conflict{Stream: p.stream, Want: p.want, Got: got}}
	case *shared.StreamDeleted:
		return answer{err: fmt.Errorf("%w: %q", events.ErrDeleted, p.stream)}
	case *shared.AccessDenied:
		return answer{err: fmt.Errorf("%w: %s", events.ErrDenied, s.GetMessage())}
	case *shared.MaximumAppendSizeExceeded:
		return answer{err: fmt.Errorf("%w: limit %d", events.ErrTooLarge, d.GetMaxAppendSize())}
	case *shared.BadRequest:
		return answer{err: fmt.Errorf("%w: %s", events.ErrInvalid, d.GetMessage())}
	}
	return answer{err: typed(status.Error(codes.Code(s.GetCode()), s.GetMessage()), nil, p.stream)}
}
