package host

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/events"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// wake makes a restarted entity load its stream, so that effects which were lost with it are repeated.
type wake struct{ addr actors.Address }

// maxConflicts bounds the lost races absorbed for one command.
const maxConflicts = 5

// entityActor is the shell around one entity: load, decide, append, evolve, answer, effects, in that order. It blocks
// in Receive while the log appends: the mailbox is the stash.
type entityActor struct {
	shard  *shard
	addr   actors.Address
	kind   actors.Kind
	stream string

	// Owned by the actor's goroutine. Invariant: when loaded, entity is the fold of the stream up to expect.
	entity actors.Entity
	expect events.Expect
	loaded bool
	job    *jobContext
}

func (e *entityActor) Receive(ctx actor.Context) {
	defer e.logPanic(ctx)
	switch m := ctx.Message().(type) {
	case *order:
		e.take(m)
	case *actor.Stopped:
		e.forget() // the actor library's list of children keeps some of the dead until it grows again
	case wake:
		e.become(m.addr)
		if !e.loaded {
			e.revive()
		}
	}
}

// revive loads the entity, when the log is there, and repeats its effects.
func (e *entityActor) revive() {
	for try := 0; ; try++ {
		err := e.load(nil)
		if err == nil {
			e.repeat()
			return
		}
		if !e.outlast(err, try) {
			return
		}
	}
}

// outlast waits until the log is back. It reports false when the host closes, and panics when the error is no outage.
func (e *entityActor) outlast(err error, try int) bool {
	h := e.shard.host
	e.loaded = false
	if h.ctx.Err() != nil {
		return false
	}
	if !unavailable(err) {
		panic(err)
	}
	h.gate.lost(err)
	return h.gate.wait(try)
}

// take handles an order as the shell of its entity, and forgets the entity when the shard has set the actor free.
func (e *entityActor) take(o *order) {
	e.become(o.to)
	e.handle(o)
	if e.shard.handled(e.addr, e.loaded && e.entity.Done()) {
		e.forget()
	}
}

// forget leaves nothing of the entity in the actor.
func (e *entityActor) forget() { *e = entityActor{shard: e.shard} }

// become makes the actor the shell of this entity, which is not loaded yet; the one before has left memory.
func (e *entityActor) become(addr actors.Address) {
	if e.addr == addr {
		return
	}
	*e = entityActor{shard: e.shard, addr: addr, stream: addr.Stream()}
	e.kind, _ = e.shard.host.cfg.Rooms(addr.Room)
}

// logPanic keeps the stack that the supervisor does not log.
func (e *entityActor) logPanic(ctx actor.Context) {
	if r := recover(); r != nil {
		if _, ok := ctx.Message().(*order); ok {
			e.shard.handled(e.addr, false)
		}
		e.shard.host.counters.panics.Add(1)
		e.shard.host.cfg.Logger.Error("entity failed", "stream", e.stream, "reason", r, "stack", string(debug.Stack()))
		panic(r)
	}
}

// load rebuilds the entity from its stream. each sees the records.
func (e *entityActor) load(each func(events.Record)) error {
	e.loaded = false
	entity := e.kind.Open(e.addr.ID)
	rev, err := fold(e.shard.host.ctx, e.shard.host.cfg.Log, e.stream, entity, each)
	switch {
	case errors.Is(err, events.ErrNotFound):
		e.entity, e.expect, e.loaded = entity, events.Absent, true
		return nil
	case err != nil:
		return fmt.Errorf("load %s: %w", e.stream, err)
	}
	e.entity, e.expect, e.loaded = entity, events.At(rev), true
	return nil
}

// repeat carries out what a crash may have cost: the open effects of an entity that was loaded.
func (e *entityActor) repeat() {
	rev, exists := e.expect.Rev()
	if !exists {
		return
	}
	id := events.NewCommandID([]byte("load"), []byte(e.stream), fmt.Append(nil, rev))
	e.carryOut(id, e.entity.React(nil), true)
}

// handle sees an order through: to its end, or, when the log goes away meanwhile, to the answer that it did. What
// became of an append without an answer is looked up when the log is back.
func (e *entityActor) handle(o *order) {
	if o.job != nil {
		e.job = o.job
	}
	var sent *actors.Decision // not nil: appended, but nobody knows whether it was written
	for try := 0; ; try++ {
		var err error
		if sent, err = e.attempt(o, sent); err == nil {
			return
		}
		if o.prompt && unavailable(err) || !unavailable(err) && e.shard.host.ctx.Err() == nil {
			o.answer(nil, err)
			o.done = nil
		}
		if o.prompt && sent == nil && unavailable(err) { // nothing was begun
			e.loaded = false
			e.shard.host.gate.lost(err)
			return
		}
		if !e.outlast(err, try) {
			o.answer(nil, ErrStopped)
			return
		}
		if o.due && sent == nil {
			e.putOff(o)
			return
		}
		if !o.prompt { // else the command is the sender's again
			o.cmd.AtUs = time.Now().UnixMicro() // the outage is not held against anybody
		}
	}
}

// putOff gives a deadline that fell into an outage the time that is granted after one.
func (e *entityActor) putOff(o *order) {
	e.shard.deadlines.arm(e.addr, e.shard.host.gate.graceUntil().UnixMicro(), o.cmd, o.job)
}

// attempt carries an order out. An error comes with the decision whose append it left open, if there is one; then the
// next attempt looks for it first.
func (e *entityActor) attempt(o *order, sent *actors.Decision) (*actors.Decision, error) {
	if sent != nil {
		mine, err := e.find(o)
		switch {
		case err != nil:
			return sent, err
		case mine:
			e.follow(o, *sent)
			return nil, nil
		}
		if o.fresh { // what was taken for empty may not have been
			e.repeat()
		}
		if o.due {
			e.putOff(o)
		}
		if o.due || o.prompt { // who sent it heard that it failed
			return nil, nil
		}
	}
	if !e.loaded {
		if o.fresh {
			e.entity, e.expect, e.loaded = e.kind.Open(e.addr.ID), events.Absent, true
		} else if err := e.load(nil); err != nil {
			return nil, err
		} else {
			e.repeat()
		}
		if reopens(o.cmd) && e.expect != events.Absent { // loading did it
			o.answer(nil, nil)
			return nil, nil
		}
	}
	for range maxConflicts {
		d, err := e.entity.Decide(actors.Rules, o.cmd)
		if err != nil {
			o.answer(nil, err)
			return nil, nil
		}
		if len(d.Facts) == 0 {
			o.answer(d.Reply, nil)
			e.carryOut(o.id, d.Effects, true)
			return nil, nil
		}
		switch outcome, err := e.append(o, d.Facts); {
		case err != nil:
			return &d, err
		case outcome == appended:
			e.evolve(o, d.Facts)
			e.follow(o, d)
			return nil, nil
		case outcome == found:
			e.follow(o, d)
			return nil, nil
		}
	}
	return nil, fmt.Errorf("%s: lost %d races: %w", e.stream, maxConflicts, events.ErrConflict)
}

// reopens reports whether a command asks for nothing but what loading an entity does anyway.
func reopens(cmd *eventv1.Command) bool {
	switch cmd.Kind.(type) {
	case *eventv1.Command_ReopenJob, *eventv1.Command_ReopenPipeline, *eventv1.Command_OpenSlot:
		return true
	}
	return false
}

type outcome int

const (
	appended  outcome = iota
	found             // an earlier try of the same command is in the stream, which is loaded anew
	decideNew         // somebody else wrote; the stream is loaded anew
)

// append writes the facts of one decision under the expected revision.
func (e *entityActor) append(o *order, facts []events.Fact) (outcome, error) {
	h := e.shard.host
	drafts, err := events.Encode(events.Origin{
		ID: o.id, Command: o.cmd, Node: h.cfg.Node, Epoch: e.shard.epoch, Rules: actors.Rules,
	}, facts)
	if err != nil {
		return 0, err
	}
	ctx := h.ctx
	if h.cfg.AppendTimeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, h.cfg.AppendTimeout)
		defer cancel()
	}
	at, err := h.cfg.Log.Append(ctx, e.stream, e.expect, drafts...)
	if err == nil {
		e.expect = events.At(at.Rev)
		h.wrote(at.Pos)
		return appended, nil
	}
	h.counters.conflicts.Add(1)
	if unavailable(err) {
		return 0, err
	}
	switch mine, findErr := e.find(o); {
	case findErr != nil:
		return 0, errors.Join(err, findErr)
	case mine:
		return found, nil
	case errors.Is(err, events.ErrConflict):
		e.repeat()
		return decideNew, nil
	}
	e.loaded = false
	return 0, err
}

// find loads the entity anew and says whether the order's facts are in its stream: an append that failed may have been
// written, now or by an earlier try whose answer was lost.
func (e *entityActor) find(o *order) (mine bool, err error) {
	err = e.load(func(r events.Record) { mine = mine || r.ID.Command() == o.id })
	return mine, err
}

// evolve takes the facts that were appended into the entity.
func (e *entityActor) evolve(o *order, facts []events.Fact) {
	for _, f := range facts {
		if err := e.entity.Evolve(f); err != nil {
			e.loaded = false
			o.answer(nil, err)
			panic(fmt.Errorf("evolve %s: %w", e.stream, err))
		}
	}
}

// follow is what comes after the facts are durable: observers hear of them, the answer leaves, effects begin.
func (e *entityActor) follow(o *order, d actors.Decision) {
	h := e.shard.host
	h.counters.events.Add(int64(len(d.Facts)))
	h.notify(e.addr, d.Facts)
	o.answer(d.Reply, nil)
	e.carryOut(o.id, e.entity.React(d.Facts), false)
}
