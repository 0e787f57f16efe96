package gateway_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/actors/assignment"
	"github.com/shardy-network/orchestrator/actors/dispatch"
	"github.com/shardy-network/orchestrator/actors/worker"
	"github.com/shardy-network/orchestrator/events"
	"github.com/shardy-network/orchestrator/gateway"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// fakeHost runs the real rooms of workers and assignments one command at a time, without a log. Its dispatcher is the
// test: dispatch hands a slot to a worker.
type fakeHost struct {
	door *gateway.Door

	mu        sync.Mutex
	entities  map[actors.Address]actors.Entity
	facts     []recorded
	observers []func(actors.Address, []events.Fact)
	specs     map[string]*eventv1.JobSpec
	policies  map[string]*eventv1.JobPolicy
	ready     map[string]dispatch.Worker
	draining  map[string]bool
	gone      map[string]int // how often it was said
	changed   chan struct{}  // closed and replaced at every change

	away   atomic.Bool // commands fail as if the log were away
	orders chan func()
	idle   sync.WaitGroup
}

type recorded struct {
	to   actors.Address
	fact events.Fact
}

func newFakeHost(t *testing.T) *fakeHost {
	h := &fakeHost{
		entities: map[actors.Address]actors.Entity{}, specs: map[string]*eventv1.JobSpec{}, policies: map[string]*eventv1.JobPolicy{},
		ready: map[string]dispatch.Worker{}, draining: map[string]bool{}, gone: map[string]int{}, changed: make(chan struct{}), orders: make(chan func(), 1<<14),
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for f := range h.orders {
			f()
			h.idle.Done()
		}
	}()
	t.Cleanup(func() {
		h.idle.Wait()
		close(h.orders)
		<-done
	})
	return h
}

func (h *fakeHost) entity(to actors.Address) actors.Entity {
	e := h.entities[to]
	if e == nil {
		switch to.Room {
		case actors.WorkerRoom:
			e = worker.Room.Open(to.ID)
		case actors.AssignmentRoom:
			e = assignment.Room.Open(to.ID)
		default:
			panic("no such room: " + to.Room)
		}
		h.entities[to] = e
	}
	return e
}

func (h *fakeHost) Do(_ context.Context, to actors.Address, cmd *eventv1.Command) (any, error) {
	if h.away.Load() {
		return nil, events.ErrUnavailable
	}
	if cmd.AtUs == 0 {
		cmd.AtUs = time.Now().UnixMicro()
	}
	h.mu.Lock()
	e := h.entity(to)
	d, err := e.Decide(actors.Rules, cmd)
	if err != nil {
		h.mu.Unlock()
		return nil, err
	}
	for _, f := range d.Facts {
		if err := e.Evolve(f); err != nil {
			h.mu.Unlock()
			return nil, err
		}
		h.facts = append(h.facts, recorded{to, f})
	}
	effects := append(d.Effects, e.React(d.Facts)...)
	if len(d.Facts) == 0 {
		effects = d.Effects
	}
	observers := h.observers
	h.touch()
	h.mu.Unlock()
	for _, o := range observers {
		o(to, d.Facts)
	}
	for _, x := range effects {
		h.effect(x)
	}
	return d.Reply, nil
}

// announce makes a fact known without a command.
func (h *fakeHost) announce(to actors.Address, f events.Fact) {
	h.mu.Lock()
	err := h.entity(to).Evolve(f)
	observers := h.observers
	h.mu.Unlock()
	if err != nil {
		panic(err)
	}
	for _, o := range observers {
		o(to, []events.Fact{f})
	}
}

// touch wakes those that wait for a change. The caller holds mu.
func (h *fakeHost) touch() {
	close(h.changed)
	h.changed = make(chan struct{})
}

func (h *fakeHost) effect(x actors.Effect) {
	switch x := x.(type) {
	case actors.Deliver:
		h.mu.Lock()
		x.Task.Spec, x.Task.Policy = h.specs[x.Task.Job], h.policies[x.Task.Job]
		h.mu.Unlock()
		h.door.Deliver(x.Task, x.Restored)
	case actors.Recall:
		h.door.Recall(x.Worker, x.Token, x.Reason)
	}
}

func (h *fakeHost) Tell(to actors.Address, cmd *eventv1.Command, done func(any, error)) {
	h.idle.Add(1)
	h.orders <- func() {
		reply, err := h.Do(context.Background(), to, cmd)
		if done != nil {
			done(reply, err)
		}
	}
}

func (h *fakeHost) Observe(fn func(actors.Address, []events.Fact)) func() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.observers = append(h.observers, fn)
	return func() {}
}

func (h *fakeHost) WorkerReady(w dispatch.Worker) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ready[string(w.Key)] = w
	h.touch()
}

func (h *fakeHost) WorkerCredits(key []byte, n uint32) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if w, ok := h.ready[string(key)]; ok {
		w.Credits = n
		h.ready[string(key)] = w
	}
	h.touch()
}

func (h *fakeHost) WorkerDrain(key []byte, on bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.draining[string(key)] = on
	h.touch()
}

func (h *fakeHost) WorkerGone(key []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.ready, string(key))
	h.gone[string(key)]++
	h.touch()
}

// eventually waits until ok holds of the host.
func (h *fakeHost) eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	limit := time.After(10 * time.Second)
	for {
		h.mu.Lock()
		holds, changed := ok(), h.changed
		h.mu.Unlock()
		if holds {
			return
		}
		select {
		case <-changed:
		case <-limit:
			h.mu.Lock()
			defer h.mu.Unlock()
			for _, f := range h.facts {
				t.Logf("%s: %T %v", f.to, f.fact, f.fact)
			}
			t.Fatalf("%s: not within 10 s", what)
		}
	}
}

func (h *fakeHost) waitReady(t *testing.T, key []byte) dispatch.Worker {
	t.Helper()
	h.eventually(t, "worker ready", func() bool { return h.ready[string(key)].Credits > 0 })
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.ready[string(key)]
}

// factOf waits for a fact of type F of the entity that passes.
func factOf[F events.Fact](t *testing.T, h *fakeHost, to actors.Address, pass func(F) bool) (found F) {
	t.Helper()
	h.eventually(t, fmt.Sprintf("%T of %s", found, to), func() bool {
		for _, r := range h.facts {
			if f, ok := r.fact.(F); ok && r.to == to && (pass == nil || pass(f)) {
				found = f
				return true
			}
		}
		return false
	})
	return found
}

// countFacts counts facts of type F, whoever's they are.
func countFacts[F events.Fact](h *fakeHost) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := 0
	for _, r := range h.facts {
		if _, ok := r.fact.(F); ok {
			n++
		}
	}
	return n
}

// submit makes a job whose slots can be dispatched.
func (h *fakeHost) submit(job string, spec *eventv1.JobSpec) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.specs[job] = spec
	h.policies[job] = &eventv1.JobPolicy{RequireAttestation: true}
}

func (h *fakeHost) dispatch(t *testing.T, job string, slot uint32, key []byte) {
	t.Helper()
	seed := make([]byte, 16)
	_, _ = rand.Read(seed)
	_, err := h.Do(t.Context(), actors.SlotAddress(job, slot), &eventv1.Command{Kind: &eventv1.Command_DispatchSlot{
		DispatchSlot: &eventv1.DispatchSlot{
			Worker: key, AckTimeoutMs: 5000, ExecutionTimeoutMs: 10_000, MaxAttempts: 5, Seed: seed, Candidates: [][]byte{key[:8]},
		},
	}})
	if err != nil {
		t.Fatalf("dispatch: %v", err)
	}
}

// fakeBlobs keeps blobs in memory and serves them as the orchestrator does.
type fakeBlobs struct {
	mu   sync.Mutex
	m    map[[32]byte][]byte
	away atomic.Bool
}

func (b *fakeBlobs) Put(_ context.Context, data []byte) (*eventv1.BlobRef, error) {
	if b.away.Load() {
		return nil, events.ErrUnavailable
	}
	sum := sha256.Sum256(data)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.m == nil {
		b.m = map[[32]byte][]byte{}
	}
	b.m[sum] = append([]byte(nil), data...)
	return &eventv1.BlobRef{Sha256: sum[:], Size: uint64(len(data))}, nil
}

func (b *fakeBlobs) Get(_ context.Context, sum [32]byte) ([]byte, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	data, ok := b.m[sum]
	if !ok {
		return nil, events.ErrNotFound
	}
	return data, nil
}

func (b *fakeBlobs) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	sum, err := hex.DecodeString(r.PathValue("sum"))
	if err != nil || len(sum) != 32 {
		http.Error(w, "malformed", http.StatusBadRequest)
		return
	}
	data, err := b.Get(r.Context(), [32]byte(sum))
	if err != nil {
		http.Error(w, "not found", http.StatusNotFound)
		return
	}
	_, _ = w.Write(data)
}

// fakeChallenges are answered by whoever returns its input reversed.
type fakeChallenges struct {
	module [32]byte
	n      atomic.Uint64
	fail   atomic.Bool
}

func (c *fakeChallenges) Take(_ context.Context, _ eventv1.ChallengeKind, size uint64) (gateway.Challenge, error) {
	if c.fail.Load() {
		return gateway.Challenge{}, errors.New("no sandbox")
	}
	nonce := binary.BigEndian.AppendUint64([]byte("nonce---"), c.n.Add(1))
	return gateway.Challenge{
		Nonce: nonce, Module: c.module, Input: nonce, Digest: sha256.Sum256(reversed(nonce)), FuelLimit: 1000, Fuel: 100, Work: size,
	}, nil
}

func reversed(b []byte) []byte {
	r := make([]byte, len(b))
	for i := range b {
		r[len(b)-1-i] = b[i]
	}
	return r
}

// rig is a door over a real socket, with everything around it fake.
type rig struct {
	host       *fakeHost
	blobs      *fakeBlobs
	challenges *fakeChallenges
	door       *gateway.Door
	cfg        gateway.Config
	deps       gateway.Deps
	url        string
	module     []byte
	key        ed25519.PrivateKey
}

func newRig(t *testing.T, edit func(*gateway.Config, *gateway.Deps)) *rig {
	t.Helper()
	r := &rig{host: newFakeHost(t), blobs: &fakeBlobs{}, module: []byte("a module")}
	ref, _ := r.blobs.Put(t.Context(), r.module)
	r.challenges = &fakeChallenges{module: [32]byte(ref.Sha256)}
	_, r.key, _ = ed25519.GenerateKey(nil)
	cfg := gateway.Config{Node: "test", Key: r.key, GroupKey: []byte("0123456789abcdef"), CloseLinger: 200 * time.Millisecond}
	deps := gateway.Deps{
		Orchestrator: r.host, Blobs: r.blobs, Challenges: r.challenges, Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Admission: func() *eventv1.AdmissionPolicy {
			return &eventv1.AdmissionPolicy{Tiers: []*eventv1.TierFloor{
				{Tier: 1, Mflops: 250, MemoryBytes: 64 << 20}, {Tier: 2, Mflops: 2000, MemoryBytes: 256 << 20}, {Tier: 3, Mflops: 40_000, MemoryBytes: 2 << 30},
			}, ProofTtlS: 3600, MaxChunkBytes: 16 << 20}
		},
	}
	if edit != nil {
		edit(&cfg, &deps)
	}
	var err error
	if r.door, err = gateway.New(cfg, deps); err != nil {
		t.Fatal(err)
	}
	r.host.door, r.cfg, r.deps = r.door, cfg, deps
	mux := http.NewServeMux()
	mux.Handle("/ws/worker", r.door)
	mux.Handle("/blob/{sum}", r.blobs)
	server := httptest.NewServer(mux)
	r.url = server.URL
	t.Cleanup(func() {
		_ = r.door.Close()
		server.Close()
	})
	return r
}

// swapHandler is an address whose owner changes; nobody answers 503.
type swapHandler struct{ now atomic.Pointer[gateway.Door] }

func (s *swapHandler) set(d *gateway.Door) { s.now.Store(d) }

func (s *swapHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if d := s.now.Load(); d != nil {
		d.ServeHTTP(w, r)
		return
	}
	http.Error(w, "away", http.StatusServiceUnavailable)
}

// spec is a job over an input of n bytes.
func (r *rig) spec(t *testing.T, input []byte) *eventv1.JobSpec {
	t.Helper()
	ref, err := r.blobs.Put(t.Context(), input)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(r.module)
	return &eventv1.JobSpec{Module: sum[:], Input: ref, FuelLimit: 1000, Kind: eventv1.JobKind_JOB_KIND_STANDARD}
}
