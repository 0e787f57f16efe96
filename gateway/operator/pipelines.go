package operator

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/events"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

// maxManifestBytes holds MaxChunks references.
const maxManifestBytes = 8 << 20

// SubmitPipeline checks all stages, stores the manifest and submits the pipeline. A stage's policy in the request is a
// wish, bounded like a job's overrides.
func (a *API) SubmitPipeline(ctx context.Context, req *operatorv1.SubmitPipelineRequest) (*operatorv1.SubmitPipelineResponse, error) {
	c, spec := callerOf(ctx), req.Spec
	if spec == nil {
		return nil, refuse("spec", "is needed")
	}
	now, err := a.policies.current(ctx, a.deps.Log)
	if err != nil {
		return nil, err
	}
	tenant, err := c.tenantOf(spec.Tenant)
	if err != nil {
		return nil, err
	}
	spec.Tenant = tenant
	if err := checkText("name", spec.Name, maxName); err != nil {
		return nil, err
	}
	if err := checkText("request_id", spec.RequestId, maxName); err != nil {
		return nil, err
	}
	if len(spec.Stages) == 0 || len(spec.Stages) > MaxStages {
		return nil, refuse("stages", "1 to 16 of them")
	}
	for i, stage := range spec.Stages {
		if err := a.prepareStage(ctx, c, now, tenant, stage); err != nil {
			return nil, fmt.Errorf("stage %d: %w", i, err)
		}
	}
	if err := a.prepareManifest(ctx, spec, req.Chunks, now.policy.GetMaxInputBytes()); err != nil {
		return nil, err
	}
	if spec.MaxFailures > spec.Chunks {
		return nil, refuse("max_failures", "above the number of chunks")
	}
	id := idFor("pipeline", tenant, spec.RequestId)
	_, err = a.deps.Orchestrator.Do(ctx, actors.PipelineAddress(id), &eventv1.Command{Kind: &eventv1.Command_SubmitPipeline{
		SubmitPipeline: &eventv1.SubmitPipeline{Spec: spec},
	}})
	if err != nil {
		return nil, err
	}
	return &operatorv1.SubmitPipelineResponse{Id: id}, nil
}

// prepareStage checks a stage's template and resolves its policy.
func (a *API) prepareStage(ctx context.Context, c *caller, now standing, tenant string, stage *eventv1.StageSpec) error {
	work := stage.GetTemplate()
	switch {
	case work == nil:
		return refuse("template", "is needed")
	case work.Input != nil:
		return refuse("template.input", "is set by the orchestrator")
	case work.RequestId != "":
		return refuse("template.request_id", "belongs to the pipeline")
	case work.Tenant != "" && work.Tenant != tenant:
		return refuse("template.tenant", "is the pipeline's")
	case work.Kind == eventv1.JobKind_JOB_KIND_LITE_TEST:
		return refuse("template.kind", "a stage has no known answer")
	case eventv1.StageFeed_name[int32(stage.Feed)] == "":
		return refuse("feed", "unknown")
	case stage.ChunkBytes > now.policy.GetMaxInputBytes():
		return refuse("chunk_bytes", "above the deployment's max_input_bytes")
	}
	if err := checkText("stage.name", stage.Name, maxName); err != nil {
		return err
	}
	work.Tenant = tenant
	if err := c.checkWork(work, now.policy); err != nil {
		return err
	}
	if !a.modules.admitted(work.Module) {
		return errModule
	}
	if err := a.checkKey(ctx, work.Proof); err != nil {
		return err
	}
	policy, err := now.resolve(work.Kind, wishes(stage.Policy))
	stage.Policy = policy
	return err
}

// wishes reads a client's policy as overrides.
func wishes(p *eventv1.JobPolicy) *operatorv1.PolicyOverrides {
	if p == nil {
		return nil
	}
	return &operatorv1.PolicyOverrides{
		Redundancy: p.Redundancy, Margin: p.Margin, MaxReplicas: p.MaxReplicas, MaxAttempts: p.MaxAttempts,
		AckTimeoutMs: p.AckTimeoutMs, MaxExecutionTimeoutMs: p.MaxExecutionTimeoutMs,
	}
}

// prepareManifest stores the list of chunks, or reads the one that is named, and checks that each chunk is there.
func (a *API) prepareManifest(ctx context.Context, spec *eventv1.PipelineSpec, chunks []*eventv1.BlobRef, limit uint64) error {
	if len(chunks) > 0 {
		if spec.Manifest != nil {
			return refuse("chunks", "give the chunks or the manifest, not both")
		}
		if err := a.checkChunks(ctx, chunks, limit); err != nil {
			return err
		}
		data, err := proto.Marshal(&eventv1.ChunkManifest{Chunks: chunks})
		if err != nil {
			return fmt.Errorf("encode manifest: %w", err)
		}
		spec.Manifest, err = a.keep(ctx, data)
		spec.Chunks = uint32(len(chunks))
		return err
	}
	if err := a.checkContent(ctx, "manifest", spec.Manifest, maxManifestBytes); err != nil {
		return err
	}
	manifest, err := a.readManifest(ctx, spec.Manifest)
	if err != nil {
		return err
	}
	if len(manifest.Chunks) == 0 || spec.Chunks != uint32(len(manifest.Chunks)) {
		return refuse("chunks", "not as many as the manifest has")
	}
	return a.checkChunks(ctx, manifest.Chunks, limit)
}

func (a *API) readManifest(ctx context.Context, ref *eventv1.BlobRef) (*eventv1.ChunkManifest, error) {
	content, _, err := a.deps.Blobs.Open(ctx, [32]byte(ref.Sha256))
	if err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	defer content.Close()
	data, err := io.ReadAll(io.LimitReader(content, maxManifestBytes))
	if err != nil {
		return nil, fmt.Errorf("manifest: %w: %w", events.ErrUnavailable, err)
	}
	manifest := new(eventv1.ChunkManifest)
	if err := proto.Unmarshal(data, manifest); err != nil {
		return nil, refuse("manifest", "is not a ChunkManifest")
	}
	return manifest, nil
}

// checkChunks looks each distinct chunk up once.
func (a *API) checkChunks(ctx context.Context, chunks []*eventv1.BlobRef, limit uint64) error {
	if len(chunks) > MaxChunks {
		return refuse("chunks", "at most 100,000")
	}
	seen := make(map[string]uint64, len(chunks))
	for i, ref := range chunks {
		field := fmt.Sprintf("chunks[%d]", i)
		if size, ok := seen[string(ref.GetSha256())]; ok && size == ref.GetSize() {
			continue
		}
		if err := a.checkContent(ctx, field, ref, limit); err != nil {
			return err
		}
		seen[string(ref.Sha256)] = ref.Size
	}
	return nil
}

// GetPipeline shows a pipeline.
func (a *API) GetPipeline(ctx context.Context, req *operatorv1.GetPipelineRequest) (*operatorv1.GetPipelineResponse, error) {
	v, err := a.readPipeline(ctx, callerOf(ctx), req.Id)
	if err != nil {
		return nil, err
	}
	return &operatorv1.GetPipelineResponse{Pipeline: v.p}, nil
}

// CancelPipeline stops a pipeline and its open jobs.
func (a *API) CancelPipeline(ctx context.Context, req *operatorv1.CancelPipelineRequest) (*operatorv1.CancelPipelineResponse, error) {
	c := callerOf(ctx)
	if err := checkReason(req.Reason, false); err != nil {
		return nil, err
	}
	if _, err := a.readPipeline(ctx, c, req.Id); err != nil {
		return nil, err
	}
	_, err := a.deps.Orchestrator.Do(ctx, actors.PipelineAddress(req.Id), &eventv1.Command{Kind: &eventv1.Command_CancelPipeline{
		CancelPipeline: &eventv1.CancelPipeline{By: c.name, Reason: req.Reason},
	}})
	return &operatorv1.CancelPipelineResponse{}, err
}

// DownloadOutput streams the outputs of the last stage in the order of the chunks. A chunk that failed within the
// pipeline's tolerance is left out; an empty chunk is one empty response.
func (a *API) DownloadOutput(ctx context.Context, req *operatorv1.DownloadOutputRequest, out *connect.ServerStream[operatorv1.DownloadOutputResponse]) error {
	v, err := a.readPipeline(ctx, callerOf(ctx), req.Id)
	if err != nil {
		return err
	}
	if v.p.State != operatorv1.PipelineState_PIPELINE_STATE_COMPLETED {
		return fmt.Errorf("%w: it is %s", errUnended, plain(v.p.State.String(), "PIPELINE_STATE_"))
	}
	for _, chunk := range slices.Sorted(maps.Keys(v.outputs)) {
		err := a.sendContent(ctx, v.outputs[chunk], func(part []byte) error {
			return out.Send(&operatorv1.DownloadOutputResponse{Chunk: chunk, Data: part})
		})
		if err != nil {
			return fmt.Errorf("chunk %d: %w", chunk, err)
		}
	}
	return nil
}
