package readmodel

import (
	"slices"

	"github.com/shardy-network/orchestrator/events"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

const running = operatorv1.PipelineState_PIPELINE_STATE_RUNNING

// maxStages bounds the stages that are kept of a pipeline.
const maxStages = 256

// pipeline is a pipeline's row in memory, with its stages.
type pipeline struct {
	seq, position    int64
	id, name, tenant string
	state            operatorv1.PipelineState
	stage, stages    uint32
	submitted, ended int64
	detail, by       string
	outputBytes      uint64
	begun            []byte // until it is stored

	progress []stage // those that have begun, in order

	stored, touched bool
	was             operatorv1.PipelineState // as stored
}

type stage struct {
	stage, chunks, settled, failed uint32
	started, completed             int64
	manifest                       []byte
	size                           uint64
	touched                        bool
	holes                          map[uint32]bool // chunks whose job is a dead letter; nil: not read yet
}

// holeTurn is a chunk that has, or has no longer, a dead letter for a job.
type holeTurn struct {
	pipeline     int64
	stage, chunk uint32
	there        bool
}

func (b *batch) pipeline(id string) *pipeline {
	if p, ok := b.s.pipelines.get(id); ok {
		return p
	}
	if b.err != nil {
		return nil
	}
	p, err := b.s.readPipeline(b.ctx, id)
	if err != nil {
		b.fail(err)
		return nil
	}
	if p != nil {
		b.s.pipelines.put(id, p)
	}
	return p
}

func (b *batch) foldPipeline(id string, fact events.Fact) {
	p := b.pipeline(id)
	if f, ok := fact.(*eventv1.PipelineSubmitted); ok {
		if p == nil && b.err == nil {
			b.beginPipeline(id, f)
		}
		return
	}
	if p == nil || p.state != running {
		return
	}
	switch f := fact.(type) {
	case *eventv1.StageStarted:
		p.stage = f.GetStage()
		if s := p.at(f.GetStage()); s != nil {
			holes := map[uint32]bool{}
			*s = stage{
				stage: f.GetStage(), chunks: f.GetChunks(), started: b.at, touched: true, holes: holes,
				manifest: f.GetManifest().GetSha256(), size: f.GetManifest().GetSize(),
			}
		}
	case *eventv1.JobsSettled:
		b.settled(p, f)
	case *eventv1.ChunksReopened:
		b.reopened(p, f)
	case *eventv1.StageCompleted:
		if s := p.at(f.GetStage()); s != nil {
			s.completed, s.touched = b.at, true
		}
	case *eventv1.PipelineCompleted:
		p.end(operatorv1.PipelineState_PIPELINE_STATE_COMPLETED, b.at, "", "")
		p.outputBytes = f.GetOutputBytes()
	case *eventv1.PipelineFailed:
		p.end(operatorv1.PipelineState_PIPELINE_STATE_FAILED, b.at, f.GetDetail(), "")
	case *eventv1.PipelineCancelled:
		p.end(operatorv1.PipelineState_PIPELINE_STATE_CANCELLED, b.at, f.GetReason(), f.GetBy())
	default:
		return
	}
	b.touchPipeline(p)
}

func (b *batch) touchPipeline(p *pipeline) {
	if !p.touched {
		p.touched = true
		b.pipelines = append(b.pipelines, p)
	}
}

func (b *batch) beginPipeline(id string, f *eventv1.PipelineSubmitted) {
	spec := f.GetSpec()
	p := &pipeline{
		seq: b.ordinal, position: int64(b.rec.Pos), id: id, name: brief(spec.GetName()), tenant: spec.GetTenant(),
		state: running, stages: uint32(len(spec.GetStages())), submitted: b.at, begun: b.rec.Data,
	}
	b.s.pipelines.put(id, p)
	b.touchPipeline(p)
}

func (p *pipeline) end(s operatorv1.PipelineState, at int64, detail, by string) {
	p.state, p.ended, p.detail, p.by = s, at, brief(detail), brief(by)
}

// at returns a stage, which begins if it has not; nil if there are too many.
func (p *pipeline) at(n uint32) *stage {
	i, ok := slices.BinarySearchFunc(p.progress, n, func(s stage, n uint32) int { return int(s.stage) - int(n) })
	if !ok {
		if n >= maxStages {
			return nil
		}
		p.progress = slices.Insert(p.progress, i, stage{stage: n, holes: map[uint32]bool{}})
	}
	return &p.progress[i]
}

// holesOf are a stage's holes, nil when they cannot be read.
func (b *batch) holesOf(p *pipeline, s *stage) map[uint32]bool {
	if s.holes == nil {
		holes, err := b.s.readHoles(b.ctx, p.seq, s.stage)
		if err != nil {
			b.fail(err)
			return nil
		}
		s.holes = holes
	}
	return s.holes
}

// settled counts a batch of chunks. A chunk that was a hole and is settled again fills it.
func (b *batch) settled(p *pipeline, f *eventv1.JobsSettled) {
	s := p.at(f.GetStage())
	if s == nil {
		return
	}
	holes := b.holesOf(p, s)
	if holes == nil {
		return
	}
	s.touched = true
	for _, j := range f.GetJobs() {
		hole := holes[j.GetChunk()]
		switch {
		case hole && j.GetVerified():
			b.fill(p, s, j.GetChunk())
		case !hole && j.GetVerified():
			s.settled++
		case !hole:
			holes[j.GetChunk()] = true
			s.settled++
			s.failed++
			b.holes = append(b.holes, holeTurn{p.seq, s.stage, j.GetChunk(), true})
		}
	}
}

func (b *batch) fill(p *pipeline, s *stage, chunk uint32) {
	delete(s.holes, chunk)
	s.failed--
	b.holes = append(b.holes, holeTurn{p.seq, s.stage, chunk, false})
}

// reopened takes back what chunks were settled with: holes are waited for again.
func (b *batch) reopened(p *pipeline, f *eventv1.ChunksReopened) {
	s := p.at(f.GetStage())
	if s == nil {
		return
	}
	holes := b.holesOf(p, s)
	if holes == nil {
		return
	}
	s.touched = true
	for _, c := range f.GetChunks() {
		if holes[c.GetChunk()] {
			b.fill(p, s, c.GetChunk())
			s.settled--
		}
	}
}
