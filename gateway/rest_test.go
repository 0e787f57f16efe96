package gateway_test

import (
	"bytes"
	"crypto/ed25519"
	"runtime"
	"testing"
	"time"

	"github.com/shardy-network/orchestrator/gateway"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	workerv1 "github.com/shardy-network/orchestrator/proto/shardy/worker/v1"
)

// reading counts the goroutines that read from a worker.
func reading() int {
	stacks := make([]byte, 4<<20)
	return bytes.Count(stacks[:runtime.Stack(stacks, true)], []byte("gateway.(*session).listen"))
}

// A worker that waits for work costs no goroutine; one that works keeps its own until it was quiet for a while.
func TestWhoWaitsCostsNoGoroutine(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("sessions rest where the system has epoll")
	}
	r := newRig(t, func(c *gateway.Config, _ *gateway.Deps) { c.PingInterval = 200 * time.Millisecond })
	become := func(what string, want int) {
		t.Helper()
		for end := time.Now().Add(10 * time.Second); reading() != want; time.Sleep(5 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("never: %s; %d read", what, reading())
			}
		}
	}
	var workers []*raw
	for range 5 {
		_, key, _ := ed25519.GenerateKey(nil)
		w, _ := r.join(t, key)
		workers = append(workers, w)
	}
	become("five workers without work rest", 0)
	w := workers[2]
	for i, job := range []string{"00000000000000000000000001", "00000000000000000000000002"} {
		m, input := w.give(job, r.spec(t, []byte{byte(i), 2, 3}))
		w.say(&workerv1.FromWorker{Kind: &workerv1.FromWorker_TaskAck{TaskAck: &workerv1.TaskAck{Tokens: []uint64{m.GetToken()}}}})
		become("one with work reads", 1)
		output := reversed(input)
		result := w.result(m, output)
		w.attest(m, result)
		w.finish(result, output)
		if s := w.outcome(m.GetToken()); s.GetOutcome() != workerv1.TaskOutcome_TASK_OUTCOME_RECORDED {
			t.Fatalf("job %s: %v", job, s)
		}
	}
	go func() { // answers pings until the test ends
		for {
			if _, _, err := w.hear(); err != nil {
				return
			}
		}
	}()
	become("quiet again, it rests", 0)
	if n := r.door.Stats().Sessions; n < 1 {
		t.Fatalf("%d sessions are left: the test tests nothing", n)
	}
	if n := countFacts[*eventv1.ResultReturned](r.host); n != 2 {
		t.Fatalf("%d results", n)
	}
}
