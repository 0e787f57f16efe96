package pipeline_test

import (
	"testing"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/actors/pipeline"
	"github.com/shardy-network/orchestrator/actors/story"
	"github.com/shardy-network/orchestrator/events"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// open is the news that a job of the pipeline's own is open again.
func open(chunk, round uint32) *eventv1.SettledJob {
	return &eventv1.SettledJob{Chunk: chunk, Round: round, Open: true}
}

// in makes news those of a later round.
func in(round uint32, j *eventv1.SettledJob) *eventv1.SettledJob {
	j.Round = round
	return j
}

// by makes news those of a job that was edited out of another.
func by(job, replaces string, replaced uint32, j *eventv1.SettledJob) *eventv1.SettledJob {
	j.Job, j.Replaces, j.ReplacedRound = job, replaces, replaced
	return j
}

func reopened(chunks ...*eventv1.ReopenedChunk) *eventv1.ChunksReopened {
	return &eventv1.ChunksReopened{Chunks: chunks}
}

func cancelled(job, why string) actors.Effect {
	return actors.Tell{To: actors.JobAddress(job), Command: &eventv1.Command{Kind: &eventv1.Command_CancelJob{
		CancelJob: &eventv1.CancelJob{By: "pipeline", Reason: why},
	}}}
}

var (
	own    = pipeline.JobID(id, 0, 1) // the job of chunk 1
	first  = events.DeriveEntityID([]byte("first edit"))
	second = events.DeriveEntityID([]byte("second edit"))
)

const otherHands = "the pipeline's chunk is in other hands"

// hole is a running pipeline of three chunks; chunk 1 is a hole.
func hole(t *testing.T) *story.Story {
	p := spec(3, stage(each))
	p.MaxFailures = 1
	return submitted(t, p).When(settle(0, dead(1), verified(0)))
}

func TestStageWaitsForARequeuedJob(t *testing.T) {
	s := hole(t)
	s.When(settle(0, open(1, 2))).Then(reopened(&eventv1.ReopenedChunk{Chunk: 1, Job: own, Round: 2, Hole: true})).Effects()
	s.When(settle(0, open(1, 2))).Nothing()
	s.When(settle(0, dead(1))).Nothing() // of the round before
	s.When(settle(0, verified(2))).ThenTypes("JobsSettled")
	if st := s.State().(pipeline.State); st.Settled != 2 || st.Failures != 0 || st.Phase != pipeline.Running {
		t.Errorf("%d settled, %d failures, %s", st.Settled, st.Failures, st.Phase)
	}
	s.Reloaded(actors.SubmitChunks{Pipeline: id, Spec: s.State().(pipeline.State).Spec, Manifest: ref(999), From: 1, To: 2})
	s.When(settle(0, in(2, verified(1)))).ThenTypes("JobsSettled", "StageCompleted", "PipelineCompleted")
	if n := len(s.State().(pipeline.State).Results.Output(1).GetSha256()); n != 32 {
		t.Error("the hole is not filled")
	}
}

func TestRequeuedJobDiesAgain(t *testing.T) {
	s := hole(t).When(settle(0, open(1, 2)))
	s.When(settle(0, in(2, dead(1)))).ThenTypes("JobsSettled")
	s.When(settle(0, open(1, 2))).Nothing() // late
	s.When(settle(0, open(1, 3), dead(2))).ThenTypes("ChunksReopened", "JobsSettled")
	s.When(settle(0, in(3, dead(1)))).ThenTypes("JobsSettled", "PipelineFailed")
}

// TestNewsOvertakeEachOther: a job's end may be heard before its beginning, and both in one batch.
func TestNewsOvertakeEachOther(t *testing.T) {
	s := hole(t)
	s.When(settle(0, in(2, dead(1)))).Then(
		reopened(&eventv1.ReopenedChunk{Chunk: 1, Job: own, Round: 2, Hole: true}),
		&eventv1.JobsSettled{Jobs: []*eventv1.SettledJob{dead(1)}},
	)
	s.When(settle(0, open(1, 2))).Nothing()
	s.When(settle(0, open(1, 3), in(3, verified(1)), open(1, 2))).ThenTypes("ChunksReopened", "JobsSettled")

	// The requeue is heard before the death that it follows: the chunk never was a hole.
	p := spec(2, stage(each))
	quick := submitted(t, p).When(settle(0, dead(0), &eventv1.SettledJob{Chunk: 0, Round: 2, Open: true}))
	quick.Then(reopened(&eventv1.ReopenedChunk{Chunk: 0, Job: pipeline.JobID(id, 0, 0), Round: 2}))
	quick.When(settle(0, dead(0))).Nothing().IsDone(false)
}

func TestEditedJobTakesTheChunk(t *testing.T) {
	s := hole(t)
	s.When(settle(0, by(first, own, 1, open(1, 0)))).
		Then(reopened(&eventv1.ReopenedChunk{Chunk: 1, Job: first, Round: 1, Hole: true})).Effects()
	p := s.State().(pipeline.State).Spec
	s.Reloaded(
		actors.SubmitChunks{Pipeline: id, Spec: p, Manifest: ref(999), From: 1, To: 3},
		actors.Tell{To: actors.JobAddress(first), Command: &eventv1.Command{Kind: &eventv1.Command_ReopenJob{ReopenJob: &eventv1.ReopenJob{}}}},
	)
	s.When(settle(0, dead(1), verified(2))).ThenTypes("JobsSettled") // the discarded one answers the hand-out
	s.When(settle(0, verified(1))).Nothing()                         // it stands for nothing any more
	s.When(settle(0, by(first, own, 1, in(2, open(1, 2))))).ThenTypes("ChunksReopened")
	s.When(settle(0, by(second, first, 2, open(1, 0)))).ThenTypes("ChunksReopened")
	s.When(settle(0, by(first, own, 1, in(2, dead(1))))).Nothing()
	s.When(settle(0, by(second, first, 2, verified(1)))).ThenTypes("JobsSettled", "StageCompleted", "PipelineCompleted")
}

func TestOneJobStandsForAChunk(t *testing.T) {
	// Somebody requeues the dead letter while somebody else edits it: whom the pipeline hears of first goes on.
	requeued := hole(t).When(settle(0, open(1, 2)))
	requeued.When(settle(0, by(first, own, 1, open(1, 0)))).Then().Effects(cancelled(first, otherHands))
	edited := hole(t).When(settle(0, by(first, own, 1, open(1, 0))))
	edited.When(settle(0, open(1, 2))).Then().Effects(cancelled(own, otherHands))
	edited.When(settle(0, by(second, own, 1, open(1, 0)))).Then().Effects(cancelled(second, otherHands))

	done := hole(t).When(settle(0, open(1, 2))).When(settle(0, in(2, verified(1))))
	done.When(settle(0, by(first, own, 2, open(1, 0)))).Then().Effects(cancelled(first, otherHands))
}

func TestTooLateForTheStage(t *testing.T) {
	p := spec(2, stage(each), stage(each))
	p.MaxFailures = 1
	s := submitted(t, p).When(settle(0, verified(0), dead(1)))
	over := "the stage of the pipeline is over"
	s.When(settle(0, open(1, 2))).Then().Effects(cancelled(own, over)) // while it gathers
	s.When(&eventv1.StartStage{Stage: 1, Manifest: ref(50), Chunks: 1})
	s.When(settle(0, open(1, 2))).Then().Effects(cancelled(own, over))
	s.When(settle(0, by(first, own, 1, open(1, 0)))).Then().Effects(cancelled(first, over))
	s.When(settle(1, verified(0))).IsDone(true)
	s.When(settle(0, open(1, 2))).Then().Effects(cancelled(own, "the pipeline has ended"))
	s.When(settle(0, dead(1))).Nothing().Effects()
}

func TestEndRecallsEditedJobs(t *testing.T) {
	s := hole(t).When(settle(0, by(first, own, 1, open(1, 0))))
	recall := []actors.Effect{
		actors.CancelChunks{Pipeline: id, From: 1, To: 3, Reason: "the pipeline was cancelled"},
		cancelled(first, "the pipeline was cancelled"),
	}
	s.When(&eventv1.CancelPipeline{By: "ada"}).ThenTypes("PipelineCancelled").Effects(recall...).Reloaded(recall...)
}

func TestMalformedNews(t *testing.T) {
	s := hole(t)
	odd := verified(1)
	odd.Open = true
	for _, j := range []*eventv1.SettledJob{odd, by("not an id", own, 1, open(1, 0)), by(first, "x", 1, open(1, 0))} {
		s.When(settle(0, j)).Refuses(pipeline.ErrInvalid)
	}
	s.When(settle(0, open(200, 2))).Nothing().Effects() // no such chunk
	for _, c := range []*eventv1.ReopenedChunk{{Chunk: 1 << 31, Job: own, Round: 1}, {Job: "x", Round: 1}, {Job: own}, nil} {
		if err := pipeline.Room.Open(id).Evolve(reopened(c)); err == nil {
			t.Errorf("%v folds", c)
		}
	}
}
