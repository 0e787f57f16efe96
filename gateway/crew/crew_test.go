package crew

import (
	"sync"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"
)

func TestEveryJobRunsAndNobodyStays(t *testing.T) {
	defer goleak.VerifyNone(t)
	c := New(4)
	var ran atomic.Int64
	var jobs sync.WaitGroup
	for range 1000 {
		jobs.Add(1)
		c.Go(func() {
			defer jobs.Done()
			ran.Add(1)
		})
	}
	jobs.Wait()
	c.Close()
	if n := ran.Load(); n != 1000 {
		t.Fatalf("%d of 1000 ran", n)
	}
}

// A job never waits for another one, however many are under way.
func TestJobsDoNotWaitForEachOther(t *testing.T) {
	c := New(2)
	defer c.Close()
	const n = 50
	var all sync.WaitGroup
	all.Add(n)
	for range n {
		c.Go(func() {
			all.Done()
			all.Wait() // each needs all the others to have started
		})
	}
	all.Wait()
}
