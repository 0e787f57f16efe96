package readmodel

import (
	"context"

	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/events"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

const (
	verdictRest = ` AND verdict_seq < ?1 AND verdict_seq >= ?2 ORDER BY verdict_seq DESC LIMIT ?3`

	walkVerdicts           = `SELECT verdict_seq FROM jobs INDEXED BY jobs_verdict WHERE verdict_seq IS NOT NULL` + verdictRest
	walkVerdictsTenant     = `SELECT verdict_seq FROM jobs INDEXED BY jobs_verdict_tenant WHERE tenant = ?4 AND verdict_seq IS NOT NULL` + verdictRest
	walkContradicted       = `SELECT verdict_seq FROM jobs INDEXED BY jobs_contradicted WHERE contradicted > 0` + verdictRest
	walkContradictedTenant = `SELECT verdict_seq FROM jobs INDEXED BY jobs_contradicted_tenant WHERE tenant = ?4 AND contradicted > 0` + verdictRest
	fetchVerdict           = `SELECT id FROM jobs INDEXED BY jobs_verdict WHERE verdict_seq = ?`
	walkMismatches         = `SELECT t.seq, t.at, t.position, t.data, j.id, j.tenant, j.pipeline, j.kind, j.state, t.job
		FROM turns t INDEXED BY turns_mismatch CROSS JOIN jobs j ON j.seq = t.job
		WHERE t.type = 'ConsensusMismatch' AND t.seq < ? ORDER BY t.seq DESC LIMIT ?`
	requeuedBefore = `SELECT data FROM turns WHERE job = ? AND seq < ? AND type = 'JobRequeued' ORDER BY seq DESC LIMIT 1`
	walkModules    = `SELECT seq, original, position, at, admitted, fact FROM modules WHERE seq < ? ORDER BY seq DESC LIMIT ?`
)

// Verdicts lists decided jobs.
func (m *Model) Verdicts(ctx context.Context, q VerdictQuery) (rows []Verdict, next string, err error) {
	before, limit, err := q.open(orderVerdict)
	if err == nil {
		err = checkFilter(len(q.Tenants))
	}
	if err != nil {
		return nil, "", err
	}
	all, tenant := walkVerdicts, walkVerdictsTenant
	if q.OnlyContradicted {
		all, tenant = walkContradicted, walkContradictedTenant
	}
	walks := []source{{text: all}}
	if q.Tenants != nil {
		walks = nil
		for _, t := range distinct(q.Tenants) {
			walks = append(walks, source{tenant, []any{t}})
		}
	}
	err = m.read(ctx, func(c *conn) error {
		var seqs []int64
		seqs, next, err = newest(ctx, c, orderVerdict, before, 0, limit, walks)
		if err != nil {
			return err
		}
		ids, err := fetch(ctx, c, fetchVerdict, seqs, func(r row) string { return r.text(0) })
		for _, id := range ids {
			if err != nil {
				break
			}
			var v Verdict
			if v, err = readVerdict(ctx, c, id); err == nil {
				rows = append(rows, v)
			}
		}
		return err
	})
	return rows, next, err
}

func readVerdict(ctx context.Context, c *conn, id string) (Verdict, error) {
	var view jobView
	if err := view.read(ctx, c, id); err != nil {
		return Verdict{}, err
	}
	j := view.finish()
	return Verdict{
		Job: j.ID, Tenant: j.Tenant, Pipeline: j.Pipeline, Kind: j.Kind, Basis: j.Basis, Checksum: j.Checksum, Fuel: j.Verdict.GetFuel(),
		Agreeing: j.Verdict.GetAgreeing(), Contradicted: j.Verdict.GetContradicted(), Round: j.Round, Wave: j.Wave, Returned: j.Returned,
		Votes: j.Votes, Submitted: j.Submitted, Decided: j.Decided, Position: view.decided,
	}, nil
}

// Mismatches lists waves that did not agree.
func (m *Model) Mismatches(ctx context.Context, p Page) (rows []Mismatch, next string, err error) {
	before, limit, err := p.open(orderBegun)
	if err != nil {
		return nil, "", err
	}
	err = m.read(ctx, func(c *conn) error {
		var jobs, seqs []int64
		err := c.each(ctx, walkMismatches, []any{before, limit + 1}, func(r row) error {
			if len(rows) == limit {
				next = placeOf(orderBegun, seqs[limit-1])
				return nil
			}
			x := Mismatch{
				At: timeOf(r.int(1)), Position: events.Position(r.int(2)), Job: r.text(4), Tenant: r.text(5), Pipeline: r.text(6),
				Kind: eventv1.JobKind(r.int(7)), State: operatorv1.JobState(r.int(8)), Round: 1,
			}
			var f eventv1.ConsensusMismatch
			if proto.Unmarshal(r.blob(3), &f) == nil {
				x.Wave, x.Votes = f.GetWave(), f.GetVotes()
			}
			rows, seqs, jobs = append(rows, x), append(seqs, r.int(0)), append(jobs, r.int(9))
			return nil
		})
		for i := range rows {
			if err == nil {
				_, err = c.one(ctx, requeuedBefore, []any{jobs[i], seqs[i]}, func(r row) {
					var f eventv1.JobRequeued
					if proto.Unmarshal(r.blob(0), &f) == nil {
						rows[i].Round = f.GetRound()
					}
				})
			}
		}
		return err
	})
	return rows, next, err
}

// Modules lists admitted and refused modules.
func (m *Model) Modules(ctx context.Context, p Page) (rows []Module, next string, err error) {
	before, limit, err := p.open(orderBegun)
	if err != nil {
		return nil, "", err
	}
	err = m.read(ctx, func(c *conn) error {
		last := int64(0)
		return c.each(ctx, walkModules, []any{before, limit + 1}, func(r row) error {
			if len(rows) == limit {
				next = placeOf(orderBegun, last)
				return nil
			}
			last = r.int(0)
			rows = append(rows, r.module())
			return nil
		})
	})
	return rows, next, err
}

func (r row) module() Module {
	x := Module{Original: r.blob(1), Position: events.Position(r.int(2)), At: timeOf(r.int(3))}
	if r.int(4) != 0 {
		x.Admitted = new(eventv1.ModuleAdmitted)
		if proto.Unmarshal(r.blob(5), x.Admitted) != nil {
			x.Admitted = nil
		}
		return x
	}
	x.Refused = new(eventv1.ModuleRefused)
	if proto.Unmarshal(r.blob(5), x.Refused) != nil {
		x.Refused = nil
	}
	return x
}
