// Package crew runs short jobs on goroutines that are used again, because a new goroutine pays for growing its stack
// before it encodes its first message.
//
// It promises that Go never blocks and never queues: a job starts at once, on an idle goroutine or on a new one. It does
// not limit how many run: whoever hands out jobs does.
package crew

import "sync"

// Crew is a set of goroutines. Its methods are safe for concurrent use.
type Crew struct {
	jobs    chan func() // unbuffered: a send succeeds only when somebody is idle
	places  chan struct{}
	closing chan struct{}
	all     sync.WaitGroup
}

// New returns a crew of which at most idle goroutines wait for work. Close ends it.
func New(idle int) *Crew {
	return &Crew{jobs: make(chan func()), places: make(chan struct{}, idle), closing: make(chan struct{})}
}

// Go runs f soon, on some goroutine. After Close it MUST NOT be called from outside a job.
func (c *Crew) Go(f func()) {
	select {
	case c.jobs <- f:
	default:
		c.all.Add(1)
		go c.work(f)
	}
}

func (c *Crew) work(f func()) {
	defer c.all.Done()
	for {
		f()
		select {
		case c.places <- struct{}{}:
		default:
			return // enough are idle
		}
		select {
		case f = <-c.jobs:
			<-c.places
		case <-c.closing:
			return
		}
	}
}

// Close waits until every job has ended and the idle goroutines are gone.
func (c *Crew) Close() {
	close(c.closing)
	c.all.Wait()
}
