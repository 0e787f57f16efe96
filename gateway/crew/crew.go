// Package crew runs short jobs on goroutines that are used again, because a new goroutine pays for growing its stack
// before it encodes its first message.
//
// It promises that Go never blocks and never queues: a job starts at once, on the goroutine that became idle last, whose
// stack is warm, or on a new one. It does not limit how many run: whoever hands out jobs does.
package crew

import "sync"

// Crew is a set of goroutines. Its methods are safe for concurrent use.
type Crew struct {
	most int // idle goroutines
	all  sync.WaitGroup

	mu     sync.Mutex
	idle   []chan func() // each of capacity 1, of a goroutine that waits on it; the last became idle last
	closed bool
}

// New returns a crew of which at most idle goroutines wait for work. Close ends it.
func New(idle int) *Crew { return &Crew{most: idle} }

// Go runs f soon, on some goroutine. After Close it MUST NOT be called from outside a job.
func (c *Crew) Go(f func()) {
	c.mu.Lock()
	if n := len(c.idle); n > 0 {
		next := c.idle[n-1]
		c.idle = c.idle[:n-1]
		c.mu.Unlock()
		next <- f
		return
	}
	c.mu.Unlock()
	c.all.Add(1)
	go c.work(f)
}

func (c *Crew) work(f func()) {
	defer c.all.Done()
	jobs := make(chan func(), 1)
	for f != nil {
		f()
		if !c.rest(jobs) {
			return
		}
		f = <-jobs
	}
}

// rest puts a goroutine among the idle ones, if there is room.
func (c *Crew) rest(jobs chan func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || len(c.idle) >= c.most {
		return false
	}
	c.idle = append(c.idle, jobs)
	return true
}

// Close waits until every job has ended and the idle goroutines are gone.
func (c *Crew) Close() {
	c.mu.Lock()
	c.closed = true
	for _, jobs := range c.idle {
		jobs <- nil
	}
	c.idle = nil
	c.mu.Unlock()
	c.all.Wait()
}
