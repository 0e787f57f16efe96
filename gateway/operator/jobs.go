package operator

import (
	"context"
	"crypto/rand"
	"fmt"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/events"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

// newID draws the id of something that has no idempotency key.
func newID() string {
	var dice [10]byte
	rand.Read(dice[:]) // never fails
	return events.NewEntityID(time.Now(), dice)
}

// idFor is the id of what a client asks for: the same for the same request id.
func idFor(kind, tenant, requestID string) string {
	if requestID == "" {
		return newID()
	}
	return events.DeriveEntityID([]byte(kind), []byte(tenant), []byte(requestID))
}

// SubmitJobs hands all jobs of a batch over at once and waits for all answers: the log takes them in few syncs.
func (a *API) SubmitJobs(ctx context.Context, req *operatorv1.SubmitJobsRequest) (*operatorv1.SubmitJobsResponse, error) {
	n := len(req.Jobs)
	if n == 0 || n > MaxBatch {
		return nil, refuse("jobs", "1 to 256 of them")
	}
	c := callerOf(ctx)
	now, err := a.policies.current(ctx, a.deps.Log)
	if err != nil {
		return nil, err
	}
	out := make([]operatorv1.SubmittedJob, n)
	res := &operatorv1.SubmitJobsResponse{Jobs: make([]*operatorv1.SubmittedJob, n)}
	var open atomic.Int64
	open.Store(int64(n))
	done := make(chan struct{})
	settle := func(i int, err error) { // the entity's goroutine runs it
		if err != nil {
			refusal(&out[i], err)
		}
		if open.Add(-1) == 0 {
			close(done)
		}
	}
	for i, job := range req.Jobs {
		res.Jobs[i] = &out[i]
		cmd, err := a.prepareJob(ctx, c, now, job)
		if err != nil {
			settle(i, err)
			continue
		}
		spec := cmd.SubmitJob.Spec
		out[i].Id = idFor("job", spec.Tenant, spec.RequestId)
		a.deps.Orchestrator.Tell(actors.JobAddress(out[i].Id), &eventv1.Command{Kind: cmd}, func(_ any, err error) { settle(i, err) })
	}
	select {
	case <-done:
		return res, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx) // the outcome is unknown; a repeat with the same request ids finds out
	}
}

// refusal fills in the answer for one job of a batch.
func refusal(to *operatorv1.SubmittedJob, err error) {
	err = toConnect(err)
	to.Id, to.Code = "", uint32(connect.CodeOf(err))
	to.Detail = err.Error()
	if e, ok := err.(*connect.Error); ok {
		to.Detail = e.Message()
	}
}

// prepareJob checks a job, stores its payload and resolves its policy.
func (a *API) prepareJob(ctx context.Context, c *caller, now standing, job *operatorv1.NewJob) (*eventv1.Command_SubmitJob, error) {
	spec := job.GetSpec()
	if spec == nil {
		return nil, refuse("spec", "is needed")
	}
	tenant, err := c.tenantOf(spec.Tenant)
	if err != nil {
		return nil, err
	}
	spec.Tenant = tenant
	if err := c.checkWork(spec, now.policy); err != nil {
		return nil, err
	}
	if !a.modules.admitted(spec.Module) {
		return nil, errModule
	}
	policy, err := now.resolve(spec.Kind, job.Overrides)
	if err != nil {
		return nil, err
	}
	if err := a.prepareInput(ctx, spec, job.Payload, now.policy.GetMaxInputBytes()); err != nil {
		return nil, err
	}
	return &eventv1.Command_SubmitJob{SubmitJob: &eventv1.SubmitJob{Spec: spec, Policy: policy}}, nil
}

// prepareInput stores the payload, or checks that the input that is named is there; likewise the verification key.
func (a *API) prepareInput(ctx context.Context, spec *eventv1.JobSpec, payload []byte, limit uint64) error {
	if len(payload) > 0 {
		if spec.Input != nil {
			return refuse("payload", "give the payload or the input, not both")
		}
		if uint64(len(payload)) > limit {
			return refuse("payload", "above the deployment's max_input_bytes")
		}
		ref, err := a.keep(ctx, payload)
		spec.Input = ref
		if err != nil {
			return err
		}
	} else if err := a.checkContent(ctx, "input", spec.Input, limit); err != nil {
		return err
	}
	return a.checkKey(ctx, spec.GetProof())
}

// GetJob shows a job with its slots.
func (a *API) GetJob(ctx context.Context, req *operatorv1.GetJobRequest) (*operatorv1.GetJobResponse, error) {
	c := callerOf(ctx)
	v, err := a.readJob(ctx, c, req.Id)
	if err != nil {
		return nil, err
	}
	slots, err := a.readSlots(ctx, req.Id, v.first, v.slots)
	if err != nil {
		return nil, err
	}
	for _, s := range slots {
		v.job.Slots = append(v.job.Slots, s.slot)
	}
	v.hideOutputs(c)
	return &operatorv1.GetJobResponse{Job: v.job}, nil
}

// CancelJob stops a job that is open, and discards one that is a dead letter.
func (a *API) CancelJob(ctx context.Context, req *operatorv1.CancelJobRequest) (*operatorv1.CancelJobResponse, error) {
	c := callerOf(ctx)
	if err := checkReason(req.Reason, false); err != nil {
		return nil, err
	}
	if _, err := a.jobSpec(ctx, c, req.Id); err != nil {
		return nil, err
	}
	_, err := a.deps.Orchestrator.Do(ctx, actors.JobAddress(req.Id), &eventv1.Command{Kind: &eventv1.Command_CancelJob{
		CancelJob: &eventv1.CancelJob{By: c.name, Reason: req.Reason},
	}})
	return &operatorv1.CancelJobResponse{}, err
}

// ExplainJob tells a job's story so far, and what it waits for.
func (a *API) ExplainJob(ctx context.Context, req *operatorv1.ExplainJobRequest) (*operatorv1.ExplainJobResponse, error) {
	v, err := a.readJob(ctx, callerOf(ctx), req.Id)
	if err != nil {
		return nil, err
	}
	slots, err := a.readSlots(ctx, req.Id, v.first, v.slots)
	if err != nil {
		return nil, err
	}
	lines := v.story(slots)
	if v.job.State == operatorv1.JobState_JOB_STATE_OPEN {
		more, err := a.deps.Orchestrator.Explain(ctx, req.Id)
		if err != nil {
			return nil, fmt.Errorf("explain: %w", err)
		}
		lines = append(lines, more...)
	}
	return &operatorv1.ExplainJobResponse{Lines: lines}, nil
}

// DownloadResult streams the output of a verified job.
func (a *API) DownloadResult(ctx context.Context, req *operatorv1.DownloadResultRequest, out *connect.ServerStream[operatorv1.DownloadResultResponse]) error {
	v, err := a.readJob(ctx, callerOf(ctx), req.Id)
	if err != nil {
		return err
	}
	if v.job.State != operatorv1.JobState_JOB_STATE_VERIFIED {
		return fmt.Errorf("%w: it is %s", errUndecided, plain(v.job.State.String(), "JOB_STATE_"))
	}
	return a.sendContent(ctx, v.job.Verdict.GetOutput(), func(part []byte) error {
		return out.Send(&operatorv1.DownloadResultResponse{Data: part})
	})
}
