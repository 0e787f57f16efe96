package e2e

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/shardy-network/orchestrator/cmd/shardy/relay"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

// hurried are the times of jobs that meet faults.
func hurried() *operatorv1.PolicyOverrides {
	return &operatorv1.PolicyOverrides{
		AckTimeoutMs:          uint32(patience(800 * time.Millisecond).Milliseconds()),
		MaxExecutionTimeoutMs: uint32(patience(3 * time.Second).Milliseconds()),
	}
}

// lasting are tasks that take some tenths of a second, so that a fault can hit them.
func lasting(n int) []*task {
	all := make([]*task, n)
	for i := range all {
		low := uint64(10_000_000 + i*1000)
		all[i] = &task{low: low, high: low + lastingWidth}
	}
	return all
}

const lastingWidth = 40_000_000

// victim is a worker behind a network of its own.
type victim struct {
	*worker
	net *relay.Relay
}

func (s *site) victim(name string) *victim {
	s.Helper()
	r, err := relay.Start(s.addr)
	s.must(err)
	s.Cleanup(func() { r.Close() })
	return &victim{worker: s.work(name, r.Addr()), net: r}
}

// fault is something that happens to a worker, and how it ends.
type fault struct {
	name   string
	strike func(v *victim)
	heal   func(v *victim) // nil: it does not come back
}

var faults = []fault{
	{"killed", func(v *victim) { v.Kill() }, nil},
	{"stopped", func(v *victim) { v.Signal(syscall.SIGSTOP) }, func(v *victim) { v.Signal(syscall.SIGCONT) }},
	{"silent", func(v *victim) { v.net.Freeze() }, func(v *victim) { v.net.Thaw() }},
}

// phase is how far the victim's task is when the fault strikes.
type phase struct {
	name string
	trap func(s *site, v *victim)                    // makes the victim stay in the phase once it is in it
	wait func(s *site, v *victim, after uint64) bool // false: it was missed
	free func(v *victim)                             // undoes the trap, after the fault
}

var phases = []phase{
	{
		"before the ack",
		func(_ *site, v *victim) { v.net.Freeze() },
		func(s *site, v *victim, after uint64) bool { s.holds(v.worker, after, false); return true },
		func(v *victim) { v.net.Thaw() },
	},
	{
		"while running",
		func(*site, *victim) {},
		func(s *site, v *victim, after uint64) bool { s.holds(v.worker, after, true); return true },
		func(*victim) {},
	},
	{
		"while the result is on its way",
		func(*site, *victim) {},
		func(s *site, v *victim, after uint64) bool {
			s.holds(v.worker, after, true)
			v.net.Freeze()
			for end := time.Now().Add(patience(2 * time.Second)); v.net.Held() < resultBytes; time.Sleep(5 * time.Millisecond) {
				if time.Now().After(end) {
					return false // it had left before
				}
			}
			return true
		},
		func(v *victim) { v.net.Thaw() },
	},
}

// resultBytes is less than a result and its attestation, more than pongs and acks.
const resultBytes = 150

// holds waits until the worker has been given a task after a position of the log, and, if asked, has acked it.
func (s *site) holds(w *worker, after uint64, acked bool) {
	s.Helper()
	mine := map[string]bool{}
	s.until(w.name+" has a task", after, []string{"AssignmentDispatched", "TaskAcked"}, func(e *seen) bool {
		switch f := e.Fact.(type) {
		case *eventv1.AssignmentDispatched:
			mine[e.Stream] = fmt.Sprintf("%x", f.Worker) == w.key
			return mine[e.Stream] && !acked
		case *eventv1.TaskAcked:
			return mine[e.Stream] && acked
		}
		return false
	})
}

// TestWorkersFailInEveryPhase strikes a worker by each fault in each phase of a task. The jobs are verified by others,
// and a worker that comes back is of use again.
func TestWorkersFailInEveryPhase(t *testing.T) {
	s := open(t, quickPolicy())
	s.crew(2)
	primes := s.admit("primes", (&task{low: 0, high: 1000}).chunk())
	var all []*task
	for _, f := range faults {
		for _, p := range phases {
			t.Run(f.name+" "+p.name, func(t *testing.T) {
				s := *s
				s.T = t
				name := strings.ReplaceAll(f.name+"-"+p.name, " ", "-")
				v := s.victim(name)
				s.admitted(v.worker)
				s.idle(3)
				var tasks []*task
				for try, caught := 0, false; !caught; try++ {
					if try == 5 {
						t.Fatal("the phase was missed five times")
					}
					after := s.head()
					p.trap(&s, v)
					part := lasting(3) // six replicas, for workers that hold two each
					s.submit(primes, fmt.Sprintf("%s-%d", name, try), part, hurried())
					tasks = append(tasks, part...)
					if caught = p.wait(&s, v, after); !caught {
						p.free(v)
						s.settled(part)
					}
				}
				f.strike(v)
				p.free(v)
				if f.name == "silent" {
					v.net.Freeze() // the trap's end is not the fault's
				}
				s.settled(tasks)
				all = append(all, tasks...)
				if f.heal == nil {
					return
				}
				after := s.head()
				f.heal(v)
				s.useful(v.worker, primes, name, after)
				v.Kill()
			})
		}
	}
	s.stop()
	h := s.history()
	s.judge(h, all)
	s.once(h)
	for key, n := range h.contradicted() {
		t.Errorf("worker %s was contradicted %d times", key, n)
	}
	t.Logf("records %v, stripped %v", h.counts, h.stripped)
	s.sound()
}

// useful sends jobs until the worker has returned one that counts.
func (s *site) useful(w *worker, module []byte, name string, after uint64) {
	s.Helper()
	end := time.Now().Add(patience(30 * time.Second))
	for i := 0; time.Now().Before(end); i++ {
		tasks := []*task{{low: 1000, high: 2000 + uint64(i)}, {low: 3000, high: 4000 + uint64(i)}}
		s.submit(module, fmt.Sprintf("%s-after-%d", name, i), tasks, hurried())
		s.settled(tasks)
		counted := false
		head := s.head()
		s.until("the log is read", after, []string{"ReplicaReturned", "TaskVerified"}, func(e *seen) bool {
			if f, ok := e.Fact.(*eventv1.ReplicaReturned); ok && fmt.Sprintf("%x", f.Worker) == w.key {
				counted = true
			}
			return counted || e.Stream == "job-"+tasks[1].id || e.Position >= head
		})
		if counted {
			return
		}
	}
	s.Errorf("%s is of no use any more", w.name)
}

// TestANetworkThatStaysSilent loses the network of a worker that holds tasks, for longer than pings allow: both sides
// notice by themselves, the tasks go to another worker long before their time is over, and later the worker is back.
func TestANetworkThatStaysSilent(t *testing.T) {
	ping := patience(300 * time.Millisecond)
	s := open(t, quickPolicy(), "--ping-interval", ping.String())
	s.crew(2)
	v := s.victim("victim")
	s.admitted(v.worker)
	s.idle(3)
	primes := s.admit("primes", (&task{low: 0, high: 1000}).chunk())
	tasks := lasting(4)
	after := s.head()
	s.submit(primes, "silence", tasks, nil) // the built-in times: an ack may take 5 s, a run 10 s
	s.holds(v.worker, after, true)
	v.net.Freeze()
	s.until("the silent worker is given up", after, []string{"WorkerDisconnected"}, func(e *seen) bool {
		return e.Stream == "worker-"+v.key
	})
	s.settled(tasks)
	after = s.head()
	v.net.Thaw()
	s.until("it is back", after, []string{"WorkerConnected"}, func(e *seen) bool { return e.Stream == "worker-"+v.key })
	s.useful(v.worker, primes, "silence", after)
	s.stop()
	h := s.history()
	s.judge(h, tasks)
	s.once(h)
	if h.counts["ExecutionTimedOut"] > 0 {
		t.Errorf("a task waited for its time: %v", h.counts)
	}
	s.sound()
}

// TestAllWorkersGoneThenBack kills every worker with tasks in their hands, and starts the same ones again later.
func TestAllWorkersGoneThenBack(t *testing.T) {
	s := open(t, quickPolicy())
	crew := s.crew(3)
	primes := s.admit("primes", (&task{low: 0, high: 1000}).chunk())
	tasks := append(lasting(4), small(dice(t), 40)...)
	after := s.head()
	s.submit(primes, "gone", tasks, nil)
	s.holds(crew[0], after, true)
	after = s.head()
	for _, w := range crew {
		w.Kill()
	}
	gone := map[string]bool{}
	s.until("all are gone", after, []string{"WorkerDisconnected"}, func(e *seen) bool {
		gone[e.Stream] = true
		return len(gone) == len(crew)
	})
	if r := s.ok("job", "explain", tasks[len(tasks)-1].id); !strings.Contains(r.out, "worker") {
		t.Errorf("nobody says that there is no worker: %s", r.out)
	}
	for _, w := range crew {
		s.work(w.name, s.addr) // the same keys
	}
	s.settled(tasks)
	s.stop()
	h := s.history()
	s.judge(h, tasks)
	s.once(h)
	t.Logf("records %v, stripped %v", h.counts, h.stripped)
	s.sound()
}
