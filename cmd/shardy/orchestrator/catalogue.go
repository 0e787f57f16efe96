package orchestrator

import (
	"context"
	"errors"
	"time"

	"github.com/shardy-network/orchestrator/gateway/operator"
	"github.com/shardy-network/orchestrator/projections"
	"github.com/shardy-network/orchestrator/projections/readmodel"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

// listPatience is how long a list waits for the read model to reach the head that the log has when the question comes,
// so that a client finds what it wrote. A list that has waited so long answers without the newest.
const listPatience = 2 * time.Second

// catalogue answers the API's lists and counts from the read model, and the admitted modules, which the start needs,
// from the open work.
type catalogue struct{ o *Orchestrator }

// upToDate waits for a projection to have seen what is in the log now.
func (c catalogue) upToDate(ctx context.Context, projection string) error {
	head, err := c.o.log.Head(ctx)
	if err != nil {
		return err
	}
	patient, cancel := context.WithTimeout(ctx, listPatience)
	defer cancel()
	if err := c.o.runner.WaitFor(patient, projection, head); err != nil && (ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded)) {
		return err
	}
	return nil
}

// ready waits for the read model, and refuses to answer from one that has not seen what was there before the start.
func (c catalogue) ready(ctx context.Context) error {
	if err := c.upToDate(ctx, c.o.model.Name()); err != nil {
		return err
	}
	if c.o.model.Partial() {
		return operator.ErrLists
	}
	return nil
}

// listRefusal says in the words of the API what the read model refuses.
func listRefusal(err error) error {
	if errors.Is(err, readmodel.ErrPage) || errors.Is(err, projections.ErrPage) {
		return operator.ErrPage
	}
	return err
}

func page(p operator.Page) readmodel.Page { return readmodel.Page{After: p.After, Limit: p.Limit} }

// when is a bound in microseconds; 0 is none.
func when(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us)
}

// micros is the inverse of when.
func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

func kinds(k eventv1.JobKind) []eventv1.JobKind {
	if k == 0 {
		return nil
	}
	return []eventv1.JobKind{k}
}

// listed turns the rows of a page into messages.
func listed[R, M any](rows []R, next string, err error, message func(R) M) ([]M, string, error) {
	out := make([]M, len(rows))
	for i := range rows {
		out[i] = message(rows[i])
	}
	return out, next, listRefusal(err)
}

func jobQuery(q operator.JobQuery) readmodel.JobQuery {
	return readmodel.JobQuery{
		Page: page(q.Page), States: q.States, Kinds: kinds(q.Kind), Tenants: q.Tenants, Pipeline: q.Pipeline, Module: q.Module, Worker: q.Worker,
		Since: when(q.FromUs), Until: when(q.UntilUs),
	}
}

// Jobs lists jobs.
func (c catalogue) Jobs(ctx context.Context, q operator.JobQuery) ([]*operatorv1.JobRow, string, error) {
	if err := c.ready(ctx); err != nil {
		return nil, "", err
	}
	rows, next, err := c.o.model.Jobs(ctx, jobQuery(q))
	return listed(rows, next, err, func(j readmodel.JobRow) *operatorv1.JobRow {
		return &operatorv1.JobRow{
			Id: j.ID, State: j.State, Kind: j.Kind, Tenant: j.Tenant, Pipeline: j.Pipeline, SubmittedUs: micros(j.Submitted), DecidedUs: micros(j.Decided),
			DeadLetter: j.Reason, Basis: j.Basis, Stage: j.Stage, Chunk: j.Chunk, Module: j.Module, Round: j.Round, Attempts: j.Attempts,
			Contradicted: j.Contradicted,
		}
	})
}

func pipelineQuery(q operator.PipelineQuery) readmodel.PipelineQuery {
	return readmodel.PipelineQuery{Page: page(q.Page), States: q.States, Tenants: q.Tenants, Since: when(q.FromUs), Until: when(q.UntilUs)}
}

// Pipelines lists pipelines.
func (c catalogue) Pipelines(ctx context.Context, q operator.PipelineQuery) ([]*operatorv1.Pipeline, string, error) {
	if err := c.ready(ctx); err != nil {
		return nil, "", err
	}
	rows, next, err := c.o.model.Pipelines(ctx, pipelineQuery(q))
	return listed(rows, next, err, func(p readmodel.PipelineRow) *operatorv1.Pipeline {
		return &operatorv1.Pipeline{
			Id: p.ID, State: p.State, Name: p.Name, Tenant: p.Tenant, Stage: p.Stage, Stages: p.Stages, Settled: p.Settled, Chunks: p.Chunks,
			Failed: p.Failed, SubmittedUs: micros(p.Submitted), EndedUs: micros(p.Ended), Detail: p.Detail, OutputBytes: p.OutputBytes,
		}
	})
}

func letterQuery(q operator.DeadLetterQuery) readmodel.DeadLetterQuery {
	return readmodel.DeadLetterQuery{
		Page: page(q.Page), Reasons: q.Reasons, Kinds: kinds(q.Kind), Tenants: q.Tenants, Pipeline: q.Pipeline, Module: q.Module,
		Since: when(q.FromUs), Until: when(q.UntilUs),
	}
}

// DeadLetters lists dead letters.
func (c catalogue) DeadLetters(ctx context.Context, q operator.DeadLetterQuery) ([]*operatorv1.DeadLetter, string, error) {
	if err := c.ready(ctx); err != nil {
		return nil, "", err
	}
	rows, next, err := c.o.model.DeadLetters(ctx, letterQuery(q))
	return listed(rows, next, err, func(d readmodel.DeadLetter) *operatorv1.DeadLetter {
		return &operatorv1.DeadLetter{
			Id: d.Job, Reason: d.Reason, Detail: d.Detail, Tenant: d.Tenant, Pipeline: d.Pipeline, AtUs: micros(d.At), Round: d.Round,
			Kind: d.Kind, Module: d.Module, Stage: d.Stage, Chunk: d.Chunk,
		}
	})
}

func workerQuery(q operator.WorkerQuery) readmodel.WorkerQuery {
	out := readmodel.WorkerQuery{Page: page(q.Page), Search: q.Search}
	if q.Tier != 0 {
		out.Tiers = []uint32{q.Tier}
	}
	if q.State != "" {
		out.States = []readmodel.WorkerState{readmodel.WorkerState(q.State)}
	}
	return out
}

// Workers lists workers.
func (c catalogue) Workers(ctx context.Context, q operator.WorkerQuery) ([]*operatorv1.Worker, string, error) {
	if err := c.ready(ctx); err != nil {
		return nil, "", err
	}
	rows, next, err := c.o.model.Workers(ctx, workerQuery(q))
	return listed(rows, next, err, func(w readmodel.Worker) *operatorv1.Worker {
		return &operatorv1.Worker{
			Key: w.Key, State: string(w.State), Tier: w.Tier, Claim: w.Claim, Proven: w.Proven, Group: w.Group, Record: w.Record,
			LastSeenUs: micros(w.LastSeen), Detail: w.Detail,
		}
	})
}

// Modules lists the admitted modules.
func (c catalogue) Modules(ctx context.Context, p operator.Page) ([]*eventv1.ModuleAdmitted, string, error) {
	if err := c.upToDate(ctx, c.o.open.Name()); err != nil {
		return nil, "", err
	}
	rows, next, err := c.o.open.ListModules(projections.Page{After: p.After, Limit: p.Limit})
	return rows, next, listRefusal(err)
}

// CountJobs counts jobs by state.
func (c catalogue) CountJobs(ctx context.Context, q operator.JobQuery) (counts []*operatorv1.JobCount, err error) {
	found, err := c.o.model.CountJobs(ctx, jobQuery(q))
	for s := range int32(len(operatorv1.JobState_name)) {
		if n := found[operatorv1.JobState(s)]; n > 0 {
			counts = append(counts, &operatorv1.JobCount{State: operatorv1.JobState(s), Count: uint64(n)})
		}
	}
	return counts, listRefusal(err)
}

// CountPipelines counts pipelines by state.
func (c catalogue) CountPipelines(ctx context.Context, q operator.PipelineQuery) (counts []*operatorv1.PipelineCount, err error) {
	found, err := c.o.model.CountPipelines(ctx, pipelineQuery(q))
	for s := range int32(len(operatorv1.PipelineState_name)) {
		if n := found[operatorv1.PipelineState(s)]; n > 0 {
			counts = append(counts, &operatorv1.PipelineCount{State: operatorv1.PipelineState(s), Count: uint64(n)})
		}
	}
	return counts, listRefusal(err)
}

// CountDeadLetters counts dead letters by reason.
func (c catalogue) CountDeadLetters(ctx context.Context, q operator.DeadLetterQuery) (counts []*operatorv1.DeadLetterCount, err error) {
	found, err := c.o.model.CountDeadLetters(ctx, letterQuery(q))
	for r := range int32(len(eventv1.DeadLetterReason_name)) {
		if n := found[eventv1.DeadLetterReason(r)]; n > 0 {
			counts = append(counts, &operatorv1.DeadLetterCount{Reason: eventv1.DeadLetterReason(r), Count: uint64(n)})
		}
	}
	return counts, listRefusal(err)
}

// CountWorkers counts workers by tier and state.
func (c catalogue) CountWorkers(ctx context.Context, q operator.WorkerQuery) (counts []*operatorv1.WorkerCount, err error) {
	found, err := c.o.model.CountWorkers(ctx, workerQuery(q))
	for _, n := range found {
		counts = append(counts, &operatorv1.WorkerCount{Tier: n.Tier, State: string(n.State), Count: uint64(n.N)})
	}
	return counts, listRefusal(err)
}
