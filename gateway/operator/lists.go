package operator

import (
	"context"
	"slices"

	"github.com/shardy-network/orchestrator/events"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

// maxSearch bounds what a worker's key is looked for by: its digits in hex.
const maxSearch = 64

// statesOf joins the filter for one state with that for several. Unknown states are refused.
func statesOf[S ~int32](one S, more []S, names map[int32]string) ([]S, error) {
	if one != 0 {
		more = append(more, one)
	}
	for _, s := range more {
		if s == 0 || names[int32(s)] == "" {
			return nil, refuse("states", "unknown")
		}
	}
	slices.Sort(more)
	return slices.Compact(more), nil
}

// checkTimes refuses a range of times that nothing can lie in.
func checkTimes(fromUs, untilUs int64) error {
	switch {
	case fromUs < 0 || untilUs < 0:
		return refuse("from_us", "before 1970")
	case untilUs != 0 && untilUs <= fromUs:
		return refuse("until_us", "is not after from_us")
	}
	return nil
}

// jobQuery reads and checks the filters of the list of jobs.
func (c *caller) jobQuery(req *operatorv1.ListJobsRequest) (q JobQuery, err error) {
	q = JobQuery{Kind: req.Kind, Pipeline: req.Pipeline, Module: req.Module, Worker: req.Worker, FromUs: req.FromUs, UntilUs: req.UntilUs}
	if q.Tenants, err = c.tenantsOf(req.Tenant); err != nil {
		return q, err
	}
	if q.States, err = statesOf(req.State, req.States, operatorv1.JobState_name); err != nil {
		return q, err
	}
	switch {
	case eventv1.JobKind_name[int32(q.Kind)] == "":
		return q, refuse("kind", "unknown")
	case len(q.Module) != 0 && len(q.Module) != 32:
		return q, refuse("module", "SHA-256 of an admitted module")
	case len(q.Worker) != 0 && len(q.Worker) != 32:
		return q, refuse("worker", "32 bytes")
	}
	if q.Pipeline != "" {
		if err := events.CheckEntityID(q.Pipeline); err != nil {
			return q, err
		}
	}
	return q, checkTimes(q.FromUs, q.UntilUs)
}

// ListJobs lists jobs.
func (a *API) ListJobs(ctx context.Context, req *operatorv1.ListJobsRequest) (*operatorv1.ListJobsResponse, error) {
	q, err := callerOf(ctx).jobQuery(req)
	if err != nil {
		return nil, err
	}
	cursor, page, err := openPage(req.PageSize, req.PageToken, "jobs", q.States, q.Kind, q.Tenants, q.Pipeline, q.Module, q.Worker, q.FromUs, q.UntilUs)
	if err != nil {
		return nil, err
	}
	q.Page = page
	rows, next, err := a.deps.Catalogue.Jobs(ctx, q)
	if err != nil {
		return nil, err
	}
	res := &operatorv1.ListJobsResponse{Jobs: rows, NextPageToken: cursor.token(next)}
	if req.Counts && a.deps.Counts != nil {
		res.Counts, err = a.deps.Counts.CountJobs(ctx, q)
	}
	return res, err
}

// ListPipelines lists pipelines.
func (a *API) ListPipelines(ctx context.Context, req *operatorv1.ListPipelinesRequest) (*operatorv1.ListPipelinesResponse, error) {
	tenants, err := callerOf(ctx).tenantsOf(req.Tenant)
	if err != nil {
		return nil, err
	}
	states, err := statesOf(req.State, req.States, operatorv1.PipelineState_name)
	if err == nil {
		err = checkTimes(req.FromUs, req.UntilUs)
	}
	if err != nil {
		return nil, err
	}
	cursor, page, err := openPage(req.PageSize, req.PageToken, "pipelines", states, tenants, req.FromUs, req.UntilUs)
	if err != nil {
		return nil, err
	}
	q := PipelineQuery{Page: page, States: states, Tenants: tenants, FromUs: req.FromUs, UntilUs: req.UntilUs}
	rows, next, err := a.deps.Catalogue.Pipelines(ctx, q)
	if err != nil {
		return nil, err
	}
	res := &operatorv1.ListPipelinesResponse{Pipelines: rows, NextPageToken: cursor.token(next)}
	if req.Counts && a.deps.Counts != nil {
		res.Counts, err = a.deps.Counts.CountPipelines(ctx, q)
	}
	return res, err
}

// ListWorkers lists workers.
func (a *API) ListWorkers(ctx context.Context, req *operatorv1.ListWorkersRequest) (*operatorv1.ListWorkersResponse, error) {
	if len(req.Search) > maxSearch {
		return nil, refuse("search", "longer than a key")
	}
	cursor, page, err := openPage(req.PageSize, req.PageToken, "workers", req.Tier, req.State, req.Search)
	if err != nil {
		return nil, err
	}
	q := WorkerQuery{Page: page, Tier: req.Tier, State: req.State, Search: req.Search}
	rows, next, err := a.deps.Catalogue.Workers(ctx, q)
	if err != nil {
		return nil, err
	}
	for _, w := range rows {
		a.addLive(w)
	}
	res := &operatorv1.ListWorkersResponse{Workers: rows, NextPageToken: cursor.token(next)}
	if req.Counts && a.deps.Counts != nil {
		res.Counts, err = a.deps.Counts.CountWorkers(ctx, q)
	}
	return res, err
}
