package operator

import (
	"context"
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/actors/pipeline"
	"github.com/shardy-network/orchestrator/events"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

// pipelineView folds a pipeline's facts as far as they were read.
type pipelineView struct {
	p       *operatorv1.Pipeline
	next    uint64                      // revision to read next
	outputs map[uint32]*eventv1.BlobRef // of the current stage, by chunk
	claims  map[uint32]pipeline.Claim   // of the current stage, by chunk: who stands for one that was opened again
	idle    bool                        // no stage runs: the next one is being cut
	known   bool
}

func newPipelineView(id string) *pipelineView {
	return &pipelineView{p: &operatorv1.Pipeline{Id: id}, outputs: map[uint32]*eventv1.BlobRef{}, claims: map[uint32]pipeline.Claim{}}
}

// message is a copy to send: the view goes on.
func (v *pipelineView) message() *operatorv1.Pipeline { return proto.CloneOf(v.p) }

func (v *pipelineView) apply(f events.Fact, atUs int64) {
	p := v.p
	end := func(state operatorv1.PipelineState, detail string) {
		p.State, p.EndedUs, p.Detail = state, atUs, detail
	}
	switch f := f.(type) {
	case *eventv1.PipelineSubmitted:
		v.known = true
		p.State, p.SubmittedUs = operatorv1.PipelineState_PIPELINE_STATE_RUNNING, atUs
		p.Name, p.Tenant = f.Spec.GetName(), f.Spec.GetTenant()
		p.Stages, p.Chunks = uint32(len(f.Spec.GetStages())), f.Spec.GetChunks()
	case *eventv1.StageStarted:
		p.Chunks = f.Chunks
		v.enter(f.Stage)
	case *eventv1.JobsSettled:
		if f.Stage != p.Stage {
			v.enter(f.Stage)
		}
		for _, j := range f.Jobs {
			p.Settled++
			if j.Verified {
				v.outputs[j.Chunk] = j.Output
			} else {
				p.Failed++
			}
		}
	case *eventv1.ChunksReopened:
		for _, c := range f.Chunks {
			v.claims[c.Chunk] = pipeline.Claim{Job: c.Job, Round: c.Round}
			if c.Hole {
				p.Settled--
				p.Failed--
			}
		}
	case *eventv1.StageCompleted:
		v.idle = true
	case *eventv1.PipelineCompleted:
		p.OutputBytes = f.OutputBytes
		end(operatorv1.PipelineState_PIPELINE_STATE_COMPLETED, "")
	case *eventv1.PipelineFailed:
		end(operatorv1.PipelineState_PIPELINE_STATE_FAILED, f.Detail)
	case *eventv1.PipelineCancelled:
		end(operatorv1.PipelineState_PIPELINE_STATE_CANCELLED, f.Reason)
	}
}

// enter begins to count a stage.
func (v *pipelineView) enter(stage uint32) {
	v.p.Stage, v.p.Settled, v.idle = stage, 0, false
	clear(v.outputs)
	clear(v.claims)
}

// foldPipeline reads what is new.
func (a *API) foldPipeline(ctx context.Context, c *caller, v *pipelineView) error {
	stream := actors.PipelineAddress(v.p.Id).Stream()
	err := a.readFacts(ctx, stream, events.Span{From: v.next}, func(f events.Fact, r events.Record) bool {
		v.apply(f, r.Time.UnixMicro())
		v.next = r.Rev + 1
		return true
	})
	if err != nil {
		return err
	}
	if !v.known || !c.sees(v.p.Tenant) {
		return fmt.Errorf("%w: %s", errNotFound, stream)
	}
	return nil
}

// readPipeline folds a pipeline, or says that it does not exist for the caller.
func (a *API) readPipeline(ctx context.Context, c *caller, id string) (*pipelineView, error) {
	if err := events.CheckEntityID(id); err != nil {
		return nil, err
	}
	v := newPipelineView(id)
	return v, a.foldPipeline(ctx, c, v)
}
