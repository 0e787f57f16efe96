package esdbserver

import (
	"context"
	"errors"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/shardy-network/orchestrator/events"
	esdbv1 "github.com/shardy-network/orchestrator/proto/shardy/esdb/v1"
)

// subscribe counts a follower in, unless there are too many.
func (s *Server) subscribe() (leave func(), err error) {
	if s.subs.Add(1) > int64(s.cfg.MaxSubscriptions) {
		s.subs.Add(-1)
		return nil, refuse(codes.ResourceExhausted, "too many subscriptions")
	}
	return func() { s.subs.Add(-1) }, nil
}

// ending returns a context that ends with the server too.
func (s *Server) ending(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(s.end, cancel)
	return ctx, func() { stop(); cancel() }
}

// follow confirms a subscription and serves it until the client or the server ends it.
func (r *reader) follow(stream string) error {
	leave, err := r.s.subscribe()
	if err != nil {
		return err
	}
	defer leave()
	if err := r.s.hub.start(); err != nil {
		return err
	}
	err = r.ss.SendMsg(&esdbv1.ReadResponse{Content: &esdbv1.ReadResponse_Confirmation{
		Confirmation: &esdbv1.ReadResponse_SubscriptionConfirmation{SubscriptionId: newUUID().String()},
	}})
	if err != nil {
		return err
	}
	ctx, cancel := r.s.ending(r.ss.Context())
	defer cancel()
	if stream == "" {
		return r.followAll(ctx)
	}
	return r.followStream(ctx, stream)
}

// standing is where a follower of the whole log stands.
type standing struct {
	pos      events.Position
	searched int
}

// followAll sends what comes after the client's position.
func (r *reader) followAll(ctx context.Context) error {
	var at standing
	switch v := r.o.GetAll().GetFrom().(type) {
	case *esdbv1.AllFrom_Position:
		at.pos = events.Position(v.Position.GetCommitPosition())
	case *esdbv1.AllFrom_End:
		head, err := r.s.log.Head(ctx)
		if err != nil {
			return err
		}
		at.pos = head
	}
	caught := false
	var p page
	for {
		seen, news, err := r.s.hub.after(&p, at.pos)
		if errors.Is(err, errBehind) {
			seen, err = r.s.pageAll(ctx, &p, at.pos)
		}
		if err != nil {
			return err
		}
		for i, e := range p.records {
			p.records[i] = nil // a slow client keeps only what is still to be sent
			if err := r.pass(&at, e); err != nil {
				return err
			}
		}
		at.pos = seen
		if news == nil {
			continue
		}
		if !caught {
			caught = true
			if err := r.caughtUp(&esdbv1.ReadResponse_CaughtUp{Position: place(at.pos)}); err != nil {
				return err
			}
		}
		if err := wait(ctx, news); err != nil {
			return err
		}
	}
}

// pass sends an event or passes it over, and tells the client its place from time to time.
func (r *reader) pass(at *standing, e *events.Record) error {
	if r.filter.passes(e) {
		if err := r.send(e); err != nil {
			return err
		}
	}
	if r.filter == nil {
		return nil
	}
	if at.searched++; at.searched < r.filter.gap {
		return nil
	}
	at.searched = 0
	return r.ss.SendMsg(&esdbv1.ReadResponse{Content: &esdbv1.ReadResponse_Checkpoint{Checkpoint: place(e.Pos)}})
}

// followStream sends what comes after the client's revision: first from the stream, then what the hub sees of it.
func (r *reader) followStream(ctx context.Context, stream string) error {
	next := uint64(0)
	switch v := r.o.GetStream().GetFrom().(type) {
	case *esdbv1.StreamFrom_Revision:
		next = v.Revision + 1
	case *esdbv1.StreamFrom_End:
		last, ok, err := r.s.last(ctx, stream)
		if err != nil {
			return err
		}
		if ok {
			next = last + 1
		}
	}
	caught := false
	var p page
	for {
		pos, err := r.history(ctx, &p, stream, &next)
		if err != nil {
			return err
		}
		if !caught {
			caught = true
			c := &esdbv1.ReadResponse_CaughtUp{}
			if rev := int64(next) - 1; next > 0 {
				c.StreamRevision = &rev
			}
			if err := r.caughtUp(c); err != nil {
				return err
			}
		}
		if err := r.live(ctx, &p, stream, &next, pos); !errors.Is(err, errBehind) {
			return err
		}
	}
}

// history sends a stream's events to its end, and returns a position by which that end was seen.
func (r *reader) history(ctx context.Context, p *page, stream string, next *uint64) (events.Position, error) {
	w, err := r.s.window(ctx, stream)
	if err != nil {
		return 0, err
	}
	for {
		head, err := r.s.log.Head(ctx)
		if err != nil {
			return 0, err
		}
		*next = max(*next, w.first)
		atEnd, err := r.s.pageStream(ctx, p, stream, *next)
		if err != nil {
			return 0, err
		}
		for i, e := range p.records {
			p.records[i] = nil
			*next = e.Rev + 1
			if !w.shows(e) {
				continue
			}
			if err := r.send(e); err != nil {
				return 0, err
			}
		}
		if atEnd {
			return head, nil
		}
	}
}

// live sends a stream's events as the hub sees them, until it falls behind.
func (r *reader) live(ctx context.Context, p *page, stream string, next *uint64, pos events.Position) error {
	for {
		seen, news, err := r.s.hub.after(p, pos)
		if err != nil {
			return err
		}
		for i, e := range p.records {
			p.records[i] = nil
			if e.Stream != stream || e.Rev < *next {
				continue
			}
			if e.Type == typeTombstone {
				return streamDeleted(stream)
			}
			*next = e.Rev + 1
			if err := r.send(e); err != nil {
				return err
			}
		}
		pos = seen
		if news != nil {
			if err := wait(ctx, news); err != nil {
				return err
			}
		}
	}
}

// caughtUp tells the client, once, that it has seen what there was.
func (r *reader) caughtUp(c *esdbv1.ReadResponse_CaughtUp) error {
	c.Timestamp = timestamppb.New(time.Now())
	return r.ss.SendMsg(&esdbv1.ReadResponse{Content: &esdbv1.ReadResponse_CaughtUp_{CaughtUp: c}})
}

func wait(ctx context.Context, news <-chan struct{}) error {
	select {
	case <-news:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
