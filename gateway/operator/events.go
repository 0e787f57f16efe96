package operator

import (
	"context"
	"fmt"
	"iter"
	"strings"

	"connectrpc.com/connect"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/events"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

const (
	eventBatch      = 256     // events of one response
	eventBatchBytes = 1 << 20 // of their data and metadata
	maxTypes        = 64      // prefixes of one request
)

// ReadEvents streams a stream's events, or those of the whole log; with follow it then waits for more. A client reads
// the streams of its own jobs and pipelines alone.
func (a *API) ReadEvents(ctx context.Context, req *operatorv1.ReadEventsRequest, out *connect.ServerStream[operatorv1.ReadEventsResponse]) error {
	c := callerOf(ctx)
	if err := a.checkEvents(ctx, c, req); err != nil {
		return err
	}
	reading, cancel := context.WithCancel(ctx)
	defer cancel()
	source := a.source(reading, req)
	ticks := make(chan events.Tick, eventBatch)
	failed := make(chan error, 1)
	go func() { // ends with reading or the source; its error is read after ticks is closed
		defer close(ticks)
		for t, err := range source {
			if err != nil {
				failed <- err
				return
			}
			select {
			case ticks <- t:
			case <-reading.Done():
				return
			}
		}
	}()
	s := &eventSender{redactor: newRedactor(a, c), limit: int(req.Limit), out: out}
	err := s.drain(ctx, ticks)
	cancel()
	for range ticks { // wait for the goroutine's end
	}
	if err != nil || s.full() {
		return err
	}
	select {
	case err := <-failed:
		return err
	default:
		return context.Cause(ctx)
	}
}

func (a *API) checkEvents(ctx context.Context, c *caller, req *operatorv1.ReadEventsRequest) error {
	switch {
	case len(req.Stream) > events.MaxStreamName:
		return refuse("stream", "too long")
	case len(req.Types) > maxTypes:
		return refuse("types", "too many")
	case req.Stream != "" && (req.After != 0 || len(req.Types) > 0):
		return refuse("after", "belongs to the whole log, like types")
	case req.Stream == "" && req.From != 0:
		return refuse("from", "belongs to one stream")
	}
	for _, t := range req.Types {
		if t == "" || len(t) > events.MaxTypeName {
			return refuse("types", "a prefix has 1 to 128 bytes")
		}
	}
	if c.role != Client {
		return nil
	}
	return a.ownsStream(ctx, c, req.Stream)
}

// ownsStream refuses a stream that is not of the client's own work.
func (a *API) ownsStream(ctx context.Context, c *caller, stream string) error {
	room, id, _ := strings.Cut(stream, "-")
	switch room {
	case actors.JobRoom:
		_, err := a.jobSpec(ctx, c, id)
		return err
	case actors.AssignmentRoom:
		job, _, err := actors.ParseSlotID(id)
		if err != nil {
			return refuse("stream", "malformed")
		}
		_, err = a.jobSpec(ctx, c, job)
		return err
	case actors.PipelineRoom:
		_, err := a.readPipeline(ctx, c, id)
		return err
	default:
		return errRole
	}
}

// source is where the events come from. A followed stream is read to its end, then the log's tail goes on behind it.
func (a *API) source(ctx context.Context, req *operatorv1.ReadEventsRequest) iter.Seq2[events.Tick, error] {
	all := events.Filter{Types: req.Types}
	switch {
	case req.Stream == "" && req.Follow:
		return a.deps.Log.Tail(ctx, events.Position(req.After), all)
	case req.Stream == "":
		return asTicks(a.deps.Log.ReadAll(ctx, events.Position(req.After), all))
	case !req.Follow:
		return asTicks(a.deps.Log.Read(ctx, req.Stream, events.Span{From: req.From, Limit: int(req.Limit)}))
	}
	return func(yield func(events.Tick, error) bool) {
		place, err := a.deps.Log.Head(ctx)
		if err != nil {
			yield(events.Tick{}, err)
			return
		}
		for t, err := range asTicks(a.deps.Log.Read(ctx, req.Stream, events.Span{From: req.From})) {
			if !yield(t, err) || err != nil {
				return
			}
			place = max(place, t.Pos)
		}
		for t, err := range a.deps.Log.Tail(ctx, place, events.Filter{Streams: []string{req.Stream}}) {
			if t.Event != nil && t.Event.Stream != req.Stream { // the filter is a prefix
				continue
			}
			if !yield(t, err) || err != nil {
				return
			}
		}
	}
}

func asTicks(records iter.Seq2[events.Record, error]) iter.Seq2[events.Tick, error] {
	return func(yield func(events.Tick, error) bool) {
		for r, err := range records {
			if !yield(events.Tick{Event: &r, Pos: r.Pos}, err) {
				return
			}
		}
	}
}

// eventSender gathers events into responses: as many as are there, without waiting for more.
type eventSender struct {
	*redactor
	limit int // 0: none
	sent  int
	live  bool
	out   *connect.ServerStream[operatorv1.ReadEventsResponse]
}

func (s *eventSender) full() bool { return s.limit > 0 && s.sent >= s.limit }

func (s *eventSender) drain(ctx context.Context, ticks <-chan events.Tick) error {
	for t := range ticks {
		res, size := &operatorv1.ReadEventsResponse{}, 0
		for more := true; more; {
			n, err := s.add(ctx, res, t)
			if err != nil {
				return err
			}
			if size += n; s.full() || len(res.Events) >= eventBatch || size >= eventBatchBytes {
				break
			}
			select {
			case t, more = <-ticks:
			default:
				more = false
			}
		}
		if len(res.Events) == 0 && res.Live == s.live {
			continue
		}
		s.live = res.Live
		if err := s.out.Send(res); err != nil {
			return err
		}
		if s.full() {
			return nil
		}
	}
	return nil
}

// add puts a tick into the response and returns its size.
func (s *eventSender) add(ctx context.Context, res *operatorv1.ReadEventsResponse, t events.Tick) (int, error) {
	res.Live = t.Live
	if t.Event == nil {
		return 0, nil
	}
	e, err := s.event(ctx, *t.Event)
	if err != nil {
		return 0, fmt.Errorf("%s/%d: %w", t.Event.Stream, t.Event.Rev, err)
	}
	res.Events = append(res.Events, e)
	s.sent++
	return len(e.Data) + len(e.Meta) + len(e.DataJson) + len(e.MetaJson), nil
}
