package job

import (
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"math/bits"
	"unicode/utf8"

	"github.com/shardy-network/orchestrator/actors/policy"
	"github.com/shardy-network/orchestrator/actors/quorum"
	"github.com/shardy-network/orchestrator/events"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// Bounds of what a job may say. Lengths are bytes.
const (
	MaxRank       = 8
	MaxTier       = 3
	MaxPriority   = 100 // and its negative: what the dispatcher tells apart
	MaxLabels     = 16
	MaxLabelKey   = 64
	MaxLabelValue = 256
	MaxTenant     = 64
	MaxRequestID  = 128
	MaxGroup      = 128
	MaxText       = 1024 // who, why, detail
	MaxExcluded   = 256
	MaxBarred     = 32
	MaxMemory     = uint64(1) << 32 // what 32-bit modules can address
	MaxOutput     = uint64(1) << 40
)

// Check refuses a job whose spec or policy is malformed or out of bounds. It does not ask whether module, input and
// pipeline exist.
func Check(spec *eventv1.JobSpec, p *eventv1.JobPolicy) error {
	if spec == nil {
		return malformed("spec is missing")
	}
	for _, check := range [...]func(*eventv1.JobSpec) error{checkWork, checkNames, checkKind, checkOutput, checkProof} {
		if err := check(spec); err != nil {
			return err
		}
	}
	if err := policy.CheckJob(p); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return nil
}

func checkWork(s *eventv1.JobSpec) error {
	switch {
	case len(s.Module) != sha256.Size:
		return malformed("module: want %d bytes, got %d", sha256.Size, len(s.Module))
	case !isBlob(s.Input):
		return malformed("input: want a SHA-256 of %d bytes", sha256.Size)
	case s.Input.Size > policy.MaxInputBytes:
		return malformed("input: %d bytes, want at most %d", s.Input.Size, policy.MaxInputBytes)
	case s.FuelLimit == 0 || s.FuelLimit > policy.MaxFuel:
		return malformed("fuel_limit %d: want 1 to %d", s.FuelLimit, policy.MaxFuel)
	case s.MinTier > MaxTier:
		return malformed("min_tier %d: want 0 to %d", s.MinTier, MaxTier)
	case s.MinMemoryBytes > MaxMemory:
		return malformed("min_memory_bytes %d: want at most %d", s.MinMemoryBytes, MaxMemory)
	case s.Priority > MaxPriority || s.Priority < -MaxPriority:
		return malformed("priority %d: want -%d to %d", s.Priority, MaxPriority, MaxPriority)
	}
	return nil
}

func checkNames(s *eventv1.JobSpec) error {
	switch {
	case !isText(s.Tenant, MaxTenant):
		return malformed("tenant: want at most %d bytes of UTF-8", MaxTenant)
	case !isText(s.RequestId, MaxRequestID):
		return malformed("request_id: want at most %d bytes of UTF-8", MaxRequestID)
	case s.Pipeline != "" && events.CheckEntityID(s.Pipeline) != nil:
		return malformed("pipeline: not an id")
	case s.Replaces != "" && (events.CheckEntityID(s.Replaces) != nil || s.ReplacedRound == 0 || s.ReplacedRound > MaxRounds):
		return malformed("replaces: want the id of a dead letter and its round")
	case s.Replaces == "" && s.ReplacedRound != 0:
		return malformed("replaced_round: nothing is replaced")
	case s.Pipeline == "" && (s.Stage != 0 || s.Chunk != 0):
		return malformed("stage and chunk belong to a pipeline")
	case len(s.Labels) > MaxLabels:
		return malformed("labels: want at most %d, got %d", MaxLabels, len(s.Labels))
	}
	for _, l := range s.Labels {
		if l.GetKey() == "" || !isText(l.GetKey(), MaxLabelKey) || !isText(l.GetValue(), MaxLabelValue) {
			return malformed("labels: want keys of 1 to %d and values of up to %d bytes of UTF-8", MaxLabelKey, MaxLabelValue)
		}
	}
	return nil
}

func checkKind(s *eventv1.JobSpec) error {
	if eventv1.JobKind_name[int32(s.Kind)] == "" {
		return malformed("kind %d is unknown", s.Kind)
	}
	if s.Kind == eventv1.JobKind_JOB_KIND_LITE_TEST {
		if len(s.KnownChecksum) != sha256.Size {
			return malformed("known_checksum: a lite_test wants %d bytes, got %d", sha256.Size, len(s.KnownChecksum))
		}
		return checkBarred(s.Barred)
	}
	if len(s.Barred) != 0 {
		return malformed("barred belongs to a lite_test")
	}
	if len(s.KnownChecksum) != 0 {
		return malformed("known_checksum belongs to a lite_test")
	}
	return nil
}

func checkBarred(parties []*eventv1.Party) error {
	if len(parties) > MaxBarred {
		return malformed("barred: want at most %d, got %d", MaxBarred, len(parties))
	}
	for _, p := range parties {
		if len(p.GetWorker()) != ed25519.PublicKeySize || !isText(p.GetGroup(), MaxGroup) {
			return malformed("barred: want keys of %d and groups of at most %d bytes", ed25519.PublicKeySize, MaxGroup)
		}
	}
	return nil
}

func checkOutput(s *eventv1.JobSpec) error {
	o := s.Output
	if o == nil {
		return nil
	}
	size, known := ElementSize(o.Dtype)
	switch {
	case !known:
		return malformed("output: dtype %d is unknown", o.Dtype)
	case len(o.Shape) > MaxRank:
		return malformed("output: rank %d, want at most %d", len(o.Shape), MaxRank)
	case len(o.Shape) > 0 && size == 0:
		return malformed("output: a shape wants a dtype")
	case o.MaxBytes > MaxOutput:
		return malformed("output: max_bytes %d, want at most %d", o.MaxBytes, MaxOutput)
	}
	total := size
	for _, dim := range o.Shape {
		hi, lo := bits.Mul64(total, dim)
		if dim == 0 || hi != 0 || lo > MaxOutput {
			return malformed("output: shape %v: want dimensions of at least 1 and at most %d bytes in all", o.Shape, MaxOutput)
		}
		total = lo
	}
	if len(o.Shape) > 0 && o.MaxBytes > 0 && total > o.MaxBytes {
		return malformed("output: shape %v takes %d bytes, max_bytes is %d", o.Shape, total, o.MaxBytes)
	}
	return nil
}

// ElementSize is the size in bytes of an element of an output; 0 for bytes without shape, and for what is not known.
func ElementSize(t eventv1.ElementType) (size uint64, known bool) {
	switch t {
	case eventv1.ElementType_ELEMENT_TYPE_UNSPECIFIED:
		return 0, true
	case eventv1.ElementType_ELEMENT_TYPE_U8, eventv1.ElementType_ELEMENT_TYPE_I8:
		return 1, true
	case eventv1.ElementType_ELEMENT_TYPE_U16, eventv1.ElementType_ELEMENT_TYPE_I16:
		return 2, true
	case eventv1.ElementType_ELEMENT_TYPE_U32, eventv1.ElementType_ELEMENT_TYPE_I32, eventv1.ElementType_ELEMENT_TYPE_F32:
		return 4, true
	case eventv1.ElementType_ELEMENT_TYPE_U64, eventv1.ElementType_ELEMENT_TYPE_I64, eventv1.ElementType_ELEMENT_TYPE_F64:
		return 8, true
	}
	return 0, false
}

func checkProof(s *eventv1.JobSpec) error {
	switch s.Proof.GetSystem() {
	case eventv1.ProofSystem_PROOF_SYSTEM_GROTH16_BN254:
		if !isBlob(s.Proof.VerificationKey) {
			return malformed("proof: groth16 wants a verification key")
		}
	case eventv1.ProofSystem_PROOF_SYSTEM_UNSPECIFIED, eventv1.ProofSystem_PROOF_SYSTEM_FREIVALDS_I8:
		if s.Proof.GetVerificationKey() != nil {
			return malformed("proof: a verification key belongs to groth16")
		}
	default:
		return malformed("proof: system %d is unknown", s.Proof.System)
	}
	return nil
}

func checkReplica(c *eventv1.RecordReplica) error {
	switch {
	case len(c.Worker) != ed25519.PublicKeySize:
		return malformed("worker: want %d bytes, got %d", ed25519.PublicKeySize, len(c.Worker))
	case !isText(c.Group, MaxGroup):
		return malformed("group: want at most %d bytes of UTF-8", MaxGroup)
	}
	return checkResult(c.Status, c.Output)
}

func checkResult(status eventv1.ResultStatus, output *eventv1.BlobRef) error {
	if err := quorum.Check(status, output); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return nil
}

func checkReferee(c *eventv1.RecordReferee) error {
	switch {
	case c.Outcome == 0 || eventv1.RefereeOutcome_name[int32(c.Outcome)] == "":
		return malformed("referee outcome %d is unknown", c.Outcome)
	case !isText(c.Detail, MaxText):
		return malformed("detail: want at most %d bytes of UTF-8", MaxText)
	case c.Outcome == eventv1.RefereeOutcome_REFEREE_OUTCOME_DECIDED:
		return checkResult(c.Status, c.Output)
	}
	return nil
}

func checkReason(by, reason string) error {
	if !isText(by, MaxText) || !isText(reason, MaxText) {
		return malformed("by and reason: want at most %d bytes of UTF-8", MaxText)
	}
	return nil
}

func checkExcluded(keys [][]byte) error {
	if len(keys) > MaxExcluded {
		return malformed("excluded: want at most %d keys, got %d", MaxExcluded, len(keys))
	}
	for _, k := range keys {
		if len(k) != ed25519.PublicKeySize {
			return malformed("excluded: want keys of %d bytes", ed25519.PublicKeySize)
		}
	}
	return nil
}

func isBlob(b *eventv1.BlobRef) bool { return len(b.GetSha256()) == sha256.Size }

func isText(s string, limit int) bool { return len(s) <= limit && utf8.ValidString(s) }

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrInvalid}, args...)...)
}
