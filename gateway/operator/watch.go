package operator

import (
	"context"
	"time"

	"connectrpc.com/connect"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/events"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

// maxFlush is how many updates travel in one response.
const maxFlush = 1024

type jobStream = connect.ServerStream[operatorv1.WatchJobsResponse]

// WatchJobs first subscribes and says so with an empty response, then sends how the named jobs stand, then every
// verdict, cancellation, discard and requeue. Between subscribing and reading nothing is lost; an update may be told
// twice. A watcher that lags too far behind is ended with CodeResourceExhausted.
func (a *API) WatchJobs(ctx context.Context, req *operatorv1.WatchJobsRequest, out *jobStream) error {
	if len(req.Ids) > MaxWatched {
		return refuse("ids", "at most 10,000")
	}
	c := callerOf(ctx)
	for _, id := range req.Ids {
		if err := events.CheckEntityID(id); err != nil {
			return err
		}
	}
	if len(req.Ids) == 0 && c.role == Client {
		a.tenants.readers.Add(1)
		defer a.tenants.readers.Add(-1)
	}
	w, end := a.hub.watchJobs(req.Ids)
	defer end()
	if err := out.Send(&operatorv1.WatchJobsResponse{}); err != nil {
		return err
	}
	if err := a.sendStates(ctx, c, req.Ids, out); err != nil {
		return err
	}
	s := &jobSender{api: a, caller: c, all: len(req.Ids) == 0, out: out}
	return s.follow(ctx, w)
}

// sendStates tells how the named jobs stand. A job that does not exist for the caller ends the watch.
func (a *API) sendStates(ctx context.Context, c *caller, ids []string, out *jobStream) error {
	for len(ids) > 0 {
		part := ids[:min(len(ids), maxFlush)]
		ids = ids[len(part):]
		res := &operatorv1.WatchJobsResponse{Updates: make([]*operatorv1.JobUpdate, 0, len(part))}
		for _, id := range part {
			u, err := a.jobState(ctx, c, id)
			if err != nil {
				return err
			}
			res.Updates = append(res.Updates, c.mayRead(u))
		}
		if err := out.Send(res); err != nil {
			return err
		}
	}
	return nil
}

// jobState reads a job's first fact, for its tenant, and its last, for its state.
func (a *API) jobState(ctx context.Context, c *caller, id string) (*operatorv1.JobUpdate, error) {
	if _, err := a.jobSpec(ctx, c, id); err != nil {
		return nil, err
	}
	var update *operatorv1.JobUpdate
	last := events.Span{Back: true, Limit: 1}
	err := a.readFacts(ctx, actors.JobAddress(id).Stream(), last, func(f events.Fact, _ events.Record) bool {
		update = jobUpdate(id, []events.Fact{f})
		return false
	})
	if update == nil {
		update = &operatorv1.JobUpdate{Id: id, State: operatorv1.JobState_JOB_STATE_OPEN}
	}
	return update, err
}

// mayRead is the update as the caller may see it.
func (c *caller) mayRead(u *operatorv1.JobUpdate) *operatorv1.JobUpdate {
	if u.Verdict == nil || c.is(workers) {
		return u
	}
	return &operatorv1.JobUpdate{Id: u.Id, State: u.State, Verdict: withoutOutput(u.Verdict)}
}

// jobSender is one watch at work.
type jobSender struct {
	api    *API
	caller *caller
	all    bool // not only named jobs: each job's tenant must be looked up for a client
	out    *jobStream
}

func (s *jobSender) follow(ctx context.Context, w *jobWatch) error {
	var spare []*operatorv1.JobUpdate
	var last time.Time
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		select {
		case <-w.bell:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if wait := linger - time.Since(last); wait > 0 {
			pause.Reset(wait)
			select {
			case <-pause.C:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		updates, err := w.take(spare)
		if err != nil {
			return err
		}
		if err := s.send(ctx, updates); err != nil {
			return err
		}
		last = time.Now()
		clear(updates)
		spare = updates
	}
}

func (s *jobSender) send(ctx context.Context, updates []*operatorv1.JobUpdate) error {
	for len(updates) > 0 {
		part := updates[:min(len(updates), maxFlush)]
		updates = updates[len(part):]
		if s.caller.role == Client || s.caller.role == Viewer {
			var err error
			if part, err = s.filter(ctx, part); err != nil {
				return err
			}
		}
		if len(part) == 0 {
			continue
		}
		if err := s.out.Send(&operatorv1.WatchJobsResponse{Updates: part}); err != nil {
			return err
		}
	}
	return nil
}

// filter leaves what the caller may see.
func (s *jobSender) filter(ctx context.Context, updates []*operatorv1.JobUpdate) ([]*operatorv1.JobUpdate, error) {
	kept := make([]*operatorv1.JobUpdate, 0, len(updates))
	for _, u := range updates {
		if s.all && s.caller.role == Client {
			own, err := s.api.ownsJob(ctx, s.caller, u.Id)
			if err != nil {
				return nil, err
			}
			if !own {
				continue
			}
		}
		kept = append(kept, s.caller.mayRead(u))
	}
	return kept, nil
}

// WatchPipeline sends how a pipeline stands, then again whenever it has changed, until it has ended.
func (a *API) WatchPipeline(ctx context.Context, req *operatorv1.WatchPipelineRequest, out *connect.ServerStream[operatorv1.WatchPipelineResponse]) error {
	if err := events.CheckEntityID(req.Id); err != nil {
		return err
	}
	c := callerOf(ctx)
	w, end := a.hub.watchPipeline(req.Id)
	defer end()
	v := newPipelineView(req.Id)
	pause := time.NewTicker(50 * time.Millisecond)
	defer pause.Stop()
	for {
		if err := a.foldPipeline(ctx, c, v); err != nil {
			return err
		}
		if err := out.Send(&operatorv1.WatchPipelineResponse{Pipeline: v.message()}); err != nil {
			return err
		}
		if v.p.State != operatorv1.PipelineState_PIPELINE_STATE_RUNNING {
			return nil
		}
		select { // a progress bar needs no more than twenty steps a second
		case <-pause.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		select {
		case <-w.bell:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
