package audit

import (
	"bytes"

	"github.com/shardy-network/orchestrator/actors/dispatch"
	"github.com/shardy-network/orchestrator/events"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// placement verifies that a worker is the one that the seed picks of the short list, and that the seed was drawn from a
// head of the log that lies before the choice.
func (x *examiner) placement(r *events.Record, job string, slot uint32, f *eventv1.AssignmentDispatched) {
	x.sum.Placements++
	if f.GetHead() >= uint64(r.Pos) {
		x.found.add(r, Placement, "the seed names position %d, which was not there yet", f.GetHead())
		return
	}
	seed, ok := drawn(f, job, slot)
	if !ok {
		x.found.add(r, Placement, "the seed %x is not that of position %d, job, slot and attempt", f.GetSeed(), f.GetHead())
		return
	}
	list := f.GetCandidates()
	if len(list) == 0 {
		x.found.add(r, Placement, "a seed and nobody to pick from")
		return
	}
	if picked := list[dispatch.Pick(seed, len(list))]; len(picked) == 0 || !bytes.HasPrefix(f.GetWorker(), picked) {
		x.found.add(r, Placement, "the seed picks %x of the short list, the slot went to %x", picked, f.GetWorker())
	}
}

// drawn finds the seed among those that the dispatcher can have drawn: its count of placements starts anew with it.
func drawn(f *eventv1.AssignmentDispatched, job string, slot uint32) ([16]byte, bool) {
	const most = 1000 // attempts of a slot; a forged one must not keep the auditor busy
	for placed := range min(f.GetAttempt(), most) {
		if seed := dispatch.Seed(f.GetHead(), job, slot, placed); bytes.Equal(seed[:], f.GetSeed()) {
			return seed, true
		}
	}
	return [16]byte{}, false
}
