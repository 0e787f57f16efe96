package readmodel

import (
	"context"

	"google.golang.org/protobuf/proto"

	pipelineroom "github.com/shardy-network/orchestrator/actors/pipeline"
	"github.com/shardy-network/orchestrator/events"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

const (
	pipelineColumns = `p.seq, p.id, p.position, p.state, p.name, p.tenant, p.stage, p.stages, p.submitted, p.ended, p.detail, p.by_whom,
		p.output_bytes, coalesce(s.chunks, 0), coalesce(s.settled, 0), (SELECT coalesce(sum(failed), 0) FROM stages WHERE pipeline = p.seq)`
	pipelineFrom = ` FROM pipelines p LEFT JOIN stages s ON s.pipeline = p.seq AND s.stage = p.stage `
	pipelineRest = ` AND submitted >= ?4 AND submitted < ?5 AND seq < ?1 AND seq >= ?2 ORDER BY seq DESC LIMIT ?3`

	walkPipelines       = `SELECT seq FROM pipelines WHERE 1` + pipelineRest
	walkPipelinesState  = `SELECT seq FROM pipelines INDEXED BY pipelines_state WHERE state = ?6` + pipelineRest
	walkPipelinesTenant = `SELECT seq FROM pipelines INDEXED BY pipelines_tenant WHERE tenant = ?7 AND state = ?6` + pipelineRest
	fetchPipeline       = `SELECT ` + pipelineColumns + pipelineFrom + `WHERE p.seq = ?`
	pipelineByID        = `SELECT ` + pipelineColumns + `, p.begun` + pipelineFrom + `WHERE p.id = ?`
	jobOfChunk          = `SELECT seq, state, body FROM jobs WHERE id = ?`
	discardTurn         = `SELECT data FROM turns WHERE job = ? AND type = 'JobDiscarded' ORDER BY seq DESC LIMIT 1`
)

var pipelineStates = []operatorv1.PipelineState{
	operatorv1.PipelineState_PIPELINE_STATE_RUNNING, operatorv1.PipelineState_PIPELINE_STATE_COMPLETED,
	operatorv1.PipelineState_PIPELINE_STATE_FAILED, operatorv1.PipelineState_PIPELINE_STATE_CANCELLED,
}

func (r row) pipeline() PipelineRow {
	return PipelineRow{
		ID: r.text(1), Position: events.Position(r.int(2)), State: operatorv1.PipelineState(r.int(3)), Name: r.text(4), Tenant: r.text(5),
		Stage: r.u32(6), Stages: r.u32(7), Submitted: timeOf(r.int(8)), Ended: timeOf(r.int(9)), Detail: r.text(10), By: r.text(11),
		OutputBytes: uint64(r.int(12)), Chunks: r.u32(13), Settled: r.u32(14), Failed: r.u32(15),
	}
}

// pipelineSource is a walk that yields pipelines of one state, or of any.
type pipelineSource struct {
	source
	state operatorv1.PipelineState
}

func (q *PipelineQuery) sources(split bool) (all []pipelineSource) {
	from, to := span(q.Since, q.Until)
	if len(q.States) == 0 && q.Tenants == nil && !split {
		return []pipelineSource{{source{walkPipelines, []any{from, to}}, 0}}
	}
	states := distinct(q.States)
	if len(states) == 0 {
		states = pipelineStates
	}
	for _, s := range states {
		if q.Tenants == nil {
			all = append(all, pipelineSource{source{walkPipelinesState, []any{from, to, int64(s)}}, s})
		}
		for _, tenant := range distinct(q.Tenants) {
			all = append(all, pipelineSource{source{walkPipelinesTenant, []any{from, to, int64(s), tenant}}, s})
		}
	}
	return all
}

// Pipelines lists pipelines; next is empty at the end.
func (m *Model) Pipelines(ctx context.Context, q PipelineQuery) (rows []PipelineRow, next string, err error) {
	before, limit, err := q.open(orderBegun)
	if err == nil {
		err = checkFilter(len(q.States), len(q.Tenants))
	}
	if err != nil {
		return nil, "", err
	}
	err = m.read(ctx, func(c *conn) error {
		var walks []source
		for _, s := range q.sources(false) {
			walks = append(walks, s.source)
		}
		var seqs []int64
		if seqs, next, err = newest(ctx, c, orderBegun, before, 0, limit, walks); err == nil {
			rows, err = fetch(ctx, c, fetchPipeline, seqs, row.pipeline)
		}
		return err
	})
	return rows, next, err
}

// CountPipelines counts the pipelines that a query would list, by state. See CountLimit.
func (m *Model) CountPipelines(ctx context.Context, q PipelineQuery) (map[operatorv1.PipelineState]int64, error) {
	if err := checkFilter(len(q.States), len(q.Tenants)); err != nil {
		return nil, err
	}
	counts := map[operatorv1.PipelineState]int64{}
	err := m.read(ctx, func(c *conn) error {
		if !q.Since.IsZero() || !q.Until.IsZero() {
			for _, s := range q.sources(true) {
				if err := countInto(ctx, c, counts, s.state, 0, s.source); err != nil {
					return err
				}
			}
			return nil
		}
		what, scopes, states := countPipelines, []string{""}, mask(q.States)
		if q.Tenants != nil {
			what, scopes = countTenantPipes, distinct(q.Tenants)
		}
		for _, scope := range scopes {
			err := c.each(ctx, countTenant, []any{what, scope}, func(r row) error {
				if states>>r.int(0)&1 != 0 {
					counts[operatorv1.PipelineState(r.int(0))] += r.int(2)
				}
				return nil
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	return counts, err
}

// countInto counts what a walk yields, up to CountLimit.
func countInto[K comparable](ctx context.Context, c *conn, counts map[K]int64, key K, from int64, s source) error {
	left := CountLimit - counts[key]
	if left <= 0 {
		return nil
	}
	_, err := c.one(ctx, counting(s.text), append([]any{int64(maxPlace), from, left}, s.args...), func(r row) {
		if n := r.int(0); n > 0 {
			counts[key] += n
		}
	})
	return err
}

// Pipeline returns one pipeline, or ErrNotFound.
func (m *Model) Pipeline(ctx context.Context, id string) (*Pipeline, error) {
	p := &Pipeline{Spec: new(eventv1.PipelineSpec)}
	err := m.read(ctx, func(c *conn) error {
		var seq int64
		found, err := c.one(ctx, pipelineByID, []any{id}, func(r row) {
			seq, p.PipelineRow = r.int(0), r.pipeline()
			var f eventv1.PipelineSubmitted
			if proto.Unmarshal(r.blob(16), &f) == nil && f.GetSpec() != nil {
				p.Spec = f.GetSpec()
			}
		})
		if err == nil && !found {
			err = ErrNotFound
		}
		if err != nil {
			return err
		}
		for i, s := range p.Spec.GetStages() {
			p.Progress = append(p.Progress, Stage{Stage: uint32(i), Name: s.GetName(), Module: s.GetTemplate().GetModule()})
		}
		return c.each(ctx, backStages, []any{seq}, func(r row) error {
			if n := int(r.int(0)); n < len(p.Progress) {
				p.Progress[n].fill(r)
			}
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	return p, nil
}

// fill takes in a stage's row, in the order of backStages.
func (s *Stage) fill(r row) {
	s.Chunks, s.Settled, s.Failed = r.u32(1), r.u32(2), r.u32(3)
	s.Started, s.Completed = timeOf(r.int(4)), timeOf(r.int(5))
	if sum := r.blob(6); len(sum) > 0 {
		s.Manifest = &eventv1.BlobRef{Sha256: sum, Size: uint64(r.int(7))}
	}
}

// Chunks lists the chunks [from, from+limit) of a pipeline's stage, in order, at most MaxPage of them. It is empty
// behind the last one.
func (m *Model) Chunks(ctx context.Context, pipeline string, stage, from uint32, limit int) (rows []Chunk, err error) {
	p, err := m.Pipeline(ctx, pipeline)
	if err != nil {
		return nil, err
	}
	if int64(stage) >= int64(len(p.Progress)) {
		return nil, ErrNotFound
	}
	end := min(uint64(from)+uint64(min(max(limit, 0), MaxPage)), uint64(p.Progress[stage].Chunks))
	err = m.read(ctx, func(c *conn) error {
		for n := uint64(from); n < end; n++ {
			chunk := Chunk{Chunk: uint32(n), Job: pipelineroom.JobID(pipeline, stage, uint32(n))}
			if err := chunk.read(ctx, c); err != nil {
				return err
			}
			rows = append(rows, chunk)
		}
		return nil
	})
	return rows, err
}

// maxEdits bounds the jobs that are followed from a chunk's first one to the one edited out of it, and so on.
const maxEdits = 16

// read looks for the job that stands for the chunk now.
func (x *Chunk) read(ctx context.Context, c *conn) error {
	for range maxEdits {
		seq := int64(0)
		_, err := c.one(ctx, jobOfChunk, []any{x.Job}, func(r row) {
			seq, x.State = r.int(0), operatorv1.JobState(r.int(1))
			var b jobBody
			unpack(&b, r.blob(2))
			var f eventv1.TaskVerified
			if len(b.verdict) > 0 && proto.Unmarshal(b.verdict, &f) == nil {
				x.Output = f.GetOutput()
			}
		})
		if err != nil || x.State != discarded {
			return err
		}
		heir := ""
		_, err = c.one(ctx, discardTurn, []any{seq}, func(r row) {
			var f eventv1.JobDiscarded
			if proto.Unmarshal(r.blob(0), &f) == nil {
				heir = f.GetReplacedBy()
			}
		})
		if err != nil || heir == "" {
			return err
		}
		x.Job, x.State = heir, operatorv1.JobState_JOB_STATE_UNSPECIFIED
	}
	return nil
}
