package dashboard

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/shardy-network/orchestrator/actors/secrecy"
	"github.com/shardy-network/orchestrator/events"
	"github.com/shardy-network/orchestrator/projections/readmodel"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

func (d *Dashboard) jobPages() []page {
	return []page{{name: "job", route: "/jobs/{id}", title: "Job", nav: "jobs", live: true, every: 5 * time.Second, view: d.job}}
}

func (d *Dashboard) jobActions() []action {
	return []action{{route: "/jobs/{id}/cancel", role: RoleOperator, do: d.cancelJob}}
}

func (d *Dashboard) jobRaws() []raw {
	return []raw{
		{route: "/jobs/{id}/history.json", serve: d.downloadHistory},
		{route: "/jobs/{id}/output", serve: d.downloadOutput},
		{route: "/jobs/{id}/output.png", serve: d.outputPicture},
		{route: "/jobs/{id}/input", serve: d.downloadInput},
		{route: "/jobs/{id}/input.png", serve: d.inputPicture},
	}
}

type jobView struct {
	ID       string
	State    badge
	Dead     string // link to the dead letter's page
	Facts    []fact
	Cancel   *form
	Ballot   ballot
	Timeline timeline
	Attempts table
	Waits    []string // why it is where it is
	Result   *peek
	Closed   string // why there is no result to see
	History  history
	Labels   []fact
}

// PageTitle names the job.
func (v *jobView) PageTitle() string { return "Job " + shortID(v.ID) }

// seenJob finds the job of a page, or says that it does not exist for the viewer.
func (d *Dashboard) seenJob(ctx context.Context, q *ask) (*readmodel.Job, error) {
	id := q.Path["id"]
	if err := events.CheckEntityID(id); err != nil {
		return nil, err
	}
	j, err := d.deps.Model.Job(ctx, id)
	if err != nil {
		return nil, err
	}
	if !q.Viewer.seesJob(j.Tenant, j.Kind) {
		return nil, errNotFound
	}
	return j, nil
}

func (d *Dashboard) job(ctx context.Context, q *ask) (any, error) {
	j, err := d.seenJob(ctx, q)
	if err != nil {
		return nil, err
	}
	staff, hidden := q.Viewer.Staff(), !secrecy.Ends(j.State) || !q.Viewer.content()
	v := &jobView{
		ID: j.ID, State: jobBadge(j.State), Facts: jobFacts(j, q), Labels: labelFacts(j.Spec),
		Ballot: newBallot(j, staff, hidden), Timeline: newTimeline(j, q.Now), Attempts: attemptsTable(j, staff),
	}
	switch j.State {
	case operatorv1.JobState_JOB_STATE_OPEN:
		v.Cancel = &form{
			Action: linkJob(j.ID) + "/cancel", Button: "Cancel", Danger: true, Reason: true, Back: linkJob(j.ID),
			Ask: "The job stops for good, and its workers are told to drop it.",
		}
		v.Waits = d.explain(ctx, j.ID)
	case operatorv1.JobState_JOB_STATE_DEAD_LETTERED:
		v.Dead = linkDeadLetter(j.ID)
	}
	if by := d.replacedBy(ctx, j); by != "" {
		v.Facts = append(v.Facts, fact{"Replaced by", idCell(by, sayJob(by).Href).with("edited out of this one")})
	}
	if f := d.settled(ctx, j); f != nil {
		v.Facts = append(v.Facts, *f)
	}
	v.Result, v.Closed = d.result(ctx, q, j)
	v.History, err = d.jobHistory(ctx, q, j)
	return v, err
}

// explain asks the host why the job waits. A host that does not know says nothing.
func (d *Dashboard) explain(ctx context.Context, id string) []string {
	if d.deps.Explain == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	lines, err := d.deps.Explain(ctx, id)
	if err != nil {
		return nil
	}
	if len(lines) > 32 {
		lines = append(lines[:32:32], fmt.Sprintf("and %d more", len(lines)-32))
	}
	for i := range lines {
		lines[i] = clip(plain(lines[i]), 400)
	}
	return lines
}

func jobFacts(j *readmodel.Job, q *ask) []fact {
	spec := j.Spec
	facts := []fact{
		{"Submitted", when(j.Submitted)},
		tookFact(j, q.Now),
		{"Kind", text(enumText(j.Kind))},
		{"Tenant", linked(j.Tenant, list(linkJobs(), "tenant", j.Tenant))},
		{"Module", hexCell(j.Module, list(linkJobs(), "module", fmt.Sprintf("%x", j.Module)))},
		{"Input", bytesCell(spec.GetInput().GetSize())},
	}
	if j.Pipeline != "" {
		facts = append(facts, fact{"Pipeline", idCell(j.Pipeline, linkPipeline(j.Pipeline)).with(fmt.Sprintf("chunk %d of stage %d", j.Chunk, j.Stage))})
	}
	if v := j.Verdict; v != nil {
		facts = append(facts, fact{"Output", bytesCell(v.GetOutput().GetSize())},
			fact{"Fuel", count(v.Fuel).with("of " + thousands(spec.GetFuelLimit()))})
	} else {
		facts = append(facts, fact{"Fuel limit", count(spec.GetFuelLimit())})
	}
	facts = append(facts, fact{"Workers", text(fmt.Sprintf("tier %d", max(1, j.MinTier))).with(fmt.Sprintf("priority %d", j.Priority))},
		fact{"Results", text(fmt.Sprintf("%d of %d", j.Returned, j.Slots)).with(fmt.Sprintf("round %d, wave %d", j.Round, j.Wave))},
		fact{"Attempts", text(fmt.Sprintf("%d, at most %d a slot", j.Attempts, j.Policy.GetMaxAttempts()))})
	if r := spec.GetReplaces(); r != "" {
		facts = append(facts, fact{"Instead of", idCell(r, sayJob(r).Href).with("a dead letter that was edited")})
	}
	return facts
}

func tookFact(j *readmodel.Job, now time.Time) fact {
	if j.Decided.IsZero() {
		return fact{"Open for", duration(max(0, now.Sub(j.Submitted)).Truncate(time.Second))}
	}
	c := duration(j.Decided.Sub(j.Submitted))
	c.Title = exact(j.Decided)
	return fact{"Took", c}
}

func labelFacts(spec *eventv1.JobSpec) []fact {
	var facts []fact
	for _, l := range spec.GetLabels() {
		facts = append(facts, fact{clip(plain(l.GetKey()), 64), text(l.GetValue())})
	}
	return facts
}

// result is what the job computed, if the viewer may see it.
func (d *Dashboard) result(ctx context.Context, q *ask, j *readmodel.Job) (*peek, string) {
	switch {
	case j.State == operatorv1.JobState_JOB_STATE_OPEN:
		return nil, "Outputs stay hidden until the job is decided: another worker could copy them."
	case j.Verdict == nil || j.State != operatorv1.JobState_JOB_STATE_VERIFIED:
		return nil, "There is no verified output."
	case !q.Viewer.content():
		return nil, "Your role sees no content."
	}
	p := d.look(ctx, "output", j.Verdict.Output, j.Spec.GetOutput(), linkJob(j.ID)+"/output")
	if img, ok := d.drawTile(ctx, j.Spec, j.Verdict.Output); ok {
		p = peek{
			Name: p.Name, Hash: p.Hash, Size: p.Size, Download: p.Download, Picture: linkJob(j.ID) + "/output.png",
			Width: img.Rect.Dx(), Height: img.Rect.Dy(), Note: "A tile of the pipeline's picture.",
		}
	}
	return &p, ""
}

// verified finds a job whose content the viewer may have.
func (d *Dashboard) verified(r *http.Request, q *ask) (*readmodel.Job, error) {
	j, err := d.seenJob(r.Context(), q)
	if err != nil {
		return nil, err
	}
	if !q.Viewer.content() {
		return nil, errForbidden
	}
	if j.State != operatorv1.JobState_JOB_STATE_VERIFIED || j.Verdict == nil {
		return nil, errNotFound
	}
	return j, nil
}

func (d *Dashboard) downloadOutput(w http.ResponseWriter, r *http.Request, q *ask) error {
	j, err := d.verified(r, q)
	if err != nil {
		return err
	}
	return d.sendBlob(w, r, j.Verdict.Output, "job-"+j.ID+".out")
}

func (d *Dashboard) outputPicture(w http.ResponseWriter, r *http.Request, q *ask) error {
	j, err := d.verified(r, q)
	if err != nil {
		return err
	}
	if img, ok := d.drawTile(r.Context(), j.Spec, j.Verdict.Output); ok {
		data, err := encodePNG(img)
		if err != nil {
			return err
		}
		return sendPNG(w, data)
	}
	return d.sendPicture(w, r, j.Verdict.Output)
}

// ownInput finds the input of a job that the viewer may have. That of a ringer is no secret: it was a client's.
func (d *Dashboard) ownInput(r *http.Request, q *ask) (*readmodel.Job, error) {
	j, err := d.seenJob(r.Context(), q)
	if err == nil && !q.Viewer.content() {
		err = errForbidden
	}
	return j, err
}

func (d *Dashboard) downloadInput(w http.ResponseWriter, r *http.Request, q *ask) error {
	j, err := d.ownInput(r, q)
	if err != nil {
		return err
	}
	return d.sendBlob(w, r, j.Spec.GetInput(), "job-"+j.ID+".in")
}

func (d *Dashboard) inputPicture(w http.ResponseWriter, r *http.Request, q *ask) error {
	j, err := d.ownInput(r, q)
	if err != nil {
		return err
	}
	return d.sendPicture(w, r, j.Spec.GetInput())
}

func (d *Dashboard) cancelJob(ctx context.Context, q *ask) (done, to string, err error) {
	if d.deps.Actions == nil {
		return "", "", errReadOnly
	}
	reason, err := q.reason()
	if err != nil {
		return "", "", err
	}
	j, err := d.seenJob(ctx, q)
	if err != nil {
		return "", "", err
	}
	if err := d.deps.Actions.CancelJob(ctx, q.Viewer.Name, j.ID, reason); err != nil {
		return "", "", err
	}
	return "Job " + shortID(j.ID) + " is cancelled.", linkJob(j.ID), nil
}
