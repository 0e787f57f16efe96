package orchestrator

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/actors/admission/challenge"
	"github.com/shardy-network/orchestrator/actors/host"
	"github.com/shardy-network/orchestrator/actors/policy"
	"github.com/shardy-network/orchestrator/actors/rooms"
	"github.com/shardy-network/orchestrator/cmd/shardy/logserver"
	"github.com/shardy-network/orchestrator/cmd/shardy/orchestrator/identity"
	"github.com/shardy-network/orchestrator/events"
	"github.com/shardy-network/orchestrator/events/blobs"
	"github.com/shardy-network/orchestrator/gateway"
	"github.com/shardy-network/orchestrator/gateway/agent/sandbox"
	"github.com/shardy-network/orchestrator/gateway/operator"
	"github.com/shardy-network/orchestrator/mesh"
	"github.com/shardy-network/orchestrator/mesh/node"
	"github.com/shardy-network/orchestrator/mesh/settlement"
	"github.com/shardy-network/orchestrator/projections"
	"github.com/shardy-network/orchestrator/projections/dashboard"
	"github.com/shardy-network/orchestrator/projections/metrics"
	"github.com/shardy-network/orchestrator/projections/readmodel"
	"github.com/shardy-network/orchestrator/projections/transparency"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// Orchestrator is the process. It owns everything below it; Close releases it in the order of the floors.
type Orchestrator struct {
	cfg   Config
	key   ed25519.PrivateKey
	begin time.Time

	log       events.Log
	logServer *logserver.Server // nil: the log is not served
	blobs     *blobs.Store
	runner    *projections.Runner
	open      *projections.OpenWork
	model     *readmodel.Model
	tree      *transparency.Tree
	metrics   *metrics.Metrics
	host      *host.Host
	door      *gateway.Door
	api       *operator.API
	screens   *dashboard.Dashboard
	pool      *challenges

	node       *node.Node             // nil: without a mesh
	settlement *settlement.Settlement // nil: nothing is settled here
	attested   *attested              // nil: without a mesh
	capacity   atomic.Pointer[mesh.Capacity]
	referee    atomic.Pointer[referee] // from when the host is built

	policy atomic.Pointer[eventv1.Policy]

	draining atomic.Bool
	listener net.Listener
	server   *http.Server

	closers []func() error // run backwards by Close
}

// New opens the data folder and builds every room. Nothing is served before Run.
func New(ctx context.Context, cfg Config) (o *Orchestrator, err error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	o = &Orchestrator{cfg: cfg.withDefaults(), begin: time.Now()}
	defer func() {
		if err != nil {
			err = errors.Join(err, o.release())
			o = nil
		}
	}()
	for _, build := range []func(context.Context) error{o.openStores, o.openMesh, o.buildProjections, o.buildHost, o.buildDoor, o.buildAPI, o.buildScreens, o.listen} {
		if err := build(ctx); err != nil {
			return o, err
		}
	}
	return o, nil
}

func (o *Orchestrator) onClose(f func() error) { o.closers = append(o.closers, f) }

// release closes what was opened, last first.
func (o *Orchestrator) release() error {
	var err error
	for i := len(o.closers) - 1; i >= 0; i-- {
		err = errors.Join(err, o.closers[i]())
	}
	o.closers = nil
	return err
}

func (o *Orchestrator) openStores(ctx context.Context) (err error) {
	if o.cfg.DataDir != "" {
		if err := os.MkdirAll(o.cfg.DataDir, 0o700); err != nil {
			return fmt.Errorf("data folder: %w", err)
		}
	}
	if o.key, err = identity.Server(o.cfg.DataDir); err != nil {
		return err
	}
	if o.log, err = o.openLog(ctx); err != nil {
		return err
	}
	o.onClose(o.log.Close)
	if o.cfg.LogListen != "" {
		if o.logServer, err = logserver.Start(ctx, o.log, o.cfg.LogListen, o.cfg.LogServer); err != nil {
			return err
		}
		o.onClose(o.logServer.Close)
	}
	if o.blobs, err = blobs.Open(ctx, o.cfg.BlobURL, blobs.Options{Log: o.log}); err != nil {
		return fmt.Errorf("blob store: %w", err)
	}
	o.onClose(o.blobs.Close)
	return nil
}

// sandbox makes a sandbox that lives as long as the orchestrator, with room for modules of at least the given memory.
func (o *Orchestrator) sandbox(memory uint64) (*sandbox.Sandbox, error) {
	cfg := o.cfg.Sandbox
	cfg.MaxModuleMemory = max(cfg.MaxModuleMemory, memory)
	box, err := sandbox.New(cfg)
	if err != nil {
		return nil, err
	}
	o.onClose(box.Close)
	return box, nil
}

func (o *Orchestrator) buildHost(ctx context.Context) error {
	if err := o.loadPolicy(ctx); err != nil {
		return err
	}
	box, err := o.sandbox(0)
	if err != nil {
		return err
	}
	ringerKey, err := identity.Secret(o.cfg.DataDir, "ringer.key")
	if err != nil {
		return err
	}
	p := o.policy.Load()
	ref := &referee{
		box: box, blobs: store{o.blobs},
		budget: newCPUBudget(time.Duration(min(p.RefereeCpuMsPerMinute, 1<<40)) * time.Millisecond),
	}
	o.host, err = host.New(host.Config{
		Log: o.log, Rooms: rooms.Of, Courier: courier{o}, Blobs: store{o.blobs}, Referee: ref,
		Policy: o.policy.Load, RingerKey: ringerKey, Node: o.cfg.Node, Logger: o.cfg.Logger,
		ReconnectGrace: time.Duration(p.ReconnectGraceMs) * time.Millisecond,
	})
	if err != nil {
		return err
	}
	o.onClose(func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		return o.host.Close(ctx)
	})
	o.referee.Store(ref)
	unsee := o.host.Observe(o.seePolicy)
	o.onClose(func() error { unsee(); return nil })
	return nil
}

var policyAddress = actors.Address{Room: actors.PolicyRoom, ID: policy.ID}

// loadPolicy reads the standing policy, or takes the built-in one.
func (o *Orchestrator) loadPolicy(ctx context.Context) error {
	o.policy.Store(policy.Default())
	for r, err := range o.log.Read(ctx, policyAddress.Stream(), events.Span{Back: true, Limit: 1}) {
		if errors.Is(err, events.ErrNotFound) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("policy: %w", err)
		}
		f, err := events.Decode(r)
		if err != nil {
			return fmt.Errorf("policy: %w", err)
		}
		o.seePolicy(policyAddress, []events.Fact{f})
	}
	return nil
}

func (o *Orchestrator) seePolicy(to actors.Address, facts []events.Fact) {
	if to != policyAddress {
		return
	}
	for _, f := range facts {
		if changed, ok := f.(*eventv1.PolicyChanged); ok {
			o.policy.Store(changed.Policy)
		}
	}
}

// applyPolicy makes the configured policy the standing one.
func (o *Orchestrator) applyPolicy(ctx context.Context) error {
	if o.cfg.Policy == nil || proto.Equal(o.cfg.Policy, o.policy.Load()) {
		return nil
	}
	_, err := o.host.Do(ctx, policyAddress, &eventv1.Command{Kind: &eventv1.Command_ChangePolicy{
		ChangePolicy: &eventv1.ChangePolicy{Policy: o.cfg.Policy, By: "configuration", Reason: "configured at the start"},
	}})
	return err
}

func (o *Orchestrator) buildDoor(context.Context) error {
	box, err := o.sandbox(challenge.MaxMemory)
	if err != nil {
		return err
	}
	groupKey, err := identity.Secret(o.cfg.DataDir, "group.key") // keys the hashes of addresses in facts
	if err != nil {
		return err
	}
	o.pool = newChallenges(box, store{o.blobs}, o.cfg.Challenges, o.cfg.Logger)
	cfg := o.cfg.Door
	cfg.Key, cfg.GroupKey, cfg.Node = o.key, groupKey, o.cfg.Node
	cfg.ReconnectGrace = time.Duration(o.policy.Load().ReconnectGraceMs) * time.Millisecond
	deps := gateway.Deps{
		Orchestrator: o.host, Blobs: store{o.blobs}, Challenges: o.pool,
		Admission: func() *eventv1.AdmissionPolicy { return o.policy.Load().Admission }, Log: o.cfg.Logger,
	}
	if o.attested != nil {
		deps.Attested = o.attested.Verify
	}
	if o.door, err = gateway.New(cfg, deps); err != nil {
		return err
	}
	o.onClose(o.door.Close)
	return nil
}

func (o *Orchestrator) buildAPI(ctx context.Context) error {
	box, err := o.sandbox(0)
	if err != nil {
		return err
	}
	deps := operator.Deps{
		Orchestrator: o.host, Log: o.log, Blobs: o.blobs, Catalogue: catalogue{o}, Counts: catalogue{o},
		Trial: trial{box}, Prover: o.prover(), Public: o.pool.public, Status: o.status, Ready: o.ready,
		Address: o.door.AddressOf,
		Live: func(key []byte) (operator.Live, bool) {
			credits, held, ok := o.door.Live(key)
			return operator.Live{Credits: credits, InFlight: held}, ok
		},
	}
	if o.node != nil {
		l, err := o.ledgerAPI()
		if err != nil {
			return err
		}
		deps.Ledger, deps.Mesh = l, meshAPI(o.node.Mesh())
	}
	if o.api, err = operator.New(ctx, o.cfg.api(), deps); err != nil {
		return err
	}
	o.onClose(func() error { o.api.Close(); return nil })
	return nil
}

// listen binds the address, so that it is known before Run.
func (o *Orchestrator) listen(ctx context.Context) (err error) {
	if o.listener, err = new(net.ListenConfig).Listen(ctx, "tcp", o.cfg.Listen); err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("GET /ws/worker", o.door)
	mux.Handle("GET /metrics", o.api.Protect(o.metrics))
	tree := o.api.Local(o.tree.Handler())
	for _, path := range []string{"GET /checkpoint", "GET /tile/", "GET /proof/"} {
		mux.Handle(path, tree)
	}
	for _, path := range operator.Paths() {
		mux.Handle(path, o.api)
	}
	if o.node != nil {
		mux.Handle("GET "+mesh.BootstrapPath, o.api.Local(o.node.Mesh().BootstrapHandler()))
	}
	mux.Handle("/", o.screens)
	o.server = operator.NewServer(mux)
	o.onClose(o.server.Close)
	return nil
}

// Addr is the address that is served, once New has returned.
func (o *Orchestrator) Addr() string { return o.listener.Addr().String() }

// LogAddr is the address that the event log is served on, or empty.
func (o *Orchestrator) LogAddr() string {
	if o.logServer == nil {
		return ""
	}
	return o.logServer.Addr()
}

// logServed yields why the log is no longer served; nil when it never was.
func (o *Orchestrator) logServed() <-chan error {
	if o.logServer == nil {
		return nil
	}
	return o.logServer.Ended()
}

// ordered yields why this orchestrator can no longer follow the ledger; nil without a mesh.
func (o *Orchestrator) ordered() <-chan error {
	if o.node == nil {
		return nil
	}
	return o.node.Failed()
}

// Close releases an orchestrator that was never run.
func (o *Orchestrator) Close() error { return o.release() }

// Run serves until ctx ends or the log fails, then drains and closes everything. It is called once.
func (o *Orchestrator) Run(ctx context.Context) error {
	work, stop := context.WithCancel(context.Background())
	defer stop()
	var working sync.WaitGroup
	working.Go(func() { o.pool.refill(work) })
	if o.node != nil {
		working.Go(func() { o.countCapacity(work) })
	}
	o.host.Start(work, host.Open{Jobs: o.open.OpenJobs(), Pipelines: o.open.OpenPipelines()})
	if err := o.applyPolicy(ctx); err != nil {
		stop()
		working.Wait()
		return errors.Join(fmt.Errorf("policy: %w", err), o.release())
	}
	served := make(chan error, 1)
	go func() { served <- o.serve() }()
	o.cfg.Logger.Info("serving", "address", o.Addr(), "log_address", o.LogAddr(), "node", o.cfg.Node, "data_dir", o.cfg.DataDir)

	var err error
	select {
	case <-ctx.Done():
	case <-o.failed():
		err = o.cause()
	case err = <-served:
	case err = <-o.logServed():
	case err = <-o.ordered():
	}
	if err == nil {
		o.drain()
	}
	stop()
	working.Wait()
	return errors.Join(err, o.release())
}

func (o *Orchestrator) serve() error {
	var err error
	if o.cfg.TLSCert != "" {
		err = o.server.ServeTLS(o.listener, o.cfg.TLSCert, o.cfg.TLSKey)
	} else {
		err = o.server.Serve(o.listener)
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serve: %w", err)
}

// drain lets workers finish what they hold; what is left is resumed after the next start.
func (o *Orchestrator) drain() {
	ctx, cancel := context.WithTimeout(context.Background(), o.cfg.DrainTimeout)
	defer cancel()
	o.draining.Store(true)
	o.api.Close()
	if err := o.screens.Close(); err != nil {
		o.cfg.Logger.Warn("screens", "error", err)
	}
	if err := o.door.Drain(ctx); err != nil {
		o.cfg.Logger.Warn("workers still hold tasks; they may resume them after the next start", "error", err)
	}
}
