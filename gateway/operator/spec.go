package operator

import (
	"math/bits"
	"unicode/utf8"

	"github.com/shardy-network/orchestrator/actors/job"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// Limits of what a client may say of a job or a pipeline.
const (
	MaxBatch       = 256     // jobs of one SubmitJobs
	MaxWatched     = 10_000  // jobs named by one WatchJobs
	MaxChunks      = 100_000 // of a pipeline's first stage
	MaxStages      = 16
	MaxBlobBytes   = 16 << 20
	MaxModuleBytes = 1 << 20
	MaxCanaryBytes = 64 << 10
	MaxReason      = 500 // characters of a reason
	maxName        = 128
	// DefaultTenant is whose work it is when nobody says.
	DefaultTenant = "default"
)

func checkTenant(s string) error {
	if s == "" || len(s) > 64 {
		return refuse("tenant", "1 to 64 characters")
	}
	for _, c := range []byte(s) {
		if c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.' {
			continue
		}
		return refuse("tenant", "lower-case letters, digits, '-', '_' and '.' only")
	}
	return nil
}

// checkText refuses text that is too long or not UTF-8, and control characters.
func checkText(field, s string, limit int) error {
	if len(s) > limit {
		return refuse(field, "too long")
	}
	if !utf8.ValidString(s) {
		return refuse(field, "not UTF-8")
	}
	for _, r := range s {
		if r < ' ' && r != '\n' && r != '\t' || r == 0x7f {
			return refuse(field, "control characters")
		}
	}
	return nil
}

// checkReason is checkText of a reason that somebody must give.
func checkReason(s string, needed bool) error {
	if needed && s == "" {
		return refuse("reason", "is needed")
	}
	return checkText("reason", s, MaxReason)
}

// checkRef refuses what cannot name content.
func checkRef(field string, ref *eventv1.BlobRef, limit uint64) error {
	switch {
	case ref == nil:
		return refuse(field, "is needed")
	case len(ref.Sha256) != 32:
		return refuse(field, "sha256 has 32 bytes")
	case ref.Size > limit:
		return refuse(field, "too large")
	}
	return nil
}

// tenantOf says whose work it will be: what was asked for, or the caller's only tenant.
func (c *caller) tenantOf(asked string) (string, error) {
	if asked == "" {
		switch {
		case c.role != Client:
			return DefaultTenant, nil
		case len(c.tenants) == 1:
			return c.tenants[0], nil
		default:
			return "", refuse("tenant", "the token has several: name one")
		}
	}
	if err := checkTenant(asked); err != nil {
		return "", err
	}
	if !c.sees(asked) {
		return "", errTenant
	}
	return asked, nil
}

// checkWork checks the part of a spec that a job and a stage's template share.
func (c *caller) checkWork(spec *eventv1.JobSpec, p *eventv1.Policy) error {
	switch {
	case len(spec.Module) != 32:
		return refuse("module", "SHA-256 of an admitted module")
	case spec.FuelLimit == 0 || spec.FuelLimit > p.GetMaxFuel():
		return refuse("fuel_limit", "from 1 to the deployment's max_fuel")
	case spec.MinTier > job.MaxTier:
		return refuse("min_tier", "at most 3")
	case spec.MinMemoryBytes > job.MaxMemory:
		return refuse("min_memory_bytes", "at most 4 GiB")
	case spec.Priority < -job.MaxPriority || spec.Priority > job.MaxPriority:
		return refuse("priority", "from -100 to 100")
	case len(spec.Labels) > job.MaxLabels:
		return refuse("labels", "too many")
	case spec.Pipeline != "" || spec.Stage != 0 || spec.Chunk != 0:
		return refuse("pipeline", "is set by the orchestrator")
	case spec.Replaces != "" || spec.ReplacedRound != 0:
		return refuse("replaces", "is set by the orchestrator")
	}
	for _, l := range spec.Labels {
		if err := checkText("labels.key", l.GetKey(), job.MaxLabelKey); err != nil || l.GetKey() == "" {
			return refuse("labels.key", "1 to 64 printable characters")
		}
		if err := checkText("labels.value", l.GetValue(), job.MaxLabelValue); err != nil {
			return err
		}
	}
	if err := checkText("request_id", spec.RequestId, job.MaxRequestID); err != nil {
		return err
	}
	if err := c.checkKind(spec); err != nil {
		return err
	}
	if err := checkProof(spec.Proof); err != nil {
		return err
	}
	return checkOutput(spec.Output, p.GetMaxOutputBytes())
}

// checkKind keeps ringers to admins, who know the answers, and unpaid load to those who answer for the workers.
func (c *caller) checkKind(spec *eventv1.JobSpec) error {
	if spec.Kind == eventv1.JobKind_JOB_KIND_UNSPECIFIED {
		spec.Kind = eventv1.JobKind_JOB_KIND_STANDARD
	}
	switch spec.Kind {
	case eventv1.JobKind_JOB_KIND_STANDARD:
	case eventv1.JobKind_JOB_KIND_STRESS:
		if !c.is(staff) {
			return errRole
		}
	case eventv1.JobKind_JOB_KIND_LITE_TEST:
		if !c.is(byAdmin) {
			return errRole
		}
		if len(spec.KnownChecksum) != 32 {
			return refuse("known_checksum", "a lite_test needs its answer: 32 bytes")
		}
		return nil
	default:
		return refuse("kind", "unknown")
	}
	if len(spec.KnownChecksum) != 0 {
		return refuse("known_checksum", "only a lite_test has one")
	}
	return nil
}

func checkProof(p *eventv1.ProofSpec) error {
	switch p.GetSystem() {
	case eventv1.ProofSystem_PROOF_SYSTEM_UNSPECIFIED, eventv1.ProofSystem_PROOF_SYSTEM_FREIVALDS_I8:
		if p.GetVerificationKey() != nil {
			return refuse("proof.verification_key", "only groth16_bn254 has one")
		}
		return nil
	case eventv1.ProofSystem_PROOF_SYSTEM_GROTH16_BN254:
		return checkRef("proof.verification_key", p.VerificationKey, MaxKeyBytes)
	default:
		return refuse("proof.system", "unknown")
	}
}

// checkOutput refuses shapes that no output can have.
func checkOutput(o *eventv1.OutputSpec, limit uint64) error {
	size, known := job.ElementSize(o.GetDtype())
	switch {
	case !known:
		return refuse("output.dtype", "unknown")
	case len(o.GetShape()) > job.MaxRank:
		return refuse("output.shape", "rank is at most 8")
	case o.GetMaxBytes() > limit:
		return refuse("output.max_bytes", "above the deployment's max_output_bytes")
	case len(o.GetShape()) == 0:
		return nil
	case size == 0:
		return refuse("output.shape", "wants an element type")
	}
	if o.GetMaxBytes() > 0 {
		limit = o.GetMaxBytes()
	}
	for _, n := range o.GetShape() {
		hi, lo := bits.Mul64(size, n)
		if n == 0 || hi != 0 || lo > limit {
			return refuse("output.shape", "has no elements, or more than the output may have bytes")
		}
		size = lo
	}
	return nil
}
