package pipeline_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/actors/pipeline"
	"github.com/shardy-network/orchestrator/actors/story"
	"github.com/shardy-network/orchestrator/events"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

var id = events.DeriveEntityID([]byte("pipeline under test"))

// ref is a blob that is told apart by its number.
func ref(n uint32) *eventv1.BlobRef {
	sum := make([]byte, 32)
	binary.BigEndian.PutUint32(sum, n)
	return &eventv1.BlobRef{Sha256: sum, Size: uint64(n)}
}

func stage(feed eventv1.StageFeed) *eventv1.StageSpec {
	return &eventv1.StageSpec{
		Template: &eventv1.JobSpec{Module: bytes.Repeat([]byte{1}, 32), FuelLimit: 1000},
		Feed:     feed,
		Policy: &eventv1.JobPolicy{
			Redundancy: 2, Margin: 2, MaxReplicas: 7, MaxAttempts: 5, AckTimeoutMs: 5000,
			MinExecutionTimeoutMs: 10_000, MaxExecutionTimeoutMs: 600_000, ExecutionSlack: 4,
		},
	}
}

func spec(chunks uint32, stages ...*eventv1.StageSpec) *eventv1.PipelineSpec {
	return &eventv1.PipelineSpec{Name: "picture", Tenant: "ada", Stages: stages, Manifest: ref(999), Chunks: chunks}
}

const (
	each   = eventv1.StageFeed_STAGE_FEED_EACH
	gather = eventv1.StageFeed_STAGE_FEED_GATHER
)

func submitted(t *testing.T, p *eventv1.PipelineSpec) *story.Story {
	return story.Of(t, &pipeline.Room, id).When(&eventv1.SubmitPipeline{Spec: p})
}

func verified(chunk uint32) *eventv1.SettledJob {
	return &eventv1.SettledJob{Chunk: chunk, Verified: true, Output: ref(1000 + chunk)}
}

func dead(chunk uint32) *eventv1.SettledJob {
	return &eventv1.SettledJob{Chunk: chunk, Reason: eventv1.DeadLetterReason_DEAD_LETTER_REASON_NO_QUORUM}
}

func settle(stage uint32, jobs ...*eventv1.SettledJob) *eventv1.SettleJobs {
	return &eventv1.SettleJobs{Stage: stage, Jobs: jobs}
}

func verifiedRange(from, to uint32) []*eventv1.SettledJob {
	var jobs []*eventv1.SettledJob
	for i := from; i < to; i++ {
		jobs = append(jobs, verified(i))
	}
	return jobs
}

func TestOneStage(t *testing.T) {
	p := spec(3, stage(each))
	s := submitted(t, p)
	s.Then(&eventv1.PipelineSubmitted{Spec: p}, &eventv1.StageStarted{Manifest: ref(999), Chunks: 3})
	s.Effects(actors.SubmitChunks{Pipeline: id, Spec: p, Manifest: ref(999), From: 0, To: 3})
	s.Replies(pipeline.SubmitReply{ID: id}).IsDone(false)

	s.When(settle(0, verified(2), verified(0))).Then(&eventv1.JobsSettled{Jobs: []*eventv1.SettledJob{verified(2), verified(0)}}).Effects()
	s.Reloaded(actors.SubmitChunks{Pipeline: id, Spec: p, Manifest: ref(999), From: 1, To: 2})
	s.When(settle(0, verified(2), verified(0))).Nothing() // repeats
	s.When(settle(1, verified(1))).Nothing()              // of another stage
	s.When(settle(0, verified(3))).Nothing()              // no such chunk
	s.When(settle(0, verified(1), verified(1))).Then(
		&eventv1.JobsSettled{Jobs: []*eventv1.SettledJob{verified(1)}}, &eventv1.StageCompleted{},
		&eventv1.PipelineCompleted{OutputBytes: 1000 + 1001 + 1002},
	).Effects()
	s.IsDone(true).Reloaded()
	st := s.State().(pipeline.State)
	if got := st.Outputs(); len(got) != 3 || got[1].Size != 1001 || st.Phase.String() != "completed" {
		t.Errorf("%s with outputs %v", st.Phase, got)
	}
	s.When(settle(0, verified(1))).Nothing()
	s.When(&eventv1.CancelPipeline{}).Refuses(pipeline.ErrEnded)
	s.When(&eventv1.StartStage{Stage: 1}).Refuses(pipeline.ErrEnded)
}

func TestStagesFeedEachOther(t *testing.T) {
	last := stage(gather)
	last.ChunkBytes = 4096
	p := spec(2, stage(each), stage(each), last)
	s := submitted(t, p)
	s.When(settle(0, verified(1), verified(0))).ThenTypes("JobsSettled", "StageCompleted")
	next := actors.GatherStage{Pipeline: id, Stage: 1, Outputs: []*eventv1.BlobRef{ref(1000), ref(1001)}}
	s.Effects(next).Reloaded(next)
	s.When(settle(0, verified(0))).Nothing()

	s.When(&eventv1.StartStage{Stage: 2, Manifest: ref(50), Chunks: 2}).Refuses(pipeline.ErrNotGathering)
	s.When(&eventv1.StartStage{Stage: 1, Manifest: ref(50), Chunks: 3}).Refuses(pipeline.ErrInvalid)
	s.When(&eventv1.StartStage{Stage: 1, Chunks: 2}).Refuses(pipeline.ErrInvalid)
	start := &eventv1.StartStage{Stage: 1, Manifest: ref(50), Chunks: 2}
	s.When(start).Then(&eventv1.StageStarted{Stage: 1, Manifest: ref(50), Chunks: 2})
	s.Effects(actors.SubmitChunks{Pipeline: id, Spec: p, Stage: 1, Manifest: ref(50), To: 2})
	s.When(start).Nothing()

	s.When(settle(1, verified(0), verified(1))).ThenTypes("JobsSettled", "StageCompleted")
	s.Effects(actors.GatherStage{
		Pipeline: id, Stage: 2, Outputs: []*eventv1.BlobRef{ref(1000), ref(1001)}, ChunkBytes: 4096, Recut: true,
	})
	s.When(&eventv1.StartStage{Stage: 2, Manifest: ref(51), Chunks: 1}).ThenTypes("StageStarted")
	s.When(settle(2, verified(0))).ThenTypes("JobsSettled", "StageCompleted", "PipelineCompleted")
}

func TestWindowMovesOnInLargeSteps(t *testing.T) {
	p := spec(1000, stage(each))
	s := submitted(t, p)
	s.Effects(actors.SubmitChunks{Pipeline: id, Spec: p, Manifest: ref(999), To: pipeline.Window})
	s.When(settle(0, verified(300))).Nothing() // was never handed out
	s.When(settle(0, verifiedRange(0, 127)...)).Effects()
	s.When(settle(0, verified(200))).Effects(
		actors.SubmitChunks{Pipeline: id, Spec: p, Manifest: ref(999), From: 256, To: 384},
	)
	s.Reloaded(actors.SubmitChunks{Pipeline: id, Spec: p, Manifest: ref(999), From: 127, To: 384}) // 200 with its neighbours
}

func TestHolesAreClosedUpWithinTheTolerance(t *testing.T) {
	p := spec(4, stage(each), stage(each))
	p.MaxFailures = 1
	s := submitted(t, p)
	s.When(settle(0, dead(1), verified(0), verified(2))).ThenTypes("JobsSettled")
	s.When(settle(0, dead(1))).Nothing()
	s.When(settle(0, verified(3))).Effects(
		actors.GatherStage{Pipeline: id, Stage: 1, Outputs: []*eventv1.BlobRef{ref(1000), ref(1002), ref(1003)}},
	)
	s.When(&eventv1.StartStage{Stage: 1, Manifest: ref(50), Chunks: 3}).ThenTypes("StageStarted")
	s.When(settle(1, dead(0), verified(1))).Then(
		&eventv1.JobsSettled{Stage: 1, Jobs: []*eventv1.SettledJob{dead(0), verified(1)}},
		&eventv1.PipelineFailed{Detail: "2 jobs dead-lettered, 1 tolerated: the last in stage 1"},
	).Effects(actors.CancelChunks{Pipeline: id, Stage: 1, From: 2, To: 3, Reason: "the pipeline failed"})
	s.Reloaded(actors.CancelChunks{Pipeline: id, Stage: 1, From: 2, To: 3, Reason: "the pipeline failed"}).IsDone(true)
}

func TestRequeuedJobFillsItsHole(t *testing.T) {
	p := spec(3, stage(each))
	p.MaxFailures = 1
	s := submitted(t, p)
	s.When(settle(0, dead(1)))
	s.When(settle(0, verified(1))).ThenTypes("JobsSettled")
	s.When(settle(0, dead(1))).Nothing()
	s.When(settle(0, dead(2))).ThenTypes("JobsSettled") // one hole again
	s.When(settle(0, verified(0))).ThenTypes("JobsSettled", "StageCompleted", "PipelineCompleted")
}

func TestStageWithoutAnyOutputFails(t *testing.T) {
	p := spec(2, stage(each))
	p.MaxFailures = 9
	submitted(t, p).When(settle(0, dead(0), dead(1))).ThenTypes("JobsSettled", "PipelineFailed")

	empty := submitted(t, spec(1, stage(each), stage(gather))).When(settle(0, verified(0)))
	empty.When(&eventv1.StartStage{Stage: 1, Manifest: ref(1)}).ThenTypes("PipelineFailed").Effects()
}

func TestSubmittingTwiceIsOnePipeline(t *testing.T) {
	p := spec(2, stage(each))
	s := submitted(t, p)
	again := proto.Clone(p).(*eventv1.PipelineSpec)
	again.Stages[0].Policy.Redundancy = 3 // the deployment's policy changed meanwhile
	s.When(&eventv1.SubmitPipeline{Spec: again}).Nothing().Replies(pipeline.SubmitReply{ID: id, Existing: true})
	again.Chunks = 3
	s.When(&eventv1.SubmitPipeline{Spec: again}).Refuses(pipeline.ErrRequestConflict)
}

func TestCancelAndFail(t *testing.T) {
	s := submitted(t, spec(3, stage(each))).When(settle(0, verified(1)))
	s.When(&eventv1.CancelPipeline{By: "ada", Reason: "wrong picture"}).Then(
		&eventv1.PipelineCancelled{By: "ada", Reason: "wrong picture"},
	).Effects(
		actors.CancelChunks{Pipeline: id, From: 0, To: 1, Reason: "the pipeline was cancelled"},
		actors.CancelChunks{Pipeline: id, From: 2, To: 3, Reason: "the pipeline was cancelled"},
	)
	s.When(&eventv1.CancelPipeline{}).Nothing()
	s.When(&eventv1.FailPipeline{}).Refuses(pipeline.ErrEnded)
	s.When(&eventv1.ReopenPipeline{}).Nothing()

	f := submitted(t, spec(1, stage(each)))
	f.When(&eventv1.FailPipeline{Detail: "blob is missing"}).ThenTypes("PipelineFailed")
	f.When(&eventv1.FailPipeline{Detail: "again"}).Nothing()

	g := submitted(t, spec(1, stage(each), stage(each))).When(settle(0, verified(0)))
	g.When(&eventv1.CancelPipeline{}).ThenTypes("PipelineCancelled").Effects() // no job is open while gathering
}

func TestMalformedPipelinesAreRefused(t *testing.T) {
	for name, change := range map[string]func(*eventv1.PipelineSpec){
		"no stages":        func(p *eventv1.PipelineSpec) { p.Stages = nil },
		"too many stages":  func(p *eventv1.PipelineSpec) { p.Stages = slices.Repeat(p.Stages, pipeline.MaxStages+1) },
		"missing stage":    func(p *eventv1.PipelineSpec) { p.Stages[0] = nil },
		"no chunks":        func(p *eventv1.PipelineSpec) { p.Chunks = 0 },
		"too many chunks":  func(p *eventv1.PipelineSpec) { p.Chunks = pipeline.MaxChunks + 1 },
		"no manifest":      func(p *eventv1.PipelineSpec) { p.Manifest = nil },
		"long name":        func(p *eventv1.PipelineSpec) { p.Name = strings.Repeat("n", pipeline.MaxName+1) },
		"no policy":        func(p *eventv1.PipelineSpec) { p.Stages[0].Policy = nil },
		"no module":        func(p *eventv1.PipelineSpec) { p.Stages[0].Template.Module = nil },
		"input":            func(p *eventv1.PipelineSpec) { p.Stages[0].Template.Input = ref(1) },
		"another pipeline": func(p *eventv1.PipelineSpec) { p.Stages[0].Template.Pipeline = id },
		"unknown feed":     func(p *eventv1.PipelineSpec) { p.Stages[0].Feed = 9 },
		"ringer": func(p *eventv1.PipelineSpec) {
			p.Stages[0].Template.Kind = eventv1.JobKind_JOB_KIND_LITE_TEST
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := spec(2, stage(each))
			change(p)
			submitted(t, p).Refuses(pipeline.ErrInvalid)
		})
	}
	submitted(t, nil).Refuses(pipeline.ErrInvalid)
	story.Of(t, &pipeline.Room, "no-id").When(&eventv1.SubmitPipeline{Spec: spec(1, stage(each))}).Refuses(pipeline.ErrInvalid)
	story.Of(t, &pipeline.Room, id).When(settle(0, verified(0))).Refuses(pipeline.ErrNotFound)
	bare := verified(0)
	bare.Output = nil
	submitted(t, spec(1, stage(each))).When(settle(0, bare)).Refuses(pipeline.ErrInvalid)
	submitted(t, spec(1, stage(each))).When(&eventv1.OpenSlot{}).Refuses(actors.ErrUnknownCommand)
}

func TestChunksBeyondAllBoundsDoNotFold(t *testing.T) {
	e := pipeline.Room.Open(id)
	err := e.Evolve(&eventv1.JobsSettled{Jobs: []*eventv1.SettledJob{{Chunk: 1 << 31}}})
	if err == nil {
		t.Fatal("folded")
	}
}

// world is a host in small: it has the jobs that were handed out, and settles them in any order.
type world struct {
	open    map[uint32]bool
	settled map[uint32]*eventv1.SettledJob
	pending *actors.GatherStage
	stage   uint32
}

func (w *world) carryOut(t *rapid.T, effects []actors.Effect) {
	for _, e := range effects {
		switch x := e.(type) {
		case actors.SubmitChunks:
			if x.Stage != w.stage {
				*w = world{open: map[uint32]bool{}, settled: map[uint32]*eventv1.SettledJob{}, stage: x.Stage}
			}
			for i := x.From; i < x.To; i++ {
				if w.settled[i] == nil {
					w.open[i] = true
				}
			}
		case actors.GatherStage:
			w.pending = &x
		}
	}
	if len(w.open) > pipeline.Window {
		t.Fatalf("%d jobs are open", len(w.open))
	}
}

// TestAnyOrderOfSettling: however jobs end, in whatever batches, with repeats and restarts, the pipeline ends, and its
// outputs are the verified ones in order.
func TestAnyOrderOfSettling(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		stages := rapid.IntRange(1, 3).Draw(rt, "stages")
		p := spec(rapid.Uint32Range(1, 700).Draw(rt, "chunks"))
		for range stages {
			p.Stages = append(p.Stages, stage(rapid.SampledFrom([]eventv1.StageFeed{each, gather}).Draw(rt, "feed")))
		}
		p.MaxFailures = rapid.Uint32Range(0, 4).Draw(rt, "tolerated")
		w := &world{open: map[uint32]bool{}, settled: map[uint32]*eventv1.SettledJob{}}
		e, history := pipeline.Room.Open(id), []events.Fact(nil)
		tell := func(cmd proto.Message) {
			d, err := story.Decide(t, &pipeline.Room, id, e, history, story.Command(story.Start, cmd))
			if err != nil {
				rt.Fatalf("%s: %v", story.Sketch(cmd), err)
			}
			history = append(history, d.Facts...)
			w.carryOut(rt, d.Effects)
		}
		tell(&eventv1.SubmitPipeline{Spec: p})
		for steps := 0; !e.Done(); steps++ {
			if steps > 400 {
				rt.Fatal("the pipeline does not end")
			}
			if rapid.IntRange(0, 9).Draw(rt, "restart") == 0 {
				e = story.Replay(t, &pipeline.Room, id, history)
				w.carryOut(rt, e.React(nil))
			}
			if g := w.pending; g != nil {
				w.pending = nil
				tell(&eventv1.StartStage{Stage: g.Stage, Manifest: ref(g.Stage), Chunks: uint32(len(g.Outputs))})
				continue
			}
			tell(&eventv1.SettleJobs{Stage: w.stage, Jobs: w.end(rt)})
		}
		w.judge(rt, e.State().(pipeline.State))
	})
}

// end lets some open jobs end, and repeats some old news.
func (w *world) end(t *rapid.T) []*eventv1.SettledJob {
	var open []uint32
	for i := range w.open {
		open = append(open, i)
	}
	slices.Sort(open)
	from := rapid.IntRange(0, max(len(open)-1, 0)).Draw(t, "from")
	to := min(from+rapid.IntRange(1, 128).Draw(t, "batch"), len(open))
	var jobs []*eventv1.SettledJob
	for n, i := range open[from:to] {
		j := verified(i)
		if n == 0 && rapid.IntRange(0, 9).Draw(t, "dead") == 0 {
			j = dead(i)
		}
		delete(w.open, i)
		w.settled[i] = j
		jobs = append(jobs, j)
		if n == 0 {
			jobs = append(jobs, j)
		}
	}
	return jobs
}

func (w *world) judge(t *rapid.T, s pipeline.State) {
	if s.Phase == pipeline.Failed {
		if s.Failures <= s.Spec.MaxFailures && s.Results.Output(0) != nil {
			t.Fatalf("failed with %d of %d failures", s.Failures, s.Spec.MaxFailures)
		}
		return
	}
	if s.Phase != pipeline.Completed || int(s.Stage) != len(s.Spec.Stages)-1 || s.Failures > s.Spec.MaxFailures {
		t.Fatalf("%s in stage %d with %d failures", s.Phase, s.Stage, s.Failures)
	}
	var want []string
	for i := range s.Chunks {
		if w.settled[i].Verified {
			want = append(want, fmt.Sprint(1000+i))
		}
	}
	var got []string
	for _, o := range s.Outputs() {
		got = append(got, fmt.Sprint(o.Size))
	}
	if !slices.Equal(got, want) {
		t.Fatalf("outputs %v, want %v", got, want)
	}
}

// BenchmarkSettle settles a stage of 100,000 chunks in batches of 128.
func BenchmarkSettle(b *testing.B) {
	jobs := 0
	for b.Loop() {
		s := pipeline.Room.Zero(id)
		for _, f := range []events.Fact{
			&eventv1.PipelineSubmitted{Spec: spec(pipeline.MaxChunks, stage(each))}, &eventv1.StageStarted{Chunks: pipeline.MaxChunks},
		} {
			s, _ = pipeline.Evolve(s, f)
		}
		for s.Settled < s.Chunks {
			cmd := story.Command(0, settle(0, verifiedRange(s.Settled, min(s.Settled+128, s.Submitted))...))
			d, err := pipeline.Decide(s, cmd)
			if err != nil {
				b.Fatal(err)
			}
			for _, f := range d.Facts {
				s, _ = pipeline.Evolve(s, f)
			}
		}
		jobs += int(s.Settled)
	}
	b.ReportMetric(float64(jobs)/b.Elapsed().Seconds(), "jobs/s")
}
