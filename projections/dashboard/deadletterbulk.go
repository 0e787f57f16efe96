package dashboard

import (
	"context"
	"fmt"
	"strings"

	"github.com/shardy-network/orchestrator/events"
	"github.com/shardy-network/orchestrator/projections/readmodel"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

// maxBulk is how many dead letters are settled at once. What more match is settled by doing it again.
const maxBulk = 500

func (d *Dashboard) deadLetterActions() []action {
	return []action{
		{route: "/deadletters/plan", role: RoleOperator, do: d.planDeadLetters},
		{route: "/deadletters/settle", role: RoleOperator, do: d.settleDeadLetters},
		{route: "/deadletters/{id}/requeue", role: RoleOperator, do: d.requeueDeadLetter},
		{route: "/deadletters/{id}/discard", role: RoleOperator, do: d.discardDeadLetter},
		{route: "/deadletters/{id}/edit", role: RoleOperator, do: d.editDeadLetter},
	}
}

// The verbs of a plan.
const (
	doRequeue = "requeue"
	doDiscard = "discard"
)

var doneTo = map[string]string{doRequeue: "requeued", doDiscard: "discarded"}

type planView struct {
	Do      string
	Done    string // the verb's participle
	Lines   []planLine
	Will    int
	Refused int
	Said    string
	IDs     string
	Back    string
	Danger  bool
	Empty   empty
}

// PageTitle names the plan.
func (v *planView) PageTitle() string { return titleCase(v.Do) + ": dry run" }

type planLine struct {
	ID, Href string
	Reason   badge
	Detail   string
	Outcome  badge
	Why      string
}

// planDeadLetters leads from the list's form to the page that says what would happen.
func (d *Dashboard) planDeadLetters(_ context.Context, q *ask) (done, to string, err error) {
	do, all := strings.CutSuffix(q.Form.Get("do"), "-all")
	if doneTo[do] == "" {
		return "", "", badRequest("the form asks for something that cannot be done")
	}
	pairs := []string{"do", do}
	for _, name := range deadFilters {
		pairs = append(pairs, name, q.Form.Get(name))
	}
	if all {
		return "", list("/deadletters/plan", append(pairs, "all", "yes")...), nil
	}
	ids, err := bulkIDs(q.Form["id"])
	if err != nil {
		return "", "", err
	}
	if len(ids) == 0 {
		return "", "", &Refusal{Code: "NOTHING_CHOSEN", Text: "Nothing was chosen: tick the dead letters first."}
	}
	return "", list("/deadletters/plan", append(pairs, "ids", strings.Join(ids, ","))...), nil
}

// bulkIDs checks ids that a form or an address names.
func bulkIDs(texts []string) ([]string, error) {
	var ids []string
	for _, t := range texts {
		for id := range strings.SplitSeq(t, ",") {
			if id == "" {
				continue
			}
			if err := events.CheckEntityID(id); err != nil {
				return nil, err
			}
			ids = append(ids, id)
		}
	}
	if len(ids) > maxBulk {
		return nil, badRequest(fmt.Sprintf("at most %d dead letters are settled at once", maxBulk))
	}
	return ids, nil
}

// deadLetterPlan says what would become of each, without writing anything.
func (d *Dashboard) deadLetterPlan(ctx context.Context, q *ask) (any, error) {
	v := &planView{Do: q.Query.Get("do"), Done: doneTo[q.Query.Get("do")]}
	switch {
	case v.Done == "":
		return nil, errNotFound
	case d.deps.Actions == nil:
		return nil, errReadOnly
	case q.Viewer.Role < RoleOperator:
		return nil, errForbidden
	}
	v.Danger = v.Do == doDiscard
	v.Back = planBack(q)
	ids, rest, err := d.planned(ctx, q)
	if err != nil {
		return nil, err
	}
	outcomes, err := d.settle(ctx, q, v.Do, ids, "dry run", true)
	if err != nil {
		return nil, err
	}
	for _, o := range outcomes {
		v.Lines = append(v.Lines, d.planLine(ctx, q, o, v))
	}
	v.Said = fmt.Sprintf("%s would be %s", titleCase(plural(v.Will, "dead letter")), v.Done)
	if v.Refused > 0 {
		v.Said += fmt.Sprintf(", %d refused", v.Refused)
	}
	v.Said += ". Nothing has been written yet."
	if rest {
		v.Said += fmt.Sprintf(" More match: this plan holds the first %d of them.", maxBulk)
	}
	v.Empty = empty{Title: "Nothing to do", Text: "No dead letter matches any more."}
	return v, nil
}

func planBack(q *ask) string {
	var pairs []string
	for _, name := range deadFilters {
		pairs = append(pairs, name, q.Query.Get(name))
	}
	return list(linkDeadLetters(), pairs...)
}

// planned are the ids that an address names, or that its filter finds; rest says that the filter finds more.
func (d *Dashboard) planned(ctx context.Context, q *ask) (ids []string, rest bool, err error) {
	if q.Query.Get("all") == "" {
		ids, err = bulkIDs(q.Query["ids"])
		return ids, false, err
	}
	query, f := deadQuery(q)
	if f.wrong != "" {
		return nil, false, badRequest(f.wrong)
	}
	query.Page = readmodel.Page{Limit: maxBulk}
	rows, next, err := d.deps.Model.DeadLetters(ctx, query)
	for i := range rows {
		ids = append(ids, rows[i].Job)
	}
	return ids, next != "", err
}

// planLine describes one dead letter of a plan and counts it.
func (d *Dashboard) planLine(ctx context.Context, q *ask, o Outcome, v *planView) planLine {
	l := planLine{ID: o.Job, Href: linkDeadLetter(o.Job), Reason: badge{toneQuiet, "unknown"}}
	if j, err := d.deps.Model.Job(ctx, o.Job); err == nil && q.Viewer.seesJob(j.Tenant, j.Kind) {
		l.Reason, l.Detail = badge{toneDead, enumText(j.Reason)}, clip(plain(j.Detail), maxCell)
		if j.State != operatorv1.JobState_JOB_STATE_DEAD_LETTERED {
			l.Reason = jobBadge(j.State)
		}
	}
	if o.Refusal != nil {
		v.Refused++
		l.Outcome, l.Why = badge{toneMismatch, "refused"}, clip(plain(o.Refusal.Text), maxCell)
		return l
	}
	v.Will++
	l.Outcome = badge{toneVerified, "will be " + v.Done}
	v.IDs += "," + o.Job
	return l
}

// settle requeues or discards dead letters that the viewer may see; the others are refused as if they were not there.
func (d *Dashboard) settle(ctx context.Context, q *ask, do string, ids []string, reason string, dry bool) ([]Outcome, error) {
	if d.deps.Actions == nil {
		return nil, errReadOnly
	}
	mine, foreign, err := d.sortOut(ctx, q, ids)
	if err != nil || len(mine) == 0 {
		return foreign, err
	}
	act := d.deps.Actions.RequeueJobs
	if do == doDiscard {
		act = d.deps.Actions.DiscardJobs
	}
	outcomes, err := act(ctx, q.Viewer.Name, mine, reason, dry)
	return append(outcomes, foreign...), err
}

func (d *Dashboard) sortOut(ctx context.Context, q *ask, ids []string) (mine []string, foreign []Outcome, err error) {
	if q.Viewer.Tenants == nil {
		return ids, nil, nil
	}
	for _, id := range ids {
		j, err := d.deps.Model.Job(ctx, id)
		switch {
		case err == nil && q.Viewer.seesJob(j.Tenant, j.Kind):
			mine = append(mine, id)
		case err == nil || troubleIsAbsence(err):
			foreign = append(foreign, Outcome{Job: id, Refusal: &Refusal{Code: "NOT_FOUND", Text: "There is no such dead letter."}})
		default:
			return nil, nil, err
		}
	}
	return mine, foreign, nil
}

// settleDeadLetters carries out a plan.
func (d *Dashboard) settleDeadLetters(ctx context.Context, q *ask) (done, to string, err error) {
	do := q.Form.Get("do")
	if doneTo[do] == "" {
		return "", "", badRequest("the form asks for something that cannot be done")
	}
	reason, err := q.reason()
	if err != nil {
		return "", "", err
	}
	ids, err := bulkIDs(q.Form["ids"])
	if err != nil {
		return "", "", err
	}
	outcomes, err := d.settle(ctx, q, do, ids, reason, false)
	if err != nil {
		return "", "", err
	}
	return bulkSaid(do, outcomes)
}

// bulkSaid sums up what was done. All refused is a refusal.
func bulkSaid(do string, outcomes []Outcome) (done, to string, err error) {
	settled, refused, why := 0, 0, ""
	for _, o := range outcomes {
		if o.Refusal == nil {
			settled++
			continue
		}
		if refused++; why == "" {
			why = o.Refusal.Text
		}
	}
	said := fmt.Sprintf("%s %s.", titleCase(plural(settled, "dead letter")), doneTo[do])
	if refused > 0 {
		said += fmt.Sprintf(" %s refused: %s", titleCase(plural(refused, "other")), why)
	}
	if settled == 0 {
		return "", "", &Refusal{Code: "REFUSED", Text: said}
	}
	return said, linkDeadLetters(), nil
}
