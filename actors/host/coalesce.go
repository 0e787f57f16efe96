package host

import (
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/shardy-network/orchestrator/actors"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// settleBatch is how many settled chunks make a pipeline's decision at once.
const settleBatch = 128

// settler coalesces the ends of jobs into one command a pipeline. What it holds is lost with the process: a reopened
// pipeline submits its unsettled chunks again, and their jobs answer with their verdicts.
type settler struct {
	host  *Host
	every time.Duration

	mu      sync.Mutex
	pending map[stageKey][]*eventv1.SettledJob
	timer   *time.Timer // set while something is pending
	stopped bool
}

type stageKey struct {
	pipeline string
	stage    uint32
}

func newSettler(h *Host, every time.Duration) *settler {
	return &settler{host: h, every: every, pending: map[stageKey][]*eventv1.SettledJob{}}
}

func (s *settler) add(x actors.SettleChunk) {
	key := stageKey{x.Pipeline, x.Stage}
	s.mu.Lock()
	if s.stopped {
		s.mu.Unlock()
		return
	}
	s.pending[key] = append(s.pending[key], x.Job)
	full := s.pending[key]
	if len(full) < settleBatch {
		full = nil
		if s.timer == nil {
			s.timer = time.AfterFunc(s.every, s.flush)
		}
	} else {
		delete(s.pending, key)
	}
	s.mu.Unlock()
	if full != nil {
		s.send(key, full)
	}
}

func (s *settler) flush() {
	s.mu.Lock()
	pending := s.pending
	s.pending, s.timer = map[stageKey][]*eventv1.SettledJob{}, nil
	s.mu.Unlock()
	for key, jobs := range pending {
		s.send(key, jobs)
	}
}

func (s *settler) send(key stageKey, jobs []*eventv1.SettledJob) {
	slices.SortStableFunc(jobs, func(a, b *eventv1.SettledJob) int { return int(a.Chunk) - int(b.Chunk) })
	cmd := &eventv1.Command{Kind: &eventv1.Command_SettleJobs{SettleJobs: &eventv1.SettleJobs{Stage: key.stage, Jobs: jobs}}}
	s.host.Tell(actors.PipelineAddress(key.pipeline), cmd, func(_ any, err error) {
		if errors.Is(err, ErrBusy) {
			for _, j := range jobs {
				s.add(actors.SettleChunk{Pipeline: key.pipeline, Stage: key.stage, Job: j})
			}
		}
	})
}

func (s *settler) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopped = true
	if s.timer != nil {
		s.timer.Stop()
	}
}

// counter coalesces what becomes of workers' results into one command a worker. Up to CountEvery of it is lost with
// the process; verdicts do not depend on it.
type counter struct {
	host  *Host
	every time.Duration

	mu      sync.Mutex
	pending map[string]*eventv1.RecordWork // by key
	timer   *time.Timer
	stopped bool
}

func newCounter(h *Host, every time.Duration) *counter {
	return &counter{host: h, every: every, pending: map[string]*eventv1.RecordWork{}}
}

func (c *counter) add(x actors.CountWork) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopped {
		return
	}
	w := c.pending[string(x.Worker)]
	if w == nil {
		w = &eventv1.RecordWork{Delta: &eventv1.Tally{}}
		c.pending[string(x.Worker)] = w
	}
	addTally(w.Delta, x.Delta)
	w.FastestFuelPerMs = max(w.FastestFuelPerMs, x.FuelPerMs)
	if c.timer == nil {
		c.timer = time.AfterFunc(c.every, c.flush)
	}
}

func addTally(to, from *eventv1.Tally) {
	to.Agreed += from.Agreed
	to.Contradicted += from.Contradicted
	to.Rejected += from.Rejected
	to.TimedOut += from.TimedOut
	to.Dropped += from.Dropped
	to.Failed += from.Failed
	to.Fuel += from.Fuel
	to.RingersPassed += from.RingersPassed
	to.RingersFailed += from.RingersFailed
}

func (c *counter) flush() {
	c.mu.Lock()
	pending := c.pending
	c.pending, c.timer = map[string]*eventv1.RecordWork{}, nil
	c.mu.Unlock()
	for _, key := range slices.Sorted(maps.Keys(pending)) {
		w := pending[key]
		cmd := &eventv1.Command{Kind: &eventv1.Command_RecordWork{RecordWork: w}}
		c.host.Tell(actors.WorkerAddress([]byte(key)), cmd, func(_ any, err error) {
			if errors.Is(err, ErrBusy) {
				c.add(actors.CountWork{Worker: []byte(key), Delta: w.Delta, FuelPerMs: w.FastestFuelPerMs})
			}
		})
	}
}

func (c *counter) stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stopped = true
	if c.timer != nil {
		c.timer.Stop()
	}
}
