package gateway

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"net"
	"time"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/actors/worker"
	"github.com/shardy-network/orchestrator/gateway/wire"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	workerv1 "github.com/shardy-network/orchestrator/proto/shardy/worker/v1"
)

// rejection ends a session with a receipt instead of an error.
type rejection struct {
	reason eventv1.RejectionReason
	detail string
}

func (r *rejection) Error() string { return "rejected: " + r.reason.String() + ": " + r.detail }

// handshake leads from the upgrade to the profile: who the worker is, what it still has, what it claims.
func (s *session) handshake() error {
	deadline := time.Now().Add(s.door.cfg.HandshakeTimeout)
	s.conn.SetReadDeadline(deadline)
	nonce, err := s.introduce()
	if err != nil {
		return timedOut(err)
	}
	s.phase.Store(uint32(wire.PhaseProof))
	in, err := s.expect()
	if err != nil {
		return timedOut(err)
	}
	proof := in.GetProof()
	if err := s.verify(nonce, proof); err != nil {
		return err
	}
	if err := s.connect(); err != nil {
		return err
	}
	s.phase.Store(uint32(wire.PhaseProfile))
	s.welcome(s.takeOver(proof.GetHeld()))
	if in, err = s.expect(); err != nil {
		return timedOut(err)
	}
	s.conn.SetReadDeadline(time.Time{})
	return s.claim(in.GetProfileV2().GetProfile())
}

// introduce takes Hello and answers with a Challenge.
func (s *session) introduce() (nonce []byte, err error) {
	in, err := s.expect()
	if err != nil {
		return nil, err
	}
	hello := in.GetHello()
	if hello.GetVersion() != wire.Version {
		return nil, wire.Errorf(workerv1.ErrorCode_ERROR_CODE_VERSION, "version %d; this door speaks %d", hello.GetVersion(), wire.Version)
	}
	s.key = [32]byte(hello.GetPublicKey())
	s.owner = bytes.Clone(hello.GetOwnerKey())
	s.id = randomBytes(16)
	nonce = randomBytes(32)
	s.say(&workerv1.FromOrchestrator{Kind: &workerv1.FromOrchestrator_Challenge{
		Challenge: &workerv1.Challenge{Nonce: nonce, ServerKey: s.door.publicKey},
	}})
	return nonce, nil
}

// expect reads the one message that the phase allows.
func (s *session) expect() (*workerv1.FromWorker, error) {
	for {
		binary, body, err := s.conn.Next()
		if err != nil {
			return nil, err
		}
		in, buf, done, err := s.take(binary, body)
		releaseBuffer(buf)
		if err != nil {
			return nil, err
		}
		if done {
			return in.Message, wire.Phase(s.phase.Load()).Check(in.Message)
		}
	}
}

// verify checks the signatures of Proof; few at a time, so that a storm of handshakes leaves processors for work.
func (s *session) verify(nonce []byte, p *workerv1.Proof) error {
	select {
	case s.door.verifies <- struct{}{}:
	case <-s.door.ctx.Done():
		return wire.Errorf(workerv1.ErrorCode_ERROR_CODE_DRAINING, "the orchestrator is closing")
	}
	defer func() { <-s.door.verifies }()
	if !ed25519.Verify(s.key[:], wire.HelloText(nonce, s.door.publicKey, s.key[:], s.owner), p.GetSignature()) {
		return wire.Errorf(workerv1.ErrorCode_ERROR_CODE_SIGNATURE, "the signature is not by public_key over this challenge")
	}
	if len(s.owner) == 0 {
		return nil
	}
	if len(p.GetOwnerSignature()) != ed25519.SignatureSize ||
		!ed25519.Verify(s.owner, wire.OwnerText(nonce, s.door.publicKey, s.key[:]), p.GetOwnerSignature()) {
		return wire.Errorf(workerv1.ErrorCode_ERROR_CODE_SIGNATURE, "the owner's signature is not by owner_key over this challenge")
	}
	return nil
}

// connect records the session.
func (s *session) connect() error {
	s.group = identityGroup(s.door.cfg.GroupKey, s.owner, s.ip)
	reply, err := s.door.do(actors.WorkerAddress(s.key[:]), &eventv1.Command{Kind: &eventv1.Command_ConnectWorker{
		ConnectWorker: &eventv1.ConnectWorker{Key: s.key[:], Owner: s.owner, Session: s.id, Group: s.group, Node: s.door.cfg.Node},
	}})
	if err != nil {
		return s.refused(err)
	}
	if known, ok := reply.(worker.ConnectReply); ok {
		s.drained, s.proven = known.Drained, known.ProofValid
	}
	return nil
}

// refused turns the answer of the worker's entity into the end of the session, if it is one.
func (s *session) refused(err error) error {
	if err == nil {
		return nil
	}
	switch {
	case errors.Is(err, worker.ErrBanned):
		return &rejection{eventv1.RejectionReason_REJECTION_REASON_BANNED, "the worker is banned"}
	case errors.Is(err, worker.ErrInvalid):
		return wire.Errorf(workerv1.ErrorCode_ERROR_CODE_MALFORMED, "%s", clip(err.Error()))
	}
	s.door.log.Error("worker command failed", "worker", s.short(), "error", err)
	return wire.Errorf(workerv1.ErrorCode_ERROR_CODE_UNAVAILABLE, "try again later")
}

// takeOver makes this the worker's session and returns the tokens, of those that the worker still has, that still
// count: from a session that it replaces, or from before a restart of the orchestrator.
func (s *session) takeOver(held []uint64) (resume []uint64) {
	has := make(map[uint64]bool, len(held))
	for _, t := range held {
		has[t] = true
	}
	var lost []*task
	if old := s.door.table.swap(s); old != nil {
		// Nothing new until this session is admitted. The worker is not gone: what it holds counts against its credits.
		s.door.deps.Orchestrator.WorkerCredits(s.key[:], 0)
		resume, lost = old.replace(s, has)
	}
	s.inherit(s.door.arrears.take(s.key))
	for token, w := range s.door.waiting.takeAll(s.key) {
		t := &task{Task: w.task, acked: w.task.Acked}
		if !has[token] {
			lost = append(lost, t)
			continue
		}
		if s.adopt(t) {
			resume = append(resume, token)
		}
	}
	for _, t := range lost {
		s.door.strip(t.Task, eventv1.StripReason_STRIP_REASON_NOT_RESUMED, "the worker came back without it")
	}
	return resume
}

// adopt takes a task over. It reports false when the session has ended: then the task is stripped.
func (s *session) adopt(t *task) bool {
	s.mu.Lock()
	ended := s.ended
	if !ended {
		s.hold(t)
	}
	s.mu.Unlock()
	if ended {
		s.door.strip(t.Task, eventv1.StripReason_STRIP_REASON_SOCKET_DROPPED, "")
	}
	return !ended
}

// replace ends the session because its worker has a new one, which keeps the tasks that it has.
func (s *session) replace(by *session, has map[uint64]bool) (resume []uint64, lost []*task) {
	s.mu.Lock()
	settling := make([]uint64, 0, len(s.settling))
	for token := range s.settling {
		settling = append(settling, token)
	}
	s.mu.Unlock()
	tasks, ok := s.seal()
	if !ok {
		return nil, nil
	}
	for token, t := range tasks {
		switch {
		case !has[token]:
			lost = append(lost, t)
		case by.adopt(t):
			resume = append(resume, token)
		}
	}
	for _, token := range settling { // received whole: their thanks go to the new session
		if has[token] && by.settle(token) {
			resume = append(resume, token)
		}
	}
	by.inherit(s.unpaid())
	s.door.count.replaced.Add(1)
	why := wire.Errorf(workerv1.ErrorCode_ERROR_CODE_REPLACED, "the same key connected again")
	last, _ := wire.AppendFromOrchestrator(nil, &workerv1.FromOrchestrator{Kind: &workerv1.FromOrchestrator_Error{
		Error: &workerv1.Error{Code: why.Code, Detail: why.Detail},
	}})
	s.end(wire.CloseCode(why.Code), why.Error(), last)
	return resume, lost
}

func (s *session) welcome(resume []uint64) {
	cfg := s.door.cfg
	s.maxFrame.Store(cfg.MaxFrame)
	s.say(&workerv1.FromOrchestrator{Kind: &workerv1.FromOrchestrator_Welcome{Welcome: &workerv1.Welcome{
		Session: s.id,
		Limits: &workerv1.Limits{
			MaxFrameBytes: cfg.MaxFrame, MaxCredits: cfg.MaxCredits, MaxBytesInFlight: cfg.SessionBytesInFlight,
			PingIntervalMs: uint32(cfg.PingInterval.Milliseconds()),
		},
		Resume: resume,
	}}})
	s.mu.Lock()
	s.welcomed = true
	if !s.ended {
		s.sign()
	}
	s.mu.Unlock()
	s.conn.Kick()
}

// claim records the profile and goes on to the test, or, with a proof on record that is still valid, to work.
func (s *session) claim(p *eventv1.Profile) error {
	reply, err := s.door.do(actors.WorkerAddress(s.key[:]), &eventv1.Command{Kind: &eventv1.Command_ReportProfile{
		ReportProfile: &eventv1.ReportProfile{Profile: p},
	}})
	if err != nil {
		return s.refused(err)
	}
	if verdict, ok := reply.(worker.AdmitReply); ok && verdict.Rejection != nil {
		return &rejection{verdict.Rejection.Reason, clip(verdict.Rejection.Detail)}
	}
	s.phase.Store(uint32(wire.PhaseTest))
	s.answers = make(chan *workerv1.BenchmarkAnswer, 1)
	s.mu.Lock()
	s.testing = true
	s.mu.Unlock()
	s.profile = p
	s.door.spawn(func() { s.qualify(s.proven) })
	return nil
}

// timedOut names the handshake's deadline.
func timedOut(err error) error {
	var timeout net.Error // the WebSocket library wraps away everything else
	if errors.As(err, &timeout) && timeout.Timeout() {
		return wire.Errorf(workerv1.ErrorCode_ERROR_CODE_TIMEOUT, "the handshake took too long")
	}
	return err
}
