package agent

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/shardy-network/orchestrator/gateway/socket"
	"github.com/shardy-network/orchestrator/gateway/wire"
	workerv1 "github.com/shardy-network/orchestrator/proto/shardy/worker/v1"
)

// session is one connection to the orchestrator.
type session struct {
	agent     *Agent
	conn      *socket.Conn
	reader    *wire.Reader[*workerv1.FromOrchestrator] // owned by the reading goroutine
	serverKey []byte
	limits    *workerv1.Limits
	admitted  atomic.Bool
	tests     sync.WaitGroup // of this session's benchmark answers

	mu   sync.Mutex
	acks map[uint64]struct{} // taken, not yet said; guarded by mu
}

// serve runs the session to its end and says why it ended. It returns nil when ctx has ended and everything is done.
func (s *session) serve(ctx context.Context) error {
	life, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer s.tests.Wait()
	defer cancel()
	defer s.conn.Close()
	s.conn.SetReadDeadline(time.Now().Add(s.agent.cfg.HandshakeTimeout))
	if err := s.handshake(); err != nil {
		return err
	}
	s.conn.SetReadDeadline(time.Time{})
	var watch sync.WaitGroup
	watch.Go(func() { s.watch(ctx, life) })
	defer watch.Wait()
	defer cancel()
	s.agent.desk.attach(s)
	defer s.agent.desk.detach(s)
	return s.read(life)
}

// handshake says who we are and what we still have.
func (s *session) handshake() error {
	a := s.agent
	var owner ed25519.PublicKey
	if a.cfg.OwnerKey != nil {
		owner = a.cfg.OwnerKey.Public().(ed25519.PublicKey)
	}
	s.say(&workerv1.FromWorker{Kind: &workerv1.FromWorker_Hello{Hello: &workerv1.Hello{
		PublicKey: a.public, Version: wire.Version, OwnerKey: owner,
	}}})
	in, err := s.next()
	if err != nil {
		return err
	}
	challenge := in.Message.GetChallenge()
	if challenge == nil {
		return s.unexpected(in.Message)
	}
	s.serverKey = challenge.GetServerKey()
	p := &workerv1.Proof{
		Signature: ed25519.Sign(a.key, wire.HelloText(challenge.GetNonce(), s.serverKey, a.public, owner)),
		Held:      a.desk.held(),
	}
	if owner != nil {
		p.OwnerSignature = ed25519.Sign(a.cfg.OwnerKey, wire.OwnerText(challenge.GetNonce(), s.serverKey, a.public))
	}
	s.say(&workerv1.FromWorker{Kind: &workerv1.FromWorker_Proof{Proof: p}})
	if in, err = s.next(); err != nil {
		return err
	}
	welcome := in.Message.GetWelcome()
	if welcome == nil {
		return s.unexpected(in.Message)
	}
	s.limits = welcome.GetLimits()
	a.desk.resume(p.Held, welcome.GetResume())
	s.say(&workerv1.FromWorker{Kind: &workerv1.FromWorker_ProfileV2{ProfileV2: &workerv1.ProfileV2{Profile: a.profile}}})
	return nil
}

// unexpected turns an answer that ends the session into an error.
func (s *session) unexpected(m *workerv1.FromOrchestrator) error {
	switch k := m.GetKind().(type) {
	case *workerv1.FromOrchestrator_Error:
		return &wire.Error{Code: k.Error.GetCode(), Detail: k.Error.GetDetail()}
	case *workerv1.FromOrchestrator_Rejected:
		r := k.Rejected
		text := wire.RejectedText(s.agent.public, uint32(r.GetReason()), r.GetAtUs(), r.GetDetail())
		proven := len(s.serverKey) == ed25519.PublicKeySize && ed25519.Verify(s.serverKey, text, r.GetReceipt())
		if proven {
			s.agent.hand(Receipt{Orchestrator: s.serverKey, Rejected: r})
		}
		return &RejectedError{
			Reason: r.GetReason(), Detail: r.GetDetail(), AtUs: r.GetAtUs(), ServerKey: s.serverKey, Receipt: r.GetReceipt(),
			Proven: proven,
		}
	}
	return wire.Errorf(workerv1.ErrorCode_ERROR_CODE_OUT_OF_ORDER, "unexpected message")
}

// read takes messages until the session ends.
func (s *session) read(life context.Context) error {
	for {
		in, err := s.next()
		if err != nil {
			return err
		}
		switch k := in.Message.GetKind().(type) {
		case *workerv1.FromOrchestrator_TaskAssign:
			s.assigned(k.TaskAssign, in.Payload)
		case *workerv1.FromOrchestrator_TaskSettled:
			s.agent.desk.settled(k.TaskSettled, s.serverKey)
		case *workerv1.FromOrchestrator_TaskCancel:
			s.agent.desk.cancel(k.TaskCancel.GetTokens())
		case *workerv1.FromOrchestrator_BenchmarkChallenge:
			s.tests.Go(func() { s.answer(life, k.BenchmarkChallenge) })
		case *workerv1.FromOrchestrator_Admitted:
			s.begin(k.Admitted)
		case *workerv1.FromOrchestrator_Receipts:
			s.receipts(k.Receipts)
		case *workerv1.FromOrchestrator_Drain:
			s.agent.cfg.Log.Info("asked to drain", "reason", k.Drain.GetReason())
		default:
			return s.unexpected(in.Message)
		}
	}
}

func (s *session) begin(m *workerv1.Admitted) {
	s.admitted.Store(true)
	n := s.agent.cfg.credits()
	if m.GetMaxCredits() > 0 {
		n = min(n, m.GetMaxCredits())
	}
	if !s.agent.desk.isDraining() {
		s.say(&workerv1.FromWorker{Kind: &workerv1.FromWorker_Credits{Credits: &workerv1.Credits{Credits: n}}})
	}
	s.agent.cfg.Log.Info("admitted", "tier", m.GetTier(), "mflops", m.GetProven().GetMflops(), "credits", n)
	if s.agent.cfg.OnSession != nil {
		s.agent.cfg.OnSession(m.GetTier())
	}
}

func (s *session) assigned(m *workerv1.TaskAssign, input []byte) {
	if s.agent.desk.take(m, input) {
		s.mu.Lock()
		s.acks[m.GetToken()] = struct{}{}
		s.mu.Unlock()
		s.conn.Kick()
	}
}

// gather says together what was taken since the last write. A task whose result has left meanwhile needs no ack.
func (s *session) gather() {
	s.mu.Lock()
	if len(s.acks) == 0 {
		s.mu.Unlock()
		return
	}
	tokens := make([]uint64, 0, min(len(s.acks), wire.MaxTokens))
	for t := range s.acks {
		if len(tokens) == wire.MaxTokens {
			break
		}
		tokens = append(tokens, t)
		delete(s.acks, t)
	}
	more := len(s.acks) > 0
	s.mu.Unlock()
	s.say(&workerv1.FromWorker{Kind: &workerv1.FromWorker_TaskAck{TaskAck: &workerv1.TaskAck{Tokens: tokens}}})
	if more {
		s.conn.Kick()
	}
}

// report sends a result. It reports whether it was queued.
func (s *session) report(meta []byte, output []byte, token uint64) bool {
	s.mu.Lock()
	delete(s.acks, token)
	s.mu.Unlock()
	return s.conn.Send(meta, output) == nil
}

// answer runs a benchmark challenge.
func (s *session) answer(ctx context.Context, c *workerv1.BenchmarkChallenge) {
	a := &workerv1.BenchmarkAnswer{Nonce: c.GetNonce()}
	module := [32]byte(c.GetModule())
	if err := s.agent.library.load(ctx, module); err != nil {
		a.Failure = err.Error()
	} else if !c.GetPrepare() {
		r, err := s.agent.cfg.Runner.Run(ctx, Task{Module: module, Input: c.GetInput(), FuelLimit: c.GetFuelLimit()})
		if err != nil {
			a.Failure = err.Error()
		}
		sum := sha256.Sum256(r.Output)
		a.Digest, a.Fuel = sum[:], r.Fuel
	}
	s.say(&workerv1.FromWorker{Kind: &workerv1.FromWorker_BenchmarkAnswer{BenchmarkAnswer: a}})
}

// next reads until a whole message is there.
func (s *session) next() (wire.Incoming[*workerv1.FromOrchestrator], error) {
	for {
		binary, body, err := s.conn.Next()
		if err != nil {
			return wire.Incoming[*workerv1.FromOrchestrator]{}, s.ended(err)
		}
		limit := uint64(wire.MaxMeta)
		size, payload := s.reader.Pending()
		var data []byte
		if payload {
			limit = size
			data = make([]byte, size) // within MaxPayload: Feed saw to that
			n, _, rerr := s.conn.Read(body, data)
			data, err = data[:n], rerr
		} else {
			data, err = io.ReadAll(io.LimitReader(body, int64(limit)+1))
		}
		if errors.Is(err, socket.ErrTooLong) {
			data, err = make([]byte, size+1), nil // one byte too many: Feed says so
		}
		if err != nil {
			return wire.Incoming[*workerv1.FromOrchestrator]{}, s.ended(err)
		}
		in, done, err := s.reader.Feed(binary, data)
		if err != nil || done {
			return in, err
		}
	}
}

// ended adds what the close frame says.
func (s *session) ended(err error) error {
	if end := s.reader.End(); end != nil {
		return end
	}
	if code, reason, ok := socket.CloseCode(err); ok {
		return fmt.Errorf("closed with %d %s: %w", code, reason, err)
	}
	return err
}

func (s *session) say(m *workerv1.FromWorker) {
	b, err := wire.AppendFromWorker(nil, m)
	if err == nil {
		err = s.conn.Send(b)
	}
	if err != nil {
		_ = s.conn.Close()
	}
}

// watch ends the session when the orchestrator is silent, and leads it to its end when ctx is over.
func (s *session) watch(ctx, life context.Context) {
	interval := time.Duration(s.limits.GetPingIntervalMs()) * time.Millisecond
	if interval <= 0 {
		interval = 20 * time.Second
	}
	tick := time.NewTicker(interval)
	defer tick.Stop()
	done := ctx.Done()
	for {
		select {
		case <-life.Done():
			return
		case <-done:
			s.drain(life)
			return
		case <-tick.C:
			if time.Since(s.conn.Heard()) > interval*5/2 {
				s.agent.cfg.Log.Info("orchestrator is silent")
				_ = s.conn.Close()
				return
			}
		}
	}
}

// drain finishes what the agent has and says goodbye.
func (s *session) drain(life context.Context) {
	s.agent.desk.drain()
	s.say(&workerv1.FromWorker{Kind: &workerv1.FromWorker_Drain{Drain: &workerv1.Drain{Reason: "stopping"}}})
	timeout := time.NewTimer(s.agent.cfg.DrainTimeout)
	defer timeout.Stop()
	select {
	case <-life.Done():
		return
	case <-timeout.C:
	case <-s.agent.desk.empty():
		s.awaitReceipts(life)
	}
	s.conn.End(wire.CloseCode(0), "drained", time.Second)
	select {
	case <-life.Done():
	case <-time.After(time.Second):
		_ = s.conn.Close()
	}
}
