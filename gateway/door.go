package gateway

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/actors/assignment"
	"github.com/shardy-network/orchestrator/actors/proof"
	"github.com/shardy-network/orchestrator/actors/worker"
	"github.com/shardy-network/orchestrator/events"
	"github.com/shardy-network/orchestrator/gateway/crew"
	"github.com/shardy-network/orchestrator/gateway/socket"
	"github.com/shardy-network/orchestrator/gateway/wire"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	workerv1 "github.com/shardy-network/orchestrator/proto/shardy/worker/v1"
)

// Door is the http.Handler of /ws/worker, and the courier that effects are handed to. Its methods are safe for
// concurrent use.
type Door struct {
	cfg       Config
	deps      Deps
	log       *slog.Logger
	publicKey []byte

	ctx    context.Context // ends with Close: the parent of everything that a session asks of others
	cancel context.CancelFunc
	jobs   sync.WaitGroup                  // goroutines of the door: sessions, tests, sweeper
	crew   *crew.Crew                      // writers and settlements
	lobby  *socket.Lobby                   // watches sessions that rest
	soon   atomic.Pointer[context.Context] // a deadline for many short questions; the sweeper renews it

	entry  sync.Mutex // keeps enter and Close apart
	closed bool       // guarded by entry
	once   sync.Once  // of Close

	table    table
	waiting  waiting
	arrears  arrears
	inputs   *inputCache
	guard    *guard
	budget   *budget
	turns    *turns
	verifies chan struct{} // signature checks of handshakes at a time
	draining atomic.Bool
	count    counters
	stop     func() // of Observe
}

// New returns an open door. Close ends it.
func New(cfg Config, deps Deps) (*Door, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	if deps.Orchestrator == nil || deps.Blobs == nil || deps.Challenges == nil || deps.Admission == nil {
		return nil, fmt.Errorf("%w: a required dependency is missing", ErrConfig)
	}
	if deps.Attested == nil {
		deps.Attested = proof.Statement.Verify
	}
	if deps.Log == nil {
		deps.Log = slog.Default()
	}
	if deps.Verifiers == nil {
		deps.Verifiers = map[eventv1.ProofSystem]proof.Verifier{
			eventv1.ProofSystem_PROOF_SYSTEM_FREIVALDS_I8:  proof.FreivaldsI8{},
			eventv1.ProofSystem_PROOF_SYSTEM_GROTH16_BN254: proof.Groth16{},
		}
	}
	d := &Door{
		cfg: cfg, deps: deps, log: deps.Log,
		publicKey: cfg.Key.Public().(ed25519.PublicKey),
		inputs:    newInputCache(cfg.InputCache),
		guard:     newGuard(cfg),
		budget:    newBudget(cfg.MaxBytesInFlight),
		turns:     newTurns(cfg.Benchmark.Parallel),
		verifies:  make(chan struct{}, 4),
		crew:      crew.New(512),
		lobby:     socket.NewLobby(),
	}
	d.ctx, d.cancel = context.WithCancel(context.Background())
	d.renew()
	d.stop = deps.Orchestrator.Observe(d.observe)
	d.spawn(d.sweep)
	return d, nil
}

// spawn runs f in a goroutine that Close waits for.
func (d *Door) spawn(f func()) {
	d.jobs.Go(func() {
		f()
	})
}

// enter is spawn for callers that are not goroutines of the door themselves. It reports false when the door is closed.
func (d *Door) enter(f func()) bool {
	d.entry.Lock()
	defer d.entry.Unlock()
	if d.closed {
		return false
	}
	d.spawn(f)
	return true
}

// ServeHTTP upgrades a worker's request. What can be refused cheaply is refused before the upgrade.
func (d *Door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ip := d.clientIP(r)
	if err := d.guard.admit(ip, d.draining.Load(), time.Now()); err != nil {
		d.count.refused.Add(1)
		refuse(w, err)
		return
	}
	s := &session{door: d, ip: ip, reader: wire.NewWorkerReader(d.cfg.MaxFrameTier3)}
	conn, err := socket.Accept(w, r, wire.Subprotocol, d.origin(), socket.Options{
		MaxQueue: d.cfg.MaxQueue, WriteTimeout: d.cfg.WriteTimeout, Gather: s.gather, Go: d.crew.Go, Lobby: d.lobby,
	})
	if err != nil {
		d.guard.leave(ip)
		return
	}
	s.conn = conn
	// The request's goroutine and buffers go back to the server; the session has its own goroutine.
	if !d.enter(s.begin) {
		_ = conn.Close()
		d.guard.leave(ip)
	}
}

func refuse(w http.ResponseWriter, err *wire.Error) {
	status := http.StatusServiceUnavailable
	name := "UNAVAILABLE"
	switch err.Code {
	case workerv1.ErrorCode_ERROR_CODE_RATE:
		status, name = http.StatusTooManyRequests, "RATE"
	case workerv1.ErrorCode_ERROR_CODE_DRAINING:
		name = "DRAINING"
	}
	w.Header().Set("Shardy-Error", name)
	w.Header().Set("Retry-After", "1")
	http.Error(w, err.Detail, status)
}

// Deliver hands an attempt to its worker's session. A restored attempt was delivered before a restart: it waits for
// its worker to say that it still has it. Deliver does not block.
func (d *Door) Deliver(t actors.Task, restored bool) {
	if len(t.Worker) != ed25519.PublicKeySize {
		d.strip(t, eventv1.StripReason_STRIP_REASON_UNDELIVERED, "malformed key")
		return
	}
	if restored && d.table.get(t.Worker) == nil {
		d.waiting.put(t, time.Now().Add(d.cfg.ReconnectGrace))
		if d.table.get(t.Worker) == nil || !d.waiting.take(t.Worker, t.Token) {
			return
		}
	}
	s := d.table.get(t.Worker)
	if s == nil {
		d.strip(t, eventv1.StripReason_STRIP_REASON_UNDELIVERED, "worker is not connected")
		return
	}
	s.deliver(t)
}

// Recall tells a worker to drop an attempt. It does not block.
func (d *Door) Recall(worker []byte, token uint64, reason string) {
	if len(worker) != ed25519.PublicKeySize || d.waiting.take(worker, token) {
		return
	}
	if s := d.table.get(worker); s != nil {
		s.recall(token, reason)
	}
}

// Drain refuses new sessions and new tasks, tells every worker, and waits until nobody has a task or ctx ends. What
// is then still in flight stays assigned: its worker may resume it when the orchestrator is back.
func (d *Door) Drain(ctx context.Context) error {
	d.draining.Store(true)
	d.table.each(func(s *session) { s.drainFromHere("the orchestrator is closing") })
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if d.table.busy() == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("drain: %w", context.Cause(ctx))
		case <-tick.C:
		}
	}
}

// Close ends every session with DRAINING and waits for the door's goroutines. Tasks in flight stay assigned. It may be
// called more than once.
func (d *Door) Close() error {
	d.once.Do(d.shut)
	return nil
}

func (d *Door) shut() {
	d.draining.Store(true)
	d.stop()
	err := wire.Errorf(workerv1.ErrorCode_ERROR_CODE_DRAINING, "the orchestrator is closing")
	d.entry.Lock()
	d.closed = true
	d.entry.Unlock()
	d.cancel() // ends handshakes
	d.table.each(func(s *session) { s.close(err) })
	d.jobs.Wait()
	d.crew.Close()
	d.lobby.Close()
}

// strip tells a slot that its worker does not have the task.
func (d *Door) strip(t actors.Task, why eventv1.StripReason, detail string) {
	d.count.stripped.Add(1)
	d.tell(actors.SlotAddress(t.Job, t.Slot), &eventv1.Command{Kind: &eventv1.Command_StripSlot{
		StripSlot: &eventv1.StripSlot{Token: t.Token, Reason: why, Detail: detail},
	}}, 0)
}

// tell sends a command whose loss would leave a task or a worker hanging: while the entity is busy or its store away
// it is repeated.
func (d *Door) tell(to actors.Address, cmd *eventv1.Command, attempt int) {
	d.deps.Orchestrator.Tell(to, cmd, func(_ any, err error) {
		if err == nil || !temporary(err) || attempt >= maxTells || d.ctx.Err() != nil {
			return
		}
		time.AfterFunc(backoff(attempt), func() {
			if d.ctx.Err() == nil {
				d.tell(to, cmd, attempt+1)
			}
		})
	})
}

const maxTells = 12

// backoff is 10 ms doubled, at most 5 s.
func backoff(attempt int) time.Duration {
	return min(10*time.Millisecond<<min(attempt, 10), 5*time.Second)
}

// observe hears of facts about workers that change what their sessions may do. It does not block.
func (d *Door) observe(to actors.Address, facts []events.Fact) {
	if to.Room != actors.WorkerRoom {
		return
	}
	for _, f := range facts {
		switch f := f.(type) {
		case *eventv1.WorkerBanned:
			d.withWorker(to, func(s *session) {
				s.close(wire.Errorf(workerv1.ErrorCode_ERROR_CODE_BANNED, "%s", clip(f.GetReason())))
			})
		case *eventv1.WorkerDrained:
			d.withWorker(to, func(s *session) { s.drainFromHere(clip(f.GetReason())) })
		case *eventv1.WorkerReinstated:
			d.withWorker(to, func(s *session) { s.reinstate() })
		case *eventv1.TierChanged:
			if f.GetTo() == 0 { // any other change is the door's own asking
				d.withWorker(to, func(s *session) { s.retest() })
			}
		}
	}
}

// withWorker runs f for the worker's session, if there is one, off the caller's goroutine.
func (d *Door) withWorker(to actors.Address, f func(*session)) {
	key, ok := parseKey(to.ID)
	if !ok {
		return
	}
	if s := d.table.get(key); s != nil {
		d.enter(func() { f(s) })
	}
}

func (d *Door) do(to actors.Address, cmd *eventv1.Command) (any, error) {
	ctx, cancel := context.WithTimeout(d.ctx, d.cfg.CommandTimeout)
	defer cancel()
	for attempt := 0; ; attempt++ {
		reply, err := d.deps.Orchestrator.Do(ctx, to, cmd)
		if err == nil || !temporary(err) || ctx.Err() != nil {
			return reply, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(backoff(attempt)):
		}
	}
}

// temporary reports whether the same command may succeed later: no entity has refused it.
func temporary(err error) bool {
	for _, refusal := range refusals {
		if errors.Is(err, refusal) {
			return false
		}
	}
	return !errors.Is(err, context.Canceled)
}

var refusals = []error{
	assignment.ErrInvalid, assignment.ErrNotWaiting, assignment.ErrStaleToken, assignment.ErrStaleTimer,
	assignment.ErrDuplicate, assignment.ErrClosed,
	worker.ErrInvalid, worker.ErrNotRegistered, worker.ErrBanned, worker.ErrNoProfile,
	actors.ErrUnknownCommand, actors.ErrUndecidable,
}

func (d *Door) origin() func(*http.Request) bool {
	if len(d.cfg.Origins) == 0 {
		return nil // the library's: same origin, or no origin at all
	}
	return func(r *http.Request) bool {
		origin := r.Header.Get("Origin")
		if origin == "" || origin == "http://"+r.Host || origin == "https://"+r.Host {
			return true
		}
		return slices.Contains(d.cfg.Origins, origin)
	}
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails, says crypto/rand
	return b
}

func clip(s string) string {
	if len(s) > 256 {
		return s[:256]
	}
	return s
}

func addrOf(text string) (netip.Addr, bool) {
	if p, err := netip.ParseAddrPort(text); err == nil {
		return p.Addr().Unmap(), true
	}
	a, err := netip.ParseAddr(text)
	return a.Unmap(), err == nil
}

func codeName(code int) string {
	return strings.TrimPrefix(workerv1.ErrorCode(code).String(), "ERROR_CODE_")
}

// renew makes the deadline that questions asked from now on share: between one and two CommandTimeouts away.
func (d *Door) renew() {
	ctx, cancel := context.WithTimeout(d.ctx, 2*d.cfg.CommandTimeout)
	context.AfterFunc(ctx, cancel)
	d.soon.Store(&ctx)
}

// bounded is a context for a question that is asked for every task: it costs no timer of its own.
func (d *Door) bounded() context.Context { return *d.soon.Load() }
