package host

import (
	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/events"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// order is a command on its way to an entity.
type order struct {
	to    actors.Address
	id    events.CommandID
	cmd   *eventv1.Command
	fresh bool        // the stream is probably empty: decide on the zero state, the append will tell
	job   *jobContext // for a slot: its job's spec and policy
	due   bool        // a deadline: it is put off when it falls into an outage of the log
	// prompt: somebody waits for the answer and repeats the command himself. Without it the order outlasts an outage.
	prompt bool
	done   func(reply any, err error)
}

// jobContext travels with orders to slots, which keep none of it in their own facts.
type jobContext struct {
	spec   *eventv1.JobSpec
	policy *eventv1.JobPolicy
}

func (o *order) answer(reply any, err error) {
	if o.done != nil {
		o.done(reply, err)
	}
}

// mailboxes run on goroutines that are used again: a new one would grow its stack through every decision. An entity
// that waits for the log keeps its goroutine, so there is no limit here; mailboxes and shards have theirs.
type warm struct{ h *Host }

func (w warm) Schedule(run func()) { w.h.crew.Go(run) }
func (warm) Throughput() int       { return 300 }

// idleGoroutines is how many wait for a mailbox to run.
const idleGoroutines = 1024
