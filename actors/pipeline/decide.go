package pipeline

import (
	"fmt"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/events"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// Decide answers a command under rules version 1.
func Decide(s State, cmd *eventv1.Command) (actors.Decision, error) {
	if k, ok := cmd.Kind.(*eventv1.Command_SubmitPipeline); ok {
		return s.submit(k.SubmitPipeline)
	}
	if s.Phase == Absent {
		return actors.Decision{}, ErrNotFound
	}
	switch k := cmd.Kind.(type) {
	case *eventv1.Command_SettleJobs:
		return s.settle(k.SettleJobs)
	case *eventv1.Command_StartStage:
		return s.start(k.StartStage)
	case *eventv1.Command_FailPipeline:
		return s.fail(k.FailPipeline)
	case *eventv1.Command_CancelPipeline:
		return s.cancel(k.CancelPipeline)
	case *eventv1.Command_ReopenPipeline:
		return actors.Decision{}, nil // loading the pipeline has repeated its effects
	default:
		return actors.Decision{}, fmt.Errorf("pipeline: %w: %T", actors.ErrUnknownCommand, cmd.Kind)
	}
}

func (s State) submit(c *eventv1.SubmitPipeline) (actors.Decision, error) {
	if s.Phase != Absent {
		if !same(c.Spec, s.Spec) {
			return actors.Decision{}, ErrRequestConflict
		}
		return actors.Decision{Reply: SubmitReply{ID: s.ID, Existing: true}}, nil
	}
	if err := checkID(s.ID); err != nil {
		return actors.Decision{}, err
	}
	if err := Check(c.Spec); err != nil {
		return actors.Decision{}, err
	}
	return actors.Decision{
		Facts: []events.Fact{
			&eventv1.PipelineSubmitted{Spec: c.Spec},
			&eventv1.StageStarted{Manifest: c.Spec.Manifest, Chunks: c.Spec.Chunks},
		},
		Reply: SubmitReply{ID: s.ID},
	}, nil
}

// settle records the ends of jobs, and which of them are open again. News of another stage, of an ended pipeline, of a
// chunk that is settled already, or from a job that does not stand for its chunk, are old.
func (s State) settle(c *eventv1.SettleJobs) (actors.Decision, error) {
	for _, j := range c.Jobs {
		if err := checkSettled(j); err != nil {
			return actors.Decision{}, err
		}
	}
	if s.Phase != Running || c.Stage != s.Stage {
		return actors.Decision{Effects: s.unneeded(c)}, nil
	}
	reopened := s.handOver(c.Jobs)
	after, err := s.reopened(reopened)
	if err != nil {
		return actors.Decision{}, err
	}
	fresh := after.news(c.Jobs)
	if len(fresh) == 0 && len(reopened.Chunks) == 0 {
		return actors.Decision{Effects: dismiss(reopened.Unneeded)}, nil // nothing happened to the pipeline itself
	}
	var facts []events.Fact
	if len(reopened.Chunks) > 0 || len(reopened.Unneeded) > 0 {
		facts = append(facts, reopened)
	}
	if len(fresh) == 0 {
		return actors.Decision{Facts: facts}, nil
	}
	fact := &eventv1.JobsSettled{Stage: s.Stage, Jobs: fresh}
	if after, err = Evolve(after, fact); err != nil {
		return actors.Decision{}, err
	}
	return actors.Decision{Facts: append(append(facts, fact), after.conclude()...)}, nil
}

// news leaves out what is known. A verified job fills the hole of a dead-lettered one.
func (s *State) news(jobs []*eventv1.SettledJob) []*eventv1.SettledJob {
	var fresh []*eventv1.SettledJob
	seen := make(map[uint32]bool, len(jobs))
	for _, j := range jobs {
		known := s.Results.Settled(j.Chunk) && (!j.Verified || s.Results.Output(j.Chunk) != nil)
		if j.Open || j.Chunk >= s.Submitted || known || seen[j.Chunk] || s.claim(j.Chunk) != claimOf(j) {
			continue
		}
		seen[j.Chunk] = true
		if j.Verified {
			fresh = append(fresh, &eventv1.SettledJob{Chunk: j.Chunk, Verified: true, Output: j.Output})
		} else {
			fresh = append(fresh, &eventv1.SettledJob{Chunk: j.Chunk, Reason: j.Reason})
		}
	}
	return fresh
}

// conclude is what follows from the jobs settled so far.
func (s *State) conclude() []events.Fact {
	if s.Failures > s.Spec.GetMaxFailures() {
		return []events.Fact{&eventv1.PipelineFailed{Detail: fmt.Sprintf(
			"%d jobs dead-lettered, %d tolerated: the last in stage %d", s.Failures, s.Spec.GetMaxFailures(), s.Stage,
		)}}
	}
	if s.Settled < s.Chunks {
		return nil
	}
	var verified, size uint64
	for _, ref := range s.Outputs() {
		verified++
		size += ref.Size
	}
	if verified == 0 {
		return []events.Fact{&eventv1.PipelineFailed{Detail: fmt.Sprintf("no chunk of stage %d was verified", s.Stage)}}
	}
	facts := []events.Fact{&eventv1.StageCompleted{Stage: s.Stage}}
	if int(s.Stage)+1 == len(s.Spec.GetStages()) {
		facts = append(facts, &eventv1.PipelineCompleted{OutputBytes: size})
	}
	return facts
}

// start begins the stage that was gathered.
func (s State) start(c *eventv1.StartStage) (actors.Decision, error) {
	if s.Phase >= Completed {
		return actors.Decision{}, ErrEnded
	}
	if s.Phase == Running && c.Stage == s.Stage {
		return actors.Decision{}, nil
	}
	if s.Phase != Gathering || c.Stage != s.Stage+1 || int(c.Stage) >= len(s.Spec.GetStages()) {
		return actors.Decision{}, ErrNotGathering
	}
	each := s.Spec.Stages[c.Stage].Feed != eventv1.StageFeed_STAGE_FEED_GATHER
	switch {
	case !isBlob(c.Manifest):
		return actors.Decision{}, malformed("manifest of stage %d", c.Stage)
	case each && int(c.Chunks) != len(s.Outputs()):
		return actors.Decision{}, malformed("stage %d: %d chunks, want %d", c.Stage, c.Chunks, len(s.Outputs()))
	case c.Chunks == 0 || c.Chunks > MaxChunks:
		return decided(&eventv1.PipelineFailed{
			Detail: fmt.Sprintf("stage %d would have %d chunks: want 1 to %d", c.Stage, c.Chunks, MaxChunks),
		}), nil
	}
	return decided(&eventv1.StageStarted{Stage: c.Stage, Manifest: c.Manifest, Chunks: c.Chunks}), nil
}

func (s State) fail(c *eventv1.FailPipeline) (actors.Decision, error) {
	if s.Phase == Failed {
		return actors.Decision{}, nil
	}
	if s.Phase >= Completed {
		return actors.Decision{}, ErrEnded
	}
	if !isText(c.Detail, MaxText) {
		return actors.Decision{}, malformed("detail: want at most %d bytes of UTF-8", MaxText)
	}
	return decided(&eventv1.PipelineFailed{Detail: c.Detail}), nil
}

func (s State) cancel(c *eventv1.CancelPipeline) (actors.Decision, error) {
	if s.Phase == Cancelled {
		return actors.Decision{}, nil
	}
	if s.Phase >= Completed {
		return actors.Decision{}, ErrEnded
	}
	if !isText(c.By, MaxText) || !isText(c.Reason, MaxText) {
		return actors.Decision{}, malformed("by and reason: want at most %d bytes of UTF-8", MaxText)
	}
	return decided(&eventv1.PipelineCancelled{By: c.By, Reason: c.Reason}), nil
}

func decided(f events.Fact) actors.Decision { return actors.Decision{Facts: []events.Fact{f}} }
