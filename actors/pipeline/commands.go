package pipeline

import (
	"crypto/sha256"
	"fmt"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/actors/job"
	"github.com/shardy-network/orchestrator/events"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrInvalid}, args...)...)
}

func isBlob(b *eventv1.BlobRef) bool { return len(b.GetSha256()) == sha256.Size }

func isText(s string, limit int) bool { return len(s) <= limit && utf8.ValidString(s) }

// Check refuses a pipeline that is malformed or out of bounds. It does not ask whether modules and manifest exist.
func Check(p *eventv1.PipelineSpec) error {
	switch {
	case p == nil:
		return malformed("spec is missing")
	case !isText(p.Name, MaxName):
		return malformed("name: want at most %d bytes of UTF-8", MaxName)
	case !isText(p.Tenant, job.MaxTenant):
		return malformed("tenant: want at most %d bytes of UTF-8", job.MaxTenant)
	case !isText(p.RequestId, job.MaxRequestID):
		return malformed("request_id: want at most %d bytes of UTF-8", job.MaxRequestID)
	case !isBlob(p.Manifest):
		return malformed("manifest: want a SHA-256 of %d bytes", sha256.Size)
	case p.Chunks == 0 || p.Chunks > MaxChunks:
		return malformed("chunks %d: want 1 to %d", p.Chunks, MaxChunks)
	case len(p.Stages) == 0 || len(p.Stages) > MaxStages:
		return malformed("%d stages: want 1 to %d", len(p.Stages), MaxStages)
	}
	for i, stage := range p.Stages {
		if err := checkStage(stage, p.Manifest); err != nil {
			return fmt.Errorf("stage %d: %w", i, err)
		}
	}
	return nil
}

func checkStage(s *eventv1.StageSpec, anyBlob *eventv1.BlobRef) error {
	t := s.GetTemplate()
	switch {
	case t == nil:
		return malformed("template is missing")
	case !isText(s.Name, MaxName):
		return malformed("name: want at most %d bytes of UTF-8", MaxName)
	case eventv1.StageFeed_name[int32(s.Feed)] == "":
		return malformed("feed %d is unknown", s.Feed)
	case t.Input != nil || t.Pipeline != "" || t.Stage != 0 || t.Chunk != 0:
		return malformed("template: input, pipeline, stage and chunk are filled in for each job")
	case t.Replaces != "":
		return malformed("template: only an edited job replaces another")
	case t.RequestId != "":
		return malformed("template: request_id belongs to the pipeline")
	case t.Kind == eventv1.JobKind_JOB_KIND_LITE_TEST:
		return malformed("template: a lite_test is a single job")
	}
	whole := proto.Clone(t).(*eventv1.JobSpec)
	whole.Input = &eventv1.BlobRef{Sha256: anyBlob.Sha256}
	if err := job.Check(whole, s.Policy); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return nil
}

// same compares what a client asked for. Policies are not compared: they are resolved by the deployment, which may have
// changed them since.
func same(a, b *eventv1.PipelineSpec) bool {
	return proto.Equal(withoutPolicies(a), withoutPolicies(b))
}

func withoutPolicies(p *eventv1.PipelineSpec) *eventv1.PipelineSpec {
	c := proto.Clone(p).(*eventv1.PipelineSpec)
	for _, s := range c.GetStages() {
		if s != nil {
			s.Policy = nil
		}
	}
	return c
}

func checkSettled(j *eventv1.SettledJob) error {
	switch {
	case j == nil:
		return malformed("settled job is missing")
	case j.Open && j.Verified:
		return malformed("chunk %d: a verified job is not open", j.Chunk)
	case j.Job != "" && events.CheckEntityID(j.Job) != nil || j.Replaces != "" && events.CheckEntityID(j.Replaces) != nil:
		return malformed("chunk %d: no id of a job", j.Chunk)
	case j.Verified && !isBlob(j.Output):
		return malformed("chunk %d: a verified job has an output", j.Chunk)
	case eventv1.DeadLetterReason_name[int32(j.Reason)] == "":
		return malformed("chunk %d: dead-letter reason %d is unknown", j.Chunk, j.Reason)
	}
	return nil
}

// checkID refuses a stream that no pipeline can have: its id goes into every job.
func checkID(id string) error {
	if events.CheckEntityID(id) != nil {
		return malformed("id %q", id)
	}
	return nil
}
