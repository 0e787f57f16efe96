package host

import (
	"github.com/asynkron/protoactor-go/actor"

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
	done  func(reply any, err error)
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

// limited is an unbounded mailbox that refuses orders beyond a limit: the sender hears ErrBusy at once. Lifecycle
// messages always pass. (protoactor's own bounded mailboxes spin, deadlock or lose.)
type limited struct {
	actor.Mailbox
	max int
}

func limitedMailbox(max int) actor.MailboxProducer {
	inner := actor.UnboundedLockfree()
	return func() actor.Mailbox { return &limited{inner(), max} }
}

func (l *limited) PostUserMessage(m any) {
	if o, ok := m.(*order); ok && l.UserMessageCount() >= l.max {
		o.answer(nil, ErrBusy)
		return
	}
	l.Mailbox.PostUserMessage(m)
}
