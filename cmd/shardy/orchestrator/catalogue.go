package orchestrator

import (
	"context"

	"github.com/shardy-network/orchestrator/gateway/operator"
	"github.com/shardy-network/orchestrator/projections"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

// catalogue answers the API's lists from the projection of open work, which is in memory: no answer takes long enough
// to be cancelled.
type catalogue struct{ open *projections.OpenWork }

func (c catalogue) Jobs(_ context.Context, q operator.JobQuery) ([]*operatorv1.JobRow, string, error) {
	return c.open.ListJobs(q)
}

func (c catalogue) Pipelines(_ context.Context, q operator.PipelineQuery) ([]*operatorv1.Pipeline, string, error) {
	return c.open.ListPipelines(q)
}

func (c catalogue) DeadLetters(_ context.Context, q operator.DeadLetterQuery) ([]*operatorv1.DeadLetter, string, error) {
	return c.open.ListDeadLetters(q)
}

func (c catalogue) Workers(_ context.Context, q operator.WorkerQuery) ([]*operatorv1.Worker, string, error) {
	return c.open.ListWorkers(q)
}

func (c catalogue) Modules(_ context.Context, p operator.Page) ([]*eventv1.ModuleAdmitted, string, error) {
	return c.open.ListModules(p)
}
