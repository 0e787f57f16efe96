package readmodel

import (
	"context"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/shardy-network/orchestrator/events"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

// pages turns all pages of a list.
func pages[R any](t *testing.T, limit int, list func(Page) ([]R, string, error)) (all []R) {
	t.Helper()
	for p := (Page{Limit: limit}); ; {
		rows, next, err := list(p)
		if err != nil || len(rows) > limit && limit > 0 {
			t.Fatalf("%d rows, %v", len(rows), err)
		}
		all = append(all, rows...)
		if p.After = next; next == "" {
			return all
		}
	}
}

// TestPagesAreTheWhole: for every list, small pages show what one large page shows.
func TestPagesAreTheWhole(t *testing.T) {
	w := played(21, 3000)
	m := openFor(t, w.records, "", quiet)
	apply(t, m, w.records)
	ctx := t.Context()
	lists := map[string]func(Page) ([]any, string, error){
		"jobs":             anyOf(func(p Page) ([]JobRow, string, error) { return m.Jobs(ctx, JobQuery{Page: p}) }),
		"jobs of a worker": anyOf(func(p Page) ([]JobRow, string, error) { return m.Jobs(ctx, JobQuery{Page: p, Worker: w.keys[1]}) }),
		"jobs by state": anyOf(func(p Page) ([]JobRow, string, error) {
			return m.Jobs(ctx, JobQuery{Page: p, States: []operatorv1.JobState{dead, verified, dead}})
		}),
		"jobs of tenants": anyOf(func(p Page) ([]JobRow, string, error) { return m.Jobs(ctx, JobQuery{Page: p, Tenants: w.tenants[:2]}) }),
		"attempts of worker": anyOf(func(p Page) ([]Attempt, string, error) {
			return m.Attempts(ctx, AttemptQuery{Page: p, Worker: w.keys[1]})
		}),
		"losses": anyOf(func(p Page) ([]Attempt, string, error) {
			return m.Attempts(ctx, AttemptQuery{Page: p, Outcomes: Outcomes()[4:]})
		}),
		"odd of a worker": anyOf(func(p Page) ([]Attempt, string, error) {
			return m.Attempts(ctx, AttemptQuery{Page: p, Worker: w.keys[1], Outcomes: []Outcome{OutcomeReturned, OutcomeRejected, OutcomeRunning}})
		}),
		"pipelines": anyOf(func(p Page) ([]PipelineRow, string, error) { return m.Pipelines(ctx, PipelineQuery{Page: p}) }),
		"workers":   anyOf(func(p Page) ([]Worker, string, error) { return m.Workers(ctx, WorkerQuery{Page: p}) }),
		"banned": anyOf(func(p Page) ([]Worker, string, error) {
			return m.Workers(ctx, WorkerQuery{Page: p, States: []WorkerState{WorkerBanned, WorkerDraining}})
		}),
		"found":        anyOf(func(p Page) ([]Worker, string, error) { return m.Workers(ctx, WorkerQuery{Page: p, Search: ""}) }),
		"sessions":     anyOf(func(p Page) ([]Session, string, error) { return m.Sessions(ctx, w.keys[1], p) }),
		"dead letters": anyOf(func(p Page) ([]DeadLetter, string, error) { return m.DeadLetters(ctx, DeadLetterQuery{Page: p}) }),
		"dead of tenants": anyOf(func(p Page) ([]DeadLetter, string, error) {
			return m.DeadLetters(ctx, DeadLetterQuery{Page: p, Tenants: w.tenants})
		}),
		"verdicts":   anyOf(func(p Page) ([]Verdict, string, error) { return m.Verdicts(ctx, VerdictQuery{Page: p}) }),
		"mismatches": anyOf(func(p Page) ([]Mismatch, string, error) { return m.Mismatches(ctx, p) }),
		"modules":    anyOf(func(p Page) ([]Module, string, error) { return m.Modules(ctx, p) }),
	}
	for name, list := range lists {
		whole := fmt.Sprintf("%+v", pages(t, MaxPage, list))
		if small := fmt.Sprintf("%+v", pages(t, 2, list)); small != whole {
			t.Errorf("%s: pages of 2 show something else than one page", name)
		}
		if len(whole) < 10 {
			t.Errorf("%s: the list is empty", name)
		}
		for _, bad := range []string{"x", "b", "b0", "b-1", "b01", "j99999999999999999999", "\x00", "kzz", strings.Repeat("b1", 300)} {
			if rows, _, err := list(Page{After: bad, Limit: 3}); !errors.Is(err, ErrPage) {
				t.Errorf("%s: place %q: %d rows, %v", name, bad, len(rows), err)
			}
		}
	}
	dead, _, err := m.DeadLetters(ctx, DeadLetterQuery{Page: Page{Limit: MaxPage}})
	must(t, err)
	byTenant, err := m.CountDeadLetters(ctx, DeadLetterQuery{Tenants: w.tenants})
	must(t, err)
	rowByRow, err := m.CountDeadLetters(ctx, DeadLetterQuery{Since: time.Unix(1, 0)})
	must(t, err)
	want := map[eventv1.DeadLetterReason]int64{}
	for _, d := range dead {
		want[d.Reason]++
	}
	if d := cmp.Diff(want, byTenant) + cmp.Diff(want, rowByRow); d != "" {
		t.Errorf("dead letters (-rows +counts):\n%s", d)
	}
}

func anyOf[R any](list func(Page) ([]R, string, error)) func(Page) ([]any, string, error) {
	return func(p Page) (all []any, next string, err error) {
		rows, next, err := list(p)
		for _, r := range rows {
			all = append(all, r)
		}
		return all, next, err
	}
}

// TestAttemptsOfAJob shows them by slot, and those of everybody by whole jobs.
func TestAttemptsOfAJob(t *testing.T) {
	w := played(22, 3000)
	m := openFor(t, w.records, "", quiet)
	apply(t, m, w.records)
	n := 0
	for _, r := range w.records {
		if r.Type == "AssignmentDispatched" {
			n++
		}
	}
	all := pages(t, 5, func(p Page) ([]Attempt, string, error) {
		rows, next, err := m.Attempts(t.Context(), AttemptQuery{Page: p})
		return rows[:min(len(rows), 5)], next, err
	})
	seen := map[string]int{}
	for p := (Page{Limit: 5}); ; {
		rows, next, err := m.Attempts(t.Context(), AttemptQuery{Page: p})
		must(t, err)
		for _, a := range rows {
			seen[fmt.Sprint(a.Job, a.Slot, a.Attempt)]++
		}
		if p.After = next; next == "" {
			break
		}
	}
	if len(seen) != n || len(all) == 0 {
		t.Fatalf("%d attempts, want %d", len(seen), n)
	}
	rows, _, err := m.Attempts(t.Context(), AttemptQuery{Page: Page{Limit: 100}, Job: all[0].Job})
	must(t, err)
	if !slices.IsSortedFunc(rows, func(a, b Attempt) int { return int(b.Slot) - int(a.Slot) }) || len(rows) == 0 {
		t.Errorf("attempts of a job: %+v", rows)
	}
	if rows, _, err := m.Attempts(t.Context(), AttemptQuery{Job: "nobody"}); err != nil || len(rows) > 0 {
		t.Errorf("attempts of no job: %v, %v", rows, err)
	}
}

// TestTimes: a range of times holds what was submitted in it, and the series what happened in it.
func TestTimes(t *testing.T) {
	w := played(23, 4000)
	m := openFor(t, w.records, "", quiet)
	apply(t, m, w.records)
	all := pages(t, MaxPage, func(p Page) ([]JobRow, string, error) { return m.Jobs(t.Context(), JobQuery{Page: p}) })
	since, until := all[len(all)*3/4].Submitted, all[len(all)/4].Submitted
	want := 0
	for _, j := range all {
		if !j.Submitted.Before(since) && j.Submitted.Before(until) {
			want++
		}
	}
	for name, q := range map[string]JobQuery{
		"range": {Since: since, Until: until}, "with states": {Since: since, Until: until, States: jobStates},
		"with tenants": {Since: since, Until: until, Tenants: w.tenants},
	} {
		got := pages(t, 50, func(p Page) ([]JobRow, string, error) { q.Page = p; return m.Jobs(t.Context(), q) })
		counts, err := m.CountJobs(t.Context(), q)
		must(t, err)
		total := int64(0)
		for _, n := range counts {
			total += n
		}
		if len(got) != want || total != int64(want) || want == 0 {
			t.Errorf("%s: %d jobs, %d counted, want %d", name, len(got), total, want)
		}
	}
	first, last := w.records[0].Time, w.records[len(w.records)-1].Time
	for _, step := range []time.Duration{time.Second * 30, time.Minute, time.Hour} {
		points, err := m.Throughput(t.Context(), first.Truncate(step), last.Add(time.Second), step)
		if err != nil && !errors.Is(err, ErrQuery) {
			t.Fatal(err)
		}
		if err != nil {
			continue
		}
		var sum Point
		for _, p := range points {
			sum.add(&p)
		}
		types := w.types()
		if sum.Submitted != uint64(types["JobSubmitted"]) || sum.Verified != uint64(types["TaskVerified"]) || sum.Events != uint64(len(w.records)) ||
			sum.Stripped != uint64(types["AssignmentStripped"]) || sum.Mismatches != uint64(types["ConsensusMismatch"]) {
			t.Errorf("steps of %v: %+v, want %v", step, sum, types)
		}
	}
	for _, step := range []time.Duration{0, time.Millisecond, -time.Second, 1500 * time.Millisecond} {
		if _, err := m.Throughput(t.Context(), first, last, step); !errors.Is(err, ErrQuery) {
			t.Errorf("a step of %v: %v", step, err)
		}
	}
	if _, err := m.Throughput(t.Context(), time.Unix(0, 0), last, time.Second); !errors.Is(err, ErrQuery) {
		t.Errorf("too many steps: %v", err)
	}
}

// TestHostileStrings: texts in every field, in rows and in questions, are only texts.
func TestHostileStrings(t *testing.T) {
	nasty := []string{"'; DROP TABLE jobs; --", "\x00", "\xff\xfe", "<script>", strings.Repeat("x", 5000), "%_\\", "\u202e", "?1", "[]", `"`}
	w := newWorld(func(int) int { return 0 })
	for i, s := range nasty {
		spec := w.spec()
		spec.Tenant = strings.ToValidUTF8(s, "?")
		spec.Pipeline = spec.Tenant
		w.write(fmt.Sprintf("job-job%d", i), &eventv1.JobSubmitted{Spec: spec, Policy: rules(2), Slots: 2})
	}
	for _, s := range nasty {
		w.head++
		w.records = append(w.records, events.Record{Draft: events.Draft{Type: "JobSubmitted", Data: []byte(s)}, Stream: "job-" + s, Pos: w.head, Time: time.Unix(0, 0)})
		w.head++
		w.records = append(w.records, events.Record{Draft: events.Draft{Type: s}, Stream: s, Pos: w.head, Time: time.Unix(math.MaxInt32, 0)})
		w.head++
		w.records = append(w.records, events.Record{Draft: events.Draft{Type: "WorkerConnected"}, Stream: "worker-" + s, Pos: w.head})
		w.head++
		w.records = append(w.records, events.Record{Draft: events.Draft{Type: "TaskAcked"}, Stream: "assignment-job0-" + s, Pos: w.head})
	}
	m := openFor(t, w.records, "", quiet)
	apply(t, m, w.records)
	ctx := t.Context()
	for i, s := range nasty {
		rows, _, err := m.Jobs(ctx, JobQuery{Tenants: []string{strings.ToValidUTF8(s, "?")}})
		if err != nil || len(rows) != 1 || rows[0].ID != fmt.Sprintf("job%d", i) {
			t.Errorf("%.20q: %v, %v", s, rows, err)
		}
		for _, q := range []JobQuery{{Pipeline: s}, {Module: []byte(s)}, {Worker: []byte(s)}, {Tenants: []string{s}}} {
			if _, _, err := m.Jobs(ctx, q); err != nil {
				t.Errorf("%.20q: %v", s, err)
			}
			if _, err := m.CountJobs(ctx, q); err != nil {
				t.Errorf("%.20q: %v", s, err)
			}
		}
		if _, err := m.Job(ctx, s); !errors.Is(err, ErrNotFound) && err != nil {
			t.Errorf("job %.20q: %v", s, err)
		}
		if _, err := m.Pipeline(ctx, s); !errors.Is(err, ErrNotFound) {
			t.Errorf("pipeline %.20q: %v", s, err)
		}
		if _, err := m.Worker(ctx, []byte(s)); !errors.Is(err, ErrNotFound) {
			t.Errorf("worker %.20q: %v", s, err)
		}
		if _, _, err := m.Workers(ctx, WorkerQuery{Search: s}); err != nil {
			t.Errorf("search %.20q: %v", s, err)
		}
	}
	for _, lines := range dump(t, m.current) {
		for _, l := range lines {
			if !utf8.ValidString(l) {
				t.Errorf("not UTF-8: %q", l)
			}
		}
	}
	if err := checkAll(ctx, m); err != nil {
		t.Error(err)
	}
}

// checkAll asks every list once.
func checkAll(ctx context.Context, m *Model) error {
	_, _, e1 := m.Jobs(ctx, JobQuery{})
	_, _, e2 := m.Attempts(ctx, AttemptQuery{})
	_, _, e3 := m.Pipelines(ctx, PipelineQuery{})
	_, _, e4 := m.Workers(ctx, WorkerQuery{})
	_, _, e5 := m.DeadLetters(ctx, DeadLetterQuery{})
	_, _, e6 := m.Verdicts(ctx, VerdictQuery{})
	_, _, e7 := m.Mismatches(ctx, Page{})
	_, _, e8 := m.Modules(ctx, Page{})
	_, e9 := m.Totals(ctx)
	return errors.Join(e1, e2, e3, e4, e5, e6, e7, e8, e9)
}

// TestQueriesWhileItWrites: every answer is of one place, whatever is written meanwhile; a page that was begun goes on
// without repeats; those who give up do not wait.
func TestQueriesWhileItWrites(t *testing.T) {
	w := played(24, 4000/effort)
	for name, path := range map[string]string{"memory": "", "file": filepath.Join(t.TempDir(), "rows.db")} {
		t.Run(name, func(t *testing.T) {
			m := openFor(t, w.records, path, quiet)
			ctx, cancel := context.WithCancel(t.Context())
			var readers sync.WaitGroup
			for range 3 {
				readers.Go(func() {
					for ctx.Err() == nil {
						checkSnapshot(t, ctx, m)
					}
				})
			}
			readers.Go(func() { // and one who never waits for the answer
				for ctx.Err() == nil {
					short, stop := context.WithTimeout(ctx, 50*time.Microsecond)
					if err := checkAll(short, m); err != nil && !errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
						t.Error(err)
					}
					stop()
				}
			})
			for i := 0; i < len(w.records); i += 150 {
				apply(t, m, w.records[i:min(i+150, len(w.records))])
			}
			cancel()
			readers.Wait()
		})
	}
}

// checkSnapshot holds the pages of the jobs against each other: new ones come in front, nothing twice.
func checkSnapshot(t *testing.T, ctx context.Context, m *Model) {
	seen := map[string]bool{}
	last := events.Position(math.MaxInt64)
	for q := (JobQuery{Page: Page{Limit: 40}}); ; {
		rows, next, err := m.Jobs(ctx, q)
		if err != nil {
			if ctx.Err() == nil {
				t.Error(err)
			}
			return
		}
		for _, j := range rows {
			if seen[j.ID] || j.Position >= last {
				t.Errorf("job %s at %d after %d", j.ID, j.Position, last)
			}
			seen[j.ID], last = true, j.Position
		}
		if q.After = next; next == "" {
			break
		}
	}
	totals, err := m.Totals(ctx)
	if err != nil {
		return
	}
	dead := int64(0)
	for _, n := range totals.DeadLetters {
		dead += n
	}
	if dead != totals.Jobs[operatorv1.JobState_JOB_STATE_DEAD_LETTERED] {
		t.Errorf("%d dead letters, %d dead jobs", dead, totals.Jobs[operatorv1.JobState_JOB_STATE_DEAD_LETTERED])
	}
}

// TestForgetting: closed jobs go beyond their number, in small steps; open and dead ones stay, and the counters hold.
func TestForgetting(t *testing.T) {
	w := played(25, 4000)
	w.work()
	o := quiet
	o.ClosedJobs, o.ClosedPipelines, o.Workers, o.Sessions = 20, 3, 5, 2
	m := openFor(t, w.records, "", o)
	for i := 0; i < len(w.records); i += 500 {
		apply(t, m, w.records[i:min(i+500, len(w.records))])
	}
	counts, err := m.CountJobs(t.Context(), JobQuery{})
	must(t, err)
	closed := counts[verified] + counts[cancelled] + counts[discarded]
	if closed != 20 {
		t.Errorf("%d closed jobs: %v", closed, counts)
	}
	whole := openFor(t, w.records, "", quiet)
	apply(t, whole, w.records)
	all, err := whole.CountJobs(t.Context(), JobQuery{})
	must(t, err)
	if all[open] != counts[open] || all[dead] != counts[dead] || all[verified] < 50 {
		t.Errorf("open and dead: %v, want %v", counts, all)
	}
	checkCountersAgainstRows(t, m)
	pipes, err := m.CountPipelines(t.Context(), PipelineQuery{})
	must(t, err)
	ended := int64(0)
	for s, n := range pipes {
		if s != running {
			ended += n
		}
	}
	if ended != 3 {
		t.Errorf("%d ended pipelines", ended)
	}
}

// checkCountersAgainstRows counts the slow way.
func checkCountersAgainstRows(t *testing.T, m *Model) {
	t.Helper()
	for what, text := range map[string]string{
		"jobs": `SELECT count(*) FROM (SELECT kind, state, count(*) n FROM jobs GROUP BY 1, 2 EXCEPT SELECT a, b, n FROM counters WHERE what = 1)`,
		"jobs of tenants": `SELECT count(*) FROM (SELECT tenant, kind, state, count(*) n FROM jobs GROUP BY 1, 2, 3
			EXCEPT SELECT scope, a, b, n FROM counters WHERE what = 2)`,
		"jobs of pipelines": `SELECT count(*) FROM (SELECT pipeline, state, count(*) n FROM jobs WHERE pipeline <> '' GROUP BY 1, 2
			EXCEPT SELECT scope, b, n FROM counters WHERE what = 3)`,
		"counters too many": `SELECT (SELECT count(*) FROM counters WHERE what = 2) - (SELECT count(*) FROM (SELECT DISTINCT tenant, kind, state FROM jobs))`,
		"workers":           `SELECT count(*) FROM (SELECT tier, state, count(*) n FROM workers GROUP BY 1, 2 EXCEPT SELECT a, b, n FROM counters WHERE what = 6)`,
		"orphans":           `SELECT count(*) FROM (SELECT job FROM attempts UNION SELECT job FROM turns EXCEPT SELECT seq FROM jobs)`,
	} {
		if _, err := m.current.w.one(t.Context(), text, nil, func(r row) {
			if r.int(0) != 0 {
				t.Errorf("%s: %d differ", what, r.int(0))
			}
		}); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
}
