package dispatch

import (
	"math"
	"math/bits"

	"github.com/shardy-network/orchestrator/actors/policy"
)

// Predicted times are capped to 2^32-1 ms (49 days) each, so that sums of them cannot overflow.

func runMs(fuel, fuelPerMs uint64) uint64 {
	return min(fuel/max(fuelPerMs, 1), math.MaxUint32)
}

// queuedMs is what a held slot adds to its worker's queue; nothing when the worker's rate is not known.
func queuedMs(fuel, fuelPerMs uint64) uint64 {
	if fuelPerMs == 0 {
		return 0
	}
	return runMs(fuel, fuelPerMs)
}

// transferMs allows for moving the input over the slowest link that is reckoned with.
func (m *Matcher) transferMs(j *job) uint64 {
	return min(j.spec.GetInput().GetSize()/m.cfg.TransferBytesPerMs, math.MaxUint32)
}

// ackTimeoutMs is the policy's ack timeout and the transfer.
func (m *Matcher) ackTimeoutMs(j *job) uint32 {
	return uint32(min(uint64(j.policy.GetAckTimeoutMs())+m.transferMs(j), policy.MaxTimeoutMs))
}

// executionTimeoutMs is slack times the predicted run time, and the transfer and what the worker has to do before,
// within the policy's bounds.
func (m *Matcher) executionTimeoutMs(j *job, w *worker) uint32 {
	most := uint64(j.policy.GetMaxExecutionTimeoutMs())
	if most == 0 {
		most = policy.MaxTimeoutMs
	}
	hi, run := bits.Mul64(runMs(j.spec.GetFuelLimit(), w.fuelPerMs), uint64(max(j.policy.GetExecutionSlack(), 1)))
	if hi != 0 || run > most {
		return uint32(most)
	}
	sum := run + m.transferMs(j) + min(w.queuedMs, math.MaxUint32)
	return uint32(min(max(sum, uint64(j.policy.GetMinExecutionTimeoutMs())), most))
}
