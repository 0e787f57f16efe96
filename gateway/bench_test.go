package gateway_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/actors/dispatch"
	"github.com/shardy-network/orchestrator/actors/worker"
	"github.com/shardy-network/orchestrator/events"
	"github.com/shardy-network/orchestrator/gateway"
	"github.com/shardy-network/orchestrator/gateway/agent"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// treadmill gives a worker the next task as soon as a result is in: it costs nothing, so that what is measured is the
// door and the agents.
type treadmill struct {
	door     *gateway.Door
	spec     *eventv1.JobSpec
	policy   *eventv1.JobPolicy
	token    atomic.Uint64
	settled  atomic.Int64
	acked    atomic.Int64
	admitted atomic.Int64
	want     int64
	done     chan struct{}
	holders  sync.Map // token -> worker
	gate     chan struct{}
}

func (m *treadmill) Do(_ context.Context, _ actors.Address, cmd *eventv1.Command) (any, error) {
	switch cmd.Kind.(type) {
	case *eventv1.Command_ConnectWorker:
		return worker.ConnectReply{ProofValid: true}, nil
	case *eventv1.Command_AdmitWorker:
		return worker.AdmitReply{Tier: 2, Proven: &eventv1.Proven{Mflops: 3000, MemoryBytes: 1 << 28, FuelPerMs: 1}, ChunkBytes: 1 << 20}, nil
	}
	return nil, nil
}

func (m *treadmill) Tell(_ actors.Address, cmd *eventv1.Command, done func(any, error)) {
	switch k := cmd.Kind.(type) {
	case *eventv1.Command_ReturnResult:
		key, _ := m.holders.LoadAndDelete(k.ReturnResult.Token)
		done(nil, nil)
		if n := m.settled.Add(1); n == m.want {
			close(m.done)
		}
		m.give(key.([]byte))
	case *eventv1.Command_AckTask:
		m.acked.Add(1)
		done(nil, nil)
	default:
		if done != nil {
			done(nil, nil)
		}
	}
}

func (m *treadmill) give(key []byte) {
	n := m.token.Add(1)
	if int64(n) > m.want {
		return
	}
	m.holders.Store(n, key)
	m.door.Deliver(actors.Task{
		Job: "01234567890123456789012345", Token: n, Attempt: 1, Worker: key, ExecutionTimeoutMs: 10_000, Spec: m.spec, Policy: m.policy,
	}, false)
}

func (m *treadmill) Observe(func(actors.Address, []events.Fact)) func() { return func() {} }
func (m *treadmill) WorkerReady(w dispatch.Worker) {
	m.admitted.Add(1)
	go func() {
		<-m.gate
		for range w.Credits {
			m.give(w.Key)
		}
	}()
}
func (m *treadmill) WorkerCredits([]byte, uint32) {}
func (m *treadmill) WorkerDrain([]byte, bool)     {}
func (m *treadmill) WorkerGone([]byte)            {}

func BenchmarkTasks(b *testing.B) {
	for _, signed := range []bool{false, true} {
		b.Run(fmt.Sprintf("signed=%v", signed), func(b *testing.B) {
			blobs := &fakeBlobs{}
			input := make([]byte, 1024)
			ref, _ := blobs.Put(b.Context(), input)
			module, _ := blobs.Put(b.Context(), []byte("module"))
			m := &treadmill{
				spec: &eventv1.JobSpec{Module: module.Sha256, Input: ref, FuelLimit: 1000}, policy: &eventv1.JobPolicy{RequireAttestation: signed},
				want: int64(b.N), done: make(chan struct{}), gate: make(chan struct{}),
			}
			_, key, _ := ed25519.GenerateKey(nil)
			door, err := gateway.New(gateway.Config{Key: key, GroupKey: make([]byte, 16), MessagesPerSecond: 1e9},
				gateway.Deps{Orchestrator: m, Blobs: blobs, Challenges: &fakeChallenges{}, Admission: func() *eventv1.AdmissionPolicy { return nil }})
			if err != nil {
				b.Fatal(err)
			}
			m.door = door
			mux := http.NewServeMux()
			mux.Handle("/ws/worker", door)
			mux.Handle("/blob/{sum}", blobs)
			server := httptest.NewServer(mux)
			ctx, cancel := context.WithCancel(context.Background())
			var agents sync.WaitGroup
			for range 4 {
				_, key, _ := ed25519.GenerateKey(nil)
				a, err := agent.New(agent.Config{
					Server: server.URL, Key: key, Runner: &echo{}, Runners: 4, Prefetch: 32, Unsigned: !signed,
					Profile: honestProfile(), DrainTimeout: time.Second, Log: quiet(),
				})
				if err != nil {
					b.Fatal(err)
				}
				agents.Go(func() { _ = a.Run(ctx) })
			}
			for m.admitted.Load() < 4 {
				time.Sleep(time.Millisecond)
			}
			b.ResetTimer()
			begin := cpuTime()
			close(m.gate)
			<-m.done
			b.StopTimer()
			b.ReportMetric(float64((cpuTime()-begin).Microseconds())/float64(b.N), "cpu-µs/task")
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "tasks/s")
			b.ReportMetric(float64(m.acked.Load())/float64(b.N), "acks/task")
			cancel()
			agents.Wait()
			_ = door.Close()
			server.Close()
		})
	}
}

type echo struct{}

func (echo) Load(context.Context, [32]byte, []byte) error { return nil }
func (echo) Run(_ context.Context, t agent.Task) (agent.Result, error) {
	return agent.Result{Status: eventv1.ResultStatus_RESULT_STATUS_OK, Fuel: 1, Output: t.Input[:32]}, nil
}

// An idle worker costs no more than 16 KiB, heap and stack of both the door and what it runs on. It takes part of the
// connections that the goal names, as many as descriptors allow with both ends in one process.
func TestIdleWorkersAreCheap(t *testing.T) {
	if testing.Short() {
		t.Skip("opens thousands of sockets")
	}
	n := 2000
	if s := os.Getenv("SHARDY_IDLE"); s != "" {
		n, _ = strconv.Atoi(s)
	}
	m := &treadmill{want: 0, done: make(chan struct{}), gate: make(chan struct{})}
	_, key, _ := ed25519.GenerateKey(nil)
	door, err := gateway.New(gateway.Config{Key: key, GroupKey: make([]byte, 16)}, gateway.Deps{
		Orchestrator: m, Blobs: &fakeBlobs{}, Challenges: &fakeChallenges{}, Admission: func() *eventv1.AdmissionPolicy { return nil }, Log: quiet(),
	})
	if err != nil {
		t.Fatal(err)
	}
	m.door = door
	mux := http.NewServeMux()
	mux.Handle("/ws/worker", door)
	server := httptest.NewServer(mux)
	defer server.Close()
	defer door.Close()
	before := memory()
	conns := make([]net.Conn, 0, n)
	defer func() {
		for _, c := range conns {
			_ = c.Close()
		}
	}()
	for range n {
		c, err := bareWorker(server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, c)
	}
	eventually(t, "sessions", func() bool { return door.Stats().Sessions == n && m.admitted.Load() == int64(n) })
	close(m.gate)
	time.Sleep(100 * time.Millisecond)
	after := memory()
	each := (after - before) / uint64(n)
	t.Logf("%d idle workers: %d bytes each, the test's own sockets included", n, each)
	if each > 16<<10 {
		t.Fatalf("%d bytes each", each)
	}
}

// cpuTime is what this process has used: the door and both ends of every socket.
func cpuTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func memory() uint64 {
	for range 3 {
		runtime.GC()
	}
	debug.FreeOSMemory()
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return s.HeapInuse + s.StackInuse
}

// bareWorker joins over a plain socket with as little memory of its own as can be.
func bareWorker(address string) (net.Conn, error) {
	c, err := net.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	_, private, _ := ed25519.GenerateKey(nil)
	if err := bareHandshake(c, private); err != nil {
		return nil, err
	}
	return c, nil
}

// maskedFrame is a client's binary frame of at most 65,535 bytes.
func maskedFrame(payload []byte) []byte {
	b := []byte{0x82}
	if len(payload) < 126 {
		b = append(b, 0x80|byte(len(payload)))
	} else {
		b = append(b, 0x80|126)
		b = binary.BigEndian.AppendUint16(b, uint16(len(payload)))
	}
	var mask [4]byte
	_, _ = rand.Read(mask[:])
	b = append(b, mask[:]...)
	for i, p := range payload {
		b = append(b, p^mask[i%4])
	}
	return b
}
