package audit

import (
	"bytes"
	"fmt"

	"github.com/shardy-network/orchestrator/actors/dispatch"
	"github.com/shardy-network/orchestrator/events"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// placement verifies the choice of a worker.
func (x *examiner) placement(r *events.Record, job string, slot uint32, f *eventv1.AssignmentDispatched) {
	x.sum.Placements++
	if wrong := misplaced(r.Pos, job, slot, f); wrong != "" {
		x.found.add(r, Placement, "%s", wrong)
	}
}

// misplaced says why a worker is not the one that the seed picks of the short list, or why the seed was not drawn from a
// head of the log that lies before the choice. It answers "" for a choice that stands.
func misplaced(pos events.Position, job string, slot uint32, f *eventv1.AssignmentDispatched) string {
	if f.GetHead() >= uint64(pos) {
		return fmt.Sprintf("the seed names position %d, which was not there yet", f.GetHead())
	}
	seed, ok := drawn(f, job, slot)
	if !ok {
		return fmt.Sprintf("the seed %x is not that of position %d, job, slot and attempt", f.GetSeed(), f.GetHead())
	}
	list := f.GetCandidates()
	if len(list) == 0 {
		return "a seed and nobody to pick from"
	}
	if picked := list[dispatch.Pick(seed, len(list))]; len(picked) == 0 || !bytes.HasPrefix(f.GetWorker(), picked) {
		return fmt.Sprintf("the seed picks %x of the short list, the slot went to %x", picked, f.GetWorker())
	}
	return ""
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
