package dashboard

import (
	"context"
	"strconv"
	"time"

	"github.com/shardy-network/orchestrator/events"
	"github.com/shardy-network/orchestrator/projections"
	"github.com/shardy-network/orchestrator/projections/readmodel"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

func (d *Dashboard) overviewPages() []page {
	return []page{{
		name: "overview", route: "/{$}", title: "Overview", nav: "overview", live: true, every: 2 * time.Second, view: d.overview,
	}}
}

// figure is a number that leads somewhere.
type figure struct {
	Name, Value, Href string
	Tone              tone
}

// Glyph shows the tone without colour.
func (f figure) Glyph() string { return glyphs[f.Tone] }

type overviewView struct {
	Figures     []figure
	Staff       bool
	Fresh       bool // nothing was ever submitted, and nobody has ever joined
	Chart       chart
	Spans       []choice
	Tiers       table
	Projections table
	Mismatches  table
	DeadLetters table
	Note        string // about the process as a whole
}

// latest is how many lines the overview's lists have.
const latest = 6

func (d *Dashboard) overview(ctx context.Context, q *ask) (any, error) {
	v := &overviewView{Staff: q.Viewer.Staff()}
	if err := d.overviewFigures(ctx, q, v); err != nil {
		return nil, err
	}
	dead, _, err := d.deps.Model.DeadLetters(ctx, readmodel.DeadLetterQuery{Page: readmodel.Page{Limit: latest}, Tenants: q.Viewer.Tenants})
	if err != nil {
		return nil, err
	}
	v.DeadLetters = deadLetterTable(dead)
	mismatches, err := d.mismatchesOf(ctx, q.Viewer)
	if err != nil {
		return nil, err
	}
	v.Mismatches = mismatchTable(mismatches)
	if !v.Staff {
		return v, nil
	}
	s := spanOf(q.Query.Get("span"))
	since, until := s.bounds(q.Now)
	points, err := d.deps.Model.Throughput(ctx, since, until, s.step)
	if err != nil {
		return nil, err
	}
	v.Chart = throughputChart(points, s)
	for i, other := range spans {
		name := other.name
		if i == 0 {
			name = ""
		}
		v.Spans = append(v.Spans, choice{Text: other.text, Href: q.with("span", name), On: other.name == s.name})
	}
	v.Projections = d.lagTable(ctx)
	return v, d.overviewTiers(ctx, v)
}

// overviewFigures counts the jobs by state, and what is in memory.
func (d *Dashboard) overviewFigures(ctx context.Context, q *ask, v *overviewView) error {
	counts, err := d.deps.Model.CountJobs(ctx, readmodel.JobQuery{Tenants: q.Viewer.Tenants})
	if err != nil {
		return err
	}
	total := int64(0)
	for _, s := range jobStates {
		n := counts[s.state]
		total += n
		href := list(linkJobs(), "state", s.name)
		if s.state == operatorv1.JobState_JOB_STATE_DEAD_LETTERED {
			href = linkDeadLetters()
		}
		v.Figures = append(v.Figures, figure{s.text, counted(n, q.Viewer.Tenants != nil), href, s.tone})
	}
	v.Fresh = total == 0
	if l := d.deps.Ledger; l != nil {
		v.Figures = append(v.Figures, figure{"Ledger's block", thousands(l.Height()), linkLedger(), toneQuiet})
	}
	if !v.Staff || d.deps.Figures == nil {
		return nil
	}
	f, err := d.deps.Figures(ctx)
	if err != nil {
		return err
	}
	v.Figures = append(
		v.Figures,
		figure{"Slots waiting", thousands(f.WaitingSlots), list(linkJobs(), "state", "open"), toneWaiting},
		figure{"In flight", thousands(f.InFlight), list(linkJobs(), "state", "open"), toneRunning},
	)
	switch {
	case f.Draining:
		v.Note = "The process is closing: no new work is handed out."
	case f.Recovering > 0:
		v.Note = "Work from before the start is being reopened: " + thousands(f.Recovering) + " to go."
	}
	return nil
}

// mismatchesOf returns the last mismatches that a viewer may see.
func (d *Dashboard) mismatchesOf(ctx context.Context, v Viewer) ([]readmodel.Mismatch, error) {
	limit := latest
	if v.Tenants != nil {
		limit = 200
	}
	rows, _, err := d.deps.Model.Mismatches(ctx, readmodel.Page{Limit: limit})
	own := rows[:0]
	for _, m := range rows {
		if v.Sees(m.Tenant) && len(own) < latest {
			own = append(own, m)
		}
	}
	return own, err
}

// overviewTiers counts the workers by tier.
func (d *Dashboard) overviewTiers(ctx context.Context, v *overviewView) error {
	tiers, err := d.tiers(ctx)
	if err != nil {
		return err
	}
	v.Tiers = table{
		Caption: "Workers by tier", Compact: true, Columns: columns("Tier", "Connected#", "Idle#", "Draining#", "Known#"),
		Empty: empty{
			Title: "No worker yet", Text: "Workers join over a WebSocket with a key of their own. Start one on this machine:",
			Command: workerCommand,
		},
	}
	for _, t := range tiers {
		v.Fresh = false
		v.Tiers.add(strconv.Itoa(int(t.tier)), linked(tierText(t.tier), list(linkWorkers(), "tier", strconv.Itoa(int(t.tier)))),
			count(t.by[readmodel.WorkerConnected]), t.idle, count(t.by[readmodel.WorkerDraining]), count(t.known))
	}
	return nil
}

// lagTable tells how far each projection is behind the log.
func (d *Dashboard) lagTable(ctx context.Context) table {
	t := table{Caption: "Projections", Compact: true, Columns: columns("Projection", "State", "Behind#")}
	head, err := d.deps.Log.Head(ctx)
	for _, s := range d.deps.Runner.Status() {
		if err != nil {
			head = s.Head
		}
		t.add(s.Name, linked(s.Name, linkProjections()), projectionState(s), cell{Text: behindText(s, head)})
	}
	return t
}

// projectionState is a projection's badge.
func projectionState(s projections.Status) cell {
	switch {
	case s.Err != nil:
		return state(toneDead, "Failing")
	case s.Live:
		return state(toneVerified, "Live")
	}
	return state(toneRunning, "Catching up")
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
	{operatorv1.JobState_JOB_STATE_DISCARDED, "discarded", "Discarded", toneWaiting},
}

// jobState is a job's badge.
func jobState(s operatorv1.JobState) cell {
	switch s {
	case operatorv1.JobState_JOB_STATE_DEAD_LETTERED:
		return state(toneDead, "Dead letter")
	case operatorv1.JobState_JOB_STATE_UNSPECIFIED:
		return state(toneQuiet, "Unknown")
	}
	for _, known := range jobStates {
		if known.state == s {
			return state(known.tone, known.text)
		}
	}
	return state(toneQuiet, s.String())
}

func mismatchTable(rows []readmodel.Mismatch) table {
	t := table{
		Caption: "Last mismatches", Compact: true, Columns: columns("Job", "Votes", "Now", "When"),
		Empty: empty{Title: "No mismatch", Text: "Replicas have agreed on every result so far."},
	}
	for _, m := range rows {
		t.add(m.Job+"-"+strconv.Itoa(int(m.Round))+"-"+strconv.Itoa(int(m.Wave)), idCell(m.Job, linkJob(m.Job)),
			cell{Text: votesText(m.Votes), Title: "identity groups behind each answer of wave " + strconv.Itoa(int(m.Wave))}, jobState(m.State), when(m.At))
	}
	return t
}

// votesText tells how many identity groups stood behind each answer, for example "1 : 1".
func votesText(votes []*eventv1.Vote) string {
	s := ""
	for i, v := range votes {
		if i > 0 {
			s += " : "
		}
		if i == 4 {
			return s + "…"
		}
		s += strconv.Itoa(int(v.GetGroups()))
	}
	return s
}

func deadLetterTable(rows []readmodel.DeadLetter) table {
	t := table{
		Caption: "Last dead letters", Compact: true, Columns: columns("Job", "Reason", "When"),
		Empty: empty{Title: "No dead letter", Text: "Jobs that nobody could finish are kept here, to be looked at and sent again."},
	}
	for _, l := range rows {
		reason := enumWords(l.Reason.String(), "DEAD_LETTER_REASON_")
		t.add(l.Job, idCell(l.Job, linkJob(l.Job)), state(toneDead, sentenceCase(reason)).with(l.Detail), when(l.At))
	}
	return t
}

// behindText tells how far a projection is behind the head of the log.
func behindText(s projections.Status, head events.Position) string {
	if s.Position >= head {
		return "0"
	}
	if s.Behind > 0 {
		return lasting(s.Behind)
	}
	return "< 1 s"
}

// FreshWord teaches the first command.
func (v *overviewView) FreshWord() empty {
	return empty{
		Title: "Nothing was computed here yet", Text: "Run a module over a file: the file is cut into chunks, and each chunk is computed by two workers and compared.",
		Command: "shardy run primes.wasm --input ranges.bin --chunk-size 16 --output counts.bin",
	}
}
