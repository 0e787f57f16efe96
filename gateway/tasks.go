package gateway

import (
	"errors"
	"strings"
	"time"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/events"
	"github.com/shardy-network/orchestrator/gateway/wire"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	workerv1 "github.com/shardy-network/orchestrator/proto/shardy/worker/v1"
)

// deliver sends a task, or strips it when the session cannot have it. It does not block.
func (s *session) deliver(t actors.Task) {
	if why := s.enter(t); why != "" {
		s.door.strip(t, eventv1.StripReason_STRIP_REASON_UNDELIVERED, why)
		return
	}
	ref := t.Spec.GetInput()
	if len(ref.GetSha256()) != 32 || ref.GetSize() > s.maxFrame.Load() {
		s.undeliverable(t, eventv1.StripReason_STRIP_REASON_WORKER_FAILED, "input is larger than the session's frames")
		return
	}
	sum := [32]byte(ref.GetSha256())
	if input, ok := s.door.inputs.get(sum); ok {
		s.assign(t, input)
		return
	}
	s.door.crew.Go(func() { s.fetchAndAssign(t, sum) })
}

// enter registers a task before it is sent, so that it is stripped if the socket goes meanwhile.
func (s *session) enter(t actors.Task) (why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.ended || !s.welcomed:
		return "worker is not connected"
	case s.drained && !t.Acked:
		return "worker is draining"
	}
	s.hold(&task{Task: t, acked: t.Acked})
	return ""
}

// hold notes a task as in flight. The caller holds mu.
func (s *session) hold(t *task) {
	if s.tasks == nil {
		s.tasks = make(map[uint64]*task)
	}
	s.tasks[t.Token] = t
	if !s.working.Load() {
		s.working.Store(true)
	}
}

// forget takes a task out and reports whether it was there.
func (s *session) forget(token uint64) (*task, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, ok := s.tasks[token]
	delete(s.tasks, token)
	if s.leaving() && !s.ended {
		s.sign()
	}
	return t, ok
}

func (s *session) undeliverable(t actors.Task, why eventv1.StripReason, detail string) {
	if _, ok := s.forget(t.Token); ok {
		s.door.strip(t, why, detail)
	}
}

const fetchAttempts = 4

func (s *session) fetchAndAssign(t actors.Task, sum [32]byte) {
	input, err := s.door.input(sum)
	if err != nil {
		s.door.log.Error("input is not readable", "job", t.Job, "slot", t.Slot, "error", err)
		s.undeliverable(t, eventv1.StripReason_STRIP_REASON_UNDELIVERED, "input is not readable")
		return
	}
	s.assign(t, input)
}

// input reads a blob, a few times: a store that is away for a moment must not cost a job its attempts.
func (d *Door) input(sum [32]byte) ([]byte, error) {
	if data, ok := d.inputs.get(sum); ok {
		return data, nil
	}
	for attempt := 0; ; attempt++ {
		data, err := d.deps.Blobs.Get(d.bounded(), sum)
		if err == nil {
			d.inputs.put(sum, data)
			return data, nil
		}
		if attempt+1 >= fetchAttempts || d.ctx.Err() != nil {
			return nil, err
		}
		pause := 50 * time.Millisecond << attempt
		if errors.Is(err, events.ErrNotFound) {
			pause = time.Second // it will hardly come; do not let the slot spin
		}
		select {
		case <-d.ctx.Done():
			return nil, err
		case <-time.After(pause):
		}
	}
}

func (s *session) assign(t actors.Task, input []byte) {
	spec := t.Spec
	ack := max(t.AckDeadlineUs/1000-time.Now().UnixMilli(), 0)
	m := workerv1.FromOrchestrator{Kind: &workerv1.FromOrchestrator_TaskAssign{TaskAssign: &workerv1.TaskAssign{
		Token: t.Token, Job: t.Job, Slot: t.Slot, Attempt: t.Attempt,
		Module: spec.GetModule(), InputSha256: spec.GetInput().GetSha256(), InputSize: uint64(len(input)),
		FuelLimit: spec.GetFuelLimit(), Output: spec.GetOutput(), MinMemoryBytes: spec.GetMinMemoryBytes(),
		AckTimeoutMs: uint32(min(ack, 1<<31)), ExecutionTimeoutMs: t.ExecutionTimeoutMs, Proof: spec.GetProof(),
	}}}
	buf := takeBuffer(metaBuffer)
	defer releaseBuffer(buf)
	b, err := wire.AppendFromOrchestrator(buf.b[:0], &m)
	if err != nil || uint64(len(input)) != spec.GetInput().GetSize() {
		s.door.log.Error("task cannot be sent", "job", t.Job, "slot", t.Slot, "error", err)
		s.undeliverable(t, eventv1.StripReason_STRIP_REASON_UNDELIVERED, "task cannot be encoded")
		return
	}
	if err := s.conn.Send(b, input); err != nil {
		s.unsaid(err)
		return
	}
	s.door.count.delivered.Add(1)
}

// recall tells the worker to drop a task that no longer counts.
func (s *session) recall(token uint64, reason string) {
	if _, ok := s.forget(token); !ok {
		return // its result is on the way, or it was stripped by us
	}
	s.say(&workerv1.FromOrchestrator{Kind: &workerv1.FromOrchestrator_TaskCancel{
		TaskCancel: &workerv1.TaskCancel{Tokens: []uint64{token}, Reason: clip(reason)},
	}})
}

// ack passes on what the worker has taken. A token that is not in flight here is stale: counted, nothing written.
func (s *session) ack(tokens []uint64) {
	for _, token := range tokens {
		s.mu.Lock()
		t := s.tasks[token]
		fresh := t != nil && !t.acked
		if fresh {
			t.acked = true
		}
		s.mu.Unlock()
		if t == nil {
			s.door.count.stale.Add(1)
			continue
		}
		if fresh {
			s.door.tell(actors.SlotAddress(t.Job, t.Slot), &eventv1.Command{Kind: &eventv1.Command_AckTask{
				AckTask: &eventv1.AckTask{Token: token},
			}}, 0)
		}
	}
}

func (s *session) progress(m *workerv1.TaskProgress) {
	if s.door.deps.Progress == nil {
		return
	}
	s.mu.Lock()
	t := s.tasks[m.GetToken()]
	s.mu.Unlock()
	if t == nil {
		s.door.count.stale.Add(1)
		return
	}
	s.door.deps.Progress(s.key[:], t.Job, t.Slot, m.GetPermille())
}

// taskFailed strips a task that the worker could not run.
func (s *session) taskFailed(m *workerv1.TaskFailed) {
	t, ok := s.forget(m.GetToken())
	if !ok {
		s.door.count.stale.Add(1)
		return
	}
	s.door.strip(t.Task, eventv1.StripReason_STRIP_REASON_WORKER_FAILED, strings.ToValidUTF8(clip(m.GetDetail()), "?"))
}

// setCredits takes what the worker is willing to hold and tells the dispatcher.
func (s *session) setCredits(n uint32) {
	n = min(n, s.door.cfg.MaxCredits)
	s.mu.Lock()
	s.credits = n
	working := s.ready.Tier > 0 && !s.ended && !s.testing
	first := working && s.ready.Credits == 0 && n > 0
	s.ready.Credits = n
	ready := s.ready
	s.mu.Unlock()
	switch {
	case first:
		s.announce(ready)
	case working:
		s.door.deps.Orchestrator.WorkerCredits(s.key[:], n)
	}
}

// drainFromThere is the worker's wish to leave: it finishes what it has and gets nothing new.
func (s *session) drainFromThere() {
	s.stopWork()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.leaving() && !s.ended {
		s.sign()
	}
}

// drainFromHere asks the worker to finish what it has.
func (s *session) drainFromHere(reason string) {
	if s.stopWork() {
		s.say(&workerv1.FromOrchestrator{Kind: &workerv1.FromOrchestrator_Drain{Drain: &workerv1.Drain{Reason: clip(reason)}}})
	}
}

func (s *session) stopWork() bool {
	s.mu.Lock()
	again := s.drained || s.ended
	s.drained = true
	s.ready.Draining = true
	s.mu.Unlock()
	if !again {
		s.door.deps.Orchestrator.WorkerDrain(s.key[:], true)
	}
	return !again
}

// reinstate lets a drained worker work again. It has been told to drain, so it connects anew.
func (s *session) reinstate() {
	s.mu.Lock()
	drained := s.drained
	s.mu.Unlock()
	if drained && !s.door.draining.Load() {
		s.close(wire.Errorf(workerv1.ErrorCode_ERROR_CODE_DRAINING, "reinstated: connect again"))
	}
}
