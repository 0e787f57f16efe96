package readmodel

import (
	"context"

	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

const (
	deadRest = ` AND dead_seq IS NOT NULL AND (?4 >> reason) & 1 AND (?5 >> kind) & 1
		AND (?6 IS NULL OR tenant IN (SELECT value FROM json_each(?6))) AND (?7 IS NULL OR pipeline = ?7) AND (?8 IS NULL OR module = ?8)
		AND decided >= ?9 AND decided < ?10 AND dead_seq < ?1 AND dead_seq >= ?2 ORDER BY dead_seq DESC LIMIT ?3`

	walkDead         = `SELECT dead_seq FROM jobs INDEXED BY jobs_dead WHERE 1` + deadRest
	walkDeadReason   = `SELECT dead_seq FROM jobs INDEXED BY jobs_dead_reason WHERE reason = ?11` + deadRest
	walkDeadTenant   = `SELECT dead_seq FROM jobs INDEXED BY jobs_dead_tenant WHERE tenant = ?12 AND reason = ?11` + deadRest
	walkDeadPipeline = `SELECT dead_seq FROM jobs INDEXED BY jobs_dead_pipeline WHERE pipeline = ?11` + deadRest
	walkDeadModule   = `SELECT dead_seq FROM jobs INDEXED BY jobs_dead_module WHERE module = ?11` + deadRest
	fetchDead        = `SELECT id, reason, tenant, pipeline, kind, module, decided, body
		FROM jobs INDEXED BY jobs_dead WHERE dead_seq = ?`
	listReasons = `SELECT DISTINCT a FROM counters WHERE what = ? AND scope = ''`
)

func (r row) deadLetter() DeadLetter {
	var b jobBody
	unpack(&b, r.blob(7))
	return DeadLetter{
		Job: r.text(0), Reason: eventv1.DeadLetterReason(r.int(1)), Detail: b.detail, Tenant: r.text(2), Pipeline: r.text(3),
		Stage: b.stage, Chunk: b.chunk, Kind: eventv1.JobKind(r.int(4)), Module: r.blob(5), Round: b.round, Attempts: b.attempts,
		At: timeOf(r.int(6)),
	}
}

// deadSource is a walk that yields dead letters of one reason, or of any.
type deadSource struct {
	source
	reason eventv1.DeadLetterReason
}

// sources are the walks whose union is what the query asks for. Split: each yields dead letters of one reason.
func (q *DeadLetterQuery) sources(ctx context.Context, c *conn, split bool) (all []deadSource, err error) {
	from, to := span(q.Since, q.Until)
	var pipeline any
	if q.Pipeline != "" {
		pipeline = q.Pipeline
	}
	add := func(text string, reasons []eventv1.DeadLetterReason, reason eventv1.DeadLetterReason, lead ...any) {
		args := []any{mask(reasons), mask(q.Kinds), texts(q.Tenants), pipeline, orNone(q.Module), from, to}
		all = append(all, deadSource{source{text, append(args, lead...)}, reason})
	}
	if q.Tenants == nil && len(q.Reasons) == 0 && q.Pipeline == "" && len(q.Module) == 0 && !split {
		add(walkDead, nil, 0)
		return all, nil
	}
	var reasons []eventv1.DeadLetterReason
	m := mask(q.Reasons)
	err = c.each(ctx, listReasons, []any{countDead}, func(r row) error {
		if m>>r.int(0)&1 != 0 {
			reasons = append(reasons, eventv1.DeadLetterReason(r.int(0)))
		}
		return nil
	})
	for _, reason := range reasons {
		one := []eventv1.DeadLetterReason{reason}
		switch {
		case q.Pipeline != "":
			add(walkDeadPipeline, one, reason, q.Pipeline)
		case len(q.Module) > 0:
			add(walkDeadModule, one, reason, q.Module)
		case q.Tenants != nil:
			for _, tenant := range distinct(q.Tenants) {
				add(walkDeadTenant, one, reason, int64(reason), tenant)
			}
		default:
			add(walkDeadReason, one, reason, int64(reason))
		}
	}
	return all, err
}

func (q *DeadLetterQuery) check() error {
	return checkFilter(len(q.Reasons), len(q.Kinds), len(q.Tenants))
}

// DeadLetters lists dead letters.
func (m *Model) DeadLetters(ctx context.Context, q DeadLetterQuery) (rows []DeadLetter, next string, err error) {
	before, limit, err := q.open(orderDead)
	if err == nil {
		err = q.check()
	}
	if err != nil {
		return nil, "", err
	}
	err = m.read(ctx, func(c *conn) error {
		all, err := q.sources(ctx, c, false)
		if err != nil {
			return err
		}
		var walks []source
		for _, s := range all {
			walks = append(walks, s.source)
		}
		var seqs []int64
		if seqs, next, err = newest(ctx, c, orderDead, before, 0, limit, walks); err == nil {
			rows, err = fetch(ctx, c, fetchDead, seqs, row.deadLetter)
		}
		return err
	})
	return rows, next, err
}

// CountDeadLetters counts the dead letters that a query would list, by reason. See CountLimit.
func (m *Model) CountDeadLetters(ctx context.Context, q DeadLetterQuery) (map[eventv1.DeadLetterReason]int64, error) {
	if err := q.check(); err != nil {
		return nil, err
	}
	counts := map[eventv1.DeadLetterReason]int64{}
	err := m.read(ctx, func(c *conn) error {
		if q.Pipeline != "" || len(q.Module) > 0 || len(q.Kinds) > 0 || !q.Since.IsZero() || !q.Until.IsZero() {
			all, err := q.sources(ctx, c, true)
			for _, s := range all {
				if err == nil {
					err = countInto(ctx, c, counts, s.reason, 0, s.source)
				}
			}
			return err
		}
		what, scopes, reasons := countDead, []string{""}, mask(q.Reasons)
		if q.Tenants != nil {
			what, scopes = countTenantDead, distinct(q.Tenants)
		}
		for _, scope := range scopes {
			err := c.each(ctx, countTenant, []any{what, scope}, func(r row) error {
				if reasons>>r.int(0)&1 != 0 {
					counts[eventv1.DeadLetterReason(r.int(0))] += r.int(2)
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
