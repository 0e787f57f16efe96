package main

import (
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// payloadSize is the size of every job's input in bytes.
const payloadSize = 1024

// maxBehind is how many open jobs the open loop lets pile up before it sheds new ones.
const maxBehind = 50_000

// submitTimeout is how long the closed loop waits for one verdict before it counts an error.
const submitTimeout = 30 * time.Second

// fillPayload makes the payload of a job: its number, then noise that is drawn from it.
func fillPayload(id uint64, p []byte) {
	r := rand.NewPCG(id, 0x9e3779b97f4a7c15)
	binary.LittleEndian.PutUint64(p, id)
	for i := 8; i+8 <= len(p); i += 8 {
		binary.LittleEndian.PutUint64(p[i:], r.Uint64())
	}
}

// job is one submission of the load.
type job struct {
	id        uint64
	scheduled int64 // when it was due, in ns since 1970: latency counts from here
	verified  atomic.Int64
	done      chan struct{} // closed loop only: closed with the verdict
}

// submitter sends a job on its way. Its answer says whether it was accepted; the verdict comes through load.verified or
// load.failed.
type submitter interface {
	submit(ctx context.Context, j *job, payload []byte) error
}

// load generates jobs and remembers when each was due and verified.
type load struct {
	base uint64 // number of the first job: differs from run to run, and with it every payload
	to   submitter

	mu   sync.Mutex // guards jobs
	jobs []*job

	next, submitted, done, dups, failures atomic.Int64
	lastErr                               atomic.Value // string
}

func newLoad(to submitter) *load {
	return &load{base: uint64(time.Now().UnixNano()) &^ (1<<24 - 1), to: to}
}

var errNoVerdict = errors.New("no verdict in time")

func (l *load) fail(err error) {
	l.failures.Add(1)
	l.lastErr.Store(err.Error())
}

// verified records a verdict. A second one for the same job is counted as a duplicate.
func (l *load) verified(j *job, at int64) {
	if !j.verified.CompareAndSwap(0, at) {
		l.dups.Add(1)
		return
	}
	l.done.Add(1)
	if j.done != nil {
		close(j.done)
	}
}

// behind is how many jobs are out.
func (l *load) behind() int64 { return l.submitted.Load() - l.done.Load() - l.failures.Load() }

func (l *load) one(ctx context.Context, scheduled time.Time, wait bool) {
	j := &job{id: l.base + uint64(l.next.Add(1)-1), scheduled: scheduled.UnixNano()}
	if wait {
		j.done = make(chan struct{})
	}
	l.mu.Lock()
	l.jobs = append(l.jobs, j)
	l.mu.Unlock()
	payload := make([]byte, payloadSize)
	fillPayload(j.id, payload)
	l.submitted.Add(1)
	if err := l.to.submit(ctx, j, payload); err != nil {
		l.fail(err)
		return
	}
	if !wait {
		return
	}
	late := time.NewTimer(submitTimeout)
	defer late.Stop()
	select {
	case <-j.done:
	case <-late.C:
		l.fail(errNoVerdict)
	}
}

// closed keeps a window of jobs in flight until stop is closed, then waits for the last ones.
func (l *load) closed(ctx context.Context, window int, stop <-chan struct{}) {
	var lanes sync.WaitGroup
	for range window {
		lanes.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					l.one(ctx, time.Now(), true)
				}
			}
		})
	}
	lanes.Wait()
}

// open submits at a rate, whether or not earlier jobs are done, until stop is closed. Gaps are drawn from an
// exponential distribution (a Poisson process), or all alike when uniform.
func (l *load) open(ctx context.Context, rate float64, uniform bool, stop <-chan struct{}) {
	var sent sync.WaitGroup
	defer sent.Wait()
	due := time.Now()
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		gap := 1 / rate
		if !uniform {
			gap = rand.ExpFloat64() / rate
		}
		due = due.Add(time.Duration(gap * float64(time.Second)))
		pause.Reset(time.Until(due))
		select {
		case <-stop:
			return
		case <-pause.C:
		}
		if l.behind() > maxBehind {
			continue
		}
		scheduled := due
		sent.Go(func() { l.one(ctx, scheduled, false) })
	}
}

// drain waits until every job is accounted for.
func (l *load) drain(limit time.Duration) {
	end := time.Now().Add(limit)
	for l.behind() > 0 && time.Now().Before(end) {
		time.Sleep(20 * time.Millisecond)
	}
}

// latencies returns, of the window [from, to) in ns, how many jobs were verified and how long they took in ms. The
// closed loop counts jobs by their verdict, the open loop by when they were due.
func (l *load) latencies(from, to int64, byDue bool) (jobs int, ms []float64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, j := range l.jobs {
		at := j.verified.Load()
		if at == 0 {
			continue
		}
		in := at >= from && at < to
		if in {
			jobs++
		}
		if byDue {
			in = j.scheduled >= from && j.scheduled < to
		}
		if in {
			ms = append(ms, float64(at-j.scheduled)/1e6)
		}
	}
	return jobs, ms
}
