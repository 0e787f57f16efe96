package esdbserver

import (
	"context"
	"errors"

	"github.com/shardy-network/orchestrator/events"
	esdbv1 "github.com/shardy-network/orchestrator/proto/shardy/esdb/v1"
)

// delete hides a stream's events. Deleting what is not there is no error, as with EventStoreDB, unless the client
// expected something.
func (s *Server) delete(ctx context.Context, q *esdbv1.DeleteRequest) (*esdbv1.DeleteResponse, error) {
	stream, want, err := s.toEnd(ctx, q)
	if err != nil {
		return nil, err
	}
	err = s.log.Delete(ctx, stream, want)
	if errors.Is(err, events.ErrNotFound) && (want == events.Any || want == events.Absent) {
		err = nil
	}
	if err != nil {
		return nil, ended("Delete", stream, err)
	}
	head, err := s.log.Head(ctx)
	if err != nil {
		return nil, err
	}
	return deletedAt(head), nil
}

// tombstone ends a stream for good.
func (s *Server) tombstone(ctx context.Context, q *esdbv1.DeleteRequest) (*esdbv1.DeleteResponse, error) {
	stream, want, err := s.toEnd(ctx, q)
	if err != nil {
		return nil, err
	}
	t, ok := s.log.(events.Tombstoner)
	if !ok {
		return nil, events.ErrUnsupported
	}
	got, err := t.Tombstone(ctx, stream, want, events.Draft{ID: newUUID(), Type: typeTombstone, JSON: true, Data: []byte("{}")})
	if err != nil {
		return nil, ended("Tombstone", stream, err)
	}
	return deletedAt(got.Pos), nil
}

func (s *Server) toEnd(ctx context.Context, q *esdbv1.DeleteRequest) (string, events.Expect, error) {
	stream := nameOf(q.GetOptions().GetStreamIdentifier())
	if err := s.mayAppend(ctx, stream); err != nil {
		return "", events.Expect{}, err
	}
	want, err := expectOf(q.GetOptions())
	return stream, want, err
}

func ended(what, stream string, err error) error {
	var conflict *events.Conflict
	switch {
	case errors.As(err, &conflict):
		return wrongVersion(what, conflict)
	case errors.Is(err, events.ErrNotFound):
		return wrongVersion(what, &events.Conflict{Stream: stream, Want: events.Exists, Got: events.Absent})
	}
	return named(stream, err)
}

func deletedAt(p events.Position) *esdbv1.DeleteResponse {
	return &esdbv1.DeleteResponse{Place: &esdbv1.DeleteResponse_Position{Position: place(p)}}
}
