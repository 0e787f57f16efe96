package worker

import (
	"fmt"
	"math/bits"
)

// Speed is a sliding window over the fuel rates of completed work, one figure (the fastest) a batch, in fuel per
// millisecond.
type Speed struct {
	Rates [driftWindow]uint64 // a ring
	Next  uint32              // index in Rates of the next figure
	Count uint32              // figures in it
}

const driftWindow = 32

// driftRules void a proof when the fastest of the last n figures is slower than the proven rate by theta, in halves.
// They were found by simulation: claims a hundred times too high are caught after one figure, twice too high after 32,
// and an honest worker with light noise is not demoted in a thousand.
var driftRules = [...]struct {
	n          uint32
	halfThetas uint64
}{{1, 48}, {2, 24}, {4, 12}, {8, 6}, {16, 4}, {32, 3}}

// Allowance is how many times slower than the challenge honest work may look: the rules were made for rates of one
// module, but workers run all sorts, and the time counts from the acknowledgement, so tasks that wait their turn in the
// worker look slow.
const Allowance = 8

func (w Speed) add(rate uint64) Speed {
	w.Rates[w.Next] = rate
	w.Next = (w.Next + 1) % driftWindow
	w.Count = min(w.Count+1, driftWindow)
	return w
}

// last is the figure i places back; 0 is the latest.
func (w *Speed) last(i uint32) uint64 {
	return w.Rates[(w.Next+2*driftWindow-1-i)%driftWindow]
}

// drift says in words why the window contradicts the proven rate, or is empty.
func (w *Speed) drift(proven uint64) string {
	var fastest uint64
	i := uint32(0)
	for _, rule := range driftRules {
		if w.Count < rule.n {
			return ""
		}
		for ; i < rule.n; i++ {
			fastest = max(fastest, w.last(i))
		}
		// fastest x allowance x theta < proven
		hi, lo := bits.Mul64(fastest, Allowance*rule.halfThetas)
		if hi == 0 && lo/2 < proven {
			return fmt.Sprintf("the fastest of the last %d ran at %d fuel/ms, %d are proven", rule.n, fastest, proven)
		}
	}
	return ""
}
