package job_test

import (
	"testing"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/actors/job"
	"github.com/shardy-network/orchestrator/actors/story"
	"github.com/shardy-network/orchestrator/events"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

var (
	someJob      = events.DeriveEntityID([]byte("some job"))
	somePipeline = events.DeriveEntityID([]byte("some pipeline"))
)

// letter is a dead letter of a chunk of a pipeline, or of none.
func letter(t *testing.T, pipeline string) *story.Story {
	begun := submitted()
	if pipeline != "" {
		begun.Spec.Pipeline, begun.Spec.Stage, begun.Spec.Chunk = pipeline, 1, 4
	}
	return story.Of(t, &job.Room, id).Given(
		begun, &eventv1.ReplicaFailed{Slot: 0, Reason: exhausted}, &eventv1.ReplicaFailed{Slot: 1, Reason: exhausted},
		&eventv1.JobDeadLettered{Reason: eventv1.DeadLetterReason_DEAD_LETTER_REASON_DELIVERY_EXHAUSTED},
	)
}

func news(j *eventv1.SettledJob) actors.Effect {
	return actors.SettleChunk{Pipeline: somePipeline, Stage: 1, Job: j}
}

// TestRequeueIsOfOneRound: who requeues a dead letter means the one that they saw.
func TestRequeueIsOfOneRound(t *testing.T) {
	s := letter(t, "")
	s.When(&eventv1.RequeueJob{Round: 2}).Refuses(job.ErrAnotherRound)
	s.When(&eventv1.DiscardJob{Round: 2}).Refuses(job.ErrAnotherRound)
	s.When(&eventv1.RequeueJob{Round: 1}).ThenTypes("JobRequeued")
	s.When(&eventv1.RequeueJob{Round: 1}).Refuses(job.ErrNotDeadLettered)
	s.When(&eventv1.RecordFailure{Slot: 2, Reason: exhausted}).ThenTypes("ReplicaFailed")
	s.When(&eventv1.RecordFailure{Slot: 3, Reason: exhausted}).ThenTypes("ReplicaFailed", "JobDeadLettered")
	s.When(&eventv1.RequeueJob{Round: 1}).Refuses(job.ErrAnotherRound)
	s.When(&eventv1.DiscardJob{Round: 2}).ThenTypes("JobDiscarded")
}

func TestDiscardedForAnother(t *testing.T) {
	for _, bad := range []string{"x", id} {
		letter(t, "").When(&eventv1.DiscardJob{ReplacedBy: bad}).Refuses(job.ErrInvalid)
	}
	s := letter(t, somePipeline)
	s.When(&eventv1.DiscardJob{By: "op", Reason: "edited", ReplacedBy: someJob, Round: 1}).Then(
		&eventv1.JobDiscarded{By: "op", Reason: "edited", ReplacedBy: someJob, AtUs: story.Start},
	).Effects()
	s.When(&eventv1.DiscardJob{By: "op", Reason: "edited", ReplacedBy: someJob, Round: 1}).Nothing()
	s.When(&eventv1.DiscardJob{ReplacedBy: somePipeline}).Refuses(job.ErrNotDeadLettered)
	s.When(&eventv1.DiscardJob{}).Refuses(job.ErrNotDeadLettered)
	if got := s.State().(job.State).ReplacedBy; got != someJob {
		t.Errorf("replaced by %q", got)
	}
}

// TestPipelineIsToldWhatIsOpen: of a requeued job and of an edited one, again after a restart, and how it ended.
func TestPipelineIsToldWhatIsOpen(t *testing.T) {
	s := letter(t, somePipeline)
	s.Reloaded(actors.Forget{Job: id}, news(&eventv1.SettledJob{Chunk: 4, Reason: 1}))
	s.When(&eventv1.ReopenJob{}).Then().Effects(news(&eventv1.SettledJob{Chunk: 4, Reason: 1}))
	spec := s.State().(job.State).Spec
	again := news(&eventv1.SettledJob{Chunk: 4, Round: 2, Open: true})
	s.When(&eventv1.RequeueJob{}).ThenTypes("JobRequeued").Effects(
		actors.Seek{Job: id, Spec: spec, Policy: rules(), Slots: []uint32{2, 3}, SinceUs: story.Start}, again,
	)
	slot := func(n uint32) actors.Effect {
		return actors.Tell{
			To: actors.SlotAddress(id, n), Command: &eventv1.Command{Kind: &eventv1.Command_OpenSlot{OpenSlot: &eventv1.OpenSlot{}}},
		}
	}
	s.Reloaded(slot(2), slot(3), again)
	s.When(&eventv1.ReopenJob{}).Nothing()
	s.When(&eventv1.RecordFailure{Slot: 2, Reason: exhausted})
	s.When(&eventv1.RecordFailure{Slot: 3, Reason: exhausted}).Effects(
		actors.Forget{Job: id}, news(&eventv1.SettledJob{Chunk: 4, Round: 2, Reason: 1}),
	)

	edit := spec
	edit.Replaces, edit.ReplacedRound = someJob, 2
	of := &eventv1.SettledJob{Chunk: 4, Job: id, Replaces: someJob, ReplacedRound: 2, Open: true}
	e := story.Of(t, &job.Room, id).When(&eventv1.SubmitJob{Spec: edit, Policy: rules()})
	e.Effects(actors.Seek{Job: id, Spec: edit, Policy: rules(), Slots: []uint32{0, 1}, SinceUs: story.Start}, news(of))
	e.Reloaded(slot(0), slot(1), news(of))
	e.When(says(0, "x")).ThenTypes("ReplicaReturned")
	e.When(says(1, "x")).ThenTypes("ReplicaReturned", "TaskVerified")
	e.When(&eventv1.ReopenJob{}).Then().Effects(news(&eventv1.SettledJob{
		Chunk: 4, Job: id, Replaces: someJob, ReplacedRound: 2, Verified: true, Output: blob("x"),
	}))
}

func TestReplacementsThatAreNone(t *testing.T) {
	for name, c := range map[string]struct {
		of    string
		round uint32
	}{
		"no id": {"x", 1}, "no round": {someJob, 0}, "absurd round": {someJob, job.MaxRounds + 1}, "nobody": {"", 1}, "itself": {id, 1},
	} {
		s := spec()
		s.Replaces, s.ReplacedRound = c.of, c.round
		t.Run(name, func(t *testing.T) {
			story.Of(t, &job.Room, id).When(&eventv1.SubmitJob{Spec: s, Policy: rules()}).Refuses(job.ErrInvalid)
		})
	}
}
