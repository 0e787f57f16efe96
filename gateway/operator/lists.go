package operator

import (
	"context"

	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

// ListJobs lists jobs.
func (a *API) ListJobs(ctx context.Context, req *operatorv1.ListJobsRequest) (*operatorv1.ListJobsResponse, error) {
	tenants, err := callerOf(ctx).tenantsOf(req.Tenant)
	if err != nil {
		return nil, err
	}
	cursor, page, err := openPage(req.PageSize, req.PageToken, "jobs", req.State, tenants, req.Pipeline, req.Kind)
	if err != nil {
		return nil, err
	}
	rows, next, err := a.deps.Catalogue.Jobs(ctx, JobQuery{
		Page: page, State: req.State, Tenants: tenants, Pipeline: req.Pipeline, Kind: req.Kind,
	})
	if err != nil {
		return nil, err
	}
	return &operatorv1.ListJobsResponse{Jobs: rows, NextPageToken: cursor.token(next)}, nil
}

// ListPipelines lists pipelines.
func (a *API) ListPipelines(ctx context.Context, req *operatorv1.ListPipelinesRequest) (*operatorv1.ListPipelinesResponse, error) {
	tenants, err := callerOf(ctx).tenantsOf(req.Tenant)
	if err != nil {
		return nil, err
	}
	cursor, page, err := openPage(req.PageSize, req.PageToken, "pipelines", req.State, tenants)
	if err != nil {
		return nil, err
	}
	rows, next, err := a.deps.Catalogue.Pipelines(ctx, PipelineQuery{Page: page, State: req.State, Tenants: tenants})
	if err != nil {
		return nil, err
	}
	return &operatorv1.ListPipelinesResponse{Pipelines: rows, NextPageToken: cursor.token(next)}, nil
}

// ListWorkers lists workers.
func (a *API) ListWorkers(ctx context.Context, req *operatorv1.ListWorkersRequest) (*operatorv1.ListWorkersResponse, error) {
	cursor, page, err := openPage(req.PageSize, req.PageToken, "workers", req.Tier, req.State)
	if err != nil {
		return nil, err
	}
	rows, next, err := a.deps.Catalogue.Workers(ctx, WorkerQuery{Page: page, Tier: req.Tier, State: req.State})
	if err != nil {
		return nil, err
	}
	for _, w := range rows {
		a.addLive(w)
	}
	return &operatorv1.ListWorkersResponse{Workers: rows, NextPageToken: cursor.token(next)}, nil
}
