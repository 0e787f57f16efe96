package host

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/actors/dispatch"
	"github.com/shardy-network/orchestrator/actors/policy"
	"github.com/shardy-network/orchestrator/events"
	"github.com/shardy-network/orchestrator/gateway/crew"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// The refusals of the host itself; rooms have their own.
var (
	ErrBusy        = errors.New("mailbox is full")
	ErrStopped     = errors.New("host is stopped")
	ErrUnknownRoom = errors.New("no such room")
)

// Courier takes attempts to workers. Its methods MUST NOT block.
type Courier interface {
	// Deliver hands over an attempt. A restored one was delivered before a restart: the courier waits for the
	// worker to resume it, and strips it when the grace is over.
	Deliver(t actors.Task, restored bool)
	// Recall tells a worker to drop an attempt.
	Recall(worker []byte, token uint64, reason string)
}

// Referee runs a chunk in the orchestrator's own sandbox. It returns when ctx ends.
type Referee interface {
	Run(ctx context.Context, spec *eventv1.JobSpec) *eventv1.RecordReferee
}

// Blobs is the content that effects read and write.
type Blobs interface {
	Get(ctx context.Context, sum [32]byte) ([]byte, error)
	Put(ctx context.Context, data []byte) (*eventv1.BlobRef, error)
}

// Config is what a host needs. Log, Rooms and Courier are required.
type Config struct {
	Log     events.Log
	Rooms   func(prefix string) (actors.Kind, bool)
	Courier Courier
	Referee Referee // nil: a requested referee answers "no budget"
	Blobs   Blobs   // required for pipelines
	Node    string  // recorded in envelopes; keep it short
	Logger  *slog.Logger

	// Policy is the deployment's policy as it stands, which others change: nil is the built-in one.
	Policy func() *eventv1.Policy
	// RingerKey keys the choice of the jobs that are issued again to test workers. Keep it, and keep it secret: who
	// knows it knows every ringer. Nil: there are none.
	RingerKey []byte

	Dispatch dispatch.Config

	Shards          int           // default 256
	EntityMailbox   int           // commands waiting for one entity; default 1,024
	IdleAfter       time.Duration // an open entity without commands leaves memory; default 1 min; a worker after 3 CountEvery
	AppendTimeout   time.Duration // after which the outcome of an append is unknown; 0: as long as the log takes (embedded logs)
	ReconnectGrace  time.Duration // after a start with open work, before anything restored is timed out; default 15 s
	RefereeQueue    int           // requests waiting for the referee; default 256
	RecoverInFlight int           // jobs being reopened at once after a start; default 512
	FlushEvery      time.Duration // settled chunks are coalesced for this long; default 20 ms
	CountEvery      time.Duration // workers' records are coalesced for this long; default 2 s
}

func (c Config) withDefaults() (Config, error) {
	if c.Log == nil || c.Rooms == nil || c.Courier == nil {
		return c, errors.New("host: Log, Rooms and Courier are required")
	}
	if c.Policy == nil {
		builtin := policy.Default()
		c.Policy = func() *eventv1.Policy { return builtin }
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	for _, d := range []struct {
		v *int
		n int
	}{{&c.Shards, 256}, {&c.EntityMailbox, 1024}, {&c.RefereeQueue, 256}, {&c.RecoverInFlight, 512}} {
		if *d.v == 0 {
			*d.v = d.n
		}
		if *d.v < 0 {
			return c, fmt.Errorf("host: negative limit %d", *d.v)
		}
	}
	for _, d := range []struct {
		v *time.Duration
		n time.Duration
	}{{&c.IdleAfter, time.Minute}, {&c.ReconnectGrace, 15 * time.Second}, {&c.FlushEvery, 20 * time.Millisecond}, {&c.CountEvery, 2 * time.Second}} {
		if *d.v == 0 {
			*d.v = d.n
		}
	}
	return c, nil
}

// Host owns the actor system. Its methods are safe for concurrent use.
type Host struct {
	cfg      Config
	system   *actor.ActorSystem
	shards   []*shard
	crew     *crew.Crew
	dispatch *actor.PID
	settle   *settler
	counts   *counter
	referees *referees
	chunks   *chunkWork
	ringers  *ringers // nil: none are wanted

	// ctx ends when the host is closed; appends and background work hang on it.
	ctx  context.Context
	stop context.CancelFunc
	wg   sync.WaitGroup // background goroutines: sweeper, referee, patience, ringers, chunk work

	observers atomic.Pointer[[]*observer] // copied on write, under observeMu
	observeMu sync.Mutex

	gate       *gate
	head       atomic.Uint64 // the last position that this host has appended
	graceUntil atomic.Int64  // unix µs; deadlines restored from the log fire no earlier
	counters   counters
}

type observer struct {
	fn func(actors.Address, []events.Fact)
}

// New builds a host; Start brings it to life.
func New(cfg Config) (*Host, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	h := &Host{cfg: cfg}
	h.ctx, h.stop = context.WithCancel(context.Background())
	h.system = actor.NewActorSystem(actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger {
		return cfg.Logger.With("from", "actors")
	}))
	h.gate = newGate(h)
	h.settle = newSettler(h, cfg.FlushEvery)
	h.counts = newCounter(h, cfg.CountEvery)
	h.referees = newReferees(h, cfg.RefereeQueue)
	h.chunks = newChunkWork(h)
	if len(cfg.RingerKey) > 0 {
		h.ringers = newRingers(h, cfg.RingerKey)
		h.Observe(h.ringers.see)
	}
	h.crew = crew.New(idleGoroutines)
	h.dispatch = h.spawnDispatcher()
	h.shards = make([]*shard, cfg.Shards)
	for i := range h.shards {
		h.shards[i] = newShard(h, i)
	}
	return h, nil
}

// Open lists what was not finished when the log was last written.
type Open struct {
	Jobs      []string
	Pipelines []string
}

// Start begins the background work and reopens what was open, oldest first. It returns at once; reopening goes on
// until done or ctx ends, and new commands are taken meanwhile.
func (h *Host) Start(ctx context.Context, open Open) {
	if len(open.Jobs) > 0 {
		h.graceUntil.Store(time.Now().Add(h.cfg.ReconnectGrace).UnixMicro())
	}
	h.wg.Go(h.sweep)
	h.wg.Go(h.referees.run)
	h.wg.Go(h.watchPatience)
	if h.ringers != nil {
		h.wg.Go(h.ringers.run)
	}
	h.counters.recovering.Store(int64(len(open.Jobs) + len(open.Pipelines)))
	h.wg.Go(func() { h.reopen(ctx, open) })
}

// Close stops the actors, waits for the appends in flight and ends the background work.
func (h *Host) Close(ctx context.Context) error {
	h.settle.flush()
	h.counts.flush()
	if h.gate.close() {
		h.stop() // appends in flight would wait for a log that is away
	}
	for _, s := range h.shards {
		s.close()
	}
	var err error
	for _, s := range h.shards {
		if e := s.wait(ctx); e != nil {
			err = e
		}
	}
	h.stop()
	h.system.Root.Stop(h.dispatch)
	h.wg.Wait()
	h.settle.stop()
	h.counts.stop()
	h.system.Shutdown()
	h.crew.Close()
	return err
}

// Do sends a command and waits for its answer. A context that ends leaves the outcome unknown, as does ErrUnavailable,
// which comes at once while the log is away.
func (h *Host) Do(ctx context.Context, to actors.Address, cmd *eventv1.Command) (any, error) {
	type answer struct {
		reply any
		err   error
	}
	ch := make(chan answer, 1)
	h.route(&order{
		to: to, id: randomCommandID(), cmd: cmd, fresh: creates(cmd), prompt: true,
		done: func(reply any, err error) { ch <- answer{reply, err} },
	})
	select {
	case a := <-ch:
		return a.reply, a.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-h.ctx.Done():
		return nil, ErrStopped
	}
}

// Tell sends a command. done may be nil; it is called once, on the goroutine that decided, and must not block. While
// the log is away the command waits for it; one that creates an entity is refused with ErrUnavailable instead.
func (h *Host) Tell(to actors.Address, cmd *eventv1.Command, done func(reply any, err error)) {
	fresh := creates(cmd)
	h.route(&order{to: to, id: randomCommandID(), cmd: cmd, fresh: fresh, prompt: fresh && done != nil, done: done})
}

// creates reports whether a command usually finds an empty stream, so that looking is left to the append.
func creates(cmd *eventv1.Command) bool {
	switch cmd.Kind.(type) {
	case *eventv1.Command_SubmitJob, *eventv1.Command_SubmitPipeline:
		return true
	}
	return false
}

func randomCommandID() events.CommandID {
	a, b := rand.Uint64(), rand.Uint64()
	var id events.CommandID
	for i := range 8 {
		id[i] = byte(a >> (8 * i))
	}
	for i := range 6 {
		id[8+i] = byte(b >> (8 * i))
	}
	id[6] = id[6]&0x0f | 0x40 // UUID version 4 but for the last two bytes
	id[8] = id[8]&0x3f | 0x80
	return id
}

func (h *Host) route(o *order) {
	if o.cmd.AtUs == 0 {
		o.cmd.AtUs = time.Now().UnixMicro()
	}
	if _, ok := h.cfg.Rooms(o.to.Room); !ok {
		o.answer(nil, fmt.Errorf("%w: %q", ErrUnknownRoom, o.to.Room))
		return
	}
	if o.prompt && h.gate.away() {
		o.answer(nil, errAway)
		return
	}
	h.shardOf(o.to).route(o)
}

// wrote notes how far the log goes.
func (h *Host) wrote(at events.Position) {
	for {
		old := h.head.Load()
		if uint64(at) <= old || h.head.CompareAndSwap(old, uint64(at)) {
			return
		}
	}
}

// shardOf hashes the entity that owns the address: a job and its slots share a shard.
func (h *Host) shardOf(to actors.Address) *shard {
	id := to.ID
	if to.Room == actors.AssignmentRoom {
		if job, _, err := actors.ParseSlotID(id); err == nil {
			id = job
		}
	}
	f := fnv.New32a()
	f.Write([]byte(id))
	return h.shards[f.Sum32()%uint32(len(h.shards))]
}

// Observe calls fn after every decision's facts are durable, on the entity's goroutine: fn must not block.
func (h *Host) Observe(fn func(to actors.Address, facts []events.Fact)) (stop func()) {
	o := &observer{fn}
	h.editObservers(func(list []*observer) []*observer { return append(list, o) })
	return func() {
		h.editObservers(func(list []*observer) []*observer {
			for i, x := range list {
				if x == o {
					return append(list[:i], list[i+1:]...)
				}
			}
			return list
		})
	}
}

func (h *Host) editObservers(edit func([]*observer) []*observer) {
	h.observeMu.Lock()
	defer h.observeMu.Unlock()
	var old []*observer
	if p := h.observers.Load(); p != nil {
		old = append(old, *p...)
	}
	next := edit(old)
	h.observers.Store(&next)
}

func (h *Host) notify(to actors.Address, facts []events.Fact) {
	if p := h.observers.Load(); p != nil {
		for _, o := range *p {
			o.fn(to, facts)
		}
	}
}

// Inspect folds an entity's stream and returns its room's State and last revision.
func (h *Host) Inspect(ctx context.Context, to actors.Address) (state any, rev uint64, err error) {
	kind, ok := h.cfg.Rooms(to.Room)
	if !ok {
		return nil, 0, fmt.Errorf("%w: %q", ErrUnknownRoom, to.Room)
	}
	if h.gate.away() {
		return nil, 0, errAway
	}
	entity := kind.Open(to.ID)
	rev, err = fold(ctx, h.cfg.Log, to.Stream(), entity, nil)
	if err != nil {
		return nil, 0, err
	}
	return entity.State(), rev, nil
}

// fold reads a stream into an entity and returns the last revision. each, if given, sees every record first.
func fold(ctx context.Context, log events.Log, stream string, entity actors.Entity, each func(events.Record)) (uint64, error) {
	var rev uint64
	for r, err := range log.Read(ctx, stream, events.Span{}) {
		if err != nil {
			return 0, err
		}
		if each != nil {
			each(r)
		}
		f, err := events.Decode(r)
		if err != nil {
			return 0, err
		}
		if err := entity.Evolve(f); err != nil {
			return 0, fmt.Errorf("evolve %s/%d (%s): %w", stream, r.Rev, r.Type, err)
		}
		rev = r.Rev
	}
	return rev, nil
}
