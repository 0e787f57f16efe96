// Package operator is the door for people and programs that bring work: the Connect API (gRPC, gRPC-Web and JSON over
// HTTP from one schema), content by its hash, audits, and health; and for everybody, the ledger that is shared with other
// orchestrators.
//
// It promises that nothing is answered before it is durable, that every refusal is typed (a Connect code and an
// ErrorInfo with a reason), that a client sees its own tenants' work alone, that the content of a result stays hidden
// until its job is decided (package secrecy says what that is), and that visitors, who read the ledger without a token,
// take neither places nor time from those who have one beyond their own limits (visitors.go). Limits: it decides nothing
// and keeps nothing (states are read from the log, lists come from the Catalogue, the ledger is behind a port); watches
// see what this process appends; the handler knows no TLS, that is for whoever serves it or a proxy in front.
package operator

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"

	"connectrpc.com/connect"
	"connectrpc.com/grpchealth"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
	op "github.com/shardy-network/orchestrator/proto/shardy/operator/v1/operatorv1connect"
)

// API is the whole door. Serve it with NewServer; Close it before the server is shut down, so that watchers
// are told.
type API struct {
	cfg  Config
	deps Deps

	guard    *guard
	hub      *hub
	modules  *moduleIndex
	policies *policyCache
	tenants  tenantBook
	keys     goodKeys
	trials   chan struct{} // one token per module admission at work
	audits   audits
	visitors *visitors
	hashes   *hashIndex
	scans    turns // through blocks and accounts
	checks   turns // of transactions' signatures
	proofs   turns

	ctx     context.Context // ends with Close, and ends every stream
	end     context.CancelCauseFunc
	stop    func() // ends the observation
	handler http.Handler
}

// files are the schema.
var files = []protoreflect.FileDescriptor{
	operatorv1.File_shardy_operator_v1_operator_proto, operatorv1.File_shardy_operator_v1_ledger_proto,
	operatorv1.File_shardy_operator_v1_mesh_proto,
}

// services of the schema, and which of their procedures stream.
var services, streaming = func() ([]string, map[string]bool) {
	var names []string
	streams := map[string]bool{}
	for _, file := range files {
		all := file.Services()
		for i := range all.Len() {
			names = append(names, string(all.Get(i).FullName()))
			eachMethod(all.Get(i), func(procedure string, m protoreflect.MethodDescriptor) {
				if m.IsStreamingServer() {
					streams[procedure] = true
				}
			})
		}
	}
	return names, streams
}()

func eachMethod(s protoreflect.ServiceDescriptor, do func(procedure string, m protoreflect.MethodDescriptor)) {
	for i := range s.Methods().Len() {
		m := s.Methods().Get(i)
		do(fmt.Sprintf("/%s/%s", s.FullName(), m.Name()), m)
	}
}

// New plugs the API into its rooms. It loads the admitted modules and the policy before it returns; the catalogue must
// have caught up with the log by then.
func New(ctx context.Context, cfg Config, deps Deps) (*API, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	for name, missing := range map[string]bool{
		"orchestrator": deps.Orchestrator == nil, "log": deps.Log == nil, "blobs": deps.Blobs == nil,
		"catalogue": deps.Catalogue == nil, "module trial": deps.Trial == nil,
	} {
		if missing {
			return nil, fmt.Errorf("%w: no %s", ErrConfig, name)
		}
	}
	cfg = cfg.withDefaults()
	a := &API{
		cfg: cfg, deps: deps, guard: newGuard(cfg), trials: make(chan struct{}, cfg.Trials), audits: make(audits, MaxAudits),
		visitors: newVisitors(cfg.Visitors), hashes: newHashIndex(maxHashes),
		scans: make(turns, maxScans), checks: make(turns, maxChecks), proofs: make(turns, maxProofs),
		hub: newHub(cfg.WatchQueue), modules: newModuleIndex(), policies: &policyCache{},
	}
	a.ctx, a.end = context.WithCancelCause(context.Background())
	a.stop = sync.OnceFunc(deps.Orchestrator.Observe(a.observe)) // before loading: no fact falls between
	if err := a.load(ctx); err != nil {
		a.Close()
		return nil, err
	}
	a.handler = a.routes()
	return a, nil
}

func (a *API) load(ctx context.Context) error {
	if err := a.modules.load(ctx, a.deps.Catalogue); err != nil {
		return fmt.Errorf("load modules: %w", err)
	}
	if err := a.policies.load(ctx, a.deps.Log); err != nil {
		return fmt.Errorf("load policy: %w", err)
	}
	return nil
}

// Paths are the patterns of everything that the API serves, for a mux that serves more.
func Paths() []string {
	paths := []string{"/grpc.health.v1.Health/", "GET /blob/{sha256}", "GET /healthz", "GET /readyz"}
	for _, s := range services {
		paths = append(paths, "/"+s+"/")
	}
	return paths
}

// ServeHTTP serves the API, the content and the health.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) { a.handler.ServeHTTP(w, r) }

// Close ends every stream with CodeUnavailable. It does not wait for the handlers: the server does. A second call does
// nothing.
func (a *API) Close() {
	a.stop()
	a.end(errClosing)
}

func (a *API) routes() http.Handler {
	opts := []connect.HandlerOption{
		connect.WithRequestGate(a.guard.gate),
		connect.WithReadMaxBytes(a.cfg.MaxRequestBytes),
		connect.WithCompressMinBytes(1024),
		connect.WithInterceptors(door{a}),
		connect.WithRecover(func(_ context.Context, spec connect.Spec, _ http.Header, p any) error {
			return toConnect(fmt.Errorf("panic in %s: %v", spec.Procedure, p))
		}),
	}
	mux := http.NewServeMux()
	mux.Handle(op.NewJobServiceHandler(a, opts...))
	mux.Handle(op.NewPipelineServiceHandler(a, opts...))
	mux.Handle(op.NewModuleServiceHandler(a, opts...))
	mux.Handle(op.NewWorkerServiceHandler(a, opts...))
	mux.Handle(op.NewDeadLetterServiceHandler(a, opts...))
	mux.Handle(op.NewEventServiceHandler(a, opts...))
	mux.Handle(op.NewAuditServiceHandler(a, opts...))
	mux.Handle(op.NewSystemServiceHandler(a, opts...))
	mux.Handle(op.NewMeshServiceHandler(a, opts...))
	mux.Handle(op.NewLedgerServiceHandler(a, append(opts, connect.WithReadMaxBytes(bodyBytes))...))
	mux.Handle(grpchealth.NewHandler(checker{a}, connect.WithReadMaxBytes(4096)))
	mux.HandleFunc("GET /blob/{sha256}", a.serveBlob)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", a.serveReady)
	h := limited(a.cfg, a.visited(mux), mux)
	if a.guard.open != nil {
		h = localOnly(h)
	}
	return h
}

// door turns every refusal into a Connect error, bounds a token's streams and ends them with the API.
type door struct{ api *API }

func (d door) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		res, err := next(ctx, req)
		if err != nil {
			return nil, toConnect(err)
		}
		if v := visitOf(ctx); v != nil {
			m, _ := res.Any().(proto.Message)
			if err := v.answer(proto.Size(m)); err != nil {
				return nil, toConnect(err)
			}
		}
		return res, nil
	}
}

func (d door) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

func (d door) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, conn connect.StreamingHandlerConn) error {
		c := callerOf(ctx)
		if !c.streams.enter() {
			return toConnect(errStreams)
		}
		defer c.streams.leave()
		ctx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		defer context.AfterFunc(d.api.ctx, func() { cancel(errClosing) })()
		err := next(ctx, conn)
		if err != nil && errors.Is(context.Cause(ctx), errClosing) {
			err = errClosing
		}
		return toConnect(err)
	}
}

// ready reports why the process cannot serve.
func (a *API) ready(ctx context.Context) error {
	if a.ctx.Err() != nil {
		return errClosing
	}
	if a.deps.Ready == nil {
		return nil
	}
	return a.deps.Ready(ctx)
}

func (a *API) serveReady(w http.ResponseWriter, r *http.Request) {
	if err := a.ready(r.Context()); err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ready")
}

// checker answers gRPC's health protocol: serving is what /readyz calls ready.
type checker struct{ api *API }

func (c checker) Check(ctx context.Context, req *grpchealth.CheckRequest) (*grpchealth.CheckResponse, error) {
	known := req.Service == ""
	for _, name := range services {
		known = known || name == req.Service
	}
	if !known {
		return nil, toConnect(fmt.Errorf("%w: service %q", errNotFound, req.Service))
	}
	status := grpchealth.StatusServing
	if c.api.ready(ctx) != nil {
		status = grpchealth.StatusNotServing
	}
	return &grpchealth.CheckResponse{Status: status}, nil
}
