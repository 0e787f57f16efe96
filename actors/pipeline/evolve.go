package pipeline

import (
	"fmt"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/events"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// Evolve folds a fact into the state. It refuses facts of other rooms, and chunks that no pipeline has.
func Evolve(s State, fact events.Fact) (State, error) {
	switch f := fact.(type) {
	case *eventv1.PipelineSubmitted:
		s.Spec = f.Spec
	case *eventv1.StageStarted:
		s.Phase, s.Stage, s.Manifest, s.Chunks = Running, f.Stage, f.Manifest, f.Chunks
		s.Results, s.Settled = Results{}, 0
		s.Submitted = min(f.Chunks, Window)
		s.Latest = Range{0, s.Submitted}
	case *eventv1.JobsSettled:
		return s.settled(f)
	case *eventv1.StageCompleted:
		s.Phase = Gathering
	case *eventv1.PipelineCompleted:
		s.Phase, s.OutputBytes = Completed, f.OutputBytes
	case *eventv1.PipelineFailed:
		s.Phase, s.Detail = Failed, f.Detail
	case *eventv1.PipelineCancelled:
		s.Phase, s.By, s.Detail = Cancelled, f.By, f.Reason
	default:
		return s, fmt.Errorf("pipeline %s: %w: %s", s.ID, actors.ErrUnknownFact, events.TypeOf(fact))
	}
	return s, nil
}

// settled counts a batch and moves the window on when half of it is free: few large hand-outs, not many small ones.
func (s State) settled(f *eventv1.JobsSettled) (State, error) {
	for _, j := range f.Jobs {
		if j.GetChunk() >= MaxChunks {
			return s, fmt.Errorf("pipeline %s: %w: chunk %d", s.ID, events.ErrMalformed, j.GetChunk())
		}
	}
	_, before := s.Results.count()
	s.Results = s.Results.with(f.Jobs)
	settled, failures := s.Results.count()
	s.Settled = settled
	s.Failures = s.Failures - before + failures
	from := s.Submitted
	if s.Submitted-min(settled, s.Submitted) <= Window/2 {
		s.Submitted = max(s.Submitted, min(s.Chunks, settled+Window))
	}
	s.Latest = Range{from, s.Submitted}
	return s, nil
}
