package projections

import (
	"encoding/hex"
	"strings"

	"github.com/shardy-network/orchestrator/events"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// apply takes in one fact.
func (w *OpenWork) apply(r *events.Record, fact events.Fact) {
	if id, ok := entity(r.Stream, "job-"); ok {
		w.applyJob(id, r, fact)
	} else if id, ok := entity(r.Stream, "pipeline-"); ok {
		w.applyPipeline(id, r, fact)
	} else if f, ok := fact.(*eventv1.ModuleAdmitted); ok {
		w.modules.begin(hex.EncodeToString(f.GetName()), uint64(r.Pos), f)
	}
}

func (w *OpenWork) applyJob(id string, r *events.Record, fact events.Fact) {
	switch fact.(type) {
	case *eventv1.JobSubmitted, *eventv1.JobRequeued:
		if _, known := w.jobs.get(id); !known {
			w.jobs.begin(strings.Clone(id), uint64(r.Pos), struct{}{})
		}
	case *eventv1.TaskVerified, *eventv1.JobDeadLettered, *eventv1.JobDiscarded, *eventv1.JobCancelled:
		w.jobs.drop(id)
	}
}

func (w *OpenWork) applyPipeline(id string, r *events.Record, fact events.Fact) {
	switch fact.(type) {
	case *eventv1.PipelineSubmitted:
		if _, known := w.pipelines.get(id); !known {
			w.pipelines.begin(strings.Clone(id), uint64(r.Pos), struct{}{})
		}
	case *eventv1.PipelineCompleted, *eventv1.PipelineFailed, *eventv1.PipelineCancelled:
		w.pipelines.drop(id)
	}
}
