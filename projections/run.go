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
	feed *feed // nil: it has a tail of its own
	opts Options

	mu       sync.Mutex // guards what follows
	status   Status
	behind   time.Time     // since when the projection has been behind the watchdog's head; zero: it is not
	news     chan struct{} // closed and replaced when the projection's place has moved
	waiters  int           // in waitFor
	hurry    chan struct{} // of capacity 1: somebody has begun to wait
	rate     rate
	rebuilds []chan error // those who asked for a rebuild
	stop     context.CancelCauseFunc
	src      source
}

func newRun(p Projection, log Log, o Options) *run {
	return &run{
		p: p, log: log, opts: o.liked(p), news: make(chan struct{}), hurry: make(chan struct{}, 1),
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
			r.begunAnew(err == nil)
			r.answerRebuilds(err)
			if err == nil {
				continue
			}
		case errors.Is(err, errLost):
			if e := r.p.(Loser).Recover(ctx); e != nil {
				err = e
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

// source is where a projection takes records from: a tail of its own with what it has read ahead, or a seat in the feed.
type source interface {
	take(ctx context.Context) (batch []events.Record, upTo events.Position, live bool, err error)
	gather(ctx context.Context, d time.Duration, hurry <-chan struct{})
	more(ctx context.Context, batch []events.Record, upTo events.Position, live bool) ([]events.Record, events.Position, bool, error)
	give(batch []events.Record)
	place() (events.Position, bool)
}

// attempt follows the log from the projection's place until something fails. Up to three goroutines share the work: one
// reads ahead unless the feed does, one applies (this one), one watches.
func (r *run) attempt(ctx context.Context) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	r.mu.Lock()
	r.stop = stop
	r.status.Position = r.p.Position() // it moves back when a projection had to begin anew
	asked := len(r.rebuilds) > 0
	r.mu.Unlock()
	if asked {
		return errRebuild
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop(nil)
	if l, ok := r.p.(Loser); ok {
		lost := l.Lost()
		wg.Go(func() {
			select {
			case <-lost:
				stop(errLost)
			case <-ctx.Done():
			}
		})
	}
	watched := false
	for {
		b, end := r.tail(ctx, stop, &wg)
		r.from(b)
		if !watched {
			watched = true
			wg.Go(func() { r.watch(ctx, stop) })
		}
		s, err := r.follow(ctx, b)
		end()
		if err != nil {
			return err
		}
		r.from(s)
		_, err = r.follow(ctx, s)
		s.leave()
		if !errors.Is(err, errLeftBehind) {
			return err
		}
	}
}

// tail begins to read the log from the projection's place.
func (r *run) tail(ctx context.Context, stop context.CancelCauseFunc, wg *sync.WaitGroup) (b *buffer, end func()) {
	ctx, end = context.WithCancel(ctx)
	at := r.p.Position()
	b = newBuffer(r.opts.MaxBatch, r.opts.MaxBatchBytes, at)
	wg.Go(func() {
		for tick, err := range r.log.Tail(ctx, at, r.p.Filter()) {
			if err == nil {
				err = b.put(ctx, tick)
			}
			if ctx.Err() != nil {
				return
			}
			if err != nil {
				stop(err)
				return
			}
		}
		if ctx.Err() == nil {
			stop(errTailEnded)
		}
	})
	return b, end
}

// from notes where records come from, for the watchdog.
func (r *run) from(src source) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.src = src
}

// follow applies what a source has until something fails. Where a tail of its own has led the projection to the end of
// the log, it returns a seat in the feed to go on with.
func (r *run) follow(ctx context.Context, src source) (*seat, error) {
	var took time.Duration // by the last Apply
	var next *seat
	defer func() {
		if next != nil {
			next.leave()
		}
	}()
	for {
		batch, upTo, live, err := src.take(ctx)
		if err != nil {
			return nil, err
		}
		if d := r.patience(len(batch), took); d > 0 {
			src.gather(ctx, d, r.hurry)
			if batch, upTo, live, err = src.more(ctx, batch, upTo, live); err != nil {
				return nil, err
			}
		}
		took = 0
		if len(batch) > 0 || upTo != r.p.Position() {
			begin := time.Now()
			if err := r.p.Apply(ctx, batch, upTo); err != nil {
				if ctx.Err() != nil {
					return nil, context.Cause(ctx)
				}
				return nil, err
			}
			took = time.Since(begin)
		}
		r.applied(upTo, len(batch), live, took)
		src.give(batch)
		if r.feed == nil || !live {
			continue
		}
		if _, ok := src.(*seat); ok {
			continue
		}
		if next == nil {
			next = r.feed.sit(upTo, r.p.Filter(), r.opts.MaxBatch, r.opts.MaxBatchBytes)
		}
		if next.begin <= upTo {
			s := next
			s.begin, next = upTo, nil
			return s, nil
		}
	}
}

// patience is for how long a batch waits for company.
func (r *run) patience(records int, took time.Duration) time.Duration {
	if records == 0 || records >= r.opts.MaxBatch || r.opts.Coalesce < 0 || r.hurried() {
		return 0
	}
	d := min(10*took, r.opts.maxCoalesce)
	if records < smallBatch {
		d = max(d, r.opts.Coalesce)
	}
	return d
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
func (r *run) watch(ctx context.Context, stop context.CancelCauseFunc) {
	every := time.NewTicker(r.opts.Watch)
	defer every.Stop()
	var lastSeen, lastHead events.Position
	for first := true; ; first = false {
		r.mu.Lock()
		src := r.src
		r.mu.Unlock()
		seen, full := src.place()
		head, err := r.log.Head(ctx)
		if err == nil {
			r.see(head)
			if !first && !full && seen == lastSeen && seen < lastHead {
				if s, ok := src.(*seat); ok {
					s.f.fail(errStalled)
				}
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

// applied notes a batch.
func (r *run) applied(to events.Position, records int, live bool, took time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.status.Live, r.status.Err = live, nil
	r.status.Position = to
	r.status.Records += uint64(records)
	r.status.Batches++
	r.status.Busy += took
	now := time.Now()
	if records > 0 {
		r.status.Applied = now
	}
	r.rate.add(now, records)
	if to >= r.status.Head {
		r.behind = time.Time{}
	}
	r.tell()
}

// tell wakes those who wait for the projection. It must be called with the lock held.
func (r *run) tell() {
	close(r.news)
	r.news = make(chan struct{})
}

// begunAnew notes that a rebuild has begun.
func (r *run) begunAnew(ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.status.Position = r.p.Position()
	if ok {
		r.status.Rebuilds++
		r.status.Err = nil
	}
	r.tell()
}

func (r *run) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.status.Err, r.status.Live = err, false
	r.status.LastErr, r.status.LastFail = err, time.Now()
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
	signal(r.hurry)
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
	s.Rate = r.rate.at(time.Now())
	if !r.behind.IsZero() {
		s.Behind = time.Since(r.behind)
	}
	return s
}
