package pipeline_test

import (
	"fmt"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/actors/assignment"
	"github.com/shardy-network/orchestrator/actors/job"
	"github.com/shardy-network/orchestrator/actors/pipeline"
	"github.com/shardy-network/orchestrator/actors/story"
	"github.com/shardy-network/orchestrator/events"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// game plays a pipeline with its jobs, and is their host: it coalesces what jobs tell their pipeline, in any order, and
// loses that in a crash.
type game struct {
	t     *rapid.T
	scene *story.Scene
	jobs  []string // every job that was ever submitted
	taken int      // effects that were carried out
	news  map[uint32][]*eventv1.SettledJob
	edits int
	known map[string]replayed
}

type replayed struct {
	facts int
	state job.State
}

func (g *game) do(to actors.Address, cmd proto.Message) error {
	_, err := g.scene.Do(to, cmd)
	g.carryOut()
	return err
}

func (g *game) carryOut() {
	for g.taken < len(g.scene.Effects) {
		e := g.scene.Effects[g.taken]
		g.taken++
		switch x := e.(type) {
		case actors.SubmitChunks:
			for i := x.From; i < x.To; i++ {
				s := proto.CloneOf(x.Spec.Stages[x.Stage].Template)
				s.Input, s.Pipeline, s.Stage, s.Chunk = ref(i), x.Pipeline, x.Stage, i
				g.submit(pipeline.JobID(id, x.Stage, i), &eventv1.SubmitJob{Spec: s, Policy: x.Spec.Stages[x.Stage].Policy})
			}
		case actors.CancelChunks:
			for i := x.From; i < x.To; i++ {
				_, _ = g.scene.Do(actors.JobAddress(pipeline.JobID(id, x.Stage, i)), &eventv1.CancelJob{By: "pipeline"})
			}
		case actors.GatherStage:
			_, _ = g.scene.Do(actors.PipelineAddress(id), &eventv1.StartStage{
				Stage: x.Stage, Manifest: ref(x.Stage), Chunks: uint32(len(x.Outputs)),
			})
		case actors.SettleChunk:
			g.news[x.Stage] = append(g.news[x.Stage], x.Job)
		}
	}
}

func (g *game) submit(jobID string, cmd *eventv1.SubmitJob) {
	if !slices.Contains(g.jobs, jobID) {
		g.jobs = append(g.jobs, jobID)
	}
	if _, err := g.scene.Do(actors.JobAddress(jobID), cmd); err != nil {
		g.t.Fatalf("job %s: %v", jobID, err)
	}
}

// job replays a job, unless nothing has happened to it since the last time.
func (g *game) job(jobID string) job.State {
	at := actors.JobAddress(jobID)
	n := len(g.scene.History(at))
	if k, ok := g.known[jobID]; ok && k.facts == n {
		return k.state
	}
	s := g.scene.State(at).(job.State)
	g.known[jobID] = replayed{n, s}
	return s
}

func (g *game) pipeline() pipeline.State {
	return g.scene.State(actors.PipelineAddress(id)).(pipeline.State)
}

func (g *game) in(phase job.Phase) []string {
	var found []string
	for _, j := range g.jobs {
		if g.job(j).Phase == phase {
			found = append(found, j)
		}
	}
	return found
}

// end lets a job end, well or not. Its output tells it from all others.
func (g *game) end(jobID string, well bool) {
	s := g.job(jobID)
	for i := range s.Slots {
		n := s.First + uint32(i)
		var cmd proto.Message = &eventv1.RecordFailure{Slot: n, Reason: eventv1.SlotFailure_SLOT_FAILURE_ATTEMPTS_EXHAUSTED}
		if well {
			cmd = &eventv1.RecordReplica{
				Slot: n, Attempt: 1, Worker: slices.Repeat([]byte{byte(i + 1)}, 32), Status: 1, Output: outputOf(jobID, s.Round), Fuel: 5,
			}
		}
		if err := g.do(actors.JobAddress(jobID), cmd); err != nil {
			g.t.Fatalf("%s: %v", jobID, err)
		}
	}
}

func outputOf(jobID string, round uint32) *eventv1.BlobRef {
	sum := make([]byte, 32)
	copy(sum, fmt.Sprint(jobID[:20], "-", round))
	return &eventv1.BlobRef{Sha256: sum, Size: 1}
}

// edit submits the replacement and, unless the process dies between, discards the dead letter.
func (g *game) edit(jobID string, cutShort bool) {
	s := g.job(jobID)
	g.edits++
	replacement := events.DeriveEntityID([]byte(jobID), []byte{byte(g.edits)})
	next := proto.CloneOf(s.Spec)
	next.Replaces, next.ReplacedRound, next.FuelLimit = jobID, s.Round, s.Spec.FuelLimit+1
	g.submit(replacement, &eventv1.SubmitJob{Spec: next, Policy: s.Policy})
	g.carryOut()
	if !cutShort {
		_ = g.do(actors.JobAddress(jobID), &eventv1.DiscardJob{ReplacedBy: replacement, Round: s.Round})
	}
}

// tell delivers some of the news, out of order.
func (g *game) tell(all bool) {
	for stage := range uint32(3) {
		news := g.news[stage]
		if len(news) == 0 {
			continue
		}
		news = rapid.Permutation(news).Draw(g.t, "order")
		n := len(news)
		if !all {
			n = rapid.IntRange(0, n).Draw(g.t, "told")
		}
		g.news[stage] = slices.Clone(news[n:])
		if n > 0 {
			if err := g.do(actors.PipelineAddress(id), &eventv1.SettleJobs{Stage: stage, Jobs: news[:n]}); err != nil {
				g.t.Fatal(err)
			}
		}
	}
}

// crash loses everything but the log; the host opens again what was open.
func (g *game) crash() {
	g.scene.Crash()
	g.news = map[uint32][]*eventv1.SettledJob{}
	for _, j := range g.in(job.Open) {
		_ = g.do(actors.JobAddress(j), &eventv1.ReopenJob{})
	}
	_ = g.do(actors.PipelineAddress(id), &eventv1.ReopenPipeline{})
}

func (g *game) step() {
	open, dead := g.in(job.Open), g.in(job.DeadLettered)
	switch n := rapid.IntRange(0, 12).Draw(g.t, "step"); {
	case n == 0:
		g.crash()
	case n < 3:
		g.tell(false)
	case n < 7 && len(open) > 0:
		g.end(rapid.SampledFrom(open).Draw(g.t, "job"), rapid.IntRange(0, 2).Draw(g.t, "well") == 0)
	case n < 10 && len(dead) > 0:
		_ = g.do(actors.JobAddress(rapid.SampledFrom(dead).Draw(g.t, "letter")), &eventv1.RequeueJob{By: "op", Reason: "again"})
	case n < 12 && len(dead) > 0:
		g.edit(rapid.SampledFrom(dead).Draw(g.t, "letter"), rapid.Bool().Draw(g.t, "cut short"))
	case len(dead) > 0:
		_ = g.do(actors.JobAddress(rapid.SampledFrom(dead).Draw(g.t, "letter")), &eventv1.DiscardJob{By: "op", Reason: "enough"})
	}
}

// TestRequeuedAndEditedJobsSettleTheirChunks: jobs are requeued, edited and discarded in any order, news are reordered
// and lost in crashes; yet every stage ends, with what the jobs that stand for its chunks returned, and no job is left
// open for a pipeline that has ended.
func TestRequeuedAndEditedJobsSettleTheirChunks(t *testing.T) {
	filled := 0
	rapid.Check(t, func(rt *rapid.T) {
		p := spec(rapid.Uint32Range(1, 4).Draw(rt, "chunks"))
		for range rapid.IntRange(1, 2).Draw(rt, "stages") {
			s := stage(each)
			s.Policy.Redundancy, s.Policy.Margin = 1, 1
			p.Stages = append(p.Stages, s)
		}
		p.MaxFailures = rapid.Uint32Range(0, 10).Draw(rt, "tolerated")
		g := &game{t: rt, scene: story.NewScene(rt, &job.Room, &assignment.Room, &pipeline.Room), news: map[uint32][]*eventv1.SettledJob{}, known: map[string]replayed{}}
		if err := g.do(actors.PipelineAddress(id), &eventv1.SubmitPipeline{Spec: p}); err != nil {
			rt.Fatal(err)
		}
		for range rapid.IntRange(0, 30).Draw(rt, "steps") {
			g.step()
		}
		g.finish()
		filled += g.judge()
	})
	if filled == 0 {
		t.Error("no requeued or edited job ever filled a hole: the game plays nothing")
	}
}

// finish lets everything end: nobody interferes any more.
func (g *game) finish() {
	for range 30 {
		for len(g.news[0])+len(g.news[1]) > 0 {
			g.tell(true)
		}
		open := g.in(job.Open)
		g.quiet(open)
		if pipeline.Done(g.pipeline()) {
			return
		}
		for i, j := range open {
			if i%2 == 0 && g.job(j).Phase == job.Open {
				g.end(j, rapid.IntRange(0, 3).Draw(g.t, "well at last") > 0)
			}
		}
		if rapid.IntRange(0, 4).Draw(g.t, "crash at last") == 0 {
			g.crash()
		}
	}
	g.t.Fatalf("no end: %s, open jobs %v\n%s", g.pipeline().Phase, g.in(job.Open), g.scene.Transcript())
}

// quiet holds what must be so when everything is told: no job is open for a pipeline that has ended or for a stage that
// is over, and one job at most for a chunk.
func (g *game) quiet(open []string) {
	s, seen := g.pipeline(), map[uint32]string{}
	for _, j := range open {
		spec := g.job(j).Spec
		if pipeline.Done(s) || spec.Stage != s.Stage {
			g.t.Fatalf("job %s is open for stage %d of a pipeline that is %s in stage %d", j, spec.Stage, s.Phase, s.Stage)
		}
		if other := seen[spec.Chunk]; other != "" {
			g.t.Fatalf("jobs %s and %s are open for chunk %d", j, other, spec.Chunk)
		}
		seen[spec.Chunk] = j
	}
}

// judge holds the outcome against the jobs, and counts the outputs that came from later rounds and edits.
func (g *game) judge() (filled int) {
	s := g.pipeline()
	failures := uint32(0)
	for chunk := range s.Chunks {
		out := s.Results.Output(chunk)
		if out == nil {
			if s.Results.Settled(chunk) {
				failures++
			}
			continue
		}
		holder := pipeline.JobID(id, s.Stage, chunk)
		if c, ok := s.Reopened[chunk]; ok {
			filled++
			if c.Job != "" {
				holder = c.Job
			}
		}
		j := g.job(holder)
		if j.Phase != job.Verified || !proto.Equal(out, outputOf(holder, j.Round)) {
			g.t.Fatalf("chunk %d has an output that is not of job %s, which is %s", chunk, holder, j.Phase)
		}
	}
	if len(s.Spec.Stages) == 1 && failures != s.Failures {
		g.t.Fatalf("%d failures counted, %d are there", s.Failures, failures)
	}
	if s.Phase == pipeline.Completed && s.Failures > s.Spec.MaxFailures {
		g.t.Fatalf("completed with %d failures", s.Failures)
	}
	return filled
}
