package readmodel

import (
	"context"
	"math"

	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/events"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

var jobStates = []operatorv1.JobState{open, verified, dead, cancelled, discarded}

const (
	jobColumns = `seq, id, kind, state, tenant, pipeline, module, submitted, decided, contradicted, reason, body`

	// jobRest are the filters that no index leads with: ?4 kinds, ?5 tenants, ?6 module, ?7 and ?8 time.
	jobRest = ` AND (?4 >> kind) & 1 AND (?5 IS NULL OR tenant IN (SELECT value FROM json_each(?5))) AND (?6 IS NULL OR module = ?6)
		AND submitted >= ?7 AND submitted < ?8`
	jobOrder = ` AND seq < ?1 AND seq >= ?2 ORDER BY seq DESC LIMIT ?3`

	walkJobs         = `SELECT seq FROM jobs WHERE 1` + jobRest + jobOrder
	walkJobsState    = `SELECT seq FROM jobs INDEXED BY jobs_state WHERE kind = ?9 AND state = ?10` + jobRest + jobOrder
	walkJobsTenant   = `SELECT seq FROM jobs INDEXED BY jobs_tenant WHERE tenant = ?11 AND kind = ?9 AND state = ?10` + jobRest + jobOrder
	walkJobsModule   = `SELECT seq FROM jobs INDEXED BY jobs_module WHERE module = ?9 AND state = ?10` + jobRest + jobOrder
	walkJobsPipeline = `SELECT seq FROM jobs INDEXED BY jobs_pipeline WHERE pipeline <> '' AND pipeline = ?9 AND state = ?10` + jobRest + jobOrder

	// walkJobsWorker shows a job where the worker got it last; ?9 worker, ?10 states, ?11 pipeline. The plus signs keep
	// SQLite from looking for a later hand-over among all of the worker's instead of among the job's.
	walkJobsWorker = `SELECT a.seq, j.seq FROM attempts a INDEXED BY attempts_worker CROSS JOIN jobs j ON j.seq = a.job
		WHERE a.worker = ?9 AND a.seq < ?1 AND a.seq >= ?2
		AND NOT EXISTS (SELECT 1 FROM attempts b WHERE b.job = a.job AND +b.worker = ?9 AND +b.seq > a.seq)
		AND (?10 >> j.state) & 1 AND (?11 IS NULL OR j.pipeline = ?11)
		AND (?4 >> j.kind) & 1 AND (?5 IS NULL OR j.tenant IN (SELECT value FROM json_each(?5))) AND (?6 IS NULL OR j.module = ?6)
		AND j.submitted >= ?7 AND j.submitted < ?8
		ORDER BY a.seq DESC LIMIT ?3`
	countJobsWorker = `SELECT state, count(*) FROM (SELECT j.state AS state FROM attempts a INDEXED BY attempts_worker CROSS JOIN jobs j ON j.seq = a.job
		WHERE a.worker = ?9 AND a.seq < ?1 AND a.seq >= ?2
		AND NOT EXISTS (SELECT 1 FROM attempts b WHERE b.job = a.job AND +b.worker = ?9 AND +b.seq > a.seq)
		AND (?10 >> j.state) & 1 AND (?11 IS NULL OR j.pipeline = ?11)
		AND (?4 >> j.kind) & 1 AND (?5 IS NULL OR j.tenant IN (SELECT value FROM json_each(?5))) AND (?6 IS NULL OR j.module = ?6)
		AND j.submitted >= ?7 AND j.submitted < ?8
		LIMIT ?3) GROUP BY state`

	fetchJob    = `SELECT ` + jobColumns + ` FROM jobs WHERE seq = ?`
	jobAfter    = `SELECT seq, submitted FROM jobs WHERE seq >= ? ORDER BY seq LIMIT 1`
	jobEnds     = `SELECT coalesce(min(seq), 0), coalesce(max(seq), 0) FROM (SELECT * FROM (SELECT seq FROM jobs ORDER BY seq LIMIT 1) UNION ALL SELECT * FROM (SELECT seq FROM jobs ORDER BY seq DESC LIMIT 1))`
	countTenant = `SELECT a, b, n FROM counters WHERE what = ? AND scope = ?`
)

func (r row) job() JobRow {
	j, _ := r.jobAndBody()
	return j
}

func (r row) jobAndBody() (JobRow, *jobBody) {
	var b jobBody
	unpack(&b, r.blob(11))
	j := JobRow{
		ID: r.text(1), Position: events.Position(b.position), Kind: eventv1.JobKind(r.int(2)), State: operatorv1.JobState(r.int(3)),
		Tenant: r.text(4), Pipeline: r.text(5), Stage: b.stage, Chunk: b.chunk, Module: r.blob(6), Priority: b.priority,
		MinTier: b.tier, Submitted: timeOf(r.int(7)), Round: b.round, Wave: b.wave, Slots: b.slots, Returned: b.returned,
		Mismatches: b.mismatches, Attempts: b.attempts, Decided: timeOf(r.int(8)), Basis: b.basis,
		Contradicted: r.u32(9), Reason: eventv1.DeadLetterReason(r.int(10)), Detail: b.detail,
	}
	if len(b.verdict) > 0 {
		var f eventv1.TaskVerified
		if proto.Unmarshal(b.verdict, &f) == nil {
			j.Checksum = f.GetChecksum()
		}
	}
	return j, &b
}

// clockSlack is by how much the clocks of those who submit may differ when a range of times is looked up.
const clockSlack = 5_000_000 // microseconds

// jobRange turns a range of times into one of numbers: jobs are numbered nearly in the order of their times.
func jobRange(ctx context.Context, c *conn, from, to int64) (low, high int64, err error) {
	var first, last int64
	if _, err := c.one(ctx, jobEnds, nil, func(r row) { first, last = r.int(0), r.int(1) }); err != nil {
		return 0, 0, err
	}
	search := func(us int64) (int64, error) {
		a, b := first, last+1
		for a < b {
			mid := a + (b-a)/2
			var at int64
			seq := b
			if _, err := c.one(ctx, jobAfter, []any{mid}, func(r row) { seq, at = r.int(0), r.int(1) }); err != nil {
				return 0, err
			}
			if seq >= b || at >= us {
				b = mid
			} else {
				a = seq + 1
			}
		}
		return a, nil
	}
	low, high = 0, math.MaxInt64
	if from != math.MinInt64 {
		low, err = search(from - clockSlack)
	}
	if to != math.MaxInt64 && err == nil {
		high, err = search(to + clockSlack)
	}
	return low, high, err
}

// jobSource is a walk that yields jobs of one state, or of any.
type jobSource struct {
	source
	state operatorv1.JobState // unspecified: any
}

// sources are the walks whose union is what the query asks for. Split: each yields jobs of one state.
func (q *JobQuery) sources(ctx context.Context, c *conn, split bool) ([]jobSource, error) {
	from, to := span(q.Since, q.Until)
	rest := []any{mask(q.Kinds), texts(q.Tenants), orNone(q.Module), from, to}
	states := distinct(q.States)
	if len(states) == 0 {
		states = jobStates
	}
	var all []jobSource
	add := func(state operatorv1.JobState, text string, lead ...any) {
		args := append(append(make([]any, 0, 8), rest...), lead...)
		all = append(all, jobSource{source{text, args}, state})
	}
	if q.Pipeline == "" && len(q.Module) == 0 && q.Tenants == nil && len(q.States) == 0 && len(q.Kinds) == 0 && !split {
		add(0, walkJobs)
		return all, nil
	}
	kinds, err := q.kinds(ctx, c)
	if err != nil {
		return nil, err
	}
	for _, s := range states {
		switch {
		case q.Pipeline != "":
			add(s, walkJobsPipeline, q.Pipeline, int64(s))
		case len(q.Module) > 0:
			add(s, walkJobsModule, q.Module, int64(s))
		case q.Tenants != nil:
			for _, tenant := range distinct(q.Tenants) {
				for _, k := range kinds {
					add(s, walkJobsTenant, k, int64(s), tenant)
				}
			}
		default:
			for _, k := range kinds {
				add(s, walkJobsState, k, int64(s))
			}
		}
	}
	return all, nil
}

// kinds are the kinds of jobs that the query asks for and that there are.
func (q *JobQuery) kinds(ctx context.Context, c *conn) (kinds []int64, err error) {
	m := mask(q.Kinds)
	err = c.each(ctx, listKinds, []any{countJobs}, func(r row) error {
		if k := r.int(0); m>>k&1 != 0 {
			kinds = append(kinds, k)
		}
		return nil
	})
	return kinds, err
}

func (q *JobQuery) check() error {
	return checkFilter(len(q.States), len(q.Kinds), len(q.Tenants))
}

// Jobs lists jobs; next is empty at the end.
func (m *Model) Jobs(ctx context.Context, q JobQuery) (rows []JobRow, next string, err error) {
	order := byte(orderBegun)
	if len(q.Worker) > 0 {
		order = orderHanded
	}
	before, limit, err := q.open(order)
	if err == nil {
		err = q.check()
	}
	if err != nil {
		return nil, "", err
	}
	err = m.read(ctx, func(c *conn) error {
		var seqs []int64
		if order == orderHanded {
			seqs, next, err = q.handed(ctx, c, before, limit)
		} else {
			seqs, next, err = q.begun(ctx, c, before, limit)
		}
		if err == nil {
			rows, err = fetch(ctx, c, fetchJob, seqs, row.job)
		}
		return err
	})
	return rows, next, err
}

func (q *JobQuery) begun(ctx context.Context, c *conn, before int64, limit int) ([]int64, string, error) {
	all, err := q.sources(ctx, c, false)
	if err != nil {
		return nil, "", err
	}
	from, to := span(q.Since, q.Until)
	low, high, err := jobRange(ctx, c, from, to)
	if err != nil {
		return nil, "", err
	}
	walks := make([]source, len(all))
	for i := range all {
		walks[i] = all[i].source
	}
	return newest(ctx, c, orderBegun, min(before, high), low, limit, walks)
}

func (q *JobQuery) workerArgs(before int64, limit int) []any {
	from, to := span(q.Since, q.Until)
	var pipeline any
	if q.Pipeline != "" {
		pipeline = q.Pipeline
	}
	return []any{before, 0, limit, mask(q.Kinds), texts(q.Tenants), orNone(q.Module), from, to, q.Worker, mask(q.States), pipeline}
}

func (q *JobQuery) handed(ctx context.Context, c *conn, before int64, limit int) (jobs []int64, next string, err error) {
	last := int64(0)
	err = c.each(ctx, walkJobsWorker, q.workerArgs(before, limit+1), func(r row) error {
		if len(jobs) < limit {
			jobs, last = append(jobs, r.int(1)), r.int(0)
		} else {
			next = placeOf(orderHanded, last)
		}
		return nil
	})
	return jobs, next, err
}

// CountJobs counts the jobs that a query would list, by state. See CountLimit.
func (m *Model) CountJobs(ctx context.Context, q JobQuery) (map[operatorv1.JobState]int64, error) {
	if err := q.check(); err != nil {
		return nil, err
	}
	counts := map[operatorv1.JobState]int64{}
	err := m.read(ctx, func(c *conn) error {
		plain := len(q.Module) == 0 && len(q.Worker) == 0 && q.Since.IsZero() && q.Until.IsZero()
		switch {
		case len(q.Worker) > 0:
			return c.each(ctx, countJobsWorker, q.workerArgs(math.MaxInt64, CountLimit), func(r row) error {
				counts[operatorv1.JobState(r.int(0))] = r.int(1)
				return nil
			})
		case plain && (q.Pipeline == "" || q.Tenants == nil && len(q.Kinds) == 0):
			return q.readCounters(ctx, c, counts)
		}
		return q.countRows(ctx, c, counts)
	})
	return counts, err
}

func (q *JobQuery) readCounters(ctx context.Context, c *conn, counts map[operatorv1.JobState]int64) error {
	what, scopes := countJobs, []string{""}
	switch {
	case q.Pipeline != "":
		what, scopes = countPipelineJobs, []string{q.Pipeline}
	case q.Tenants != nil:
		what, scopes = countTenantJobs, q.Tenants
	}
	kinds, states := mask(q.Kinds), mask(q.States)
	for _, scope := range distinct(scopes) {
		err := c.each(ctx, countTenant, []any{what, scope}, func(r row) error {
			if kinds>>r.int(0)&1 != 0 && states>>r.int(1)&1 != 0 {
				counts[operatorv1.JobState(r.int(1))] += r.int(2)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (q *JobQuery) countRows(ctx context.Context, c *conn, counts map[operatorv1.JobState]int64) error {
	all, err := q.sources(ctx, c, true)
	if err != nil {
		return err
	}
	from, to := span(q.Since, q.Until)
	low, high, err := jobRange(ctx, c, from, to)
	if err != nil {
		return err
	}
	for _, s := range all {
		left := CountLimit - counts[s.state]
		if left <= 0 {
			continue
		}
		args := append([]any{high, low, left}, s.args...)
		_, err := c.one(ctx, counting(s.text), args, func(r row) {
			if n := r.int(0); n > 0 {
				counts[s.state] += n
			}
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// counting is a walk that only counts.
func counting(text string) string { return "SELECT count(*) FROM (" + text + ")" }
