// Package operatortest runs the operator API over a real host on a log in memory, with workers that answer at once.
//
// It is for tests alone: nothing here is durable, and its lists read the whole log each time.
package operatortest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/actors/admission/wasm"
	"github.com/shardy-network/orchestrator/actors/dispatch"
	"github.com/shardy-network/orchestrator/actors/host"
	"github.com/shardy-network/orchestrator/actors/rooms"
	"github.com/shardy-network/orchestrator/events/blobs"
	"github.com/shardy-network/orchestrator/events/memlog"
	"github.com/shardy-network/orchestrator/gateway/operator"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

// Answer is what a worker of the world does with a task.
type Answer func(w *World, t actors.Task)

// World is a whole orchestrator without sockets to workers.
type World struct {
	Log   *memlog.Log
	Host  *host.Host
	Blobs *blobs.Store
	API   *operator.API
	URL   string

	mu     sync.Mutex
	answer Answer
	tasks  []actors.Task // held back by Hold
}

// Start runs a world until the test ends. Its workers answer with the input; see Do.
func Start(t testing.TB, cfg operator.Config) *World {
	t.Helper()
	return StartWith(t, cfg, func(*operator.Deps) {})
}

// StartWith runs a world whose API has more rooms.
func StartWith(t testing.TB, cfg operator.Config, more func(*operator.Deps)) *World {
	t.Helper()
	w := &World{Log: memlog.New(), answer: Echo}
	var err error
	if w.Blobs, err = blobs.Open(t.Context(), "mem://", blobs.Options{Log: w.Log}); err != nil {
		t.Fatal(err)
	}
	w.Host, err = host.New(host.Config{
		Log: w.Log, Rooms: rooms.Of, Courier: w, Blobs: contents{w.Blobs}, Node: "test", Shards: 4,
		Logger: slog.New(slog.DiscardHandler), FlushEvery: time.Millisecond, CountEvery: time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Listen == "" {
		cfg.Listen = "127.0.0.1:0"
	}
	deps := operator.Deps{
		Orchestrator: w.Host, Log: w.Log, Blobs: w.Blobs, Catalogue: Catalogue{w.Log}, Trial: trial{},
		Status: func(context.Context) (*operatorv1.GetStatusResponse, error) {
			return &operatorv1.GetStatusResponse{Version: "test", Node: "test"}, nil
		},
	}
	more(&deps)
	w.API, err = operator.New(t.Context(), cfg, deps)
	if err != nil {
		t.Fatal(err)
	}
	w.Host.Start(t.Context(), host.Open{})
	for i := range 4 {
		w.Host.WorkerReady(dispatch.Worker{
			Key: Key(i), Tier: 3, MemoryBytes: 1 << 40, ChunkBytes: 1 << 30, MFlops: 1e6, FuelPerMs: 1e6, Credits: 64,
		})
	}
	server := httptest.NewUnstartedServer(nil)
	server.Config = operator.NewServer(w.API)
	server.Start()
	w.URL = server.URL
	t.Cleanup(func() {
		w.API.Close()
		server.Close()
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := errors.Join(w.Host.Close(ctx), w.Blobs.Close(), w.Log.Close()); err != nil {
			t.Error(err)
		}
	})
	return w
}

// Key is a worker's key.
func Key(i int) []byte { return bytes.Repeat([]byte{byte(i + 1)}, 32) }

// Do sets what the workers do from now on.
func (w *World) Do(a Answer) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.answer = a
}

// Deliver is called by the host.
func (w *World) Deliver(t actors.Task, _ bool) {
	w.mu.Lock()
	answer := w.answer
	w.mu.Unlock()
	answer(w, t)
}

// Recall is called by the host.
func (w *World) Recall([]byte, uint64, string) {}

// Echo answers with the input.
func Echo(w *World, t actors.Task) {
	w.Return(t, eventv1.ResultStatus_RESULT_STATUS_OK, t.Spec.Input)
}

// Trap answers that the module trapped.
func Trap(w *World, t actors.Task) {
	w.Return(t, eventv1.ResultStatus_RESULT_STATUS_TRAP, nil)
}

// Hold keeps tasks back; Release answers them.
func Hold(w *World, t actors.Task) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tasks = append(w.tasks, t)
}

// Release answers what was held back, and everything from now on.
func (w *World) Release(a Answer) {
	w.mu.Lock()
	held := w.tasks
	w.tasks, w.answer = nil, a
	w.mu.Unlock()
	for _, t := range held {
		a(w, t)
	}
}

// Return sends a worker's result.
func (w *World) Return(t actors.Task, status eventv1.ResultStatus, output *eventv1.BlobRef) {
	w.Host.Tell(actors.SlotAddress(t.Job, t.Slot), &eventv1.Command{Kind: &eventv1.Command_AckTask{
		AckTask: &eventv1.AckTask{Token: t.Token},
	}}, nil)
	w.Host.Tell(actors.SlotAddress(t.Job, t.Slot), &eventv1.Command{Kind: &eventv1.Command_ReturnResult{
		ReturnResult: &eventv1.ReturnResult{
			Token: t.Token, Status: status, Fuel: 4, Output: output, Attestation: bytes.Repeat([]byte{1}, 64),
		},
	}}, nil)
}

// Module admits the echo module and returns its name.
func (w *World) Module(t testing.TB) []byte {
	t.Helper()
	rewritten, err := wasm.Rewrite(EchoModule, wasm.Options{})
	if err != nil {
		t.Fatal(err)
	}
	name, original := sha256.Sum256(rewritten), sha256.Sum256(EchoModule)
	to := actors.Address{Room: actors.ModuleRoom, ID: hex.EncodeToString(original[:])}
	_, err = w.Host.Do(t.Context(), to, &eventv1.Command{Kind: &eventv1.Command_AdmitModule{AdmitModule: &eventv1.AdmitModule{
		Original: original[:], Name: name[:], Rewriter: wasm.RewriterVersion, Class: eventv1.ModuleClass_MODULE_CLASS_INTEGER,
		MemoryBytes: 1 << 16, Size: uint64(len(rewritten)),
	}}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Blobs.Put(t.Context(), rewritten); err != nil {
		t.Fatal(err)
	}
	return name[:]
}

// Register makes a worker known to the log.
func (w *World) Register(t testing.TB, key []byte) {
	t.Helper()
	_, err := w.Host.Do(t.Context(), actors.WorkerAddress(key), &eventv1.Command{Kind: &eventv1.Command_ConnectWorker{
		ConnectWorker: &eventv1.ConnectWorker{Key: key, Session: make([]byte, 16), Group: "g", Node: "test"},
	}})
	if err != nil {
		t.Fatal(err)
	}
}

// trial lets every module pass.
type trial struct{}

func (trial) Trial(_ context.Context, _, _, canary []byte) (operator.TrialResult, error) {
	if bytes.Equal(canary, []byte("diverge")) {
		return operator.TrialResult{}, &operator.ModuleRefusal{Code: "diverged", Detail: "compiler and interpreter differ"}
	}
	return operator.TrialResult{Fuel: 42}, nil
}

// contents is the store as the host wants it.
type contents struct{ *blobs.Store }

func (c contents) Get(ctx context.Context, sum [32]byte) ([]byte, error) {
	return c.Store.Get(ctx, sum, 64<<20)
}

func (c contents) Put(ctx context.Context, data []byte) (*eventv1.BlobRef, error) {
	ref, err := c.Store.Put(ctx, data)
	return &eventv1.BlobRef{Sha256: ref.Sum[:], Size: ref.Size}, err
}

// Client is an HTTP client that sends a bearer token.
func Client(token string) *http.Client {
	return &http.Client{Transport: bearer{token}}
}

type bearer struct{ token string }

func (b bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	if b.token != "" {
		r.Header.Set("Authorization", "Bearer "+b.token)
	}
	return http.DefaultTransport.RoundTrip(r)
}
