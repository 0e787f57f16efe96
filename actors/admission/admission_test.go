package admission_test

import (
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/shardy-network/orchestrator/actors/admission"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

const (
	mib = uint64(1) << 20

	invalid  = eventv1.RejectionReason_REJECTION_REASON_PROFILE_INVALID
	noProof  = eventv1.RejectionReason_REJECTION_REASON_NO_PROOF
	tooSlow  = eventv1.RejectionReason_REJECTION_REASON_TOO_SLOW
	noMemory = eventv1.RejectionReason_REJECTION_REASON_TOO_LITTLE_MEMORY
)

func policy() *eventv1.AdmissionPolicy {
	return &eventv1.AdmissionPolicy{
		Tiers: []*eventv1.TierFloor{
			{Tier: 1, Mflops: 250, MemoryBytes: 64 * mib},
			{Tier: 2, Mflops: 2_000, MemoryBytes: 256 * mib},
			{Tier: 3, Mflops: 40_000, MemoryBytes: 2048 * mib},
		},
	}
}

func TestTiers(t *testing.T) {
	for _, c := range []struct {
		name             string
		claimed, memory  uint64
		mflops, measured uint64
		tier             admission.Tier
		reason           eventv1.RejectionReason
	}{
		{"exactly tier 1", 250, 64 * mib, 250, 64 * mib, 1, 0},
		{"a little too slow", 1000, 64 * mib, 249, 64 * mib, 0, tooSlow},
		{"a little too small", 1000, 64 * mib, 250, 64*mib - 1, 0, noMemory},
		{"tier 2", 2_000, 256 * mib, 2_000, 256 * mib, 2, 0},
		{"quick but small", 90_000, 8192 * mib, 90_000, 64 * mib, 1, 0},
		{"claims a hundred times more than it has", 500_000, 8192 * mib, 5_000, 256 * mib, 2, 0},
		{"claims less than it has", 250, 64 * mib, 90_000, 1024 * mib, 1, 0},
		{"tier 3 on belief in memory", 90_000, 8192 * mib, 90_000, 1024 * mib, 3, 0},
		{"belief ends at twice", 90_000, 8192 * mib, 90_000, 1023 * mib, 2, 0},
		{"nothing proven", 90_000, 8192 * mib, 0, 0, 0, noProof},
		{"memory not proven", 90_000, 8192 * mib, 90_000, 0, 0, noProof},
	} {
		t.Run(c.name, func(t *testing.T) {
			tier, err := admission.PassesAdmission(
				&eventv1.Profile{Mflops: c.claimed, MaxAllocationBytes: c.memory},
				&eventv1.Proven{Mflops: c.mflops, MemoryBytes: c.measured, ExpiresUs: 100}, policy(), 99,
			)
			if tier != c.tier || reason(err) != c.reason {
				t.Errorf("tier %d, %v", tier, err)
			}
		})
	}
}

func reason(err error) eventv1.RejectionReason {
	var r *admission.Rejection
	if errors.As(err, &r) {
		return r.Reason
	}
	return 0
}

func TestExpiredProofIsNone(t *testing.T) {
	p := &eventv1.Proven{Mflops: 250, MemoryBytes: 64 * mib, ExpiresUs: 100}
	_, err := admission.PassesAdmission(&eventv1.Profile{Mflops: 250, MaxAllocationBytes: 64 * mib}, p, policy(), 100)
	if reason(err) != noProof {
		t.Errorf("%v", err)
	}
}

func TestAbsurdProfiles(t *testing.T) {
	good := func() *eventv1.Profile { return &eventv1.Profile{Mflops: 1, MaxAllocationBytes: 1, Cores: 1} }
	for name, change := range map[string]func(*eventv1.Profile){
		"no speed":        func(p *eventv1.Profile) { p.Mflops = 0 },
		"absurd speed":    func(p *eventv1.Profile) { p.Mflops = admission.MaxMFlops + 1 },
		"no memory":       func(p *eventv1.Profile) { p.MaxAllocationBytes = 0 },
		"absurd memory":   func(p *eventv1.Profile) { p.MaxAllocationBytes = math.MaxUint64 },
		"absurd chunks":   func(p *eventv1.Profile) { p.ChunkBytes = math.MaxUint64 },
		"absurd cores":    func(p *eventv1.Profile) { p.Cores = math.MaxUint32 },
		"long arch":       func(p *eventv1.Profile) { p.Arch = strings.Repeat("a", admission.MaxText+1) },
		"binary os":       func(p *eventv1.Profile) { p.Os = "\xff\xfe" },
		"long engine":     func(p *eventv1.Profile) { p.Engine = strings.Repeat("a", admission.MaxText+1) },
		"long agent name": func(p *eventv1.Profile) { p.Agent = strings.Repeat("a", admission.MaxText+1) },
	} {
		p := good()
		change(p)
		if err := admission.CheckProfile(p); reason(err) != invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := admission.CheckProfile(good()); err != nil {
		t.Errorf("modest profile: %v", err)
	}
	if err := admission.CheckProfile(nil); reason(err) != invalid {
		t.Errorf("no profile: %v", err)
	}
}

func TestPolicyMustAscend(t *testing.T) {
	for name, change := range map[string]func(*eventv1.AdmissionPolicy){
		"no tiers":        func(p *eventv1.AdmissionPolicy) { p.Tiers = nil },
		"too many":        func(p *eventv1.AdmissionPolicy) { p.Tiers = slices.Repeat(p.Tiers, 4) },
		"tier 0":          func(p *eventv1.AdmissionPolicy) { p.Tiers[0].Tier = 0 },
		"same tier twice": func(p *eventv1.AdmissionPolicy) { p.Tiers[1].Tier = 1 },
		"slower above":    func(p *eventv1.AdmissionPolicy) { p.Tiers[2].Mflops = 1 },
		"smaller above":   func(p *eventv1.AdmissionPolicy) { p.Tiers[2].MemoryBytes = 1 },
		"hole":            func(p *eventv1.AdmissionPolicy) { p.Tiers[1] = nil },
	} {
		p := policy()
		change(p)
		if err := admission.CheckPolicy(p); !errors.Is(err, admission.ErrPolicy) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestPlan(t *testing.T) {
	for _, c := range []struct {
		name         string
		mflops, mem  uint64
		flop         uint64
		memory       []uint64
		computeMs    uint32
		lastMemoryMs uint32
	}{
		{"phone", 300, 100 * mib, 1 << 27, []uint64{64 * mib}, 5_000, 5_072},
		{"tiny", 300, 40 * mib, 1 << 27, []uint64{32 * mib}, 5_000, 5_000},
		{"laptop", 5_000, 8192 * mib, 1 << 28, []uint64{64 * mib, 256 * mib}, 5_219, 5_072},
		{"big machine", 90_000, 8192 * mib, 1 << 32, []uint64{64 * mib, 256 * mib, 1024 * mib}, 30_000, 14_288},
		{"quick but small", 90_000, 1024 * mib, 1 << 32, []uint64{64 * mib, 256 * mib}, 30_000, 5_072},
		{"next to nothing", 300, 1000, 1 << 27, nil, 5_000, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			plan := admission.Plan(&eventv1.Profile{Mflops: c.mflops, MaxAllocationBytes: c.mem}, policy())
			var memory []uint64
			for i, ch := range plan {
				if i < admission.ComputeRounds {
					if ch.Kind != eventv1.ChallengeKind_CHALLENGE_KIND_COMPUTE || ch.Size != c.flop || ch.DeadlineMs != c.computeMs {
						t.Errorf("challenge %d: %+v", i, ch)
					}
					continue
				}
				memory = append(memory, ch.Size)
			}
			if !slices.Equal(memory, c.memory) {
				t.Errorf("memory %v", memory)
			}
			if len(memory) > 0 && plan[len(plan)-1].DeadlineMs != c.lastMemoryMs {
				t.Errorf("deadline %d ms", plan[len(plan)-1].DeadlineMs)
			}
		})
	}
	if admission.Plan(nil, policy()) != nil || admission.Plan(&eventv1.Profile{Mflops: 1, MaxAllocationBytes: 1}, nil) != nil {
		t.Error("a plan without a claim or a policy")
	}
}

func TestChunkBytes(t *testing.T) {
	for _, c := range []struct{ mflops, memory, most, want uint64 }{
		{250, 64 * mib, 0, 512 << 10},
		{2_000, 256 * mib, 0, 4 * mib},
		{40_000, 2048 * mib, 0, 16 * mib},
		{40_000, 2048 * mib, 64 * mib, 64 * mib},
		{40_000, 4 * mib, 0, 2 * mib},
		{1, 64 * mib, 0, 64 << 10},
		{math.MaxUint64, math.MaxUint64, math.MaxUint64, 2048 << 30},
	} {
		got := admission.ChunkBytes(
			&eventv1.Proven{Mflops: c.mflops, MemoryBytes: c.memory}, &eventv1.AdmissionPolicy{MaxChunkBytes: c.most},
		)
		if got != c.want {
			t.Errorf("%+v: %d", c, got)
		}
	}
}

// TestMoreProofIsNeverWorse: a better proof or claim reaches no lower tier, and no tier is above proof or claim.
func TestMoreProofIsNeverWorse(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		mflops, memory := rapid.Uint64Range(1, 100_000), rapid.Uint64Range(1, 4096*mib)
		claim := &eventv1.Profile{Mflops: mflops.Draw(t, "claim"), MaxAllocationBytes: memory.Draw(t, "claimed memory")}
		proof := &eventv1.Proven{Mflops: mflops.Draw(t, "proof"), MemoryBytes: memory.Draw(t, "memory"), ExpiresUs: 1}
		tier, _ := admission.PassesAdmission(claim, proof, policy(), 0)
		if tier > 0 {
			floor := policy().Tiers[tier-1]
			if min(claim.Mflops, proof.Mflops) < floor.Mflops || min(claim.MaxAllocationBytes, admission.MemoryBelief*proof.MemoryBytes) < floor.MemoryBytes {
				t.Fatalf("tier %d for %v of %v", tier, proof, claim)
			}
		}
		proof.Mflops += mflops.Draw(t, "quicker")
		proof.MemoryBytes += memory.Draw(t, "larger")
		claim.Mflops += mflops.Draw(t, "claims more")
		if better, _ := admission.PassesAdmission(claim, proof, policy(), 0); better < tier {
			t.Fatalf("tier %d, then %d", tier, better)
		}
	})
}
