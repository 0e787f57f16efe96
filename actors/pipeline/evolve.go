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
		s.Results, s.Reopened, s.Settled = Results{}, nil, 0
		s.Submitted = min(f.Chunks, Window)
		s.Latest = Range{0, s.Submitted}
	case *eventv1.JobsSettled:
		return s.settled(f)
	case *eventv1.ChunksReopened:
		return s.reopened(f)
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
	s.take(s.Results.with(f.Jobs))
	from := s.Submitted
	if s.Submitted-min(s.Settled, s.Submitted) <= Window/2 {
		s.Submitted = max(s.Submitted, min(s.Chunks, s.Settled+Window))
	}
	s.Latest = Range{from, s.Submitted}
	return s, nil
}

// take replaces the stage's results and counts them.
func (s *State) take(r Results) {
	_, before := s.Results.count()
	s.Results = r
	settled, failures := r.count()
	s.Settled = settled
	s.Failures = s.Failures - before + failures
}

// reopened takes back what chunks were settled with.
func (s State) reopened(f *eventv1.ChunksReopened) (State, error) {
	if len(f.Chunks) == 0 {
		return s, nil
	}
	chunks := make([]uint32, 0, len(f.Chunks))
	for _, c := range f.Chunks {
		if c.GetChunk() >= MaxChunks || c.GetRound() == 0 || events.CheckEntityID(c.GetJob()) != nil {
			return s, fmt.Errorf("pipeline %s: %w: reopened chunk %d", s.ID, events.ErrMalformed, c.GetChunk())
		}
		chunks = append(chunks, c.Chunk)
	}
	s.Reopened = s.claimed(f.Chunks)
	s.take(s.Results.without(chunks))
	return s, nil
}
