// Package admission decides what a worker may be trusted with: which challenges its claim must pass, and which tier the
// measured proofs reach. It promises that a claim alone reaches nothing and that every refusal has a typed reason.
//
// It measures nothing: the door times the challenges and the worker's room keeps the proofs. A proof cannot tell a fast
// machine from a slow one that forwards its challenges to a fast machine; work that comes back slow later does (see
// actors/worker).
package admission

import (
	"errors"
	"fmt"
	"unicode/utf8"

	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// Tier is a class of proven performance, from 1. 0 is none.
type Tier uint32

// Bounds of a profile. Beyond them a claim is absurd, whatever the machine.
const (
	MaxMFlops          = 1_000_000_000 // milli-GFLOPS: one PFLOPS
	MaxAllocationBytes = uint64(1) << 50
	MaxCores           = 65_536
	MaxText            = 64 // bytes of each text: arch, os, engine, agent
)

// MaxTiers bounds a policy.
const MaxTiers = 8

// MemoryBelief is how many times the proven memory a claim is believed, once the largest ordinary challenge is passed:
// filling more costs the orchestrator as much as the worker.
const MemoryBelief = 2

// ErrPolicy refuses an admission policy whose tiers are not ascending, or that has none.
var ErrPolicy = errors.New("admission policy is out of bounds")

// Rejection is a refusal of admission.
type Rejection struct {
	Reason eventv1.RejectionReason
	Detail string
}

// Error says why in words.
func (r *Rejection) Error() string { return "not admitted: " + r.Detail }

func reject(reason eventv1.RejectionReason, format string, args ...any) error {
	return &Rejection{reason, fmt.Sprintf(format, args...)}
}

// PassesAdmission is the tier that claim and proof reach at a time in microseconds. The error is a *[Rejection], or
// [ErrPolicy].
func PassesAdmission(claim *eventv1.Profile, proven *eventv1.Proven, policy *eventv1.AdmissionPolicy, atUs int64) (Tier, error) {
	if err := CheckPolicy(policy); err != nil {
		return 0, err
	}
	if err := CheckProfile(claim); err != nil {
		return 0, err
	}
	if proven.GetMflops() == 0 || proven.GetMemoryBytes() == 0 {
		return 0, reject(eventv1.RejectionReason_REJECTION_REASON_NO_PROOF, "the claim is not proven: challenges are missing")
	}
	if atUs >= proven.ExpiresUs {
		return 0, reject(eventv1.RejectionReason_REJECTION_REASON_NO_PROOF, "the proof has expired")
	}
	sure := Sure(claim, proven)
	var tier Tier
	for _, floor := range policy.Tiers {
		if sure.Mflops >= floor.Mflops && sure.MemoryBytes >= floor.MemoryBytes {
			tier = Tier(floor.Tier)
		}
	}
	if tier > 0 {
		return tier, nil
	}
	lowest := policy.Tiers[0]
	if sure.Mflops < lowest.Mflops {
		return 0, reject(eventv1.RejectionReason_REJECTION_REASON_TOO_SLOW,
			"%d milli-GFLOPS proven, tier %d needs %d", sure.Mflops, lowest.Tier, lowest.Mflops)
	}
	return 0, reject(eventv1.RejectionReason_REJECTION_REASON_TOO_LITTLE_MEMORY,
		"%d bytes proven, tier %d needs %d", sure.MemoryBytes, lowest.Tier, lowest.MemoryBytes)
}

// Sure is what may be relied on: never more than the claim, and of memory beyond the largest ordinary challenge no more
// than [MemoryBelief] times what was proven.
func Sure(claim *eventv1.Profile, proven *eventv1.Proven) *eventv1.Proven {
	memory := proven.GetMemoryBytes()
	if memory >= MaxMemoryChallenge && memory <= MaxAllocationBytes {
		memory *= MemoryBelief
	}
	return &eventv1.Proven{
		Mflops:      min(proven.GetMflops(), claim.GetMflops()),
		MemoryBytes: min(memory, claim.GetMaxAllocationBytes()),
		FuelPerMs:   proven.GetFuelPerMs(),
		ExpiresUs:   proven.GetExpiresUs(),
	}
}

// CheckProfile refuses figures that no machine has. The error is a *[Rejection].
func CheckProfile(p *eventv1.Profile) error {
	const invalid = eventv1.RejectionReason_REJECTION_REASON_PROFILE_INVALID
	switch {
	case p == nil:
		return reject(invalid, "profile: missing")
	case p.Mflops == 0 || p.Mflops > MaxMFlops:
		return reject(invalid, "profile: mflops %d: want 1 to %d", p.Mflops, uint64(MaxMFlops))
	case p.MaxAllocationBytes == 0 || p.MaxAllocationBytes > MaxAllocationBytes:
		return reject(invalid, "profile: max_allocation_bytes %d: want 1 to %d", p.MaxAllocationBytes, MaxAllocationBytes)
	case p.ChunkBytes > MaxAllocationBytes:
		return reject(invalid, "profile: chunk_bytes %d: want at most %d", p.ChunkBytes, MaxAllocationBytes)
	case p.Cores > MaxCores:
		return reject(invalid, "profile: cores %d: want at most %d", p.Cores, MaxCores)
	}
	for _, text := range [...]struct{ name, value string }{
		{"arch", p.Arch}, {"os", p.Os}, {"engine", p.Engine}, {"agent", p.Agent},
	} {
		if len(text.value) > MaxText || !utf8.ValidString(text.value) {
			return reject(invalid, "profile: %s: want at most %d bytes of UTF-8", text.name, MaxText)
		}
	}
	return nil
}

// CheckPolicy refuses tiers that are not ascending, each from 1 and with floors no lower than the one before.
func CheckPolicy(p *eventv1.AdmissionPolicy) error {
	if n := len(p.GetTiers()); n == 0 || n > MaxTiers {
		return fmt.Errorf("%w: %d tiers, want 1 to %d", ErrPolicy, n, MaxTiers)
	}
	before := &eventv1.TierFloor{}
	for _, floor := range p.Tiers {
		if floor == nil || floor.Tier <= before.Tier || floor.Mflops < before.Mflops || floor.MemoryBytes < before.MemoryBytes {
			return fmt.Errorf("%w: tier %d is not above tier %d", ErrPolicy, floor.GetTier(), before.Tier)
		}
		before = floor
	}
	return nil
}
