package readmodel

import (
	"context"
	"fmt"
	"time"

	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

const (
	allCounters = `SELECT what, a, b, n FROM counters WHERE what IN (?, ?, ?, ?, ?) AND scope = ''`
	readSeries  = `SELECT at, submitted, verified, dead, cancelled, mismatches, dispatched, stripped, rejected, events
		FROM series WHERE step = ? AND at >= ? AND at < ?`
)

// Totals returns all counters, of one moment.
func (m *Model) Totals(ctx context.Context) (Totals, error) {
	t := Totals{
		Jobs: map[operatorv1.JobState]int64{}, Pipelines: map[operatorv1.PipelineState]int64{},
		DeadLetters: map[eventv1.DeadLetterReason]int64{},
	}
	err := m.read(ctx, func(c *conn) error {
		args := []any{countJobs, countPipelines, countWorkers, countDead, countTotals}
		return c.each(ctx, allCounters, args, func(r row) error {
			t.take(r.int(0), r.int(1), r.int(2), r.int(3))
			return nil
		})
	})
	return t, err
}

func (t *Totals) take(what, a, b, n int64) {
	switch what {
	case countJobs:
		t.Jobs[operatorv1.JobState(b)] += n
	case countPipelines:
		t.Pipelines[operatorv1.PipelineState(a)] += n
	case countWorkers:
		t.Workers = append(t.Workers, WorkerCount{uint32(a), workerState(b), n})
	case countDead:
		t.DeadLetters[eventv1.DeadLetterReason(a)] += n
	case countTotals:
		switch a {
		case totalVerdicts:
			t.Verdicts = n
		case totalContradicted:
			t.Contradicted = n
		case totalMismatches:
			t.Mismatches = n
		case totalModules:
			t.Modules = n
		}
	}
}

// Throughput returns what happened in [since, until) in steps of the given size, empty steps included, at most MaxPage
// of them. Since is rounded down to a step. Steps are whole seconds; those of minutes and hours reach further back.
func (m *Model) Throughput(ctx context.Context, since, until time.Time, step time.Duration) ([]Point, error) {
	size := int64(step / time.Second)
	if size < 1 || step%time.Second != 0 {
		return nil, fmt.Errorf("%w: a step of %v", ErrQuery, step)
	}
	begin := since.Unix() - mod(since.Unix(), size)
	end := until.Unix()
	if until.Nanosecond() > 0 {
		end++
	}
	n := (end - begin + size - 1) / size
	if n > MaxPage {
		return nil, fmt.Errorf("%w: %d steps, at most %d", ErrQuery, n, MaxPage)
	}
	points := make([]Point, max(n, 0))
	for i := range points {
		points[i].At = time.Unix(begin+int64(i)*size, 0).UTC()
	}
	kept := int64(stepSecond)
	for _, s := range []int64{stepMinute, stepHour} {
		if size%s == 0 {
			kept = s
		}
	}
	err := m.read(ctx, func(c *conn) error {
		return c.each(ctx, readSeries, []any{kept, begin, begin + int64(len(points))*size}, func(r row) error {
			points[(r.int(0)-begin)/size].add(&Point{
				Submitted: uint64(r.int(1)), Verified: uint64(r.int(2)), DeadLettered: uint64(r.int(3)), Cancelled: uint64(r.int(4)),
				Mismatches: uint64(r.int(5)), Dispatched: uint64(r.int(6)), Stripped: uint64(r.int(7)), Rejected: uint64(r.int(8)),
				Events: uint64(r.int(9)),
			})
			return nil
		})
	})
	return points, err
}
