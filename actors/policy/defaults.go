package policy

import (
	"time"

	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// Default is the policy of a deployment that has not chosen its own. Every call makes a new one.
//
//	                            standard   stress   lite_test
//	redundancy                  2          1        1          replicas of the first wave
//	margin                      2          1        1          lead over the runner-up that decides
//	max_replicas                7          1        1          results per round, then the referee
//	max_attempts                5          5        5          deliveries per slot
//	ack_timeout                 5 s        5 s      5 s        from delivery to task_ack, plus transfer
//	min_execution_timeout       10 s       10 s     10 s
//	max_execution_timeout       1 h        1 h      1 h
//	execution_slack             4          4        4          times the predicted run time
//	require_attestation         yes        no       yes
//	referee                     no quorum  never    never
//
//	tier 1                      0.25 GFLOPS    64 MiB          proven, not claimed
//	tier 2                      2 GFLOPS       256 MiB
//	tier 3                      40 GFLOPS      2 GiB
//	proof_ttl                   24 h                           then a worker is measured again
//	max_chunk                   16 MiB
//
//	reconnect_grace             15 s                           after an orchestrator's restart
//	max_fuel                    10^12                          per job
//	max_input, max_output       16 MiB
//	ringer_per_million          10,000                         1 % of a worker's standard jobs
//	referee_cpu_ms_per_minute   15,000
//	tier1_standard              yes                            where the job's min_tier says so
//	no_worker_patience          30 s                           then the referee is asked, when others have returned
func Default() *eventv1.Policy {
	return &eventv1.Policy{
		Standard: replicated(2, 2, 7, true, eventv1.RefereeMode_REFEREE_MODE_ON_NO_QUORUM),
		Stress:   replicated(1, 1, 1, false, eventv1.RefereeMode_REFEREE_MODE_NEVER),
		LiteTest: replicated(1, 1, 1, true, eventv1.RefereeMode_REFEREE_MODE_NEVER),
		Admission: &eventv1.AdmissionPolicy{
			Tiers: []*eventv1.TierFloor{
				{Tier: 1, Mflops: 250, MemoryBytes: 64 << 20},
				{Tier: 2, Mflops: 2_000, MemoryBytes: 256 << 20},
				{Tier: 3, Mflops: 40_000, MemoryBytes: 2 << 30},
			},
			ProofTtlS:     24 * 3600,
			MaxChunkBytes: 16 << 20,
		},
		ReconnectGraceMs:      15_000,
		MaxFuel:               1_000_000_000_000,
		MaxInputBytes:         16 << 20,
		MaxOutputBytes:        16 << 20,
		RingerPerMillion:      10_000,
		RefereeCpuMsPerMinute: 15_000,
		Tier1Standard:         true,
		NoWorkerPatienceMs:    defaultPatienceMs,
	}
}

const defaultPatienceMs = 30_000

// NoWorkerPatience is how long a slot of a job that has results waits while nobody who is connected may have it. Then
// it is given up, and the referee decides.
func NoWorkerPatience(p *eventv1.Policy) time.Duration {
	ms := p.GetNoWorkerPatienceMs()
	if ms == 0 {
		ms = defaultPatienceMs
	}
	return time.Duration(ms) * time.Millisecond
}

func replicated(redundancy, margin, most uint32, attested bool, referee eventv1.RefereeMode) *eventv1.JobPolicy {
	return &eventv1.JobPolicy{
		Redundancy: redundancy, Margin: margin, MaxReplicas: most, MaxAttempts: 5,
		AckTimeoutMs: 5_000, MinExecutionTimeoutMs: 10_000, MaxExecutionTimeoutMs: 3600 * 1000, ExecutionSlack: 4,
		RequireAttestation: attested, Referee: referee,
	}
}
