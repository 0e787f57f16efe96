package host

import (
	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/actors/job"
	"github.com/shardy-network/orchestrator/events"
)

// carryOut runs an entity's effects, on its goroutine. Nothing here may block. repeated says that the effects may have
// been carried out before: deadlines among them are not fired before the reconnect grace is over.
func (e *entityActor) carryOut(cause events.CommandID, effects []actors.Effect, repeated bool) {
	h := e.shard.host
	for i, effect := range effects {
		switch x := effect.(type) {
		case actors.Tell:
			h.route(&order{to: x.To, id: cause.Effect(i), cmd: x.Command, job: e.contextFor(x.To)})
		case actors.Arm:
			at := x.AtUs
			if repeated {
				at = max(at, h.graceUntil.Load())
			}
			e.shard.deadlines.arm(e.addr, at, x.Command, e.job)
		case actors.Disarm:
			e.shard.deadlines.disarm(e.addr)
		case actors.Seek, actors.Hold, actors.Release, actors.Forget:
			h.system.Root.Send(h.dispatch, x)
		case actors.Deliver:
			e.deliver(x)
		case actors.Recall:
			h.cfg.Courier.Recall(x.Worker, x.Token, x.Reason)
		case actors.Referee:
			h.referees.ask(x)
		case actors.SubmitChunks, actors.CancelChunks, actors.GatherStage:
			h.chunks.add(x)
		case actors.SettleChunk:
			h.settle.add(x)
		case actors.CountWork:
			h.counts.add(x)
		}
	}
}

// contextFor gives a slot what its job knows.
func (e *entityActor) contextFor(to actors.Address) *jobContext {
	if to.Room != actors.AssignmentRoom || !e.loaded {
		return nil
	}
	if s, ok := e.entity.State().(job.State); ok {
		return &jobContext{spec: s.Spec, policy: s.Policy}
	}
	return nil
}

// deliver completes the task with what the slot does not keep. A slot that was loaded by itself has no context: its
// job's OpenSlot brings it and asks for the delivery again.
func (e *entityActor) deliver(x actors.Deliver) {
	if e.job == nil {
		return
	}
	x.Task.Spec, x.Task.Policy = e.job.spec, e.job.policy
	e.shard.host.cfg.Courier.Deliver(x.Task, x.Restored)
}
