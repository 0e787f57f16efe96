package policy

import (
	"fmt"

	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// Bounds of admission and budgets.
const (
	MaxProofTTLS    = 365 * 24 * 3600
	MaxChunkBytes   = uint64(1) << 30
	MaxMflops       = uint64(1) << 50
	MaxMemoryBytes  = uint64(1) << 50
	MaxRefereeCPUMs = 60 * 1000 * 1024 // a thousand cores
	PerMillion      = 1_000_000
)

// Validate refuses a deployment's policy that is out of bounds or contradicts itself.
func Validate(p *eventv1.Policy) error {
	if p == nil {
		return invalid("missing")
	}
	kinds := []struct {
		name   string
		policy *eventv1.JobPolicy
	}{{"standard", p.Standard}, {"stress", p.Stress}, {"lite_test", p.LiteTest}}
	for _, k := range kinds {
		if err := CheckJob(k.policy); err != nil {
			return fmt.Errorf("%s: %w", k.name, err)
		}
	}
	if err := validateAdmission(p.Admission); err != nil {
		return err
	}
	switch {
	case p.ReconnectGraceMs < 1 || p.ReconnectGraceMs > MaxGraceMs:
		return invalid("reconnect_grace_ms %d: want 1 to %d", p.ReconnectGraceMs, MaxGraceMs)
	case p.MaxFuel == 0 || p.MaxFuel > MaxFuel:
		return invalid("max_fuel %d: want 1 to %d", p.MaxFuel, MaxFuel)
	case p.MaxInputBytes < 1 || p.MaxInputBytes > MaxInputBytes:
		return invalid("max_input_bytes %d: want 1 to %d", p.MaxInputBytes, MaxInputBytes)
	case p.MaxOutputBytes < 1 || p.MaxOutputBytes > MaxInputBytes:
		return invalid("max_output_bytes %d: want 1 to %d", p.MaxOutputBytes, MaxInputBytes)
	case p.RingerPerMillion > PerMillion:
		return invalid("ringer_per_million %d: want at most %d", p.RingerPerMillion, PerMillion)
	case p.NoWorkerPatienceMs > MaxTimeoutMs:
		return invalid("no_worker_patience_ms %d: want at most %d", p.NoWorkerPatienceMs, MaxTimeoutMs)
	case p.RefereeCpuMsPerMinute > MaxRefereeCPUMs:
		return invalid("referee_cpu_ms_per_minute %d: want at most %d", p.RefereeCpuMsPerMinute, MaxRefereeCPUMs)
	}
	return nil
}

// validateAdmission wants tiers from 1 on without a gap, each asking for at least as much as the one below it.
func validateAdmission(a *eventv1.AdmissionPolicy) error {
	switch {
	case a == nil:
		return invalid("admission is missing")
	case len(a.Tiers) < 1 || len(a.Tiers) > MaxTiers:
		return invalid("admission: want 1 to %d tiers, got %d", MaxTiers, len(a.Tiers))
	case a.ProofTtlS < 1 || a.ProofTtlS > MaxProofTTLS:
		return invalid("admission: proof_ttl_s %d: want 1 to %d", a.ProofTtlS, MaxProofTTLS)
	case a.MaxChunkBytes < 1 || a.MaxChunkBytes > MaxChunkBytes:
		return invalid("admission: max_chunk_bytes %d: want 1 to %d", a.MaxChunkBytes, MaxChunkBytes)
	}
	var mflops, memory uint64
	for i, t := range a.Tiers {
		switch {
		case t.GetTier() != uint32(i)+1:
			return invalid("admission: tier %d stands at place %d", t.GetTier(), i+1)
		case t.Mflops < mflops || t.Mflops > MaxMflops || t.MemoryBytes < memory || t.MemoryBytes > MaxMemoryBytes:
			return invalid("admission: tier %d asks for less than the one below it, or for too much", t.Tier)
		}
		mflops, memory = t.Mflops, t.MemoryBytes
	}
	return nil
}
