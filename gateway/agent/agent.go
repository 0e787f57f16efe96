package agent

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/gateway/crew"
	"github.com/shardy-network/orchestrator/gateway/socket"
	"github.com/shardy-network/orchestrator/gateway/wire"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	workerv1 "github.com/shardy-network/orchestrator/proto/shardy/worker/v1"
)

// RejectedError is an admission that was refused. Receipt is the orchestrator's signature under it: the worker can
// prove how it was treated. Proven says that the receipt was checked.
type RejectedError struct {
	Reason    eventv1.RejectionReason
	Detail    string
	AtUs      int64
	ServerKey []byte
	Receipt   []byte
	Proven    bool
}

func (e *RejectedError) Error() string {
	return "admission refused: " + strings.ToLower(strings.TrimPrefix(e.Reason.String(), "REJECTION_REASON_")) + ": " + e.Detail
}

// Final reports whether trying again is of no use.
func (e *RejectedError) Final() bool {
	return e.Reason == eventv1.RejectionReason_REJECTION_REASON_BANNED ||
		e.Reason == eventv1.RejectionReason_REJECTION_REASON_PROFILE_INVALID
}

// Agent is one worker. Run it once.
type Agent struct {
	cfg     Config
	key     ed25519.PrivateKey
	public  ed25519.PublicKey
	profile *eventv1.Profile
	library *library
	desk    *desk
	crew    *crew.Crew // writers
}

// New returns an agent; it loads or makes the key file and touches nothing else.
func New(cfg Config) (*Agent, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	a := &Agent{cfg: cfg, key: cfg.Key, library: newLibrary(cfg), crew: crew.New(2)}
	if a.key == nil {
		if a.key, err = LoadKey(cfg.KeyFile); err != nil {
			return nil, err
		}
	}
	a.public = a.key.Public().(ed25519.PublicKey)
	a.desk = newDesk(a)
	return a, nil
}

// PublicKey is the worker's identity.
func (a *Agent) PublicKey() ed25519.PublicKey { return a.public }

// Stats counts.
func (a *Agent) Stats() Stats { return a.desk.count() }

// Run keeps a session until ctx ends, then finishes what it has, for at most DrainTimeout, and returns nil. It returns
// a *RejectedError when the orchestrator will not have this worker, and an *wire.Error when the two cannot understand
// each other; everything else is tried again.
func (a *Agent) Run(ctx context.Context) error {
	life, stop := context.WithCancelCause(context.WithoutCancel(ctx))
	defer stop(nil)
	var runners sync.WaitGroup
	for range a.cfg.Runners {
		runners.Go(func() { a.desk.work(life) })
	}
	defer a.crew.Close()
	defer runners.Wait()
	defer a.desk.close()
	defer stop(errStopped)
	if err := a.claim(ctx); err != nil {
		return err
	}
	failures := 0
	for ctx.Err() == nil {
		s, err := a.connect(ctx)
		if err == nil {
			err = s.serve(ctx)
			if s.admitted.Load() {
				failures = 0
			}
		}
		if ctx.Err() != nil {
			break
		}
		if final(err) {
			return err
		}
		pause := a.pause(failures, err)
		failures++
		a.cfg.Log.Info("connecting again", "pause", pause, "cause", err)
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
	return nil
}

var errStopped = errors.New("agent: stopped")

// final reports whether an end of a session means the end of the agent.
func final(err error) bool {
	var rejected *RejectedError
	if errors.As(err, &rejected) {
		return rejected.Final()
	}
	code, ok := wire.CodeOf(err)
	return ok && (code == workerv1.ErrorCode_ERROR_CODE_VERSION || code == workerv1.ErrorCode_ERROR_CODE_SIGNATURE ||
		code == workerv1.ErrorCode_ERROR_CODE_BANNED)
}

// pause draws from the whole range up to MinBackoff doubled with every failure: after an outage workers come back one
// by one. A worker whose key is in use elsewhere, or that was refused, takes its time.
func (a *Agent) pause(failures int, err error) time.Duration {
	most := min(a.cfg.MinBackoff<<min(failures, 20), a.cfg.MaxBackoff)
	var rejected *RejectedError
	if code, _ := wire.CodeOf(err); code == workerv1.ErrorCode_ERROR_CODE_REPLACED || errors.As(err, &rejected) {
		most = a.cfg.MaxBackoff
	}
	if most <= 0 {
		most = a.cfg.MaxBackoff
	}
	return rand.N(most) + time.Millisecond
}

// claim completes the profile.
func (a *Agent) claim(ctx context.Context) error {
	p := &eventv1.Profile{}
	if a.cfg.Profile != nil {
		p = proto.CloneOf(a.cfg.Profile)
	}
	if p.Mflops == 0 && a.cfg.Measure != nil {
		n, err := a.cfg.Measure(ctx, a.cfg.Runner)
		if err != nil {
			return fmt.Errorf("measure: %w", err)
		}
		p.Mflops = n
	}
	setDefault(&p.Mflops, 4_000)
	setDefault(&p.MaxAllocationBytes, a.cfg.MaxAllocation)
	setDefault(&p.ChunkBytes, 4*mebibyte)
	setDefault(&p.Cores, uint32(runtime.NumCPU()))
	setDefault(&p.Arch, runtime.GOARCH)
	setDefault(&p.Os, runtime.GOOS)
	setDefault(&p.Engine, "wazero")
	setDefault(&p.Agent, a.cfg.Version)
	a.profile = p
	return nil
}

func (a *Agent) connect(ctx context.Context) (*session, error) {
	ctx, cancel := context.WithTimeout(ctx, a.cfg.HandshakeTimeout)
	defer cancel()
	s := &session{agent: a, reader: wire.NewOrchestratorReader(a.cfg.MaxPayload), acks: make(map[uint64]struct{})}
	conn, err := socket.Dial(ctx, "ws"+strings.TrimPrefix(a.cfg.Server, "http")+"/ws/worker", wire.Subprotocol,
		socket.Options{Gather: s.gather, Go: a.crew.Go})
	if err != nil {
		return nil, err
	}
	s.conn = conn
	return s, nil
}
