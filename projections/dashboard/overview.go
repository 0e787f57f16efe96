package dashboard

import (
	"context"

	"github.com/shardy-network/orchestrator/projections/readmodel"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

func (d *Dashboard) overviewPages() []page {
	return []page{{name: "overview", route: "/{$}", title: "Overview", nav: "overview", live: true, view: d.overview}}
}

// figure is a number that leads somewhere.
type figure struct {
	Name, Value, Href string
	Tone              tone
}

// Glyph shows the tone without colour.
func (f figure) Glyph() string { return glyphs[f.Tone] }

type overviewView struct {
	Figures []figure
}

func (d *Dashboard) overview(ctx context.Context, q *ask) (any, error) {
	counts, err := d.deps.Model.CountJobs(ctx, readmodel.JobQuery{Tenants: q.Viewer.Tenants})
	if err != nil {
		return nil, err
	}
	var v overviewView
	for _, s := range jobStates {
		v.Figures = append(v.Figures, figure{s.text, thousands(counts[s.state]), list(linkJobs(), "state", s.name), s.tone})
	}
	return v, nil
}

// jobStates are the states of a job in the order of its life.
var jobStates = []struct {
	state operatorv1.JobState
	name  string // in addresses
	text  string
	tone  tone
}{
	{operatorv1.JobState_JOB_STATE_OPEN, "open", "Open", toneRunning},
	{operatorv1.JobState_JOB_STATE_VERIFIED, "verified", "Verified", toneVerified},
	{operatorv1.JobState_JOB_STATE_DEAD_LETTERED, "dead_lettered", "Dead letters", toneDead},
	{operatorv1.JobState_JOB_STATE_CANCELLED, "cancelled", "Cancelled", toneWaiting},
}
