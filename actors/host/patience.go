package host

import (
	"errors"
	"time"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/actors/assignment"
	"github.com/shardy-network/orchestrator/actors/dispatch"
	"github.com/shardy-network/orchestrator/actors/policy"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// The dispatcher is asked several times within the patience that the policy grants, but not too often.
const (
	patienceTicks   = 6
	minPatienceTick = 50 * time.Millisecond
	maxPatienceTick = 5 * time.Second
	// abandonBatch bounds the slots given up a tick, as does the room in the referee's queue: each may lead there, and
	// a full queue is a dead letter. Those that wait longest come first, the others wait for the next tick.
	abandonBatch = 128
)

// outOfPatience tells the dispatcher to give up the slots that nobody may have.
type outOfPatience struct{ patience time.Duration }

// watchPatience asks the dispatcher from time to time, until the host is closed.
func (h *Host) watchPatience() {
	tick := time.NewTimer(patienceTick(policy.NoWorkerPatience(h.cfg.Policy())))
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			patience := policy.NoWorkerPatience(h.cfg.Policy())
			h.system.Root.Send(h.dispatch, &outOfPatience{patience})
			tick.Reset(patienceTick(patience))
		case <-h.ctx.Done():
			return
		}
	}
}

func patienceTick(patience time.Duration) time.Duration {
	return min(max(patience/patienceTicks, minPatienceTick), maxPatienceTick)
}

// abandon gives up what waits in vain. Until the reconnect grace is over workers may still be on their way back.
func (d *dispatcher) abandon(patience time.Duration) {
	now := time.Now().UnixMicro()
	if now < d.host.graceUntil.Load() || d.host.gate.away() || now < d.host.gate.graceUntil().UnixMicro() || d.host.counters.recovering.Load() > 0 {
		return
	}
	slots := d.matcher.Abandoned(now, patience)
	for _, slot := range slots[:min(len(slots), abandonBatch, d.host.referees.room())] {
		d.matcher.Abandon(slot)
		d.host.abandon(slot)
	}
}

// abandon tells a slot that nobody may have it. A slot that did not hear it is asked where it stands, and is sought
// again if it waits.
func (h *Host) abandon(slot dispatch.Slot) {
	to := actors.SlotAddress(slot.Job, slot.Number)
	h.counters.abandoned.Add(1)
	h.Tell(to, &eventv1.Command{Kind: &eventv1.Command_AbandonSlot{AbandonSlot: &eventv1.AbandonSlot{
		Reason: eventv1.SlotFailure_SLOT_FAILURE_NO_ELIGIBLE_WORKER,
	}}}, func(_ any, err error) {
		if err == nil || errors.Is(err, assignment.ErrClosed) || h.ctx.Err() != nil {
			return
		}
		time.AfterFunc(retryDispatch, func() {
			h.Tell(to, &eventv1.Command{Kind: &eventv1.Command_OpenSlot{OpenSlot: &eventv1.OpenSlot{}}}, nil)
		})
	})
}
