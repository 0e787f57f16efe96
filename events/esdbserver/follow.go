package esdbserver

import (
	"context"
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
	ctx, cancel := r.s.ending(r.ss.Context())
	defer cancel()
	c, err := r.begin(ctx, stream)
	if err != nil {
		return err
	}
	err = r.ss.SendMsg(&esdbv1.ReadResponse{Content: &esdbv1.ReadResponse_Confirmation{
		Confirmation: &esdbv1.ReadResponse_SubscriptionConfirmation{SubscriptionId: newUUID().String()},
	}})
	if err != nil {
		return err
	}
	return r.pump(ctx, c)
}

// begin finds where the client wants to begin. A place that it names was seen by it.
func (r *reader) begin(ctx context.Context, stream string) (*cursor, error) {
	c := &cursor{s: r.s, stream: stream}
	if stream == "" {
		switch v := r.o.GetAll().GetFrom().(type) {
		case *esdbv1.AllFrom_Position:
			c.pos = events.Position(v.Position.GetCommitPosition())
		case *esdbv1.AllFrom_End:
			return c, c.toHead(ctx)
		}
		return c, nil
	}
	switch v := r.o.GetStream().GetFrom().(type) {
	case *esdbv1.StreamFrom_Revision:
		if c.next = v.Revision + 1; c.next == 0 {
			return nil, invalid("revision out of range")
		}
	case *esdbv1.StreamFrom_End:
		return c, c.toHead(ctx)
	}
	return c, nil
}

// toHead moves a new cursor to the end.
func (c *cursor) toHead(ctx context.Context) (err error) {
	if c.pos, err = c.s.log.Head(ctx); err != nil || c.stream == "" {
		return err
	}
	last, ok, err := c.s.last(ctx, c.stream)
	if ok {
		c.next = last + 1
	}
	c.live = true
	return err
}

// pump sends what the cursor finds, at the pace of the client.
func (r *reader) pump(ctx context.Context, c *cursor) error {
	caught, searched := false, 0
	var p page
	for {
		news, err := c.read(ctx, &p)
		if err != nil {
			return err
		}
		for i, e := range p.records {
			p.records[i] = nil // a slow client keeps only what is still to be sent
			if err := r.pass(e, &searched); err != nil {
				return err
			}
		}
		if news == nil {
			if err := ctx.Err(); err != nil {
				return err
			}
			continue
		}
		if !caught {
			caught = true
			if err := r.caughtUp(c); err != nil {
				return err
			}
		}
		select {
		case <-news:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// pass sends an event or passes it over, and tells the client its place from time to time.
func (r *reader) pass(e *events.Record, searched *int) error {
	if r.filter.passes(e) {
		if err := r.send(e); err != nil {
			return err
		}
	}
	if r.filter == nil {
		return nil
	}
	if *searched++; *searched < r.filter.gap {
		return nil
	}
	*searched = 0
	return r.ss.SendMsg(&esdbv1.ReadResponse{Content: &esdbv1.ReadResponse_Checkpoint{Checkpoint: place(e.Pos)}})
}

// caughtUp tells the client, once, that it has seen what there was.
func (r *reader) caughtUp(c *cursor) error {
	m := &esdbv1.ReadResponse_CaughtUp{Timestamp: timestamppb.New(time.Now())}
	if c.stream == "" {
		m.Position = place(c.pos)
	} else if rev := int64(c.next) - 1; c.next > 0 {
		m.StreamRevision = &rev
	}
	return r.ss.SendMsg(&esdbv1.ReadResponse{Content: &esdbv1.ReadResponse_CaughtUp_{CaughtUp: m}})
}
