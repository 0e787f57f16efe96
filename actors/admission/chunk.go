package admission

import (
	"math/bits"

	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// What a chunk size is derived from.
const (
	chunkTargetMs  = 3_000 // run time of a chunk
	flopPerByte    = 1_000 // of a middling job: the bytes of an input stand for so much work
	MinChunkBytes  = 64 << 10
	MostChunkBytes = 16 << 20 // where the policy says nothing
)

// ChunkBytes is the largest input that a worker is offered: about three seconds of work at the proven speed, no more
// than half of the proven memory and the policy's most, rounded down to a power of two, at least [MinChunkBytes].
func ChunkBytes(sure *eventv1.Proven, policy *eventv1.AdmissionPolicy) uint64 {
	most := policy.GetMaxChunkBytes()
	if most == 0 {
		most = MostChunkBytes
	}
	perMs := min(sure.GetMflops(), MaxMFlops) * 1000 / flopPerByte // milli-GFLOPS are FLOP per microsecond
	n := max(min(perMs*chunkTargetMs, sure.GetMemoryBytes()/2, most), MinChunkBytes)
	return uint64(1) << (bits.Len64(n) - 1)
}
