package gateway

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"time"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/actors/admission"
	"github.com/shardy-network/orchestrator/actors/dispatch"
	"github.com/shardy-network/orchestrator/actors/worker"
	"github.com/shardy-network/orchestrator/gateway/wire"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	workerv1 "github.com/shardy-network/orchestrator/proto/shardy/worker/v1"
)

// errEnded ends a test whose session is gone.
var errEnded = errors.New("gateway: session ended")

// qualify measures the worker, unless a proof on record still stands, and asks its entity for the verdict. It runs in
// a goroutine of its own; while it does, testing is set.
func (s *session) qualify(proven bool) {
	policy := s.door.deps.Admission()
	var err error
	if !proven {
		err = s.measure(policy)
	}
	if err == nil {
		err = s.admit(policy)
	}
	var rejected *rejection
	var breach *wire.Error
	switch {
	case err == nil || errors.Is(err, errEnded):
	case errors.As(err, &rejected):
		s.reject(rejected)
	case errors.As(err, &breach):
		s.close(breach)
	default:
		s.door.log.Error("worker could not be tested", "worker", s.short(), "error", err)
		s.close(wire.Errorf(workerv1.ErrorCode_ERROR_CODE_UNAVAILABLE, "no test is possible now"))
	}
}

// measure runs the challenges of the plan and records what came of them.
func (s *session) measure(policy *eventv1.AdmissionPolicy) error {
	ctx, cancel := context.WithTimeout(s.door.ctx, s.door.cfg.Benchmark.Wait)
	defer cancel()
	done, err := s.door.turns.take(ctx, host(s.ip))
	if err != nil {
		return &rejection{eventv1.RejectionReason_REJECTION_REASON_CAPACITY, "too many workers wait for their test"}
	}
	defer done()
	s.door.count.tested.Add(1)
	prepared := make(map[[32]byte]bool)
	fast := false // as fast as claimed: another compute challenge cannot show more
	for _, step := range admission.Plan(s.profile, policy) {
		if fast && step.Kind == eventv1.ChallengeKind_CHALLENGE_KIND_COMPUTE {
			continue
		}
		c, err := s.door.deps.Challenges.Take(ctx, step.Kind, step.Size)
		if err != nil {
			return fmt.Errorf("take challenge: %w", err)
		}
		if !prepared[c.Module] {
			if err := s.prepare(step.Kind, c); err != nil {
				return err
			}
			prepared[c.Module] = true
		}
		record, err := s.challenge(step, c)
		if err != nil {
			return err
		}
		record.ProofTtlS = policy.GetProofTtlS()
		_, err = s.door.do(actors.WorkerAddress(s.key[:]), &eventv1.Command{Kind: &eventv1.Command_RecordChallenge{RecordChallenge: record}})
		if err != nil {
			return s.refused(err)
		}
		if record.Failure != eventv1.RejectionReason_REJECTION_REASON_UNSPECIFIED {
			return nil // the verdict is the entity's
		}
		fast = fast || step.Kind == eventv1.ChallengeKind_CHALLENGE_KIND_COMPUTE && record.Work/record.ElapsedUs >= s.profile.GetMflops()
	}
	return nil
}

// quiet waits until the worker has finished what it holds, for half of the test's wait at most: work beside the test
// would slow it. It reports false when the session has ended.
func (s *session) quiet() bool {
	limit := time.NewTimer(s.door.cfg.Benchmark.Wait / 2)
	defer limit.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for s.busy() > 0 {
		select {
		case <-tick.C:
		case <-limit.C:
			return true
		case <-s.conn.Closed():
			return false
		case <-s.door.ctx.Done():
			return false
		}
	}
	return true
}

// prepare has the worker fetch and compile a challenge's module, so that this is not timed.
func (s *session) prepare(kind eventv1.ChallengeKind, c Challenge) error {
	answer, _, err := s.ask(&workerv1.BenchmarkChallenge{
		Kind: kind, Nonce: c.Nonce, Module: c.Module[:], FuelLimit: c.FuelLimit, Prepare: true,
	}, s.door.cfg.Benchmark.PrepareTimeout)
	switch {
	case err != nil:
		return err
	case answer == nil:
		return &rejection{eventv1.RejectionReason_REJECTION_REASON_CHALLENGE_TIMEOUT, "the challenge's module was not ready in time"}
	case answer.GetFailure() != "":
		return &rejection{eventv1.RejectionReason_REJECTION_REASON_CHALLENGE_FAILED, clip(answer.GetFailure())}
	}
	return nil
}

// challenge times one answer. What went wrong with it is part of the record, not an error.
func (s *session) challenge(step admission.Challenge, c Challenge) (*eventv1.RecordChallenge, error) {
	limit := time.Duration(step.DeadlineMs) * time.Millisecond
	answer, took, err := s.ask(&workerv1.BenchmarkChallenge{
		Kind: step.Kind, Nonce: c.Nonce, Module: c.Module[:], Input: c.Input, FuelLimit: c.FuelLimit,
	}, limit+s.door.cfg.Benchmark.MaxRTT)
	if err != nil {
		return nil, err
	}
	r := &eventv1.RecordChallenge{Kind: step.Kind, Nonce: c.Nonce, Work: c.Work, Fuel: c.Fuel}
	took -= min(s.conn.RTT(), s.door.cfg.Benchmark.MaxRTT, took/4)
	r.ElapsedUs = uint64(max(took.Microseconds(), 1))
	switch {
	case answer == nil || took > limit:
		r.Failure = eventv1.RejectionReason_REJECTION_REASON_CHALLENGE_TIMEOUT
		r.Detail = fmt.Sprintf("no answer within %s", limit)
	case answer.GetFailure() != "":
		r.Failure, r.Detail = eventv1.RejectionReason_REJECTION_REASON_CHALLENGE_FAILED, clip(answer.GetFailure())
	case !bytes.Equal(answer.GetDigest(), c.Digest[:]):
		r.Failure, r.Detail = eventv1.RejectionReason_REJECTION_REASON_CHALLENGE_FAILED, "wrong answer"
	}
	return r, nil
}

// ask sends a challenge and times the answer; nil when none came in time. An answer to an earlier question is skipped.
func (s *session) ask(c *workerv1.BenchmarkChallenge, limit time.Duration) (*workerv1.BenchmarkAnswer, time.Duration, error) {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	begin := time.Now()
	s.say(&workerv1.FromOrchestrator{Kind: &workerv1.FromOrchestrator_BenchmarkChallenge{BenchmarkChallenge: c}})
	for {
		select {
		case a := <-s.answers:
			if bytes.Equal(a.GetNonce(), c.GetNonce()) {
				return a, time.Since(begin), nil
			}
		case <-timer.C:
			return nil, limit, nil
		case <-s.conn.Closed():
			return nil, 0, errEnded
		case <-s.door.ctx.Done():
			return nil, 0, errEnded
		}
	}
}

// admit asks for the verdict and opens the session for work.
func (s *session) admit(policy *eventv1.AdmissionPolicy) error {
	reply, err := s.door.do(actors.WorkerAddress(s.key[:]), &eventv1.Command{Kind: &eventv1.Command_AdmitWorker{
		AdmitWorker: &eventv1.AdmitWorker{Policy: policy},
	}})
	if err != nil {
		return s.refused(err)
	}
	verdict, ok := reply.(worker.AdmitReply)
	switch {
	case !ok:
		return fmt.Errorf("admit: unexpected reply %T", reply)
	case verdict.Rejection != nil:
		return &rejection{verdict.Rejection.Reason, clip(verdict.Rejection.Detail)}
	}
	s.open(verdict)
	return nil
}

// open lets an admitted worker have tasks as soon as it has given credits.
func (s *session) open(v worker.AdmitReply) {
	s.setFrameLimit(v.Tier)
	s.mu.Lock()
	s.testing = false
	s.ready = dispatch.Worker{
		Key: s.key[:], Group: s.group, Tier: v.Tier, MemoryBytes: v.Proven.GetMemoryBytes(),
		ChunkBytes: min(v.ChunkBytes, s.maxFrame.Load()), MFlops: v.Proven.GetMflops(), FuelPerMs: v.Proven.GetFuelPerMs(),
		Credits: s.credits, Draining: s.drained,
	}
	ready, ended := s.ready, s.ended
	s.mu.Unlock()
	if ended {
		return
	}
	s.phase.Store(uint32(wire.PhaseWork))
	s.say(&workerv1.FromOrchestrator{Kind: &workerv1.FromOrchestrator_Admitted{Admitted: &workerv1.Admitted{
		Tier: v.Tier, Proven: v.Proven, ChunkBytes: ready.ChunkBytes, MaxCredits: s.door.cfg.MaxCredits,
	}}})
	if ready.Credits > 0 {
		s.announce(ready)
	}
	if ready.Draining {
		s.say(&workerv1.FromOrchestrator{Kind: &workerv1.FromOrchestrator_Drain{Drain: &workerv1.Drain{Reason: "drained by an operator"}}})
	}
}

// setFrameLimit allows tier 3 its larger frames. The reading goroutine picks the limit up at its next message.
func (s *session) setFrameLimit(tier uint32) {
	limit := s.door.cfg.MaxFrame
	if tier >= 3 {
		limit = s.door.cfg.MaxFrameTier3
	}
	s.maxFrame.Store(limit)
}

// announce tells the dispatcher of a worker, and takes it back when the session ended meanwhile.
func (s *session) announce(w dispatch.Worker) {
	s.door.deps.Orchestrator.WorkerReady(w)
	if s.hasEnded() && s.door.table.get(s.key[:]) == nil {
		s.door.deps.Orchestrator.WorkerGone(s.key[:])
	}
}

// retest takes a worker whose proof was voided out of work and measures it again. What it has, it finishes.
func (s *session) retest() {
	s.mu.Lock()
	busy := s.testing || s.ended || s.ready.Tier == 0
	if !busy {
		s.testing = true
		s.ready.Tier = 0
	}
	s.mu.Unlock()
	if busy {
		return
	}
	s.phase.Store(uint32(wire.PhaseTest))
	s.door.deps.Orchestrator.WorkerCredits(s.key[:], 0)
	s.door.spawn(func() {
		if s.quiet() {
			s.qualify(false)
		}
	})
}

// reject ends the session with a receipt: the worker can prove how it was treated.
func (s *session) reject(r *rejection) {
	if !s.leave(eventv1.StripReason_STRIP_REASON_SOCKET_DROPPED, r.Error()) {
		return
	}
	at := time.Now().UnixMicro()
	last, err := wire.AppendFromOrchestrator(nil, &workerv1.FromOrchestrator{Kind: &workerv1.FromOrchestrator_Rejected{
		Rejected: &workerv1.Rejected{
			Reason: r.reason, Detail: r.detail, AtUs: at,
			Receipt: ed25519.Sign(s.door.cfg.Key, wire.RejectedText(s.key[:], uint32(r.reason), at, r.detail)),
		},
	}})
	words := s.lastReceipts()
	if err == nil {
		words = append(words, last)
	}
	s.end(wire.RejectedCode, r.reason.String(), words...)
}
