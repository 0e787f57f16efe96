package operatortest

import (
	"cmp"
	"context"
	"encoding/hex"
	"maps"
	"slices"
	"strings"

	"github.com/shardy-network/orchestrator/events"
	"github.com/shardy-network/orchestrator/gateway/operator"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

// Catalogue answers lists by reading the whole log. Its places are the ids of the rows.
type Catalogue struct{ Log events.Log }

func (c Catalogue) each(ctx context.Context, prefix string, do func(id string, f events.Fact, atUs int64)) error {
	for r, err := range c.Log.ReadAll(ctx, 0, events.Filter{Streams: []string{prefix}}) {
		if err != nil {
			return err
		}
		f, err := events.Decode(r)
		if err != nil {
			return err
		}
		do(strings.TrimPrefix(r.Stream, prefix), f, r.Time.UnixMicro())
	}
	return nil
}

// cut sorts rows by their ids and leaves one page of those that pass.
func cut[T any](rows map[string]T, page operator.Page, pass func(T) bool) (out []T, next string, err error) {
	for _, id := range slices.Sorted(maps.Keys(rows)) {
		if cmp.Compare(id, page.After) <= 0 || !pass(rows[id]) {
			continue
		}
		if len(out) == page.Limit {
			return out, next, nil
		}
		out, next = append(out, rows[id]), id
	}
	return out, "", nil
}

func among(tenants []string, tenant string) bool {
	return len(tenants) == 0 || slices.Contains(tenants, tenant)
}

// Jobs lists jobs by id.
func (c Catalogue) Jobs(ctx context.Context, q operator.JobQuery) ([]*operatorv1.JobRow, string, error) {
	rows := map[string]*operatorv1.JobRow{}
	err := c.each(ctx, "job-", func(id string, f events.Fact, at int64) {
		switch f := f.(type) {
		case *eventv1.JobSubmitted:
			rows[id] = &operatorv1.JobRow{
				Id: id, State: operatorv1.JobState_JOB_STATE_OPEN, Kind: f.Spec.Kind, Tenant: f.Spec.Tenant,
				Pipeline: f.Spec.Pipeline, SubmittedUs: at,
			}
		case *eventv1.TaskVerified:
			rows[id].State, rows[id].DecidedUs, rows[id].Basis = operatorv1.JobState_JOB_STATE_VERIFIED, at, f.Basis
		case *eventv1.JobDeadLettered:
			rows[id].State, rows[id].DecidedUs, rows[id].DeadLetter = operatorv1.JobState_JOB_STATE_DEAD_LETTERED, at, f.Reason
		case *eventv1.JobRequeued:
			rows[id].State = operatorv1.JobState_JOB_STATE_OPEN
		case *eventv1.JobDiscarded:
			rows[id].State = operatorv1.JobState_JOB_STATE_DISCARDED
		case *eventv1.JobCancelled:
			rows[id].State = operatorv1.JobState_JOB_STATE_CANCELLED
		}
	})
	if err != nil {
		return nil, "", err
	}
	return cut(rows, q.Page, func(r *operatorv1.JobRow) bool {
		return (len(q.States) == 0 || slices.Contains(q.States, r.State)) && (q.Kind == 0 || r.Kind == q.Kind) &&
			(q.Pipeline == "" || r.Pipeline == q.Pipeline) && among(q.Tenants, r.Tenant)
	})
}

// DeadLetters lists dead letters by the ids of their jobs.
func (c Catalogue) DeadLetters(ctx context.Context, q operator.DeadLetterQuery) ([]*operatorv1.DeadLetter, string, error) {
	jobs, rows := map[string]*eventv1.JobSubmitted{}, map[string]*operatorv1.DeadLetter{}
	err := c.each(ctx, "job-", func(id string, f events.Fact, at int64) {
		switch f := f.(type) {
		case *eventv1.JobSubmitted:
			jobs[id] = f
		case *eventv1.JobDeadLettered:
			spec := jobs[id].Spec
			rows[id] = &operatorv1.DeadLetter{
				Id: id, Reason: f.Reason, Tenant: spec.Tenant, Pipeline: spec.Pipeline, AtUs: at, Round: 1, Kind: spec.Kind, Module: spec.Module,
				Stage: spec.Stage, Chunk: spec.Chunk,
			}
		case *eventv1.JobRequeued, *eventv1.JobDiscarded, *eventv1.JobCancelled:
			delete(rows, id)
		}
	})
	if err != nil {
		return nil, "", err
	}
	return cut(rows, q.Page, func(d *operatorv1.DeadLetter) bool {
		return (len(q.Reasons) == 0 || slices.Contains(q.Reasons, d.Reason)) && among(q.Tenants, d.Tenant) &&
			(q.Pipeline == "" || d.Pipeline == q.Pipeline) && (q.Kind == 0 || d.Kind == q.Kind) &&
			(len(q.Module) == 0 || slices.Equal(d.Module, q.Module)) && d.AtUs >= q.FromUs && (q.UntilUs == 0 || d.AtUs < q.UntilUs)
	})
}

// Pipelines lists pipelines by id.
func (c Catalogue) Pipelines(ctx context.Context, q operator.PipelineQuery) ([]*operatorv1.Pipeline, string, error) {
	rows := map[string]*operatorv1.Pipeline{}
	err := c.each(ctx, "pipeline-", func(id string, f events.Fact, at int64) {
		switch f := f.(type) {
		case *eventv1.PipelineSubmitted:
			rows[id] = &operatorv1.Pipeline{
				Id: id, State: operatorv1.PipelineState_PIPELINE_STATE_RUNNING, Name: f.Spec.Name, Tenant: f.Spec.Tenant,
				Stages: uint32(len(f.Spec.Stages)), Chunks: f.Spec.Chunks, SubmittedUs: at,
			}
		case *eventv1.PipelineCompleted:
			rows[id].State = operatorv1.PipelineState_PIPELINE_STATE_COMPLETED
		case *eventv1.PipelineFailed:
			rows[id].State = operatorv1.PipelineState_PIPELINE_STATE_FAILED
		case *eventv1.PipelineCancelled:
			rows[id].State = operatorv1.PipelineState_PIPELINE_STATE_CANCELLED
		}
	})
	if err != nil {
		return nil, "", err
	}
	return cut(rows, q.Page, func(r *operatorv1.Pipeline) bool {
		return (len(q.States) == 0 || slices.Contains(q.States, r.State)) && among(q.Tenants, r.Tenant)
	})
}

// Workers lists workers by key.
func (c Catalogue) Workers(ctx context.Context, q operator.WorkerQuery) ([]*operatorv1.Worker, string, error) {
	rows := map[string]*operatorv1.Worker{}
	err := c.each(ctx, "worker-", func(id string, f events.Fact, at int64) {
		switch f := f.(type) {
		case *eventv1.WorkerRegistered:
			rows[id] = &operatorv1.Worker{Key: f.Key, State: "connected", LastSeenUs: at}
		case *eventv1.WorkerDrained:
			rows[id].State = "draining"
		case *eventv1.WorkerBanned:
			rows[id].State = "banned"
		case *eventv1.WorkerReinstated:
			rows[id].State = "connected"
		}
	})
	if err != nil {
		return nil, "", err
	}
	return cut(rows, q.Page, func(r *operatorv1.Worker) bool {
		return (q.State == "" || r.State == q.State) && (q.Tier == 0 || r.Tier == q.Tier)
	})
}

// Modules lists admitted modules by name.
func (c Catalogue) Modules(ctx context.Context, page operator.Page) ([]*eventv1.ModuleAdmitted, string, error) {
	rows := map[string]*eventv1.ModuleAdmitted{}
	err := c.each(ctx, "module-", func(_ string, f events.Fact, _ int64) {
		if m, ok := f.(*eventv1.ModuleAdmitted); ok {
			rows[hex.EncodeToString(m.Name)] = m
		}
	})
	if err != nil {
		return nil, "", err
	}
	return cut(rows, page, func(*eventv1.ModuleAdmitted) bool { return true })
}
