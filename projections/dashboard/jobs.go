package dashboard

import (
	"context"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/shardy-network/orchestrator/events"
	"github.com/shardy-network/orchestrator/projections/readmodel"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

func (d *Dashboard) jobsPages() []page {
	return []page{{name: "jobs", route: "/jobs", title: "Jobs", nav: "jobs", live: true, view: d.jobs}}
}

type jobsView struct {
	Filter filterForm
	Rail   []choice
	Jobs   table
	Pager  pager
}

// filterForm narrows a list. Its values are those of the page's address.
type filterForm struct {
	Path   string
	Fields []field  // typed
	Picks  []pick   // chosen
	Active []choice // what narrows now; the link takes it away
	Hidden map[string]string
	Wrong  string // why a value means nothing
}

// pick is a filter with few values, as links.
type pick struct {
	Name    string
	Choices []choice
}

// withins are the ages that lists can be narrowed to.
var withins = []struct {
	name string
	age  time.Duration
	text string
}{
	{"1h", time.Hour, "1 h"}, {"24h", 24 * time.Hour, "1 d"}, {"168h", 7 * 24 * time.Hour, "7 d"},
}

// workFilter reads what the lists of work have in common.
type workFilter struct {
	Tenants  []string
	Pipeline string
	Module   []byte
	Worker   []byte
	Kinds    []eventv1.JobKind
	Since    time.Time
	wrong    string
}

func (f *workFilter) refuse(format string, args ...any) {
	if f.wrong == "" {
		f.wrong = fmt.Sprintf(format, args...)
	}
}

// workFilterOf reads an address. Values that mean nothing are told of, and narrow the list to nothing.
func workFilterOf(q *ask) workFilter {
	f := workFilter{Tenants: q.Viewer.Tenants}
	if t := q.Query.Get("tenant"); t != "" {
		f.Tenants = []string{}
		if q.Viewer.Sees(t) {
			f.Tenants = []string{t}
		}
	}
	if f.Pipeline = q.Query.Get("pipeline"); f.Pipeline != "" && events.CheckEntityID(f.Pipeline) != nil {
		f.refuse("A pipeline's id has 26 letters and digits.")
	}
	f.Module = f.hash(q, "module", "A module is named by 64 hex digits.")
	f.Worker = f.hash(q, "worker", "A worker is named by its key: 64 hex digits.")
	f.Kinds = f.kinds(q)
	if within := q.Query.Get("within"); within != "" {
		age := time.Duration(-1)
		for _, w := range withins {
			if w.name == within {
				age = w.age
			}
		}
		if age < 0 {
			f.refuse("Within is 1h, 24h or 168h.")
		}
		f.Since = q.Now.Add(-age)
	}
	return f
}

func (f *workFilter) hash(q *ask, param, wrong string) []byte {
	text := strings.TrimSpace(q.Query.Get(param))
	if text == "" {
		return nil
	}
	b, err := hex.DecodeString(text)
	if err != nil || len(b) != 32 {
		f.refuse("%s", wrong)
	}
	return b
}

// kinds are the kinds that may be seen: that a job tests its worker is for the staff alone.
func (f *workFilter) kinds(q *ask) []eventv1.JobKind {
	var all []eventv1.JobKind
	for _, k := range jobKinds(q.Viewer) {
		all = append(all, k.kind)
		if k.name == q.Query.Get("kind") {
			return []eventv1.JobKind{k.kind}
		}
	}
	if q.Query.Get("kind") != "" {
		f.refuse("There is no such kind of job.")
	}
	if q.Viewer.Tenants == nil {
		return nil
	}
	return all
}

type jobKind struct {
	kind       eventv1.JobKind
	name, text string
}

func jobKinds(v Viewer) []jobKind {
	all := []jobKind{
		{eventv1.JobKind_JOB_KIND_STANDARD, "standard", "Standard"},
		{eventv1.JobKind_JOB_KIND_STRESS, "stress", "Stress"},
		{eventv1.JobKind_JOB_KIND_LITE_TEST, "lite_test", "Lite test"},
	}
	if v.Tenants != nil {
		return all[:2]
	}
	return all
}

// form is the filter as the page shows it.
func (f *workFilter) form(q *ask, typed ...string) filterForm {
	out := filterForm{Path: q.URL.Path, Wrong: f.wrong, Hidden: map[string]string{}}
	for _, name := range []string{"state", "reason", "kind", "within"} {
		if v := q.Query.Get(name); v != "" {
			out.Hidden[name] = v
		}
	}
	for _, name := range typed {
		if name == "worker" && !q.Viewer.Staff() {
			continue
		}
		value := clip(plain(q.Query.Get(name)), maxCell)
		out.Fields = append(out.Fields, field{Name: name, Label: titleCase(name), Value: q.Query.Get(name), Max: 128})
		if value != "" {
			out.Active = append(out.Active, choice{Text: name + " " + shortID(value), Href: q.with(name, "")})
		}
	}
	kinds := make([]string, 0, 6)
	for _, k := range jobKinds(q.Viewer) {
		kinds = append(kinds, k.name, k.text)
	}
	ages := make([]string, 0, 2*len(withins))
	for _, w := range withins {
		ages = append(ages, w.name, w.text)
	}
	out.Picks = []pick{{"Kind", choices(q, "kind", "Any", kinds...)}, {"Submitted within", choices(q, "within", "Any time", ages...)}}
	return out
}

func titleCase(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + words(s[1:])
}

func (d *Dashboard) jobs(ctx context.Context, q *ask) (any, error) {
	f := workFilterOf(q)
	v := &jobsView{Filter: f.form(q, "tenant", "pipeline", "worker", "module")}
	v.Jobs = table{Caption: "Jobs", Columns: columns("Job", "State", "Tenant", "Results#", "Attempts#", "Submitted", "Took#")}
	v.Jobs.Empty = emptyJobs(q)
	query := readmodel.JobQuery{
		Tenants: f.Tenants, Pipeline: f.Pipeline, Module: f.Module, Worker: f.Worker, Kinds: f.Kinds, Since: f.Since,
		Page: readmodel.Page{After: q.Query.Get("after")},
	}
	if f.Worker != nil && !q.Viewer.Staff() {
		return nil, errForbidden
	}
	var state string
	if query.States, state = jobStatesOf(q); state == "" && q.Query.Get("state") != "" {
		v.Filter.Wrong = "There is no such state."
	}
	if v.Filter.Wrong != "" {
		v.Rail = jobRail(q, nil)
		v.Jobs.Empty = empty{Title: "No job can match", Text: v.Filter.Wrong}
		return v, nil
	}
	counted := query
	counted.States, counted.Page = nil, readmodel.Page{}
	counts, err := d.deps.Model.CountJobs(ctx, counted)
	if err != nil {
		return nil, err
	}
	v.Rail = jobRail(q, counts)
	rows, next, err := d.deps.Model.Jobs(ctx, query)
	if err != nil {
		return nil, err
	}
	for i := range rows {
		v.Jobs.add(rows[i].ID, jobCells(&rows[i], q.Now)...)
	}
	v.Pager = pagerOf(q, next)
	return v, nil
}

func emptyJobs(q *ask) empty {
	if len(q.Query) > 0 {
		return empty{Title: "No job matches", Text: "Take a filter away, or look at all jobs."}
	}
	return empty{
		Title: "No jobs yet", Text: "A job is one chunk of input through one module, computed by several workers and compared.",
		Command: "shardy run primes.wasm --input ranges.bin --chunk-size 16 --output counts.bin",
	}
}

// jobStatesOf reads the filter by state.
func jobStatesOf(q *ask) ([]operatorv1.JobState, string) {
	for _, s := range everyJobState() {
		if s.name == q.Query.Get("state") {
			return []operatorv1.JobState{s.state}, s.name
		}
	}
	return nil, ""
}

type jobStateRow struct {
	state      operatorv1.JobState
	name, text string
	tone       tone
}

// everyJobState lists the states in the order of a job's life.
func everyJobState() []jobStateRow {
	return []jobStateRow{
		{operatorv1.JobState_JOB_STATE_OPEN, "open", "Open", toneRunning},
		{operatorv1.JobState_JOB_STATE_VERIFIED, "verified", "Verified", toneVerified},
		{operatorv1.JobState_JOB_STATE_DEAD_LETTERED, "dead_lettered", "Dead letter", toneDead},
		{operatorv1.JobState_JOB_STATE_CANCELLED, "cancelled", "Cancelled", toneWaiting},
		{operatorv1.JobState_JOB_STATE_DISCARDED, "discarded", "Discarded", toneWaiting},
	}
}

// jobBadge is a job's state.
func jobBadge(s operatorv1.JobState) badge {
	for _, row := range everyJobState() {
		if row.state == s {
			return badge{row.tone, row.text}
		}
	}
	return badge{toneQuiet, enumText(s)}
}

func jobStateCell(s operatorv1.JobState) cell { b := jobBadge(s); return cell{Badge: &b} }

// jobRail is the filter by state with its counts.
func jobRail(q *ask, counts map[operatorv1.JobState]int64) []choice {
	var pairs []string
	var all int64
	for _, s := range everyJobState() {
		pairs = append(pairs, s.name, s.text)
		all += counts[s.state]
	}
	rail := choices(q, "state", "All", pairs...)
	if counts == nil {
		return rail
	}
	rail[0].Count = countText(all)
	for i, s := range everyJobState() {
		rail[i+1].Count, rail[i+1].Tone = countText(counts[s.state]), s.tone
	}
	return rail
}

// countText is a count that may have ended early.
func countText(n int64) string {
	if n == readmodel.CountLimit {
		return thousands(n) + "+"
	}
	return thousands(n)
}

// jobCells are a job's columns in lists.
func jobCells(j *readmodel.JobRow, now time.Time) []cell {
	id := idCell(j.ID, linkJob(j.ID))
	if j.Pipeline != "" {
		id = id.with(fmt.Sprintf("chunk %d of %s", j.Chunk, shortID(j.Pipeline)))
	}
	st := jobStateCell(j.State)
	switch {
	case j.State == operatorv1.JobState_JOB_STATE_DEAD_LETTERED && j.Reason != 0:
		st = st.with(enumText(j.Reason))
	case j.Contradicted > 0:
		st = st.with(plural(int(j.Contradicted), "worker") + " contradicted")
	case j.Mismatches > 0:
		st = st.with("results differed")
	}
	results := count(j.Returned)
	results.Text = fmt.Sprintf("%d of %d", j.Returned, j.Slots)
	took := none()
	if !j.Decided.IsZero() {
		took = duration(j.Decided.Sub(j.Submitted))
	}
	whose := text(j.Tenant)
	if j.Kind != eventv1.JobKind_JOB_KIND_STANDARD {
		whose = whose.with(enumText(j.Kind))
	}
	return []cell{id, st, whose, results, count(j.Attempts), when(j.Submitted), took}
}
