package projections

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/shardy-network/orchestrator/events"
	"github.com/shardy-network/orchestrator/events/eventstest"
	"github.com/shardy-network/orchestrator/events/memlog"
)

// diary is a projection that writes down what it sees.
type diary struct {
	name   string
	filter events.Filter

	mu      sync.Mutex
	at      events.Position
	seen    []string
	batches int
	resets  int
	fail    error         // of the next Apply
	block   chan struct{} // Apply waits for it when it is not nil
}

func (d *diary) Name() string          { return d.name }
func (d *diary) Filter() events.Filter { return d.filter }
func (d *diary) Position() events.Position {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.at
}

func (d *diary) Apply(ctx context.Context, batch []events.Record, upTo events.Position) error {
	d.mu.Lock()
	block := d.block
	d.mu.Unlock()
	if block != nil {
		select {
		case <-block:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.fail; err != nil {
		d.fail = nil
		return err
	}
	for _, r := range batch {
		d.seen = append(d.seen, fmt.Sprint(r.Stream, "/", r.Rev))
	}
	d.at = upTo
	d.batches++
	return nil
}

func (d *diary) Reset(context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.at, d.seen = 0, nil
	d.resets++
	return nil
}

func (d *diary) entries() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.seen)
}

// start runs a runner until the test ends.
func start(t *testing.T, l Log, o Options, ps ...Projection) *Runner {
	t.Helper()
	o.Logger = quiet
	r, err := NewRunner(l, o, ps...)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil && !errors.Is(err, events.ErrClosed) {
			t.Error(err)
		}
	})
	return r
}

func appendN(t *testing.T, l events.Log, stream string, n int) (want []string, last events.Position) {
	t.Helper()
	for range n {
		got, err := l.Append(context.Background(), stream, events.Any, eventstest.Draft("A"))
		if err != nil {
			t.Fatal(err)
		}
		want, last = append(want, fmt.Sprint(stream, "/", got.Rev)), got.Pos
	}
	return want, last
}

func waitFor(t *testing.T, r *Runner, name string, pos events.Position) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	if err := r.WaitFor(ctx, name, pos); err != nil {
		t.Fatalf("%v; %+v", err, r.Status())
	}
}

func TestRunnerFollowsTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := memlog.New()
		want, _ := appendN(t, l, "s", 1000)
		d, other := &diary{name: "d"}, &diary{name: "other", filter: events.Filter{Streams: []string{"x"}}}
		r := start(t, l, Options{}, d, other)
		more, last := appendN(t, l, "s", 1000)
		waitFor(t, r, "d", last)
		waitFor(t, r, "other", last) // its place moves although nothing passes its filter
		if got := d.entries(); !slices.Equal(got, append(want, more...)) {
			t.Errorf("%d entries", len(got))
		}
		if got := other.entries(); len(got) != 0 {
			t.Errorf("other saw %v", got)
		}
		time.Sleep(10 * time.Second)
		for _, s := range r.Status() {
			if !s.Live || s.Position != last || s.Head != last || s.Behind != 0 || s.Err != nil || s.Restarts != 0 {
				t.Errorf("%+v", s)
			}
		}
		if err := r.WaitFor(t.Context(), "nobody", 1); !errors.Is(err, ErrNoProjection) {
			t.Error(err)
		}
		if _, err := NewRunner(l, Options{}, d, d); err == nil {
			t.Error("two of the same name")
		}
	})
}

func TestSmallBatchesAreCoalescedUnlessSomeoneWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := memlog.New()
		d := &diary{name: "d"}
		r := start(t, l, Options{Coalesce: 50 * time.Millisecond}, d)
		for range 100 {
			appendN(t, l, "s", 1)
			time.Sleep(time.Millisecond)
		}
		time.Sleep(time.Second)
		d.mu.Lock()
		if len(d.seen) != 100 || d.batches > 5 {
			t.Errorf("%d entries in %d batches", len(d.seen), d.batches)
		}
		d.mu.Unlock()
		waiting := make(chan time.Time, 1)
		go func() {
			waitFor(t, r, "d", 101)
			waiting <- time.Now()
		}()
		synctest.Wait()
		begin := time.Now()
		appendN(t, l, "s", 1)
		if took := (<-waiting).Sub(begin); took != 0 {
			t.Errorf("the one who waits waited %v", took)
		}
	})
}

func TestFailuresAreTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := eventstest.Faulty(memlog.New())
		d := &diary{name: "d"}
		r := start(t, l, Options{}, d)
		want, last := appendN(t, l, "s", 10)
		waitFor(t, r, "d", last)

		d.mu.Lock()
		d.fail = errors.New("disk is full")
		d.mu.Unlock()
		more, last := appendN(t, l, "s", 10)
		want = append(want, more...)
		waitFor(t, r, "d", last)
		if s := r.Status()[0]; s.Restarts != 1 || s.Err != nil {
			t.Errorf("after a failed batch: %+v", s)
		}

		end := l.Outage()
		time.Sleep(time.Minute)
		if s := r.Status()[0]; !errors.Is(s.Err, events.ErrUnavailable) || s.Live {
			t.Errorf("in an outage: %+v", s)
		}
		if n := r.Status()[0].Restarts; n < 10 || n > 40 {
			t.Errorf("%d attempts in a minute", n)
		}
		end()
		more, last = appendN(t, l, "s", 10)
		want = append(want, more...)
		waitFor(t, r, "d", last)
		if got := d.entries(); !slices.Equal(got, want) {
			t.Errorf("%v, want %v", got, want)
		}
	})
}

func TestRebuild(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := memlog.New()
		d := &diary{name: "d"}
		r := start(t, l, Options{}, d)
		want, last := appendN(t, l, "s", 100)
		waitFor(t, r, "d", last)
		if err := r.Rebuild(t.Context(), "d"); err != nil {
			t.Fatal(err)
		}
		waitFor(t, r, "d", last)
		if got := d.entries(); !slices.Equal(got, want) || d.resets != 1 {
			t.Errorf("%d entries after %d resets", len(got), d.resets)
		}
		if err := r.Rebuild(t.Context(), "nobody"); !errors.Is(err, ErrNoProjection) {
			t.Error(err)
		}
	})
}

// deaf is a log whose tails stop yielding after some events, without an error.
type deaf struct {
	events.Log
	after atomic.Int64 // events until the next tail goes deaf
	tails atomic.Int64
}

func (d *deaf) Tail(ctx context.Context, after events.Position, f events.Filter) iter.Seq2[events.Tick, error] {
	d.tails.Add(1)
	return func(yield func(events.Tick, error) bool) {
		for tick, err := range d.Log.Tail(ctx, after, f) {
			if d.after.Add(-1) < 0 && err == nil {
				continue // heard nothing
			}
			if !yield(tick, err) {
				return
			}
		}
	}
}

func TestSilentTailsAreRestarted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &deaf{Log: memlog.New()}
		l.after.Store(50)
		d := &diary{name: "d"}
		r := start(t, l, Options{Watch: time.Second}, d)
		want, last := appendN(t, l.Log, "s", 100)
		time.Sleep(500 * time.Millisecond)
		if n := len(d.entries()); n == 100 {
			t.Fatal("the tail is not deaf")
		}
		l.after.Store(1 << 40)
		waitFor(t, r, "d", last)
		if got := d.entries(); !slices.Equal(got, want) || l.tails.Load() != 2 {
			t.Errorf("%d entries from %d tails", len(got), l.tails.Load())
		}
		time.Sleep(time.Hour)
		if n := l.tails.Load(); n != 2 {
			t.Errorf("%d tails after a quiet hour", n)
		}
	})
}

func TestSlowProjectionIsNotRestartedAndBuffersLittle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &deaf{Log: memlog.New()}
		l.after.Store(1 << 40)
		d := &diary{name: "d", block: make(chan struct{})}
		r := start(t, l, Options{MaxBatch: 10, Watch: time.Second}, d)
		want, last := appendN(t, l.Log, "s", 1000)
		time.Sleep(time.Minute)
		s := r.Status()[0]
		if l.tails.Load() != 1 || s.Behind < 50*time.Second || s.Head != last {
			t.Errorf("%d tails, %+v", l.tails.Load(), s)
		}
		if read := 1<<40 - l.after.Load(); read > 40 {
			t.Errorf("%d events were read ahead", read)
		}
		close(d.block)
		waitFor(t, r, "d", last)
		if got := d.entries(); !slices.Equal(got, want) {
			t.Errorf("%d entries", len(got))
		}
	})
}

func TestRunnerEndsWithTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := memlog.New()
		r, err := NewRunner(l, Options{Logger: quiet}, &diary{name: "a"}, &diary{name: "b"})
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- r.Run(t.Context()) }()
		synctest.Wait()
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		if err := <-ended; !errors.Is(err, events.ErrClosed) {
			t.Error(err)
		}
	})
}
