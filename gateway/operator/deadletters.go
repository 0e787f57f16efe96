package operator

import (
	"context"
	"fmt"

	"github.com/shardy-network/orchestrator/actors"
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

// RequeueDeadLetter opens a new round for a dead letter's job.
func (a *API) RequeueDeadLetter(ctx context.Context, req *operatorv1.RequeueDeadLetterRequest) (*operatorv1.RequeueDeadLetterResponse, error) {
	by := callerOf(ctx).name
	err := a.settleDeadLetter(ctx, req.Id, req.Reason, &eventv1.Command{Kind: &eventv1.Command_RequeueJob{
		RequeueJob: &eventv1.RequeueJob{By: by, Reason: req.Reason},
	}})
	return &operatorv1.RequeueDeadLetterResponse{}, err
}

// DiscardDeadLetter gives a dead letter up for good.
func (a *API) DiscardDeadLetter(ctx context.Context, req *operatorv1.DiscardDeadLetterRequest) (*operatorv1.DiscardDeadLetterResponse, error) {
	by := callerOf(ctx).name
	err := a.settleDeadLetter(ctx, req.Id, req.Reason, &eventv1.Command{Kind: &eventv1.Command_DiscardJob{
		DiscardJob: &eventv1.DiscardJob{By: by, Reason: req.Reason},
	}})
	return &operatorv1.DiscardDeadLetterResponse{}, err
}

func (a *API) settleDeadLetter(ctx context.Context, id, reason string, cmd *eventv1.Command) error {
	if err := checkReason(reason, true); err != nil {
		return err
	}
	if _, err := a.readDeadLetter(ctx, callerOf(ctx), id); err != nil {
		return err
	}
	_, err := a.deps.Orchestrator.Do(ctx, actors.JobAddress(id), cmd)
	return err
}
