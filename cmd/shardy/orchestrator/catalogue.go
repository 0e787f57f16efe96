package orchestrator

import (
	"context"
	"errors"
	"fmt"

	"github.com/shardy-network/orchestrator/gateway/operator"
	"github.com/shardy-network/orchestrator/projections"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

// catalogue answers the API's lists from the projection of open work.
type catalogue struct{ open *projections.OpenWork }

func (c catalogue) Jobs(_ context.Context, q operator.JobQuery) ([]*operatorv1.JobRow, string, error) {
	rows, next, err := c.open.ListJobs(projections.JobQuery{
		Page: projections.Page(q.Page), State: q.State, Tenants: q.Tenants, Pipeline: q.Pipeline, Kind: q.Kind,
	})
	return rows, next, page(err)
}

func (c catalogue) Pipelines(_ context.Context, q operator.PipelineQuery) ([]*operatorv1.Pipeline, string, error) {
	rows, next, err := c.open.ListPipelines(projections.PipelineQuery{Page: projections.Page(q.Page), State: q.State, Tenants: q.Tenants})
	return rows, next, page(err)
}

func (c catalogue) DeadLetters(_ context.Context, q operator.DeadLetterQuery) ([]*operatorv1.DeadLetter, string, error) {
	rows, next, err := c.open.ListDeadLetters(projections.DeadLetterQuery{Page: projections.Page(q.Page), Reason: q.Reason, Tenants: q.Tenants})
	return rows, next, page(err)
}

func (c catalogue) Workers(_ context.Context, q operator.WorkerQuery) ([]*operatorv1.Worker, string, error) {
	rows, next, err := c.open.ListWorkers(projections.WorkerQuery{Page: projections.Page(q.Page), Tier: q.Tier, State: q.State})
	return rows, next, page(err)
}

func (c catalogue) Modules(_ context.Context, p operator.Page) ([]*eventv1.ModuleAdmitted, string, error) {
	rows, next, err := c.open.ListModules(projections.Page(p))
	return rows, next, page(err)
}

// page says in the API's words that a place in a list is none.
func page(err error) error {
	if errors.Is(err, projections.ErrPage) {
		return fmt.Errorf("%w: %w", operator.ErrPage, err)
	}
	return err
}
