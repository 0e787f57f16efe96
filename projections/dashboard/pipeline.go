package dashboard

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/events"
	"github.com/shardy-network/orchestrator/projections/readmodel"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

func (d *Dashboard) pipelinePages() []page {
	return []page{{name: "pipeline", route: "/pipelines/{id}", title: "Pipeline", nav: "pipelines", live: true, view: d.pipeline}}
}

func (d *Dashboard) pipelineActions() []action {
	return []action{{route: "/pipelines/{id}/cancel", role: RoleOperator, do: d.cancelPipeline}}
}

func (d *Dashboard) pipelineRaws() []raw {
	return []raw{
		{route: "/pipelines/{id}/picture.png", serve: d.pipelinePicture},
		{route: "/pipelines/{id}/output", serve: d.pipelineOutput},
	}
}

// gridPage is how many chunks one page draws.
const gridPage = 500

type pipelineView struct {
	ID      string
	Name    string
	State   badge
	Said    string
	Facts   []fact
	Cancel  *form
	Picture string // link
	Width   int
	Height  int
	Drawn   string // how much of it is there
	Closed  string // why no output is shown
	Output  string // link to the download
	Stages  []stageLine
	Grid    chunkGrid
	Failed  table
	Jobs    string
	Stream  string
}

// PageTitle names the pipeline.
func (v *pipelineView) PageTitle() string { return v.Name }

type stageLine struct {
	Stage     uint32
	Name      string
	Href      string
	On        bool
	Module    cell
	Feed      string
	Progress  progress
	Failed    string
	Started   time.Time
	Completed time.Time
	Took      string
}

// chunkGrid is a part of a stage's chunks, a field each.
type chunkGrid struct {
	Stage  string
	Range  string
	Chunks []chunkField
	Counts []badge // what the colours mean
	Before string
	Behind string
	Empty  string
}

type chunkField struct {
	Key   uint32
	Href  string
	Tone  tone
	Title string
}

func (d *Dashboard) seenPipeline(ctx context.Context, q *ask) (*readmodel.Pipeline, error) {
	id := q.Path["id"]
	if err := events.CheckEntityID(id); err != nil {
		return nil, err
	}
	p, err := d.deps.Model.Pipeline(ctx, id)
	if err != nil {
		return nil, err
	}
	if !q.Viewer.Sees(p.Tenant) {
		return nil, errNotFound
	}
	return p, nil
}

func (d *Dashboard) pipeline(ctx context.Context, q *ask) (any, error) {
	p, err := d.seenPipeline(ctx, q)
	if err != nil {
		return nil, err
	}
	v := &pipelineView{
		ID: p.ID, Name: pipelineName(&p.PipelineRow), State: pipelineBadge(p.State), Said: pipelineSaid(p),
		Facts: pipelineFacts(p, q.Now), Jobs: list(linkJobs(), "pipeline", p.ID),
	}
	if q.Viewer.Staff() {
		v.Stream = linkStream(actors.PipelineAddress(p.ID).Stream())
	}
	if p.State == operatorv1.PipelineState_PIPELINE_STATE_RUNNING {
		v.Cancel = &form{
			Action: linkPipeline(p.ID) + "/cancel", Button: "Cancel", Danger: true, Reason: true, Back: linkPipeline(p.ID),
			Ask: "The pipeline and its open jobs stop for good.",
		}
	}
	stage := stageOf(q, p)
	for i := range p.Progress {
		v.Stages = append(v.Stages, newStageLine(q, p, i, stage))
	}
	d.frameOutput(ctx, q, p, v)
	if v.Grid, err = d.grid(ctx, q, p, stage); err != nil {
		return nil, err
	}
	v.Failed, err = d.failedChunks(ctx, q, p)
	return v, err
}

func pipelineSaid(p *readmodel.Pipeline) string {
	switch p.State {
	case operatorv1.PipelineState_PIPELINE_STATE_RUNNING:
		return fmt.Sprintf("Stage %d of %d: %s chunks settled.", p.Stage+1, max(1, p.Stages), newProgress(p.Chunks, p.Settled, 0).Text)
	case operatorv1.PipelineState_PIPELINE_STATE_COMPLETED:
		s := "Every chunk is settled; the output has " + sizeOf(p.OutputBytes) + "."
		if p.Failed > 0 {
			s = fmt.Sprintf("Complete but for %s; the output has %s.", plural(int(p.Failed), "failed chunk"), sizeOf(p.OutputBytes))
		}
		return s
	}
	return clip(plain(titleCase(enumText(p.State))+after(" by ", p.By)+after(": ", p.Detail)), 400)
}

func pipelineFacts(p *readmodel.Pipeline, now time.Time) []fact {
	facts := []fact{
		{"Submitted", when(p.Submitted)},
		{"Took", text(pipelineTook(&p.PipelineRow, now))},
		{"Tenant", linked(p.Tenant, list(linkPipelines(), "tenant", p.Tenant))},
		{"Stages", count(p.Stages)},
		{"Failed chunks", count(p.Failed).with(fmt.Sprintf("%d tolerated", p.Spec.GetMaxFailures()))},
	}
	if p.Ended.IsZero() {
		facts[1] = fact{"Running for", duration(max(0, now.Sub(p.Submitted)).Truncate(time.Second))}
	}
	if p.OutputBytes > 0 {
		facts = append(facts, fact{"Output", bytesCell(p.OutputBytes)})
	}
	return facts
}

// stageOf is the stage whose chunks are shown: that of the address, or the current one.
func stageOf(q *ask, p *readmodel.Pipeline) uint32 {
	if n, err := strconv.ParseUint(q.Query.Get("stage"), 10, 32); err == nil && n < uint64(len(p.Progress)) {
		return uint32(n)
	}
	return min(p.Stage, uint32(max(0, len(p.Progress)-1)))
}

func newStageLine(q *ask, p *readmodel.Pipeline, i int, shown uint32) stageLine {
	s := p.Progress[i]
	l := stageLine{
		Stage: s.Stage, Name: clip(plain(s.Name), 60), Href: q.with("stage", strconv.Itoa(int(s.Stage)), "chunk", ""), On: s.Stage == shown,
		Module: hexCell(s.Module, list(linkJobs(), "module", fmt.Sprintf("%x", s.Module))), Progress: newProgress(s.Chunks, s.Settled, s.Failed),
		Failed: thousands(s.Failed), Started: s.Started, Completed: s.Completed, Feed: "the submitted chunks", Took: "–",
	}
	if l.Name == "" {
		l.Name = fmt.Sprintf("stage %d", s.Stage)
	}
	if i > 0 && i < len(p.Spec.GetStages()) {
		l.Feed = "each chunk of the stage before"
		if p.Spec.Stages[i].GetFeed() == eventv1.StageFeed_STAGE_FEED_GATHER {
			l.Feed = "the outputs of the stage before, joined and cut anew"
		}
	}
	if !s.Started.IsZero() && !s.Completed.IsZero() {
		l.Took = lasting(s.Completed.Sub(s.Started))
	}
	return l
}

// frameOutput finds out what of the output can be shown.
func (d *Dashboard) frameOutput(ctx context.Context, q *ask, p *readmodel.Pipeline, v *pipelineView) {
	switch {
	case !q.Viewer.content():
		v.Closed = "Your role sees no content."
		return
	case d.deps.Blobs == nil:
		v.Closed = "This process holds no content."
		return
	}
	if p.State == operatorv1.PipelineState_PIPELINE_STATE_COMPLETED {
		v.Output = linkPipeline(p.ID) + "/output"
	}
	stage, ok := paintedStage(p)
	if !ok {
		return
	}
	easel, err := d.easel(ctx, p.ID, stage)
	if err != nil {
		v.Closed = "The picture cannot be put together: its inputs are missing, or are no tiles."
		return
	}
	size := easel.canvas.Rect.Max
	done := stage.Settled - min(stage.Failed, stage.Settled)
	v.Picture = fmt.Sprintf("%s/picture.png?tiles=%d", linkPipeline(p.ID), done)
	v.Width, v.Height = size.X, size.Y
	v.Drawn = fmt.Sprintf("%s of %s, each verified", thousands(done), plural(int(stage.Chunks), "tile"))
}

func (d *Dashboard) grid(ctx context.Context, q *ask, p *readmodel.Pipeline, stage uint32) (chunkGrid, error) {
	var g chunkGrid
	if int(stage) >= len(p.Progress) || p.Progress[stage].Chunks == 0 {
		g.Empty = "This stage is not cut into chunks yet: it waits for the one before."
		return g, nil
	}
	total := p.Progress[stage].Chunks
	g.Stage = fmt.Sprintf("stage %d", stage)
	from := uint32(0)
	if n, err := strconv.ParseUint(q.Query.Get("chunk"), 10, 32); err == nil && n < uint64(total) {
		from = uint32(n) / gridPage * gridPage
	}
	chunks, err := d.deps.Model.Chunks(ctx, p.ID, stage, from, gridPage)
	if err != nil {
		return g, err
	}
	to := from + uint32(len(chunks))
	if total > gridPage {
		g.Range = fmt.Sprintf("%s to %s of %s", thousands(from), thousands(max(to, 1)-1), thousands(total))
	}
	if from > 0 {
		g.Before = q.with("chunk", strconv.Itoa(int(from-min(from, gridPage))))
	}
	if to < total {
		g.Behind = q.with("chunk", strconv.Itoa(int(to)))
	}
	counts := map[badge]int{}
	for _, c := range chunks {
		b := badge{toneWaiting, "Waiting"}
		if c.State != operatorv1.JobState_JOB_STATE_UNSPECIFIED {
			b = jobBadge(c.State)
		}
		counts[b]++
		g.Chunks = append(g.Chunks, chunkField{c.Chunk, linkJob(c.Job), b.Tone, fmt.Sprintf("chunk %d: %s", c.Chunk, b.Text)})
	}
	for _, s := range append(everyJobState(), jobStateRow{text: "Waiting", tone: toneWaiting}) {
		if n := counts[badge{s.tone, s.text}]; n > 0 {
			g.Counts = append(g.Counts, badge{s.tone, fmt.Sprintf("%s %s", s.text, thousands(n))})
		}
	}
	return g, nil
}

// failedChunks lists the jobs that the pipeline could not get a verdict on.
func (d *Dashboard) failedChunks(ctx context.Context, q *ask, p *readmodel.Pipeline) (table, error) {
	t := table{Caption: "Failed chunks", Columns: columns("Job", "Chunk#", "Why", "Attempts#", "When")}
	if p.Failed == 0 {
		return t, nil
	}
	rows, _, err := d.deps.Model.Jobs(ctx, readmodel.JobQuery{
		Pipeline: p.ID, Tenants: q.Viewer.Tenants, States: []operatorv1.JobState{operatorv1.JobState_JOB_STATE_DEAD_LETTERED, operatorv1.JobState_JOB_STATE_DISCARDED},
		Page: readmodel.Page{Limit: 50},
	})
	if err != nil {
		return t, err
	}
	for i := range rows {
		j := &rows[i]
		link := linkDeadLetter(j.ID)
		if j.State != operatorv1.JobState_JOB_STATE_DEAD_LETTERED {
			link = linkJob(j.ID)
		}
		t.add(j.ID, idCell(j.ID, link), count(j.Chunk), state(toneDead, enumText(j.Reason)).with(j.Detail), count(j.Attempts), when(j.Decided))
	}
	return t, nil
}

// ownPipeline finds a pipeline whose content the viewer may have.
func (d *Dashboard) ownPipeline(r *http.Request, q *ask) (*readmodel.Pipeline, error) {
	p, err := d.seenPipeline(r.Context(), q)
	if err == nil && !q.Viewer.content() {
		err = errForbidden
	}
	return p, err
}

func (d *Dashboard) pipelinePicture(w http.ResponseWriter, r *http.Request, q *ask) error {
	p, err := d.ownPipeline(r, q)
	if err != nil {
		return err
	}
	stage, ok := paintedStage(p)
	if !ok {
		return errNotFound
	}
	data, err := d.draw(r.Context(), p.ID, stage)
	if err != nil {
		return err
	}
	return sendPNG(w, data)
}

// pipelineOutput sends the outputs of the last stage one after the other, in the order of the chunks; chunks that
// failed within the pipeline's tolerance are left out.
func (d *Dashboard) pipelineOutput(w http.ResponseWriter, r *http.Request, q *ask) error {
	p, err := d.ownPipeline(r, q)
	if err != nil {
		return err
	}
	if p.State != operatorv1.PipelineState_PIPELINE_STATE_COMPLETED || len(p.Progress) == 0 || d.deps.Blobs == nil {
		return errNotFound
	}
	last := p.Progress[len(p.Progress)-1]
	safeContent(w.Header())
	w.Header().Set("Content-Disposition", `attachment; filename="pipeline-`+p.ID+`.out"`)
	begun := false
	for from := uint32(0); from < last.Chunks; from += readmodel.MaxPage {
		chunks, err := d.deps.Model.Chunks(r.Context(), p.ID, last.Stage, from, readmodel.MaxPage)
		for _, c := range chunks {
			if err == nil && c.Output != nil {
				err = d.copyBlob(w, r, c.Output)
				begun = true
			}
		}
		if err != nil && !begun {
			return err
		}
		if err != nil { // the answer has begun: it must not look whole
			panic(http.ErrAbortHandler)
		}
	}
	return nil
}

func (d *Dashboard) copyBlob(w io.Writer, r *http.Request, ref *eventv1.BlobRef) error {
	if len(ref.GetSha256()) != 32 {
		return fmt.Errorf("%w: a fact names no content", events.ErrMalformed)
	}
	content, size, err := d.deps.Blobs.Open(r.Context(), [32]byte(ref.Sha256))
	if err != nil {
		return err
	}
	defer content.Close()
	n, err := io.Copy(w, content)
	if err == nil && n != size {
		err = io.ErrUnexpectedEOF
	}
	return err
}

func (d *Dashboard) cancelPipeline(ctx context.Context, q *ask) (done, to string, err error) {
	if d.deps.Actions == nil {
		return "", "", errReadOnly
	}
	reason, err := q.reason()
	if err != nil {
		return "", "", err
	}
	p, err := d.seenPipeline(ctx, q)
	if err != nil {
		return "", "", err
	}
	if err := d.deps.Actions.CancelPipeline(ctx, q.Viewer.Name, p.ID, reason); err != nil {
		return "", "", err
	}
	return "Pipeline " + shortID(p.ID) + " is cancelled.", linkPipeline(p.ID), nil
}
