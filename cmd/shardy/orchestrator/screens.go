package orchestrator

import (
	"context"
	"errors"
	"net/http"

	"connectrpc.com/connect"

	"github.com/shardy-network/orchestrator/gateway/operator"
	"github.com/shardy-network/orchestrator/projections/dashboard"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
	op "github.com/shardy-network/orchestrator/proto/shardy/operator/v1/operatorv1connect"
)

// buildScreens plugs the dashboard into the rooms below it.
func (o *Orchestrator) buildScreens(context.Context) (err error) {
	deps := dashboard.Deps{
		Model: o.model, Runner: o.runner, Log: o.log, Blobs: o.blobs,
		Actions: actions{o.api}, Figures: o.screenFigures, Explain: o.host.Explain, Diagnostics: o.diagnostics,
		Live: func(key []byte) (dashboard.LiveWorker, bool) {
			credits, held, ok := o.door.Live(key)
			return dashboard.LiveWorker{Credits: credits, InFlight: int(held), Node: o.cfg.Node}, ok
		},
		Address: func(r *http.Request) string { return o.door.AddressOf(r).String() },
		Secure:  o.cfg.SecureCookies, Version: o.cfg.Version, Node: o.cfg.Node, Logger: o.cfg.Logger,
	}
	if o.node != nil {
		shown := ledgerScreens{o.api, o.node.Chain()}
		deps.Ledger, deps.Mesh = shown, shown
	}
	if o.api.Open() == nil {
		deps.Access = access{o.api}
	}
	if o.screens, err = dashboard.New(deps); err != nil {
		return err
	}
	o.onClose(o.screens.Close)
	return nil
}

// access lets the bearers of the API's tokens look at the screens.
type access struct{ api *operator.API }

func (a access) Identify(_ context.Context, token string) (dashboard.Viewer, error) {
	b, err := a.api.Identify(token)
	if err != nil {
		return dashboard.Viewer{}, errors.Join(dashboard.ErrDenied, err)
	}
	v := dashboard.Viewer{Name: b.Name, Tenants: b.Tenants}
	switch b.Role {
	case operator.Admin:
		v.Role = dashboard.RoleAdmin
	case operator.Operator, operator.Client:
		v.Role = dashboard.RoleOperator
	default:
		v.Role = dashboard.RoleViewer
	}
	return v, nil
}

// actions calls the API in the name of whoever looks at the screens.
type actions struct{ api *operator.API }

// act runs one method of the API, and turns its refusals into what the screens show.
func act[Req, Res any](ctx context.Context, a actions, by, procedure string, method func(context.Context, *Req) (*Res, error), req *Req) (*Res, error) {
	ctx, err := a.api.Act(ctx, a.api.Named(by), procedure)
	if err != nil {
		return nil, refusal(err)
	}
	res, err := method(ctx, req)
	return res, refusal(err)
}

// refusal is an error as the screens want it. What is the server's own fault stays an error.
func refusal(err error) error {
	if err == nil {
		return nil
	}
	switch code, reason, text := operator.Refusal(err); code {
	case connect.CodeInternal, connect.CodeDataLoss, connect.CodeUnavailable, connect.CodeCanceled, connect.CodeDeadlineExceeded:
		return err
	case connect.CodeNotFound:
		return errors.Join(dashboard.ErrNotFound, err)
	default:
		return &dashboard.Refusal{Code: reason, Text: text}
	}
}

func (a actions) DrainWorker(ctx context.Context, by string, key []byte, reason string) error {
	_, err := act(ctx, a, by, op.WorkerServiceDrainWorkerProcedure, a.api.DrainWorker, &operatorv1.DrainWorkerRequest{Key: key, Reason: reason})
	return err
}

func (a actions) BanWorker(ctx context.Context, by string, key []byte, reason string) error {
	_, err := act(ctx, a, by, op.WorkerServiceBanWorkerProcedure, a.api.BanWorker, &operatorv1.BanWorkerRequest{Key: key, Reason: reason})
	return err
}

func (a actions) ReinstateWorker(ctx context.Context, by string, key []byte, reason string) error {
	_, err := act(ctx, a, by, op.WorkerServiceReinstateWorkerProcedure, a.api.ReinstateWorker, &operatorv1.ReinstateWorkerRequest{Key: key, Reason: reason})
	return err
}

func (a actions) CancelJob(ctx context.Context, by, job, reason string) error {
	_, err := act(ctx, a, by, op.JobServiceCancelJobProcedure, a.api.CancelJob, &operatorv1.CancelJobRequest{Id: job, Reason: reason})
	return err
}

func (a actions) CancelPipeline(ctx context.Context, by, pipeline, reason string) error {
	_, err := act(ctx, a, by, op.PipelineServiceCancelPipelineProcedure, a.api.CancelPipeline, &operatorv1.CancelPipelineRequest{Id: pipeline, Reason: reason})
	return err
}

func (a actions) RequeueJobs(ctx context.Context, by string, jobs []string, reason string, dry bool) ([]dashboard.Outcome, error) {
	res, err := act(ctx, a, by, op.DeadLetterServiceRequeueDeadLettersProcedure, a.api.RequeueDeadLetters, &operatorv1.RequeueDeadLettersRequest{
		Which: &operatorv1.RequeueDeadLettersRequest_Ids{Ids: &operatorv1.DeadLetterIds{Ids: jobs}}, Reason: reason, DryRun: dry,
	})
	return outcomes(res.GetOutcomes()), err
}

func (a actions) DiscardJobs(ctx context.Context, by string, jobs []string, reason string, dry bool) ([]dashboard.Outcome, error) {
	res, err := act(ctx, a, by, op.DeadLetterServiceDiscardDeadLettersProcedure, a.api.DiscardDeadLetters, &operatorv1.DiscardDeadLettersRequest{
		Which: &operatorv1.DiscardDeadLettersRequest_Ids{Ids: &operatorv1.DeadLetterIds{Ids: jobs}}, Reason: reason, DryRun: dry,
	})
	return outcomes(res.GetOutcomes()), err
}

func outcomes(all []*operatorv1.DeadLetterOutcome) []dashboard.Outcome {
	out := make([]dashboard.Outcome, len(all))
	for i, o := range all {
		out[i].Job = o.GetId()
		if o.GetCode() != 0 {
			out[i].Refusal = &dashboard.Refusal{Code: o.GetReason(), Text: o.GetDetail()}
		}
	}
	return out
}

func (a actions) EditJob(ctx context.Context, by, job string, edit dashboard.JobEdit, reason string, dry bool) (dashboard.Edited, error) {
	res, err := act(ctx, a, by, op.DeadLetterServiceEditDeadLetterProcedure, a.api.EditDeadLetter, &operatorv1.EditDeadLetterRequest{
		Id: job, Reason: reason, DryRun: dry, Edit: &operatorv1.DeadLetterEdit{
			Module: edit.Module, FuelLimit: edit.FuelLimit, MinTier: edit.MinTier, MinMemoryBytes: edit.MinMemoryBytes, Priority: edit.Priority,
		},
	})
	if err != nil {
		return dashboard.Edited{}, err
	}
	e := dashboard.Edited{ID: res.GetId()}
	for _, c := range res.GetChanges() {
		e.Changes = append(e.Changes, dashboard.FieldChange{Field: c.GetField(), Before: c.GetBefore(), After: c.GetAfter()})
	}
	return e, nil
}
