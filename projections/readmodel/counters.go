package readmodel

import (
	"context"
)

// counter names a number that is kept so that nobody has to count rows.
type counter struct {
	what  int
	scope string // a tenant or a pipeline, where the counter is one of many
	a, b  int64
}

// What is counted. A and B are in brackets.
const (
	countJobs         = iota + 1 // all [kind, state]
	countTenantJobs              // of a tenant [kind, state]
	countPipelineJobs            // of a pipeline [0, state]
	countPipelines               // all [state]
	countTenantPipes             // of a tenant [state]
	countWorkers                 // [tier, state]
	countDead                    // all [reason]
	countTenantDead              // of a tenant [reason]
	countTotals                  // [which]
)

// Which total is which.
const (
	totalVerdicts = iota + 1
	totalContradicted
	totalMismatches
	totalModules
	totalRefused
)

func (b *batch) count(c counter, by int64) { b.counts[c] += by }

// countJob follows a job from how it was stored to how it will be. The zero state is: not stored.
func (b *batch) countJob(j *job, from, to int64) {
	for _, m := range []struct{ state, by int64 }{{from, -1}, {to, 1}} {
		if m.state == 0 {
			continue
		}
		b.count(counter{countJobs, "", int64(j.kind), m.state}, m.by)
		b.count(counter{countTenantJobs, j.tenant, int64(j.kind), m.state}, m.by)
		if j.pipeline != "" {
			b.count(counter{countPipelineJobs, j.pipeline, 0, m.state}, m.by)
		}
	}
}

func (b *batch) countDead(j *job, reason int64, by int64) {
	b.count(counter{countDead, "", reason, 0}, by)
	b.count(counter{countTenantDead, j.tenant, reason, 0}, by)
}

func (b *batch) countPipeline(p *pipeline, state, by int64) {
	if state != 0 {
		b.count(counter{countPipelines, "", state, 0}, by)
		b.count(counter{countTenantPipes, p.tenant, state, 0}, by)
	}
}

const (
	addCounter = `INSERT INTO counters (what, scope, a, b, n) VALUES (?, ?, ?, ?, ?)
		ON CONFLICT DO UPDATE SET n = n + excluded.n`
	dropCounter = `DELETE FROM counters WHERE what = ? AND scope = ? AND a = ? AND b = ? AND n = 0`
	addSeries   = `INSERT INTO series (step, at, submitted, verified, dead, cancelled, mismatches, dispatched, stripped, rejected, events)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET
		submitted = submitted + excluded.submitted, verified = verified + excluded.verified, dead = dead + excluded.dead,
		cancelled = cancelled + excluded.cancelled, mismatches = mismatches + excluded.mismatches,
		dispatched = dispatched + excluded.dispatched, stripped = stripped + excluded.stripped,
		rejected = rejected + excluded.rejected, events = events + excluded.events`
	trimSeries = `DELETE FROM series WHERE step = ? AND at < ?`
)

func (b *batch) writeCounters(ctx context.Context) error {
	for c, n := range b.counts {
		if n == 0 {
			continue
		}
		if err := b.s.w.run(ctx, addCounter, c.what, c.scope, c.a, c.b, n); err != nil {
			return err
		}
		if n < 0 {
			if err := b.s.w.run(ctx, dropCounter, c.what, c.scope, c.a, c.b); err != nil {
				return err
			}
		}
	}
	return nil
}

// Steps of the series, in seconds.
const (
	stepSecond = 1
	stepMinute = 60
	stepHour   = 3600
)

func (b *batch) writeSeries(ctx context.Context) error {
	steps := map[[2]int64]*Point{}
	newest := int64(0)
	for second, p := range b.series {
		newest = max(newest, second)
		for _, step := range []int64{stepSecond, stepMinute, stepHour} {
			k := [2]int64{step, second - mod(second, step)}
			if steps[k] == nil {
				steps[k] = new(Point)
			}
			steps[k].add(p)
		}
	}
	for k, p := range steps {
		err := b.s.w.run(ctx, addSeries, k[0], k[1], p.Submitted, p.Verified, p.DeadLettered, p.Cancelled, p.Mismatches,
			p.Dispatched, p.Stripped, p.Rejected, p.Events)
		if err != nil {
			return err
		}
	}
	o := &b.s.opts
	for _, keep := range []struct{ step, seconds int64 }{
		{stepSecond, int64(o.PerSecond.Seconds())}, {stepMinute, int64(o.PerMinute.Seconds())}, {stepHour, int64(o.PerHour.Seconds())},
	} {
		if err := b.s.w.run(ctx, trimSeries, keep.step, newest-keep.seconds); err != nil {
			return err
		}
	}
	return nil
}

// mod is the remainder that is never negative.
func mod(n, by int64) int64 { return (n%by + by) % by }

func (p *Point) add(q *Point) {
	p.Submitted += q.Submitted
	p.Verified += q.Verified
	p.DeadLettered += q.DeadLettered
	p.Cancelled += q.Cancelled
	p.Mismatches += q.Mismatches
	p.Dispatched += q.Dispatched
	p.Stripped += q.Stripped
	p.Rejected += q.Rejected
	p.Events += q.Events
}
