package readmodel

import (
	"context"
	"encoding/hex"
	"slices"

	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

// forgetStep bounds what one batch forgets beyond what it adds, so that a limit which was lowered is reached in small
// steps.
const forgetStep = 1000

const (
	sumClosed   = `SELECT coalesce(sum(n), 0) FROM counters WHERE what = ? AND scope = '' AND b IN (2, 4, 5)`
	sumEnded    = `SELECT coalesce(sum(n), 0) FROM counters WHERE what = ? AND scope = '' AND a > 1`
	sumKnown    = `SELECT coalesce(sum(n), 0) FROM counters WHERE what = ? AND scope = ''`
	listKinds   = `SELECT DISTINCT a FROM counters WHERE what = ? AND scope = ''`
	oldClosed   = `SELECT seq, id, tenant, pipeline FROM jobs WHERE kind = ? AND state = ? ORDER BY seq LIMIT ?`
	deleteJob   = `DELETE FROM jobs WHERE seq = ?`
	dropTurns   = `DELETE FROM turns WHERE job = ?`
	dropTries   = `DELETE FROM attempts WHERE job = ?`
	oldPipes    = `SELECT seq, id, tenant FROM pipelines WHERE state = ? ORDER BY seq LIMIT ?`
	deletePipe  = `DELETE FROM pipelines WHERE seq = ?`
	dropStages  = `DELETE FROM stages WHERE pipeline = ?`
	dropHoles   = `DELETE FROM holes WHERE pipeline = ?`
	oldWorkers  = `SELECT seq, key FROM workers WHERE tier = ? AND state = ? ORDER BY seq LIMIT ?`
	listTiers   = `SELECT a, b FROM counters WHERE what = ? AND scope = '' AND b IN (1, 2)`
	deleteOne   = `DELETE FROM workers WHERE seq = ?`
	dropVisits  = `DELETE FROM sessions WHERE worker = ?`
	allPipeEnds = 3
)

// forget holds closed jobs, ended pipelines and absent workers to their numbers.
func (b *batch) forget(ctx context.Context) error {
	for _, f := range []func(context.Context) error{b.forgetJobs, b.forgetPipelines, b.forgetWorkers} {
		if err := f(ctx); err != nil {
			return err
		}
	}
	return nil
}

// excess is how many rows are to be forgotten: what a sum of counters says, with what the batch changes, beyond a limit.
func (b *batch) excess(ctx context.Context, have *int64, sum string, what, limit int, counts func(counter) bool) (int, error) {
	if limit < 0 {
		return 0, nil
	}
	if *have < 0 {
		if _, err := b.s.w.one(ctx, sum, []any{what}, func(r row) { *have = r.int(0) }); err != nil {
			return 0, err
		}
	}
	added := int64(0)
	for c, n := range b.counts {
		if c.what == what && counts(c) {
			added += n
		}
	}
	*have += added
	return int(min(*have-int64(limit), max(added, 0)+forgetStep)), nil
}

type old struct {
	seq              int64
	id               string
	tenant, pipeline string
	kind, state      int64
}

// oldest are the n that began first among lists that are in order.
func oldest(all []old, n int) []old {
	slices.SortFunc(all, func(a, b old) int { return int(a.seq - b.seq) })
	return all[:min(n, len(all))]
}

func (b *batch) forgetJobs(ctx context.Context) error {
	isClosed := func(c counter) bool { return slices.Contains(closedStates, operatorv1.JobState(c.b)) }
	n, err := b.excess(ctx, &b.s.closed, sumClosed, countJobs, b.s.opts.ClosedJobs, isClosed)
	if n <= 0 || err != nil {
		return err
	}
	kinds := map[int64]bool{}
	err = b.s.w.each(ctx, listKinds, []any{countJobs}, func(r row) error { kinds[r.int(0)] = true; return nil })
	for c := range b.counts {
		if c.what == countJobs {
			kinds[c.a] = true
		}
	}
	var all []old
	for kind := range kinds {
		for _, state := range closedStates {
			if err == nil {
				err = b.s.w.each(ctx, oldClosed, []any{kind, int64(state), n}, func(r row) error {
					all = append(all, old{r.int(0), r.text(1), r.text(2), r.text(3), kind, int64(state)})
					return nil
				})
			}
		}
	}
	for _, o := range oldest(all, n) {
		for _, text := range []string{deleteJob, dropTurns, dropTries} {
			if err == nil {
				err = b.s.w.run(ctx, text, o.seq)
			}
		}
		if err != nil {
			return err
		}
		b.countJob(&job{kind: eventv1.JobKind(o.kind), tenant: o.tenant, pipeline: o.pipeline}, o.state, 0)
		b.s.jobs.drop(o.id)
		b.s.closed--
	}
	return err
}

func (b *batch) forgetPipelines(ctx context.Context) error {
	hasEnded := func(c counter) bool { return operatorv1.PipelineState(c.a) != running }
	n, err := b.excess(ctx, &b.s.ended, sumEnded, countPipelines, b.s.opts.ClosedPipelines, hasEnded)
	if n <= 0 || err != nil {
		return err
	}
	var all []old
	for state := int64(running) + 1; state <= int64(running)+allPipeEnds; state++ {
		err = b.s.w.each(ctx, oldPipes, []any{state, n}, func(r row) error {
			all = append(all, old{seq: r.int(0), id: r.text(1), tenant: r.text(2), state: state})
			return nil
		})
		if err != nil {
			return err
		}
	}
	for _, o := range oldest(all, n) {
		for _, text := range []string{deletePipe, dropStages, dropHoles} {
			if err := b.s.w.run(ctx, text, o.seq); err != nil {
				return err
			}
		}
		b.countPipeline(&pipeline{tenant: o.tenant}, o.state, -1)
		b.s.pipelines.drop(o.id)
		b.s.ended--
	}
	return nil
}

func (b *batch) forgetWorkers(ctx context.Context) error {
	every := func(counter) bool { return true }
	n, err := b.excess(ctx, &b.s.known, sumKnown, countWorkers, b.s.opts.Workers, every)
	if n <= 0 || err != nil {
		return err
	}
	var groups [][2]int64 // tier and state of those that may be forgotten
	err = b.s.w.each(ctx, listTiers, []any{countWorkers}, func(r row) error {
		groups = append(groups, [2]int64{r.int(0), r.int(1)})
		return nil
	})
	for c := range b.counts {
		if g := [2]int64{c.a, c.b}; c.what == countWorkers && (c.b == 1 || c.b == 2) && !slices.Contains(groups, g) {
			groups = append(groups, g)
		}
	}
	var all []old
	for _, g := range groups {
		if err == nil {
			err = b.s.w.each(ctx, oldWorkers, []any{g[0], g[1], n}, func(r row) error {
				all = append(all, old{seq: r.int(0), id: string(r.blob(1)), kind: g[0], state: g[1]})
				return nil
			})
		}
	}
	for _, o := range oldest(all, n) {
		for _, text := range []string{deleteOne, dropVisits} {
			if err == nil {
				err = b.s.w.run(ctx, text, o.seq)
			}
		}
		if err != nil {
			return err
		}
		b.count(counter{countWorkers, "", o.kind, o.state}, -1)
		b.s.workers.drop(hex.EncodeToString([]byte(o.id)))
		b.s.known--
	}
	return err
}
