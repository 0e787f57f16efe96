package operator

import (
	"context"
	"fmt"

	"connectrpc.com/connect"

	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

// readDeadLetter folds a job that is a dead letter now.
func (a *API) readDeadLetter(ctx context.Context, c *caller, id string) (*jobView, error) {
	v, err := a.readJob(ctx, c, id)
	if err != nil {
		return nil, err
	}
	if v.job.State != operatorv1.JobState_JOB_STATE_DEAD_LETTERED {
		return nil, fmt.Errorf("%w: job %s is %s, not a dead letter", errNotFound, id, plain(v.job.State.String(), "JOB_STATE_"))
	}
	return v, nil
}

// DescribeDeadLetter shows a dead letter with its job and the history of all attempts.
func (a *API) DescribeDeadLetter(ctx context.Context, req *operatorv1.DescribeDeadLetterRequest) (*operatorv1.DescribeDeadLetterResponse, error) {
	c := callerOf(ctx)
	v, err := a.readDeadLetter(ctx, c, req.Id)
	if err != nil {
		return nil, err
	}
	slots, err := a.readSlots(ctx, req.Id, v.first, v.slots)
	if err != nil {
		return nil, err
	}
	res := &operatorv1.DescribeDeadLetterResponse{Job: v.job, DeadLetter: &operatorv1.DeadLetter{
		Id: req.Id, Reason: v.job.DeadLetter.Reason, Detail: v.job.DeadLetter.Detail, Tenant: v.job.Spec.Tenant,
		Pipeline: v.job.Spec.Pipeline, AtUs: v.deadAtUs, Round: v.job.Round,
	}}
	for _, s := range slots {
		v.job.Slots = append(v.job.Slots, s.slot)
		res.Attempts = append(res.Attempts, s.attempts...)
	}
	v.hideOutputs(c)
	return res, nil
}

// ListDeadLetters lists dead letters.
func (a *API) ListDeadLetters(ctx context.Context, req *operatorv1.ListDeadLettersRequest) (*operatorv1.ListDeadLettersResponse, error) {
	f := req.GetFilter()
	tenants, err := callerOf(ctx).tenantsOf(f.GetTenant())
	if err != nil {
		return nil, err
	}
	var reason eventv1.DeadLetterReason
	if len(f.GetReasons()) > 0 {
		reason = f.Reasons[0]
	}
	cursor, page, err := openPage(req.PageSize, req.PageToken, "dead letters", reason, tenants)
	if err != nil {
		return nil, err
	}
	rows, next, err := a.deps.Catalogue.DeadLetters(ctx, DeadLetterQuery{Page: page, Reason: reason, Tenants: tenants})
	if err != nil {
		return nil, err
	}
	return &operatorv1.ListDeadLettersResponse{DeadLetters: rows, NextPageToken: cursor.token(next)}, nil
}

func (a *API) RequeueDeadLetters(ctx context.Context, req *operatorv1.RequeueDeadLettersRequest) (*operatorv1.RequeueDeadLettersResponse, error) {
	return nil, errClosing
}

func (a *API) DiscardDeadLetters(ctx context.Context, req *operatorv1.DiscardDeadLettersRequest) (*operatorv1.DiscardDeadLettersResponse, error) {
	return nil, errClosing
}

func (a *API) EditDeadLetter(ctx context.Context, req *operatorv1.EditDeadLetterRequest) (*operatorv1.EditDeadLetterResponse, error) {
	return nil, errClosing
}

func (a *API) DownloadPayload(ctx context.Context, req *operatorv1.DownloadPayloadRequest, out *connect.ServerStream[operatorv1.DownloadPayloadResponse]) error {
	return errClosing
}
