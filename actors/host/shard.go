package host

import (
	"container/list"
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/events"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// shard is parent, router, supervisor and timer of its entities. Everybody addresses the shard; whether an entity is
// in memory is the shard's business. Its actor spawns and buries entities; routing itself is done under mu by whoever
// sends, which saves a mailbox on the way.
type shard struct {
	host     *Host
	index    int
	pid      *actor.PID
	entities *actor.Props // of every entity: its name tells whose it is
	spawned  int          // actors so far; owned by the shard's actor
	epoch    uint64       // revision of this shard's ShardTaken; set once before the first entity is spawned

	mu        sync.Mutex
	kids      map[actors.Address]*entry
	byPID     map[string]*entry
	lru       *list.List   // of *entry with a live actor, least recently used first; workers have their own
	workers   *list.List   // the same of workers
	free      []*actor.PID // actors whose entity has left memory, ready for the next one; at most maxFree
	deadlines deadlines
	closed    bool
	drained   chan struct{} // closed when closed and the last kid is gone
}

// entry is one entity in memory. Guarded by the shard's mu.
type entry struct {
	addr     actors.Address
	pid      *actor.PID // nil while the shard's actor has not spawned it
	pending  int        // orders sent to pid that it has not handled
	stopping bool       // poisoned: orders wait in buf until it is gone
	buf      []*order   // limited like a mailbox
	used     time.Time
	at       *list.Element
}

type spawn struct{ addr actors.Address }

func newShard(h *Host, index int) *shard {
	s := &shard{
		host: h, index: index, drained: make(chan struct{}),
		kids: map[actors.Address]*entry{}, byPID: map[string]*entry{}, lru: list.New(), workers: list.New(),
	}
	s.deadlines.init(s)
	s.entities = actor.PropsFromProducer(func() actor.Actor { return &entityActor{shard: s} },
		actor.WithMailbox(actor.UnboundedLockfree()), actor.WithDispatcher(warm{h}))
	props := actor.PropsFromProducer(
		func() actor.Actor { return (*shardActor)(s) },
		actor.WithMailbox(actor.UnboundedLockfree()), actor.WithDispatcher(warm{h}),
		actor.WithSupervisor(backoff{shard: s, min: 50 * time.Millisecond, max: 5 * time.Second, window: time.Minute}),
	)
	s.pid = h.system.Root.SpawnPrefix(props, "shard-"+strconv.Itoa(index))
	return s
}

// shardActor is the shard as its actor sees it.
type shardActor shard

func (a *shardActor) Receive(ctx actor.Context) {
	s := (*shard)(a)
	switch m := ctx.Message().(type) {
	case *spawn:
		s.spawn(ctx, m.addr)
	case *actor.Terminated:
		s.buried(ctx, m.Who)
	}
}

// route hands an order to its entity, which is loaded on demand.
func (s *shard) route(o *order) {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		o.answer(nil, ErrStopped)
		return
	}
	e := s.kids[o.to]
	if e == nil {
		e = s.admit(o.to)
	}
	switch {
	case e.pid == nil || e.stopping:
		if len(e.buf) >= s.host.cfg.EntityMailbox {
			s.mu.Unlock()
			o.answer(nil, ErrBusy)
			return
		}
		e.buf = append(e.buf, o)
	case e.pending >= s.host.cfg.EntityMailbox:
		s.mu.Unlock()
		o.answer(nil, ErrBusy)
		return
	default:
		e.used = time.Now()
		s.order(e.addr).MoveToBack(e.at)
		s.send(e, o)
	}
	s.mu.Unlock()
}

// admit makes an entry for an entity that is not in memory: in an actor that is free, or in one to be spawned. The
// caller holds mu.
func (s *shard) admit(addr actors.Address) *entry {
	e := s.enter(addr)
	if last := len(s.free) - 1; last >= 0 {
		s.settle(e, s.free[last])
		s.free = s.free[:last]
		return e
	}
	s.host.system.Root.Send(s.pid, &spawn{addr})
	return e
}

func (s *shard) enter(addr actors.Address) *entry {
	e := &entry{addr: addr}
	s.kids[addr] = e
	return e
}

// settle gives an entity its actor. The caller holds mu.
func (s *shard) settle(e *entry, pid *actor.PID) {
	e.pid, e.used = pid, time.Now()
	e.at = s.order(e.addr).PushBack(e)
	s.byPID[pid.Id] = e
}

// send hands an order to an entity's actor. The caller holds mu: no order may be queued behind the poison, nor after
// the actor was set free.
func (s *shard) send(e *entry, o *order) {
	e.pending++
	s.host.system.Root.Send(e.pid, o)
}

// spawn brings an entity to life and hands it what waited. It runs in the shard's actor.
func (s *shard) spawn(ctx actor.Context, addr actors.Address) {
	if s.epoch == 0 {
		err := errAway
		if !s.host.gate.away() {
			err = s.take()
		}
		if err != nil {
			if unavailable(err) {
				s.host.gate.lost(err)
			}
			s.postpone(addr, fmt.Errorf("take shard %d: %w", s.index, err))
			return
		}
	}
	s.spawned++
	pid, err := ctx.SpawnNamed(s.entities, strconv.Itoa(s.spawned))
	if err != nil {
		panic(fmt.Errorf("spawn for %s: %w", addr.Stream(), err))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.kids[addr]
	s.settle(e, pid)
	for _, o := range e.buf {
		s.send(e, o)
	}
	e.buf = nil
	if s.closed {
		s.bury(e)
	}
}

// retryTake is how long a shard that could not be taken waits, as a log that is away usually comes back.
const retryTake = 250 * time.Millisecond

// postpone tries an entity again later whose shard could not be taken. Who waits for an answer hears why; the others
// wait for the next try.
func (s *shard) postpone(addr actors.Address, cause error) {
	if !unavailable(cause) { // an outage is told once
		s.host.cfg.Logger.Error("shard not taken", "shard", s.index, "error", cause)
	}
	s.mu.Lock()
	e := s.kids[addr]
	var told []*order
	kept := e.buf[:0:0]
	for _, o := range e.buf {
		if o.prompt || s.closed {
			told = append(told, o)
		} else {
			kept = append(kept, o)
		}
	}
	e.buf = kept
	if len(kept) == 0 {
		delete(s.kids, addr)
		s.checkDrained()
	}
	s.mu.Unlock()
	for _, o := range told {
		o.answer(nil, cause)
	}
	if len(kept) > 0 {
		time.AfterFunc(retryTake, func() { s.host.system.Root.Send(s.pid, &spawn{addr}) })
	}
}

// take records that this process owns the shard from here on. The fact's revision plus one is the epoch.
func (s *shard) take() error {
	h := s.host
	addr := actors.Address{Room: actors.ShardRoom, ID: strconv.Itoa(s.index)}
	kind, ok := h.cfg.Rooms(addr.Room)
	if !ok {
		return fmt.Errorf("%w: %q", ErrUnknownRoom, addr.Room)
	}
	for {
		entity := kind.Open(addr.ID)
		want := events.Absent
		if rev, err := fold(h.ctx, h.cfg.Log, addr.Stream(), entity, nil); err == nil {
			want = events.At(rev)
		} else if !isNotFound(err) {
			return err
		}
		cmd := &eventv1.Command{
			AtUs: time.Now().UnixMicro(),
			Kind: &eventv1.Command_TakeShard{TakeShard: &eventv1.TakeShard{Node: h.cfg.Node}},
		}
		d, err := entity.Decide(actors.Rules, cmd)
		if err != nil {
			return err
		}
		drafts, err := events.Encode(events.Origin{ID: randomCommandID(), Command: cmd, Node: h.cfg.Node, Rules: actors.Rules}, d.Facts)
		if err != nil {
			return err
		}
		at, err := h.cfg.Log.Append(h.ctx, addr.Stream(), want, drafts...)
		if isConflict(err) {
			continue
		}
		if err != nil {
			return err
		}
		s.host.wrote(at.Pos)
		s.epoch = at.Rev + 1
		return nil
	}
}

// maxFree bounds the actors that wait for an entity.
const maxFree = 64

// handled follows every order that an entity's actor has dealt with. An entity that is done and has no more orders
// leaves memory, and its actor is free for the next one: most entities live for a few milliseconds. A freed actor MUST
// forget its entity before it handles another message: what it knows is soon out of date.
func (s *shard) handled(addr actors.Address, done bool) (freed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.kids[addr]
	if e == nil {
		return false
	}
	e.pending--
	if !done || e.pending > 0 || e.stopping || s.closed {
		return false
	}
	if len(s.free) >= maxFree {
		s.bury(e)
		return false
	}
	s.order(addr).Remove(e.at)
	delete(s.byPID, e.pid.Id)
	delete(s.kids, addr)
	s.free = append(s.free, e.pid)
	return true
}

// entityOf says whose actor this is.
func (s *shard) entityOf(pid *actor.PID) (actors.Address, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.byPID[pid.Id]
	if e == nil {
		return actors.Address{}, false
	}
	return e.addr, true
}

// bury poisons an entity's actor. The caller holds mu.
func (s *shard) bury(e *entry) {
	e.stopping = true
	s.order(e.addr).Remove(e.at)
	s.host.system.Root.Poison(e.pid)
}

// buried follows the end of an entity's actor: orders that came meanwhile bring it back.
func (s *shard) buried(ctx actor.Context, who *actor.PID) {
	s.mu.Lock()
	e := s.byPID[who.Id]
	if e == nil {
		s.mu.Unlock()
		return
	}
	if !e.stopping {
		s.order(e.addr).Remove(e.at)
	}
	delete(s.byPID, who.Id)
	e.pid, e.at, e.stopping, e.pending = nil, nil, false, 0
	again := len(e.buf) > 0 && !s.closed
	if !again {
		delete(s.kids, e.addr)
	}
	left := e.buf
	if !again {
		e.buf = nil
	}
	s.checkDrained()
	s.mu.Unlock()
	if again {
		s.spawn(ctx, e.addr)
		return
	}
	for _, o := range left {
		o.answer(nil, ErrStopped)
	}
}

// order is the list that an entity is in while its actor lives.
func (s *shard) order(addr actors.Address) *list.List {
	if addr.Room == actors.WorkerRoom {
		return s.workers
	}
	return s.lru
}

// sweep lets workers leave that have had no order since quiet, and other entities that have had none since before.
func (s *shard) sweep(before, quiet time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.buryUnused(s.lru, before)
	s.buryUnused(s.workers, quiet)
}

// buryUnused buries who has had no order since before. The caller holds mu.
func (s *shard) buryUnused(order *list.List, before time.Time) {
	for el := order.Front(); el != nil; el = order.Front() {
		e := el.Value.(*entry)
		if e.used.After(before) {
			return
		}
		s.bury(e)
	}
}

// close refuses new orders and poisons every entity.
func (s *shard) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	s.closed = true
	s.deadlines.stop()
	for _, pid := range s.free { // they are waited for like entities
		s.settle(s.enter(actors.Address{ID: pid.Id}), pid)
	}
	s.free = nil
	for _, e := range s.kids {
		if e.pid != nil && !e.stopping {
			s.bury(e)
		}
	}
	s.checkDrained()
}

func (s *shard) isClosed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

func (s *shard) checkDrained() {
	if s.closed && len(s.kids) == 0 {
		select {
		case <-s.drained:
		default:
			close(s.drained)
		}
	}
}

// wait returns when the last entity is gone, then ends the shard's actor.
func (s *shard) wait(ctx context.Context) error {
	defer s.host.system.Root.Stop(s.pid)
	select {
	case <-s.drained:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("shard %d: %w", s.index, context.Cause(ctx))
	}
}

// size is the number of entities in memory and of deadlines that are armed.
func (s *shard) size() (entities, armed int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.kids), s.deadlines.len()
}

// sweep is the host's one ticker for passivation.
func (h *Host) sweep() {
	// Of a worker that works something is recorded every CountEvery: it stays. Thousands that only wait do not.
	quiet := min(3*h.cfg.CountEvery, h.cfg.IdleAfter)
	t := time.NewTicker(max(quiet/4, time.Millisecond))
	defer t.Stop()
	for {
		select {
		case now := <-t.C:
			for _, s := range h.shards {
				s.sweep(now.Add(-h.cfg.IdleAfter), now.Add(-quiet))
			}
		case <-h.ctx.Done():
			return
		}
	}
}
