package projections

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/shardy-network/orchestrator/events"
)

// smallBatch is a batch that is worth waiting for company.
const smallBatch = 64

// run is one projection at work.
type run struct {
	p    Projection
	log  Log
	opts Options

	mu       sync.Mutex // guards what follows
	status   Status
	behind   time.Time     // since when the projection has been behind the watchdog's head; zero: it is not
	news     chan struct{} // closed and replaced when the projection's place has moved
	waiters  int           // in waitFor
	rebuilds []chan error  // those who asked for a rebuild
	stop     context.CancelCauseFunc
}

func newRun(p Projection, log Log, o Options) *run {
	return &run{
		p: p, log: log, opts: o, news: make(chan struct{}),
		status: Status{Name: p.Name(), Position: p.Position()},
	}
}

// work follows the log until ctx ends or the log is closed.
func (r *run) work(ctx context.Context) error {
	backoff := r.opts.MinBackoff
	for {
		before := r.p.Position()
		err := r.attempt(ctx)
		switch {
		case ctx.Err() != nil:
			r.answerRebuilds(ctx.Err())
			return nil
		case errors.Is(err, events.ErrClosed):
			r.fail(err)
			r.answerRebuilds(err)
			return err
		case errors.Is(err, errRebuild):
			err = r.p.Reset(ctx)
			r.moved(r.p.Position(), 0)
			r.answerRebuilds(err)
			if err == nil {
				continue
			}
		}
		r.fail(err)
		if r.p.Position() != before {
			backoff = r.opts.MinBackoff
		}
		again := backoff/2 + rand.N(backoff/2+1)
		backoff = min(2*backoff, r.opts.MaxBackoff)
		r.opts.Logger.Warn("projection stopped", "projection", r.p.Name(), "error", err, "again_in", again)
		pause(ctx, again)
	}
}

// attempt follows the log from the projection's place until something fails. Three goroutines share the work: one
// reads ahead, one applies (this one), one watches.
func (r *run) attempt(ctx context.Context) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	r.mu.Lock()
	r.stop = stop
	asked := len(r.rebuilds) > 0
	r.mu.Unlock()
	if asked {
		return errRebuild
	}
	b := newBuffer(r.opts.MaxBatch, r.opts.MaxBatchBytes, r.p.Position())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop(nil)
	wg.Go(func() {
		for tick, err := range r.log.Tail(ctx, r.p.Position(), r.p.Filter()) {
			if err == nil {
				err = b.put(ctx, tick)
			}
			if err != nil {
				stop(err)
				return
			}
		}
		stop(errors.New("tail ended without a reason"))
	})
	wg.Go(func() { r.watch(ctx, stop, b) })
	for {
		batch, upTo, live, err := b.take(ctx)
		if err != nil {
			return err
		}
		if len(batch) < smallBatch && len(batch) > 0 && r.opts.Coalesce > 0 && !r.hurried() {
			pause(ctx, r.opts.Coalesce)
			if batch, upTo, live, err = b.more(ctx, batch, upTo, live); err != nil {
				return err
			}
		}
		if len(batch) > 0 || upTo != r.p.Position() {
			if err := r.p.Apply(ctx, batch, upTo); err != nil {
				if ctx.Err() != nil {
					return context.Cause(ctx)
				}
				return err
			}
		}
		r.mu.Lock()
		r.status.Live = live
		r.mu.Unlock()
		r.moved(upTo, len(batch))
		b.give(batch)
	}
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// watch compares the tail's place with the head of the log, and ends a tail that stands still behind it although
// there is room for what it reads.
func (r *run) watch(ctx context.Context, stop context.CancelCauseFunc, b *buffer) {
	every := time.NewTicker(r.opts.Watch)
	defer every.Stop()
	var lastSeen, lastHead events.Position
	for first := true; ; first = false {
		seen, full := b.place()
		head, err := r.log.Head(ctx)
		if err == nil {
			r.see(head)
			if !first && !full && seen == lastSeen && seen < lastHead {
				stop(errStalled)
				return
			}
		}
		lastSeen, lastHead = seen, head
		select {
		case <-every.C:
		case <-ctx.Done():
			return
		}
	}
}

// see notes the head of the log.
func (r *run) see(head events.Position) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.status.Head = head
	switch {
	case r.status.Position >= head:
		r.behind = time.Time{}
	case r.behind.IsZero():
		r.behind = time.Now()
	}
}

func (r *run) moved(to events.Position, records int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.status.Position = to
	r.status.Records += uint64(records)
	r.status.Batches++
	r.status.Err = nil
	if to >= r.status.Head {
		r.behind = time.Time{}
	}
	close(r.news)
	r.news = make(chan struct{})
}

func (r *run) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.status.Err, r.status.Live = err, false
	r.status.Restarts++
}

// hurried tells whether someone waits for the projection.
func (r *run) hurried() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.waiters > 0
}

func (r *run) waitFor(ctx context.Context, pos events.Position) error {
	r.mu.Lock()
	r.waiters++
	defer func() {
		r.mu.Lock()
		r.waiters--
		r.mu.Unlock()
	}()
	for r.status.Position < pos {
		news := r.news
		r.mu.Unlock()
		select {
		case <-news:
		case <-ctx.Done():
			return ctx.Err()
		}
		r.mu.Lock()
	}
	r.mu.Unlock()
	return nil
}

func (r *run) rebuild(ctx context.Context) error {
	answer := make(chan error, 1)
	r.mu.Lock()
	r.rebuilds = append(r.rebuilds, answer)
	if r.stop != nil {
		r.stop(errRebuild)
	}
	r.mu.Unlock()
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (r *run) answerRebuilds(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, answer := range r.rebuilds {
		answer <- err
	}
	r.rebuilds = nil
}

func (r *run) report() Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.status
	if !r.behind.IsZero() {
		s.Behind = time.Since(r.behind)
	}
	return s
}
