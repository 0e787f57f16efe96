package e2e

import (
	"testing"
	"time"

	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// TestLiarsAmongHonestWorkers has two liars, each with a lie of its own, among four honest workers.
func TestLiarsAmongHonestWorkers(t *testing.T) {
	s := open(t, quickPolicy())
	honest := s.crew(4)
	liars := []*worker{s.work("liar-a", s.addr, "--dishonest", "lie"), s.work("liar-b", s.addr, "--dishonest", "lie")}
	s.admitted(liars...)
	s.idle(6)
	primes := s.admit("primes", (&task{low: 0, high: 1000}).chunk())
	tasks := small(dice(t), 200)
	s.submit(primes, "lied", tasks, nil)
	s.settled(tasks)
	s.stop()
	h := s.history()
	s.judge(h, tasks)
	s.once(h)
	contradicted := h.contradicted()
	for _, w := range honest {
		if n := contradicted[w.key]; n > 0 {
			t.Errorf("%s is honest and was contradicted %d times", w.name, n)
		}
	}
	for _, w := range liars {
		n := contradicted[w.key]
		if n == 0 {
			t.Errorf("%s was never contradicted", w.name)
		}
		t.Logf("%s was contradicted %d times", w.name, n)
	}
	// Every result of a liar that was compared is a lie, and every one of them was found out.
	results := map[string]int{}
	for job, slots := range h.replicas {
		if len(h.verified[job])+len(h.deadLettered[job]) == 0 { // a ringer that was failed is dead-lettered
			continue
		}
		for _, key := range slots {
			results[key]++
		}
	}
	for _, w := range liars {
		if results[w.key] != contradicted[w.key] {
			t.Errorf("%s returned %d results to decided jobs, %d were contradicted", w.name, results[w.key], contradicted[w.key])
		}
	}
	t.Logf("records %v", h.counts)
	s.sound()
}

// TestOneLiarAndOneHonestWorker leaves nobody for a second wave: the referee decides.
func TestOneLiarAndOneHonestWorker(t *testing.T) {
	p := quickPolicy()
	p.NoWorkerPatienceMs = uint32(patience(time.Second).Milliseconds())
	s := open(t, p)
	honest := s.crew(1)[0]
	liar := s.work("liar", s.addr, "--dishonest", "lie")
	s.admitted(liar)
	s.idle(2)
	primes := s.admit("primes", (&task{low: 0, high: 1000}).chunk())
	tasks := small(dice(t), 10)
	s.submit(primes, "disputed", tasks, nil)
	s.settled(tasks)
	s.stop()
	h := s.history()
	s.judge(h, tasks)
	for _, task := range tasks {
		for _, v := range h.verified[task.id] {
			if v.Basis != eventv1.VerdictBasis_VERDICT_BASIS_REFEREE {
				t.Errorf("job %s was decided by %s", task.id, v.Basis)
			}
		}
	}
	contradicted := h.contradicted()
	if contradicted[honest.key] != 0 || contradicted[liar.key] != len(tasks) {
		t.Errorf("contradicted: the honest worker %d times, the liar %d times, want 0 and %d", contradicted[honest.key], contradicted[liar.key], len(tasks))
	}
	s.sound()
}
