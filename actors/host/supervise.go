package host

import (
	"errors"
	"math/rand/v2"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/shardy-network/orchestrator/events"
)

// backoff restarts a failed entity after an exponential delay with a cap and jitter, and never gives up: the log is
// the truth, and an entity that cannot be loaded must not be forgotten. While the host closes there is nothing to wait
// for: the entity is stopped.
type backoff struct {
	shard            *shard
	min, max, window time.Duration
}

func (b backoff) HandleFailure(sys *actor.ActorSystem, sup actor.Supervisor, child *actor.PID, rs *actor.RestartStatistics, reason, _ any) {
	if rs.NumberOfFailures(b.window) == 0 {
		rs.Reset()
	}
	rs.Fail()
	delay := b.max
	if n := rs.FailureCount(); n < 16 {
		delay = min(b.min<<(n-1), b.max)
	}
	delay = delay/2 + rand.N(delay/2+1)
	sys.EventStream.Publish(&actor.SupervisorEvent{Child: child, Reason: reason, Directive: actor.RestartDirective})
	if b.shard.isClosed() {
		delay = 0
	}
	time.AfterFunc(delay, func() {
		if b.shard.isClosed() {
			sup.StopChildren(child)
			return
		}
		sup.RestartChildren(child)
		if addr, ok := b.shard.entityOf(child); ok {
			sys.Root.Send(child, wake{addr})
		}
	})
}

func isNotFound(err error) bool { return errors.Is(err, events.ErrNotFound) }
func isConflict(err error) bool { return errors.Is(err, events.ErrConflict) }
