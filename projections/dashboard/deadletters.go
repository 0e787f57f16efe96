package dashboard

import (
	"context"
	"fmt"

	"github.com/shardy-network/orchestrator/projections/readmodel"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

func (d *Dashboard) deadLetterPages() []page {
	return []page{
		{name: "deadletters", route: "/deadletters", title: "Dead letters", nav: "deadletters", live: true, view: d.deadLetters},
		{name: "deadletterplan", route: "/deadletters/plan", title: "Dry run", nav: "deadletters", view: d.deadLetterPlan},
		{name: "deadletter", route: "/deadletters/{id}", title: "Dead letter", nav: "deadletters", live: true, view: d.deadLetter},
	}
}

type deadLettersView struct {
	Filter  filterForm
	Rail    []choice
	Rows    []deadLetterLine
	Empty   empty
	Pager   pager
	Matches int64             // under all filters
	Hidden  map[string]string // the filters, for the bulk form
	Newest  string            // id of the newest, to tell whether the list has grown
	Back    string
}

type deadLetterLine struct {
	ID, Href string
	Reason   badge
	Detail   string
	Kind     string // but the usual one
	Tenant   string
	Of       string
	OfHref   string
	Attempts string
	Round    string
	At       cell
}

// deadReasons are the typed reasons, in the order of how often they come.
var deadReasons = []struct {
	reason     eventv1.DeadLetterReason
	name, text string
}{
	{eventv1.DeadLetterReason_DEAD_LETTER_REASON_DELIVERY_EXHAUSTED, "delivery_exhausted", "Delivery exhausted"},
	{eventv1.DeadLetterReason_DEAD_LETTER_REASON_NO_QUORUM, "no_quorum", "No quorum"},
	{eventv1.DeadLetterReason_DEAD_LETTER_REASON_JOB_FAILED, "job_failed", "Job failed"},
	{eventv1.DeadLetterReason_DEAD_LETTER_REASON_RINGER_FAILED, "ringer_failed", "Ringer failed"},
}

// reasonsFor are those that may be seen.
func reasonsFor(v Viewer) int {
	if v.Tenants != nil {
		return len(deadReasons) - 1
	}
	return len(deadReasons)
}

// deadQuery reads the filters of an address; wrong says why nothing can match.
func deadQuery(q *ask) (query readmodel.DeadLetterQuery, f workFilter) {
	f = workFilterOf(q)
	query = readmodel.DeadLetterQuery{Kinds: f.Kinds, Tenants: f.Tenants, Pipeline: f.Pipeline, Module: f.Module, Since: f.Since}
	name := q.Query.Get("reason")
	for _, r := range deadReasons[:reasonsFor(q.Viewer)] {
		if r.name == name {
			query.Reasons = []eventv1.DeadLetterReason{r.reason}
		}
	}
	if name != "" && query.Reasons == nil {
		f.refuse("There is no such reason.")
	}
	return query, f
}

// deadFilters are the parameters that narrow the list.
var deadFilters = []string{"reason", "kind", "tenant", "pipeline", "module", "within"}

func (d *Dashboard) deadLetters(ctx context.Context, q *ask) (any, error) {
	query, f := deadQuery(q)
	v := &deadLettersView{Filter: f.form(q, "tenant", "pipeline", "module"), Hidden: map[string]string{}, Back: q.with()}
	v.Filter.Picks[1].Name = "Dead within"
	for _, name := range deadFilters {
		if value := q.Query.Get(name); value != "" {
			v.Hidden[name] = value
		}
	}
	v.Empty = empty{
		Title: "No dead letters", Text: "A job lands here when nobody could finish it: no worker delivered, the results did not agree, or the module failed.",
		Command: "shardy dlq watch",
	}
	if len(v.Hidden) > 0 {
		v.Empty = empty{Title: "No dead letter matches", Text: "Take a filter away, or look at all of them."}
	}
	if f.wrong != "" {
		v.Rail, v.Empty = deadRail(q, nil), empty{Title: "No dead letter can match", Text: f.wrong}
		return v, nil
	}
	counted := query
	counted.Reasons = nil
	counts, err := d.deps.Model.CountDeadLetters(ctx, counted)
	if err != nil {
		return nil, err
	}
	v.Rail = deadRail(q, counts)
	for _, r := range deadReasons {
		if query.Reasons == nil || query.Reasons[0] == r.reason {
			v.Matches += counts[r.reason]
		}
	}
	query.Page = readmodel.Page{After: q.Query.Get("after")}
	rows, next, err := d.deps.Model.DeadLetters(ctx, query)
	if err != nil {
		return nil, err
	}
	for i := range rows {
		v.Rows = append(v.Rows, newDeadLetterLine(&rows[i]))
	}
	v.Pager = pagerOf(q, next)
	return v, nil
}

func newDeadLetterLine(r *readmodel.DeadLetter) deadLetterLine {
	l := deadLetterLine{
		ID: r.Job, Href: linkDeadLetter(r.Job), Reason: badge{toneDead, enumText(r.Reason)}, Detail: clip(plain(r.Detail), maxCell),
		Tenant: clip(plain(r.Tenant), maxCell), Of: "–", Attempts: thousands(r.Attempts), Round: thousands(r.Round), At: when(r.At),
	}
	if r.Kind != eventv1.JobKind_JOB_KIND_STANDARD {
		l.Kind = enumText(r.Kind)
	}
	if r.Pipeline != "" {
		l.Of, l.OfHref = fmt.Sprintf("chunk %d of %s", r.Chunk, shortID(r.Pipeline)), linkPipeline(r.Pipeline)
	}
	return l
}

func deadRail(q *ask, counts map[eventv1.DeadLetterReason]int64) []choice {
	known := deadReasons[:reasonsFor(q.Viewer)]
	var pairs []string
	var all int64
	for _, r := range known {
		pairs = append(pairs, r.name, r.text)
		all += counts[r.reason]
	}
	rail := choices(q, "reason", "All", pairs...)
	if counts == nil {
		return rail
	}
	rail[0].Count = countText(all)
	for i, r := range known {
		rail[i+1].Count = countText(counts[r.reason])
		if counts[r.reason] > 0 {
			rail[i+1].Tone = toneDead
		}
	}
	return rail
}
