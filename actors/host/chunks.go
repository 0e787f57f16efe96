package host

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/actors"
	pipelines "github.com/shardy-network/orchestrator/actors/pipeline"
	"github.com/shardy-network/orchestrator/events"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// chunkWork carries out the effects of pipelines that read and write blobs. Effects of one pipeline are carried out
// one after another, in order; each pipeline under way has one goroutine, which ends when its list is empty.
type chunkWork struct {
	host *Host

	mu      sync.Mutex
	waiting map[string][]actors.Effect // by pipeline; present while its goroutine lives
}

// Limits of a pipeline's blobs.
const (
	maxGatherBytes = 256 << 20 // of the outputs that one stage joins
	maxGatherCuts  = 100_000
	submitRetry    = 100 * time.Millisecond // after a full mailbox or an unavailable log
)

func newChunkWork(h *Host) *chunkWork {
	return &chunkWork{host: h, waiting: map[string][]actors.Effect{}}
}

func (c *chunkWork) add(x actors.Effect) {
	id := pipelineOf(x)
	c.mu.Lock()
	defer c.mu.Unlock()
	list, busy := c.waiting[id]
	c.waiting[id] = append(list, x)
	if !busy {
		c.host.wg.Go(func() { c.run(id) })
	}
}

func pipelineOf(x actors.Effect) string {
	switch x := x.(type) {
	case actors.SubmitChunks:
		return x.Pipeline
	case actors.CancelChunks:
		return x.Pipeline
	case actors.GatherStage:
		return x.Pipeline
	}
	return ""
}

func (c *chunkWork) next(id string) (actors.Effect, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	list := c.waiting[id]
	if len(list) == 0 || c.host.ctx.Err() != nil {
		delete(c.waiting, id)
		return nil, false
	}
	c.waiting[id] = list[1:]
	return list[0], true
}

func (c *chunkWork) run(id string) {
	for {
		x, ok := c.next(id)
		if !ok {
			return
		}
		var err error
		switch x := x.(type) {
		case actors.SubmitChunks:
			err = c.submit(x)
		case actors.CancelChunks:
			err = c.cancel(x)
		case actors.GatherStage:
			err = c.gather(x)
		}
		if err != nil && c.host.ctx.Err() == nil {
			c.host.cfg.Logger.Error("pipeline cannot go on", "pipeline", id, "error", err)
			c.tell(id, &eventv1.Command{Kind: &eventv1.Command_FailPipeline{FailPipeline: &eventv1.FailPipeline{Detail: err.Error()}}})
		}
	}
}

// ChunkJobID is the id of a pipeline's job: the same whenever the chunk is submitted.
func ChunkJobID(pipeline string, stage, chunk uint32) string {
	return pipelines.JobID(pipeline, stage, chunk)
}

func (c *chunkWork) submit(x actors.SubmitChunks) error {
	manifest, err := c.manifest(x.Manifest)
	if err != nil {
		return err
	}
	if int(x.To) > len(manifest.Chunks) || int(x.Stage) >= len(x.Spec.Stages) {
		return fmt.Errorf("stage %d: chunks [%d, %d) are not in a manifest of %d", x.Stage, x.From, x.To, len(manifest.Chunks))
	}
	stage := x.Spec.Stages[x.Stage]
	var group sync.WaitGroup
	var first error
	var mu sync.Mutex
	for i := x.From; i < x.To; i++ {
		spec := proto.Clone(stage.Template).(*eventv1.JobSpec)
		spec.Input, spec.Pipeline, spec.Stage, spec.Chunk, spec.Tenant = manifest.Chunks[i], x.Pipeline, x.Stage, i, x.Spec.Tenant
		cmd := &eventv1.Command{Kind: &eventv1.Command_SubmitJob{SubmitJob: &eventv1.SubmitJob{Spec: spec, Policy: stage.Policy}}}
		to := actors.JobAddress(ChunkJobID(x.Pipeline, x.Stage, i))
		group.Go(func() {
			if err := c.insist(to, cmd); err != nil {
				mu.Lock()
				defer mu.Unlock()
				if first == nil {
					first = fmt.Errorf("chunk %d: %w", spec.Chunk, err)
				}
			}
		})
	}
	group.Wait()
	return first
}

// insist repeats a command while the host is busy or the log away.
func (c *chunkWork) insist(to actors.Address, cmd *eventv1.Command) error {
	for {
		_, err := c.host.Do(c.host.ctx, to, cmd)
		if !errors.Is(err, ErrBusy) && !errors.Is(err, events.ErrUnavailable) {
			return err
		}
		select {
		case <-time.After(submitRetry):
		case <-c.host.ctx.Done():
			return ErrStopped
		}
	}
}

func (c *chunkWork) cancel(x actors.CancelChunks) error {
	for i := x.From; i < x.To; i++ {
		cmd := &eventv1.Command{Kind: &eventv1.Command_CancelJob{CancelJob: &eventv1.CancelJob{By: "pipeline", Reason: x.Reason}}}
		// A job that is decided, or was never submitted, refuses: nothing to cancel.
		if err := c.insist(actors.JobAddress(ChunkJobID(x.Pipeline, x.Stage, i)), cmd); errors.Is(err, ErrStopped) {
			return err
		}
	}
	return nil
}

func (c *chunkWork) gather(x actors.GatherStage) error {
	chunks := x.Outputs
	if x.Recut {
		var err error
		if chunks, err = c.recut(x.Outputs, x.ChunkBytes); err != nil {
			return fmt.Errorf("gather for stage %d: %w", x.Stage, err)
		}
	}
	data, err := proto.Marshal(&eventv1.ChunkManifest{Chunks: chunks})
	if err != nil {
		return err
	}
	ref, err := c.put(data)
	if err != nil {
		return err
	}
	c.tell(x.Pipeline, &eventv1.Command{Kind: &eventv1.Command_StartStage{StartStage: &eventv1.StartStage{
		Stage: x.Stage, Manifest: ref, Chunks: uint32(len(chunks)),
	}}})
	return nil
}

// recut joins outputs in order and cuts them into chunks of the given size; 0 makes one.
func (c *chunkWork) recut(outputs []*eventv1.BlobRef, size uint64) ([]*eventv1.BlobRef, error) {
	var joined []byte
	for _, ref := range outputs {
		if uint64(len(joined))+ref.Size > maxGatherBytes {
			return nil, fmt.Errorf("outputs exceed %d bytes", maxGatherBytes)
		}
		data, err := c.get(ref)
		if err != nil {
			return nil, err
		}
		joined = append(joined, data...)
	}
	if size == 0 {
		size = uint64(len(joined))
	}
	if size > 0 && uint64(len(joined))/size >= maxGatherCuts {
		return nil, fmt.Errorf("more than %d chunks", maxGatherCuts)
	}
	var chunks []*eventv1.BlobRef
	for len(joined) > 0 {
		n := min(size, uint64(len(joined)))
		ref, err := c.put(joined[:n])
		if err != nil {
			return nil, err
		}
		chunks, joined = append(chunks, ref), joined[n:]
	}
	return chunks, nil
}

func (c *chunkWork) manifest(ref *eventv1.BlobRef) (*eventv1.ChunkManifest, error) {
	data, err := c.get(ref)
	if err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	m := new(eventv1.ChunkManifest)
	if err := proto.Unmarshal(data, m); err != nil {
		return nil, fmt.Errorf("manifest: %w: %w", events.ErrMalformed, err)
	}
	return m, nil
}

func (c *chunkWork) get(ref *eventv1.BlobRef) ([]byte, error) {
	if c.host.cfg.Blobs == nil || len(ref.GetSha256()) != 32 {
		return nil, fmt.Errorf("blob %x: %w", ref.GetSha256(), events.ErrNotFound)
	}
	return c.host.cfg.Blobs.Get(c.host.ctx, [32]byte(ref.Sha256))
}

func (c *chunkWork) put(data []byte) (*eventv1.BlobRef, error) {
	if c.host.cfg.Blobs == nil {
		return nil, events.ErrUnsupported
	}
	return c.host.cfg.Blobs.Put(c.host.ctx, data)
}

func (c *chunkWork) tell(pipeline string, cmd *eventv1.Command) {
	if err := c.insist(actors.PipelineAddress(pipeline), cmd); err != nil && c.host.ctx.Err() == nil && !errors.Is(err, context.Canceled) {
		c.host.cfg.Logger.Warn("pipeline refused", "pipeline", pipeline, "error", err)
	}
}
