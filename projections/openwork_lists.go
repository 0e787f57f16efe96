package projections

import (
	"slices"
	"strconv"

	"google.golang.org/protobuf/proto"

	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

// Page is a part of a list. Lists show the newest first.
type Page struct {
	After string // where the part before ended: what the list returned as next; empty: from the start
	Limit int    // rows, 1 to MaxPage
}

// MaxPage bounds a page.
const MaxPage = 1000

// JobQuery narrows the list of jobs. Zero fields do not.
type JobQuery struct {
	Page
	State    operatorv1.JobState
	Tenants  []string // any of them; nil: everybody's
	Pipeline string
	Kind     eventv1.JobKind
}

// PipelineQuery narrows the list of pipelines. Zero fields do not.
type PipelineQuery struct {
	Page
	State   operatorv1.PipelineState
	Tenants []string
}

// DeadLetterQuery narrows the list of dead letters. Zero fields do not.
type DeadLetterQuery struct {
	Page
	Reason  eventv1.DeadLetterReason
	Tenants []string
}

// WorkerQuery narrows the list of workers. Zero fields do not.
type WorkerQuery struct {
	Page
	Tier  uint32
	State string // connected, disconnected, rejected, draining or banned
}

// OpenJobs lists the ids of all open jobs, the oldest first.
func (w *OpenWork) OpenJobs() []string {
	w.mu.RLock()
	defer w.mu.RUnlock()
	ids := make([]string, 0, w.openJobs)
	w.jobs.oldest(func(id string, _ uint64, j jobRow) bool {
		if j.open() {
			ids = append(ids, id)
		}
		return true
	})
	return ids
}

// OpenPipelines lists the ids of all open pipelines, the oldest first.
func (w *OpenWork) OpenPipelines() []string {
	w.mu.RLock()
	defer w.mu.RUnlock()
	var ids []string
	w.pipelines.oldest(func(id string, _ uint64, p *operatorv1.Pipeline) bool {
		if p.GetState() == operatorv1.PipelineState_PIPELINE_STATE_RUNNING {
			ids = append(ids, id)
		}
		return true
	})
	return ids
}

// Counts is how much of everything there is.
type Counts struct{ OpenJobs, DeadLetters, ListedJobs, Pipelines, Workers, Modules int }

// Counts tells how much of everything there is.
func (w *OpenWork) Counts() Counts {
	w.mu.RLock()
	defer w.mu.RUnlock()
	return Counts{
		OpenJobs: w.openJobs, DeadLetters: len(w.letters.rows), ListedJobs: len(w.jobs.rows),
		Pipelines: len(w.pipelines.rows), Workers: len(w.workers.rows), Modules: len(w.modules.rows),
	}
}

// Job returns one job's row, unless it was forgotten or never was.
func (w *OpenWork) Job(id string) (*operatorv1.JobRow, bool) {
	w.mu.RLock()
	defer w.mu.RUnlock()
	j, ok := w.jobs.get(id)
	if !ok {
		return nil, false
	}
	return j.message(id), true
}

func (j *jobRow) message(id string) *operatorv1.JobRow {
	return &operatorv1.JobRow{
		Id: id, State: operatorv1.JobState(j.state), Kind: eventv1.JobKind(j.kind), Tenant: j.tenant, Pipeline: j.pipeline,
		SubmittedUs: j.submitted, DecidedUs: j.decided, DeadLetter: eventv1.DeadLetterReason(j.reason), Basis: eventv1.VerdictBasis(j.basis),
	}
}

// ListJobs lists jobs; next is empty at the end.
func (w *OpenWork) ListJobs(q JobQuery) (rows []*operatorv1.JobRow, next string, err error) {
	w.mu.RLock()
	defer w.mu.RUnlock()
	next, err = list(&w.jobs, q.Page, func(id string, j jobRow) bool {
		if q.State != 0 && j.state != uint8(q.State) || q.Kind != 0 && j.kind != uint8(q.Kind) ||
			q.Pipeline != "" && j.pipeline != q.Pipeline || !among(q.Tenants, j.tenant) {
			return false
		}
		rows = append(rows, j.message(id))
		return true
	})
	return rows, next, err
}

// ListPipelines lists pipelines; next is empty at the end.
func (w *OpenWork) ListPipelines(q PipelineQuery) (rows []*operatorv1.Pipeline, next string, err error) {
	w.mu.RLock()
	defer w.mu.RUnlock()
	next, err = list(&w.pipelines, q.Page, func(_ string, p *operatorv1.Pipeline) bool {
		if q.State != 0 && p.GetState() != q.State || !among(q.Tenants, p.GetTenant()) {
			return false
		}
		rows = append(rows, proto.CloneOf(p))
		return true
	})
	return rows, next, err
}

// Pipeline returns one pipeline's row, unless it was forgotten or never was.
func (w *OpenWork) Pipeline(id string) (*operatorv1.Pipeline, bool) {
	w.mu.RLock()
	defer w.mu.RUnlock()
	p, ok := w.pipelines.get(id)
	return proto.CloneOf(p), ok
}

// ListDeadLetters lists dead letters; next is empty at the end.
func (w *OpenWork) ListDeadLetters(q DeadLetterQuery) (rows []*operatorv1.DeadLetter, next string, err error) {
	w.mu.RLock()
	defer w.mu.RUnlock()
	next, err = list(&w.letters, q.Page, func(_ string, d *operatorv1.DeadLetter) bool {
		if q.Reason != 0 && d.GetReason() != q.Reason || !among(q.Tenants, d.GetTenant()) {
			return false
		}
		rows = append(rows, proto.CloneOf(d))
		return true
	})
	return rows, next, err
}

// ListWorkers lists workers; next is empty at the end. Credits and work in flight are not known here.
func (w *OpenWork) ListWorkers(q WorkerQuery) (rows []*operatorv1.Worker, next string, err error) {
	w.mu.RLock()
	defer w.mu.RUnlock()
	next, err = list(&w.workers, q.Page, func(_ string, n *workerRow) bool {
		if q.Tier != 0 && n.w.GetTier() != q.Tier || q.State != "" && n.state() != q.State {
			return false
		}
		rows = append(rows, n.message())
		return true
	})
	return rows, next, err
}

// Worker returns one worker's row by its key in hex, unless it was forgotten or never was.
func (w *OpenWork) Worker(key string) (*operatorv1.Worker, bool) {
	w.mu.RLock()
	defer w.mu.RUnlock()
	n, ok := w.workers.get(key)
	if !ok {
		return nil, false
	}
	return n.message(), true
}

func (n *workerRow) message() *operatorv1.Worker {
	m := proto.CloneOf(n.w)
	m.State = n.state()
	return m
}

func (n *workerRow) state() string {
	switch {
	case n.banned:
		return "banned"
	case n.rejected:
		return "rejected"
	case n.drained:
		return "draining"
	case n.connected:
		return "connected"
	}
	return "disconnected"
}

// ListModules lists admitted modules; next is empty at the end.
func (w *OpenWork) ListModules(p Page) (rows []*eventv1.ModuleAdmitted, next string, err error) {
	w.mu.RLock()
	defer w.mu.RUnlock()
	next, err = list(&w.modules, p, func(_ string, m *eventv1.ModuleAdmitted) bool {
		rows = append(rows, proto.CloneOf(m))
		return true
	})
	return rows, next, err
}

// list shows rows to pick until it has picked enough. next is the place of the last one if there may be more.
func list[T any](t *table[T], p Page, pick func(id string, v T) bool) (next string, err error) {
	before := uint64(0)
	if p.After != "" {
		if before, err = strconv.ParseUint(p.After, 10, 64); err != nil || before == 0 || strconv.FormatUint(before, 10) != p.After {
			return "", ErrPage
		}
	}
	left, last := min(max(p.Limit, 1), MaxPage), uint64(0)
	t.newest(before, func(id string, at uint64, v T) bool {
		if left == 0 {
			next = strconv.FormatUint(last, 10)
			return false
		}
		if pick(id, v) {
			left--
			last = at
		}
		return true
	})
	return next, nil
}

func among(tenants []string, tenant string) bool {
	return tenants == nil || slices.Contains(tenants, tenant)
}
