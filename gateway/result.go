package gateway

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"time"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/actors/assignment"
	"github.com/shardy-network/orchestrator/actors/proof"
	"github.com/shardy-network/orchestrator/gateway/wire"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	workerv1 "github.com/shardy-network/orchestrator/proto/shardy/worker/v1"
)

// errUnverifiable means that the job asks for a proof that nobody can check: no worker is to blame.
var errUnverifiable = errors.New("proof cannot be checked")

// arrival is a result on its way to its slot.
type arrival struct {
	session *session
	task    *task
	meta    *workerv1.TaskResult
	output  []byte
	buf     *buffer
	verdict verdict
	since   time.Time
	command *eventv1.Command // once staged
	tries   int
}

// result takes a whole TaskResult. It runs on the reading goroutine up to the point where others must be asked.
func (s *session) result(m *workerv1.TaskResult, in wire.Incoming[*workerv1.FromWorker], buf *buffer) error {
	t, outcome := s.surrender(m.GetToken())
	if t == nil {
		releaseBuffer(buf)
		s.door.count.stale.Add(1)
		s.thank(&workerv1.TaskSettled{Tokens: []uint64{m.GetToken()}, Outcome: outcome, AtUs: time.Now().UnixMicro()})
		return nil
	}
	a := &arrival{session: s, task: t, meta: m, output: in.Payload, buf: buf, since: time.Now()}
	a.verdict = checkResult(t, s.key[:], s.door.cfg.MaxOutput, m, in.Payload, in.Sum, s.door.deps.Attested)
	n := uint64(len(in.Payload))
	s.reserve(n)
	s.door.crew.Go(func() {
		defer s.release(n)
		a.run()
	})
	return nil
}

// misfit reports a result whose payload broke the protocol: its slot hears why before the session ends.
func (s *session) misfit(in wire.Incoming[*workerv1.FromWorker], err error) {
	m := in.Message.GetTaskResult()
	code, ok := wire.CodeOf(err)
	if m == nil || !ok {
		return
	}
	var why eventv1.RejectReason
	switch {
	case code == workerv1.ErrorCode_ERROR_CODE_TOO_LARGE:
		why = eventv1.RejectReason_REJECT_REASON_TOO_LARGE
	case code == workerv1.ErrorCode_ERROR_CODE_PAYLOAD_MISMATCH && uint64(len(in.Payload)) == m.GetOutputSize():
		why = eventv1.RejectReason_REJECT_REASON_CHECKSUM
	default:
		why = eventv1.RejectReason_REJECT_REASON_LENGTH
	}
	t, _ := s.surrender(m.GetToken())
	if t == nil {
		s.door.count.stale.Add(1)
		return
	}
	a := &arrival{session: s, task: t, meta: m, verdict: refuseResult(why, "%s", err), since: time.Now()}
	s.door.crew.Go(a.run)
}

// surrender moves a task from flight to settlement; what is in neither is stale, what is in the latter a duplicate.
func (s *session) surrender(token uint64) (*task, workerv1.TaskOutcome) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.settling[token]; ok {
		return nil, workerv1.TaskOutcome_TASK_OUTCOME_DUPLICATE
	}
	t, ok := s.tasks[token]
	if !ok {
		return nil, workerv1.TaskOutcome_TASK_OUTCOME_STALE
	}
	delete(s.tasks, token)
	s.await(token)
	return t, 0
}

// settle notes a token whose result was received by the session before. It reports false when this one has ended.
func (s *session) settle(token uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ended {
		s.await(token)
	}
	return !s.ended
}

// await notes a token whose result is on its way to the log. The caller holds mu.
func (s *session) await(token uint64) {
	if s.settling == nil {
		s.settling = make(map[uint64]struct{})
	}
	s.settling[token] = struct{}{}
}

// run verifies what takes time, stages the output and tells the slot.
func (a *arrival) run() {
	defer releaseBuffer(a.buf)
	d := a.session.door
	r := &eventv1.ReturnResult{
		Token: a.task.Token, Status: a.meta.GetStatus(), Fuel: a.meta.GetFuel(), Attestation: a.meta.GetAttestation(),
	}
	if len(r.Attestation) > ed25519.SignatureSize {
		r.Attestation = r.Attestation[:ed25519.SignatureSize]
	}
	for attempt := 0; a.verdict.reject == 0; attempt++ {
		err := a.stage(r)
		if err == nil {
			break
		}
		if errors.Is(err, errUnverifiable) {
			d.log.Error("proof cannot be checked", "job", a.task.Job, "slot", a.task.Slot, "error", err)
			a.give()
			d.strip(a.task.Task, eventv1.StripReason_STRIP_REASON_UNDELIVERED, clip(err.Error()))
			return
		}
		if !a.pause(attempt) {
			d.log.Error("result lost: the store is away", "job", a.task.Job, "slot", a.task.Slot, "error", err)
			a.give()
			return
		}
	}
	if a.verdict.reject != 0 {
		r.Reject, r.Detail = a.verdict.reject, clip(a.verdict.detail)
		r.Output = &eventv1.BlobRef{Sha256: a.meta.GetOutputSha256(), Size: a.meta.GetOutputSize()} // as it was claimed
		d.count.rejected.Add(1)
	}
	a.command = &eventv1.Command{Kind: &eventv1.Command_ReturnResult{ReturnResult: r}}
	a.output = nil // staged; the buffer goes back
	a.tell()
}

// stage checks the further proof and makes output and proof durable. An error is this process's trouble.
func (a *arrival) stage(r *eventv1.ReturnResult) error {
	d := a.session.door
	ctx := d.bounded()
	if err := a.prove(ctx, r); err != nil || a.verdict.reject != 0 {
		return err
	}
	if a.meta.GetStatus() != eventv1.ResultStatus_RESULT_STATUS_OK {
		return nil
	}
	ref, err := d.deps.Blobs.Put(ctx, a.output)
	if err != nil {
		return err
	}
	r.Output = ref
	return nil
}

// prove runs the verifier that the job asks for. The seed is drawn now, when the worker can no longer choose its
// output to fit.
func (a *arrival) prove(ctx context.Context, r *eventv1.ReturnResult) error {
	spec := a.task.Spec
	system := spec.GetProof().GetSystem()
	if system == eventv1.ProofSystem_PROOF_SYSTEM_UNSPECIFIED || a.meta.GetStatus() != eventv1.ResultStatus_RESULT_STATUS_OK {
		return nil
	}
	d := a.session.door
	verifier := d.deps.Verifiers[system]
	if verifier == nil {
		a.verdict = refuseResult(eventv1.RejectReason_REJECT_REASON_PROOF, "no verifier for %s", system)
		return nil
	}
	e := proof.Evidence{Output: a.output, Proof: a.meta.GetProof()}
	var err error
	if e.Input, err = d.input([32]byte(spec.GetInput().GetSha256())); err != nil {
		return err
	}
	if key := spec.GetProof().GetVerificationKey().GetSha256(); len(key) == 32 {
		if e.Key, err = d.input([32]byte(key)); err != nil {
			return err
		}
	}
	if len(r.ProofSeed) == 0 {
		r.ProofSeed = randomBytes(32)
	}
	e.Seed = r.ProofSeed
	switch err := verifier.Verify(e); {
	case errors.Is(err, proof.ErrKey), errors.Is(err, proof.ErrSeed):
		return fmt.Errorf("%w: %w", errUnverifiable, err)
	case err != nil:
		a.verdict = refuseResult(eventv1.RejectReason_REJECT_REASON_PROOF, "%s", clip(err.Error()))
		return nil
	}
	if len(a.meta.GetProof()) > 0 {
		ref, err := d.deps.Blobs.Put(ctx, a.meta.GetProof())
		if err != nil {
			return err
		}
		r.Proof = ref.GetSha256()
	}
	return nil
}

// pause waits before another try and reports whether there may be one.
func (a *arrival) pause(attempt int) bool {
	d := a.session.door
	if time.Since(a.since) > d.cfg.SettleTimeout {
		return false
	}
	select {
	case <-d.ctx.Done():
		return false
	case <-time.After(backoff(attempt)):
		return true
	}
}

// tell hands the command to the slot. The answer comes on the entity's goroutine.
func (a *arrival) tell() {
	d := a.session.door
	d.deps.Orchestrator.Tell(actors.SlotAddress(a.task.Job, a.task.Slot), a.command, func(_ any, err error) {
		if err != nil && temporary(err) && time.Since(a.since) < d.cfg.SettleTimeout && d.ctx.Err() == nil {
			a.tries++
			time.AfterFunc(backoff(a.tries), a.tell)
			return
		}
		a.settled(err)
	})
}

// settled thanks the worker, or says why not. The facts are durable.
func (a *arrival) settled(err error) {
	token := a.task.Token
	m := &workerv1.TaskSettled{Tokens: []uint64{token}, AtUs: time.Now().UnixMicro()}
	d := a.session.door
	switch {
	case err == nil && a.verdict.reject == 0:
		m.Outcome = workerv1.TaskOutcome_TASK_OUTCOME_RECORDED
		d.count.recorded.Add(1)
	case err == nil:
		d.crew.Go(func() { a.refuse(m) }) // a signature takes longer than an entity's goroutine should wait
		return
	case errors.Is(err, assignment.ErrDuplicate):
		m.Outcome = workerv1.TaskOutcome_TASK_OUTCOME_DUPLICATE
	case temporary(err):
		d.log.Error("result lost: the log is away", "job", a.task.Job, "slot", a.task.Slot, "error", err)
		a.give()
		return
	default:
		m.Outcome = workerv1.TaskOutcome_TASK_OUTCOME_STALE
		d.count.stale.Add(1)
	}
	a.answer(m)
}

// refuse adds the receipt of a rejected result.
func (a *arrival) refuse(m *workerv1.TaskSettled) {
	s := a.session
	m.Outcome, m.Reason, m.Detail = workerv1.TaskOutcome_TASK_OUTCOME_REJECTED, uint32(a.verdict.reject), clip(a.verdict.detail)
	m.Receipt = ed25519.Sign(s.door.cfg.Key, wire.RefusedText(s.key[:], a.task.Token, m.Reason, m.AtUs))
	a.answer(m)
}

// answer gives the outcome to the worker's session of now, which may be a later one than took the result.
func (a *arrival) answer(m *workerv1.TaskSettled) {
	a.give()
	s := a.session
	if now := s.door.table.get(s.key[:]); now != nil && now != s {
		now.mu.Lock()
		delete(now.settling, a.task.Token)
		now.mu.Unlock()
		s = now
	}
	if m.Outcome == workerv1.TaskOutcome_TASK_OUTCOME_RECORDED {
		a.acknowledge(s) // first: whoever was thanked is owed a receipt, however the session ends
	}
	s.thank(m)
}

// acknowledge has the recorded result go into the worker's next receipt.
func (a *arrival) acknowledge(s *session) {
	m := a.meta
	r := proof.Recorded{
		Job: a.task.Job, Slot: a.task.Slot, Token: a.task.Token, Attested: len(m.GetAttestation()) > 0,
		Checksum: proof.Checksum(m.GetStatus(), m.GetFuel(), [32]byte(m.GetOutputSha256())),
	}
	if !s.owe(r) {
		s.door.arrears.add(s.key, r, time.Now().Add(arrearsGrace))
		s.door.handOver(s.key)
	}
}

// give ends the settlement in the session that took the result.
func (a *arrival) give() {
	s := a.session
	s.mu.Lock()
	delete(s.settling, a.task.Token)
	s.mu.Unlock()
}

// thank queues an answer; gather sends it with what has come together by then.
func (s *session) thank(m *workerv1.TaskSettled) {
	s.mu.Lock()
	ended := s.ended
	if !ended {
		s.settled = append(s.settled, m)
	}
	s.mu.Unlock()
	if !ended {
		s.conn.Kick()
	}
}

// gather merges the thanks that have come together into one message. The connection asks before each write.
func (s *session) gather() {
	s.mu.Lock()
	if len(s.settled) == 0 || !s.welcomed {
		s.mu.Unlock()
		return
	}
	notes := s.settled
	s.settled = nil
	s.mu.Unlock()
	var merged *workerv1.TaskSettled
	for _, m := range notes {
		switch {
		case m.Outcome != workerv1.TaskOutcome_TASK_OUTCOME_RECORDED:
			s.say(&workerv1.FromOrchestrator{Kind: &workerv1.FromOrchestrator_TaskSettled{TaskSettled: m}})
		case merged == nil || len(merged.Tokens) >= wire.MaxTokens:
			if merged != nil {
				s.say(&workerv1.FromOrchestrator{Kind: &workerv1.FromOrchestrator_TaskSettled{TaskSettled: merged}})
			}
			merged = m
		default:
			merged.Tokens = append(merged.Tokens, m.Tokens...)
		}
	}
	if merged != nil {
		s.say(&workerv1.FromOrchestrator{Kind: &workerv1.FromOrchestrator_TaskSettled{TaskSettled: merged}})
	}
}
