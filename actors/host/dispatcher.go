package host

import (
	"context"
	"fmt"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/actors/dispatch"
	"github.com/shardy-network/orchestrator/events"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// dispatcher is the actor around the pure matcher: one a process, no stream of its own, rebuilt at start from what
// jobs and slots repeat.
type dispatcher struct {
	host    *Host
	matcher *dispatch.Matcher
	jobs    map[string]*openJob // by id, from Seek to Forget
}

// openJob is what slots of a job are told on dispatch.
type openJob struct {
	context *jobContext
	placed  uint64 // bit per slot below 64 that was dispatched before: its stream is not empty
}

// What the dispatcher is told beside the effects of jobs and slots.
type (
	workerReady   struct{ worker dispatch.Worker }
	workerCredits struct {
		key []byte
		n   uint32
	}
	workerDrain struct {
		key []byte
		on  bool
	}
	workerGone     struct{ key []byte }
	dispatchFailed struct {
		job    string
		holder actors.Holder
	}
	dispatchQuery struct{ answer func(*dispatch.Matcher) }
)

// matchBatch bounds the placements made per message, so that a long queue cannot hold up the mailbox.
const matchBatch = 64

func (h *Host) spawnDispatcher() *actor.PID {
	props := actor.PropsFromProducer(func() actor.Actor {
		return &dispatcher{host: h, matcher: dispatch.New(h.cfg.Dispatch), jobs: map[string]*openJob{}}
	}, actor.WithMailbox(actor.UnboundedLockfree()), actor.WithDispatcher(warm{h}))
	return h.system.Root.SpawnPrefix(props, "dispatcher")
}

// Receive takes news and places what can be placed. Its mailbox is bounded by its senders: each has at most a few
// messages per open slot or session under way.
func (d *dispatcher) Receive(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case actors.Seek:
		if d.jobs[m.Job] == nil {
			d.jobs[m.Job] = &openJob{context: &jobContext{spec: m.Spec, policy: m.Policy}}
		}
		d.matcher.Seek(m)
	case actors.Hold:
		d.matcher.Hold(m)
	case actors.Release:
		d.matcher.Release(m)
	case actors.Forget:
		delete(d.jobs, m.Job)
		d.matcher.Forget(m.Job)
	case *workerReady:
		d.matcher.Ready(m.worker)
	case *workerCredits:
		d.matcher.Credits(m.key, m.n)
	case *workerDrain:
		d.matcher.Drain(m.key, m.on)
	case *workerGone:
		d.matcher.Gone(m.key)
	case *dispatchFailed:
		d.failed(m)
	case *outOfPatience:
		d.abandon(m.patience)
		return
	case *dispatchQuery:
		m.answer(d.matcher)
		return
	default:
		return
	}
	d.place()
}

func (d *dispatcher) place() {
	h := d.host
	for {
		placements := d.matcher.Match(h.head.Load(), time.Now().UnixMicro(), matchBatch)
		for _, p := range placements {
			d.dispatch(p)
		}
		if len(placements) < matchBatch {
			return
		}
	}
}

func (d *dispatcher) dispatch(p dispatch.Placement) {
	h := d.host
	job := d.jobs[p.Job]
	if job == nil { // decided meanwhile
		return
	}
	fresh := p.Slot < 64 && job.placed&(1<<p.Slot) == 0
	job.placed |= 1 << (p.Slot & 63)
	holder := actors.Holder{Slot: p.Slot, Worker: p.Dispatch.Worker, Group: p.Dispatch.Group}
	h.route(&order{
		to:    actors.SlotAddress(p.Job, p.Slot),
		id:    events.NewCommandID([]byte("dispatch"), []byte(p.Job), p.Dispatch.Seed),
		cmd:   &eventv1.Command{Kind: &eventv1.Command_DispatchSlot{DispatchSlot: p.Dispatch}},
		fresh: fresh,
		job:   job.context,
		done: func(_ any, err error) {
			if err != nil {
				h.system.Root.Send(h.dispatch, &dispatchFailed{p.Job, holder})
			}
		},
	})
}

// retryDispatch is how long a slot waits that could not be told of its worker because the log or its mailbox refused.
const retryDispatch = 250 * time.Millisecond

// failed frees the worker. The job is asked whether it still wants the slot: a slot that refused because it is closed
// is not sought again.
func (d *dispatcher) failed(m *dispatchFailed) {
	d.matcher.Release(actors.Release{Job: m.job, Holder: m.holder})
	h := d.host
	h.counters.dispatchFailed.Add(1)
	time.AfterFunc(retryDispatch, func() {
		h.Tell(actors.SlotAddress(m.job, m.holder.Slot), &eventv1.Command{Kind: &eventv1.Command_OpenSlot{OpenSlot: &eventv1.OpenSlot{}}}, nil)
	})
}

// WorkerReady tells the dispatcher of an admitted, connected worker, or of a change in one.
func (h *Host) WorkerReady(w dispatch.Worker) { h.system.Root.Send(h.dispatch, &workerReady{w}) }

// WorkerCredits sets how many tasks a worker is willing to hold at once.
func (h *Host) WorkerCredits(key []byte, n uint32) {
	h.system.Root.Send(h.dispatch, &workerCredits{key, n})
}

// WorkerDrain stops, or takes up again, dispatching to a worker; what it holds it may finish.
func (h *Host) WorkerDrain(key []byte, on bool) {
	h.system.Root.Send(h.dispatch, &workerDrain{key, on})
}

// WorkerGone tells the dispatcher that a worker's session ended. Its slots are stripped by whoever held the session.
func (h *Host) WorkerGone(key []byte) { h.system.Root.Send(h.dispatch, &workerGone{key}) }

// Explain says why a job's slots wait, in words.
func (h *Host) Explain(ctx context.Context, job string) ([]string, error) {
	lines, err := query(ctx, h, func(m *dispatch.Matcher) []string { return m.Explain(job) })
	if since, away := h.gate.awaySince(); away && err == nil {
		lines = append([]string{fmt.Sprintf("the event log is away for %s; everything waits for it", time.Since(since).Round(time.Second))}, lines...)
	}
	return lines, err
}

func query[T any](ctx context.Context, h *Host, ask func(*dispatch.Matcher) T) (T, error) {
	ch := make(chan T, 1)
	h.system.Root.Send(h.dispatch, &dispatchQuery{func(m *dispatch.Matcher) { ch <- ask(m) }})
	var zero T
	select {
	case v := <-ch:
		return v, nil
	case <-ctx.Done():
		return zero, context.Cause(ctx)
	case <-h.ctx.Done():
		return zero, ErrStopped
	}
}
