package agent

import (
	"context"
	"crypto/sha256"
	"errors"
	"sync"
	"time"

	"github.com/shardy-network/orchestrator/actors/proof"
	"github.com/shardy-network/orchestrator/gateway/agent/sandbox"
	"github.com/shardy-network/orchestrator/gateway/wire"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	workerv1 "github.com/shardy-network/orchestrator/proto/shardy/worker/v1"
)

// desk holds the agent's tasks from their arrival to their settlement, across sessions.
type desk struct {
	agent *Agent

	mu       sync.Mutex
	wake     sync.Cond        // of mu: queue or closed changed
	items    map[uint64]*item // by token; guarded by mu
	queue    []*item          // to run, oldest first; guarded by mu
	session  *session         // nil: not connected; guarded by mu
	draining bool             // takes nothing new; guarded by mu
	closed   bool             // guarded by mu
	idle     chan struct{}    // closed when draining and items is empty; nil until asked for; guarded by mu
	stats    Stats            // guarded by mu
	outbox   outbox           // guarded by mu
}

// Stats is what became of an agent's tasks.
type Stats struct {
	Taken, Recorded, Rejected, Stale, Failed, Cancelled uint64
	Receipted                                           uint64 // recorded results that receipts were signed for
	Forged                                              uint64 // receipts that were not signed as they should be
	Held                                                int    // now
}

// item is one task. Its fields are fixed but for those that desk.mu guards.
type item struct {
	assign *workerv1.TaskAssign
	input  []byte

	cancelled bool               // guarded by desk.mu
	stop      context.CancelFunc // of the run; nil: not running; guarded by desk.mu
	meta      []byte             // the encoded TaskResult; nil: no result yet; guarded by desk.mu
	output    []byte             // guarded by desk.mu
}

func newDesk(a *Agent) *desk {
	d := &desk{agent: a, items: make(map[uint64]*item)}
	d.wake.L = &d.mu
	return d
}

// take puts a task on the desk. It reports whether it is to be acknowledged.
func (d *desk) take(m *workerv1.TaskAssign, input []byte) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return false
	}
	if _, ok := d.items[m.GetToken()]; ok {
		return true // delivered again after a restart of the orchestrator
	}
	it := &item{assign: m, input: input}
	d.items[m.GetToken()] = it
	d.queue = append(d.queue, it)
	d.stats.Taken++
	d.wake.Signal()
	return true
}

// work runs tasks until the desk is closed.
func (d *desk) work(ctx context.Context) {
	for {
		it, run := d.pick(ctx)
		if it == nil {
			return
		}
		r, err := d.run(run, it)
		d.done(it, r, err)
	}
}

// pick waits for a task. The context ends when the task is cancelled.
func (d *desk) pick(ctx context.Context) (*item, context.Context) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for {
		for len(d.queue) == 0 && !d.closed {
			d.wake.Wait()
		}
		if d.closed {
			return nil, nil
		}
		it := d.queue[0]
		d.queue[0] = nil
		d.queue = d.queue[1:]
		if it.cancelled {
			continue
		}
		run, stop := context.WithCancel(ctx)
		it.stop = stop
		return it, run
	}
}

func (d *desk) run(ctx context.Context, it *item) (Result, error) {
	m := it.assign
	t := Task{
		Job: m.GetJob(), Slot: m.GetSlot(), Token: m.GetToken(), Module: [32]byte(m.GetModule()), Input: it.input,
		FuelLimit: m.GetFuelLimit(), MaxOutput: m.GetOutput().GetMaxBytes(),
		Timeout: time.Duration(m.GetExecutionTimeoutMs()) * time.Millisecond,
	}
	lib := d.agent.library
	for again := false; ; again = true {
		if err := lib.load(ctx, t.Module); err != nil {
			return Result{}, err
		}
		r, err := d.agent.cfg.Runner.Run(ctx, t)
		if errors.Is(err, sandbox.ErrNotLoaded) && !again {
			lib.forget(t.Module) // the runner keeps only so many
			continue
		}
		if err == nil && d.agent.cfg.Dishonesty != nil {
			d.agent.cfg.Dishonesty(t, &r)
		}
		return r, err
	}
}

// done reports a result, or that there is none.
func (d *desk) done(it *item, r Result, err error) {
	var meta []byte
	var out sent
	if err == nil {
		meta, out, err = d.encode(it, r)
	}
	d.mu.Lock()
	it.stop()
	it.stop = nil
	it.input = nil
	if it.cancelled {
		d.mu.Unlock()
		return
	}
	s := d.session
	if err == nil {
		it.meta, it.output = meta, r.Output
		d.outbox.put(it.assign.GetToken(), out)
	} else {
		d.stats.Failed++
		d.remove(it.assign.GetToken())
	}
	d.mu.Unlock()
	if s == nil {
		return // the next session sends it; a failure is told by not holding the token
	}
	if err == nil {
		s.report(meta, r.Output, it.assign.GetToken())
		return
	}
	d.agent.cfg.Log.Warn("task failed", "job", it.assign.GetJob(), "error", err)
	s.say(&workerv1.FromWorker{Kind: &workerv1.FromWorker_TaskFailed{TaskFailed: &workerv1.TaskFailed{
		Token: it.assign.GetToken(), Detail: clip(err.Error()),
	}}})
}

// encode signs a result.
func (d *desk) encode(it *item, r Result) ([]byte, sent, error) {
	m, a := it.assign, d.agent
	statement := proof.Statement{
		Job: m.GetJob(), Slot: m.GetSlot(), Token: m.GetToken(), Module: [32]byte(m.GetModule()),
		Input: [32]byte(m.GetInputSha256()), Status: r.Status, Fuel: r.Fuel, Output: sha256.Sum256(r.Output),
	}
	result := &workerv1.TaskResult{
		Token: m.GetToken(), Status: r.Status, Fuel: r.Fuel, OutputSha256: statement.Output[:],
		OutputSize: uint64(len(r.Output)), Proof: r.Proof,
	}
	if r.Status == eventv1.ResultStatus_RESULT_STATUS_OK {
		result.Dtype, result.Shape = m.GetOutput().GetDtype(), m.GetOutput().GetShape()
	}
	if !a.cfg.Unsigned {
		result.Attestation = statement.Sign(a.key)
	}
	out := sent{job: m.GetJob(), slot: m.GetSlot(), checksum: proof.Checksum(r.Status, r.Fuel, statement.Output)}
	meta, err := wire.AppendFromWorker(nil, &workerv1.FromWorker{Kind: &workerv1.FromWorker_TaskResult{TaskResult: result}})
	return meta, out, err
}

// settled ends the keeping of results: they are in the log, or will never be.
func (d *desk) settled(m *workerv1.TaskSettled, serverKey []byte) {
	n := uint64(len(m.GetTokens()))
	d.mu.Lock()
	refused := d.refusal(m, serverKey)
	switch m.GetOutcome() {
	case workerv1.TaskOutcome_TASK_OUTCOME_RECORDED:
		d.stats.Recorded += n
	case workerv1.TaskOutcome_TASK_OUTCOME_REJECTED:
		d.stats.Rejected += n
	default:
		d.stats.Stale += n
	}
	for _, token := range m.GetTokens() {
		switch m.GetOutcome() {
		case workerv1.TaskOutcome_TASK_OUTCOME_RECORDED:
			d.outbox.recorded(token)
		case workerv1.TaskOutcome_TASK_OUTCOME_REJECTED:
			d.outbox.take(token)
		}
		d.remove(token)
	}
	d.mu.Unlock()
	if refused != nil {
		d.agent.hand(*refused)
	}
	if m.GetOutcome() == workerv1.TaskOutcome_TASK_OUTCOME_REJECTED {
		d.agent.cfg.Log.Warn("result rejected", "reason", eventv1.RejectReason(m.GetReason()).String(), "detail", m.GetDetail())
	}
}

// cancel drops tasks and stops their runs.
func (d *desk) cancel(tokens []uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, token := range tokens {
		if _, ok := d.items[token]; ok {
			d.stats.Cancelled++
			d.remove(token)
		}
	}
}

// remove takes a task off the desk. The caller holds mu.
func (d *desk) remove(token uint64) {
	it, ok := d.items[token]
	if !ok {
		return
	}
	delete(d.items, token)
	it.cancelled = true
	it.output = nil
	if it.stop != nil {
		it.stop()
	}
	d.checkIdle()
}

// held lists what the agent still has.
func (d *desk) held() []uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	tokens := make([]uint64, 0, min(len(d.items), wire.MaxTokens))
	for token := range d.items {
		if len(tokens) == wire.MaxTokens {
			break
		}
		tokens = append(tokens, token)
	}
	return tokens
}

// resume drops what no longer counts.
func (d *desk) resume(held, counts []uint64) {
	keep := make(map[uint64]bool, len(counts))
	for _, token := range counts {
		keep[token] = true
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, token := range held {
		if !keep[token] {
			d.remove(token)
		}
	}
}

// attach makes s the session that results go to, and sends it those that no session has settled.
func (d *desk) attach(s *session) {
	d.mu.Lock()
	d.session = s
	var open []*item
	for _, it := range d.items {
		open = append(open, it)
	}
	d.mu.Unlock()
	for _, it := range open {
		d.mu.Lock()
		meta, output, gone := it.meta, it.output, it.cancelled
		d.mu.Unlock()
		switch token := it.assign.GetToken(); {
		case gone:
		case meta != nil:
			s.report(meta, output, token)
		default:
			s.mu.Lock()
			s.acks[token] = struct{}{}
			s.mu.Unlock()
			s.conn.Kick()
		}
	}
}

func (d *desk) detach(s *session) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.session == s {
		d.session = nil
	}
}

func (d *desk) drain() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.draining = true
}

func (d *desk) isDraining() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.draining
}

// empty is closed when the desk, which is draining, has nothing left.
func (d *desk) empty() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.idle == nil {
		d.idle = make(chan struct{})
	}
	c := d.idle
	d.checkIdle()
	return c
}

// checkIdle announces an empty desk. The caller holds mu.
func (d *desk) checkIdle() {
	if d.idle != nil && len(d.items) == 0 {
		close(d.idle)
		d.idle = nil
	}
}

// close ends the runners; runs under way are stopped by their context.
func (d *desk) close() {
	d.mu.Lock()
	d.closed = true
	d.mu.Unlock()
	d.wake.Broadcast()
}

func (d *desk) count() Stats {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.stats
	s.Held = len(d.items)
	return s
}

func clip(s string) string {
	if len(s) > 256 {
		return s[:256]
	}
	return s
}
