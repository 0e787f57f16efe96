package pipeline

import (
	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/events"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// React says what follows from facts. A pipeline that was just loaded repeats what is open: it hands out its unsettled
// chunks again (their jobs answer with their verdicts), gathers again, or cancels again.
func React(s State, facts []events.Fact) []actors.Effect {
	if len(facts) == 0 {
		return s.reopen()
	}
	var effects []actors.Effect
	if f, ok := facts[0].(*eventv1.ChunksReopened); ok {
		effects = dismiss(f.Unneeded)
	}
	switch facts[len(facts)-1].(type) {
	case *eventv1.StageStarted, *eventv1.JobsSettled:
		if s.Latest.From < s.Latest.To {
			effects = append(effects, s.handOut(s.Latest))
		}
	case *eventv1.StageCompleted:
		effects = append(effects, s.gather())
	case *eventv1.PipelineFailed, *eventv1.PipelineCancelled:
		effects = append(effects, s.recall()...)
	}
	return effects
}

func (s *State) reopen() []actors.Effect {
	switch s.Phase {
	case Running:
		var effects []actors.Effect
		for _, r := range joined(s.Open()) {
			effects = append(effects, s.handOut(r))
		}
		return append(effects, s.askEdited()...)
	case Gathering:
		return []actors.Effect{s.gather()}
	case Failed, Cancelled:
		return s.recall()
	}
	return nil
}

func (s *State) handOut(r Range) actors.Effect {
	return actors.SubmitChunks{
		Pipeline: s.ID, Spec: s.Spec, Stage: s.Stage, Manifest: s.Manifest, From: r.From, To: r.To,
	}
}

func (s *State) gather() actors.Effect {
	next := s.Stage + 1
	g := actors.GatherStage{Pipeline: s.ID, Stage: next, Outputs: s.Outputs()}
	if stages := s.Spec.GetStages(); int(next) < len(stages) && stages[next].GetFeed() == eventv1.StageFeed_STAGE_FEED_GATHER {
		g.Recut, g.ChunkBytes = true, stages[next].GetChunkBytes()
	}
	return g
}

// recall cancels the jobs that are still open.
func (s *State) recall() []actors.Effect {
	reason := "the pipeline failed"
	if s.Phase == Cancelled {
		reason = "the pipeline was cancelled"
	}
	var effects []actors.Effect
	for _, r := range s.Open() {
		effects = append(effects, actors.CancelChunks{
			Pipeline: s.ID, Stage: s.Stage, From: r.From, To: r.To, Reason: reason,
		})
	}
	for _, job := range s.edited() {
		effects = append(effects, cancel(job, reason))
	}
	return effects
}

// gap is how many settled chunks are handed out again to save a hand-out, which reads the manifest each time.
const gap = 8

func joined(ranges []Range) []Range {
	var out []Range
	for _, r := range ranges {
		if n := len(out); n > 0 && r.From-out[n-1].To <= gap {
			out[n-1].To = r.To
			continue
		}
		out = append(out, r)
	}
	return out
}
