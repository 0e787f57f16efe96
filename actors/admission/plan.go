package admission

import (
	"math/bits"

	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// Sizes of challenges. Whoever checks an answer has done the same work once, so sizes are few and bounded; answers are
// prepared ahead.
const (
	ComputeRounds = 3 // the best one counts

	MinMemoryChallenge   = uint64(1) << 20
	FirstMemoryChallenge = uint64(64) << 20
	MaxMemoryChallenge   = uint64(256) << 20 // below the highest tier
	TopMemoryChallenge   = uint64(1) << 30   // for claims of the highest tier
)

// Work of a compute challenge in FLOP, by claim: about a tenth of a second for a machine at the lower bound.
var computeSizes = [...]struct{ mflops, flop uint64 }{
	{40_000, 1 << 32},
	{2_000, 1 << 28},
	{0, 1 << 27},
}

// Bounds of a challenge's deadline, and the part of it that does not depend on its size.
const (
	minDeadlineMs   = 5_000
	maxDeadlineMs   = 30_000
	fixedDeadlineMs = 2_000
	deadlineSlack   = 3 // times the predicted run: a claim that is too high by more fails
)

// Challenge is one test that a claim must pass.
type Challenge struct {
	Kind       eventv1.ChallengeKind
	Size       uint64 // compute: FLOP; memory: bytes filled
	DeadlineMs uint32 // from sending to receiving, the round trip deducted
}

// Plan is what a claim must pass, in order: compute challenges, of which the best one counts, then memory challenges of
// ascending sizes, which end at the first failure. A claim or policy that is out of bounds has no plan.
//
// A slow answer to a compute challenge is not a failure, it lowers the proof; so its deadline allows for the slowest
// machine that could be admitted. Filling memory is timed against what the claimed speed predicts: who holds half of
// the blocks only and computes the others again takes at least twice as long, with a third 12 times (Argon2d).
func Plan(claim *eventv1.Profile, policy *eventv1.AdmissionPolicy) []Challenge {
	if CheckProfile(claim) != nil || CheckPolicy(policy) != nil {
		return nil
	}
	plan := make([]Challenge, 0, ComputeRounds+3)
	flop := computeSize(claim.Mflops)
	for range ComputeRounds {
		plan = append(plan, Challenge{
			Kind: eventv1.ChallengeKind_CHALLENGE_KIND_COMPUTE, Size: flop,
			DeadlineMs: deadline(flop / max(policy.Tiers[0].Mflops, 1) / 1000),
		})
	}
	for _, size := range memorySizes(claim, policy) {
		plan = append(plan, Challenge{
			Kind: eventv1.ChallengeKind_CHALLENGE_KIND_MEMORY, Size: size,
			DeadlineMs: deadline(size >> 20 * msPerMiB(claim.Mflops)),
		})
	}
	return plan
}

func computeSize(mflops uint64) uint64 {
	for _, s := range computeSizes {
		if mflops >= s.mflops {
			return s.flop
		}
	}
	return computeSizes[len(computeSizes)-1].flop
}

// memorySizes are the sizes that the claim covers; a claim below the first one is tested with the power of two below it.
func memorySizes(claim *eventv1.Profile, policy *eventv1.AdmissionPolicy) []uint64 {
	bytes := claim.MaxAllocationBytes
	if bytes < FirstMemoryChallenge {
		size := uint64(1) << (bits.Len64(bytes) - 1)
		if size < MinMemoryChallenge {
			return nil
		}
		return []uint64{size}
	}
	sizes := []uint64{FirstMemoryChallenge}
	if bytes >= MaxMemoryChallenge {
		sizes = append(sizes, MaxMemoryChallenge)
	}
	top := policy.Tiers[len(policy.Tiers)-1]
	if top.MemoryBytes > MaxMemoryChallenge*MemoryBelief && bytes >= top.MemoryBytes && claim.Mflops >= top.Mflops &&
		bytes >= TopMemoryChallenge {
		sizes = append(sizes, TopMemoryChallenge)
	}
	return sizes
}

// msPerMiB is how long a machine of the claimed speed takes to fill memory: 1.5 to 3 ms per MiB were measured on one of
// 5 GFLOPS in a sandbox; slower machines are granted four times as much.
func msPerMiB(mflops uint64) uint64 {
	if mflops >= 2_000 {
		return 4
	}
	return 16
}

func deadline(runMs uint64) uint32 {
	return uint32(min(max(runMs*deadlineSlack+fixedDeadlineMs, minDeadlineMs), maxDeadlineMs))
}
