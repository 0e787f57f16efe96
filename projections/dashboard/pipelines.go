package dashboard

import (
	"context"
	"fmt"
	"time"

	"github.com/shardy-network/orchestrator/projections/readmodel"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

func (d *Dashboard) pipelinesPages() []page {
	return []page{{name: "pipelines", route: "/pipelines", title: "Pipelines", nav: "pipelines", live: true, view: d.pipelines}}
}

type pipelinesView struct {
	Filter filterForm
	Rail   []choice
	Rows   []pipelineLine
	Empty  empty
	Pager  pager
}

// pipelineLine is a pipeline in the list.
type pipelineLine struct {
	ID, Name, Href, Tenant string
	State                  badge
	Stage                  string
	Progress               progress
	Failed                 string
	Submitted              time.Time
	Took                   string
}

// progress is how far a stage is: shares of its chunks in percent.
type progress struct {
	Text     string
	Verified float64
	Failed   float64
}

// Rest is where the failed share begins.
func (p progress) Rest() float64 { return p.Verified }

func newProgress(chunks, settled, failed uint32) progress {
	failed = min(failed, settled)
	p := progress{Text: fmt.Sprintf("%s of %s", thousands(settled), thousands(chunks))}
	if chunks == 0 {
		p.Text = "not cut yet"
		return p
	}
	p.Verified = 100 * float64(min(settled, chunks)-min(failed, chunks)) / float64(chunks)
	p.Failed = 100 * float64(min(failed, chunks)) / float64(chunks)
	return p
}

var pipelineStates = []struct {
	state      operatorv1.PipelineState
	name, text string
	tone       tone
}{
	{operatorv1.PipelineState_PIPELINE_STATE_RUNNING, "running", "Running", toneRunning},
	{operatorv1.PipelineState_PIPELINE_STATE_COMPLETED, "completed", "Completed", toneVerified},
	{operatorv1.PipelineState_PIPELINE_STATE_FAILED, "failed", "Failed", toneDead},
	{operatorv1.PipelineState_PIPELINE_STATE_CANCELLED, "cancelled", "Cancelled", toneWaiting},
}

func pipelineBadge(s operatorv1.PipelineState) badge {
	for _, row := range pipelineStates {
		if row.state == s {
			return badge{row.tone, row.text}
		}
	}
	return badge{toneQuiet, enumText(s)}
}

func (d *Dashboard) pipelines(ctx context.Context, q *ask) (any, error) {
	f := workFilterOf(q)
	v := &pipelinesView{Filter: f.form(q, "tenant")}
	v.Filter.Picks = v.Filter.Picks[1:] // pipelines have no kind
	query := readmodel.PipelineQuery{Tenants: f.Tenants, Since: f.Since, Page: readmodel.Page{After: q.Query.Get("after")}}
	known := q.Query.Get("state") == ""
	for _, s := range pipelineStates {
		if s.name == q.Query.Get("state") {
			query.States, known = []operatorv1.PipelineState{s.state}, true
		}
	}
	if !known {
		v.Filter.Wrong = "There is no such state."
	}
	if v.Filter.Wrong != "" {
		v.Rail, v.Empty = pipelineRail(q, nil), empty{Title: "No pipeline can match", Text: v.Filter.Wrong}
		return v, nil
	}
	counted := query
	counted.States, counted.Page = nil, readmodel.Page{}
	counts, err := d.deps.Model.CountPipelines(ctx, counted)
	if err != nil {
		return nil, err
	}
	v.Rail = pipelineRail(q, counts)
	rows, next, err := d.deps.Model.Pipelines(ctx, query)
	if err != nil {
		return nil, err
	}
	for i := range rows {
		v.Rows = append(v.Rows, newPipelineLine(&rows[i], q.Now))
	}
	v.Pager = pagerOf(q, next)
	v.Empty = empty{
		Title: "No pipelines yet", Text: "A pipeline cuts an input into chunks and has each computed and verified.",
		Command: "shardy run primes.wasm --input ranges.bin --chunk-size 16 --output counts.bin",
	}
	if len(q.Query) > 0 {
		v.Empty = empty{Title: "No pipeline matches", Text: "Take a filter away, or look at all pipelines."}
	}
	return v, nil
}

func pipelineRail(q *ask, counts map[operatorv1.PipelineState]int64) []choice {
	var pairs []string
	var all int64
	for _, s := range pipelineStates {
		pairs = append(pairs, s.name, s.text)
		all += counts[s.state]
	}
	rail := choices(q, "state", "All", pairs...)
	if counts == nil {
		return rail
	}
	rail[0].Count = countText(all)
	for i, s := range pipelineStates {
		rail[i+1].Count, rail[i+1].Tone = countText(counts[s.state]), s.tone
	}
	return rail
}

func newPipelineLine(p *readmodel.PipelineRow, now time.Time) pipelineLine {
	l := pipelineLine{
		ID: p.ID, Name: pipelineName(p), Href: linkPipeline(p.ID), Tenant: plain(clip(p.Tenant, maxCell)), State: pipelineBadge(p.State),
		Stage: fmt.Sprintf("%d of %d", p.Stage+1, max(1, p.Stages)), Progress: newProgress(p.Chunks, p.Settled, 0),
		Failed: thousands(p.Failed), Submitted: p.Submitted, Took: pipelineTook(p, now),
	}
	if p.Stages <= 1 {
		l.Progress = newProgress(p.Chunks, p.Settled, p.Failed)
	}
	return l
}

func pipelineName(p *readmodel.PipelineRow) string {
	if p.Name == "" {
		return "unnamed"
	}
	return clip(plain(p.Name), 80)
}

func pipelineTook(p *readmodel.PipelineRow, now time.Time) string {
	if p.Ended.IsZero() {
		return "for " + lasting(max(0, now.Sub(p.Submitted)))
	}
	return lasting(p.Ended.Sub(p.Submitted))
}
