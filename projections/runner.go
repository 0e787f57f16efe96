package projections

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/shardy-network/orchestrator/events"
)

// Log is the part of the event log that projections read.
type Log interface {
	Tail(ctx context.Context, after events.Position, f events.Filter) iter.Seq2[events.Tick, error]
	Head(ctx context.Context) (events.Position, error)
}

// Projection is a read model. The runner calls Apply and Reset from one goroutine at a time.
type Projection interface {
	// Name is unique among the projections of a runner.
	Name() string
	// Filter says which events Apply wants. It MUST NOT change.
	Filter() events.Filter
	// Position is the place up to which everything was applied. After a restart the runner goes on from here, so
	// that it MUST be stored together with what Apply wrote, or behind it when Apply may see an event twice.
	Position() events.Position
	// Apply takes in some events in order. Everything up to the given place was in this batch, in an earlier one,
	// or did not pass the filter. When it returns nil Position MUST be upTo; when it fails it MUST have changed
	// nothing. It MUST NOT keep the slice, nor change what its records hold: others read it too.
	Apply(ctx context.Context, batch []events.Record, upTo events.Position) error
	// Reset forgets everything: Position becomes zero.
	Reset(ctx context.Context) error
}

// Batch is how large the batches are that a projection likes when there is much to do. Zero fields mean the runner's.
type Batch struct {
	Records, Bytes int
	// MaxCoalesce is how long a batch may wait for company: as long as the one before took to apply, ten times over,
	// but no longer than this, and not at all while somebody waits for the projection.
	MaxCoalesce time.Duration
	// MinCoalesce is how long any batch waits for company while nobody waits for the projection.
	MinCoalesce time.Duration
}

// Batcher is a projection that has likings.
type Batcher interface{ Batch() Batch }

// Loser is a projection that may find between two batches that it has lost what it had applied.
type Loser interface {
	// Lost is closed when that is so; ask again for the next time.
	Lost() <-chan struct{}
	// Recover lets it begin anew: Position moves back. The runner calls it as it calls Apply, and reads on from there.
	Recover(ctx context.Context) error
}

var (
	// ErrNoProjection: the runner runs no projection of that name.
	ErrNoProjection = errors.New("no such projection")
	// errStalled ends a tail that stays behind the head of the log without a word.
	errStalled = errors.New("tail stands still behind the log")
	// errRebuild ends a tail so that the projection starts anew.
	errRebuild = errors.New("rebuild was asked for")
	// errLost ends a tail so that the projection recovers.
	errLost = errors.New("projection has lost its rows")
)

// Options tune a runner. The zero value is right for most.
type Options struct {
	// MaxBatch bounds the records of one batch and those read ahead. Default: 4096.
	MaxBatch int
	// MaxBatchBytes bounds their data and metadata likewise. Default: 8 MiB.
	MaxBatchBytes int
	// Coalesce is how long a small batch waits for company while nobody waits for it. Default: 2 ms; negative: none.
	Coalesce time.Duration
	// Watch is how often a tail's place is compared with the head of the log. Default: 5 s.
	Watch time.Duration
	// MinBackoff and MaxBackoff bound the pause after a failure, which doubles. Default: 50 ms and 5 s.
	MinBackoff, MaxBackoff time.Duration
	// Logger hears of failures. Default: slog.Default().
	Logger *slog.Logger

	minCoalesce, maxCoalesce time.Duration // of a projection that likes large batches
}

// liked are the options with what the projection likes.
func (o Options) liked(p Projection) Options {
	if l, ok := p.(Batcher); ok {
		b := l.Batch()
		if b.Records > 0 {
			o.MaxBatch = b.Records
		}
		if b.Bytes > 0 {
			o.MaxBatchBytes = b.Bytes
		}
		o.minCoalesce, o.maxCoalesce = b.MinCoalesce, b.MaxCoalesce
	}
	return o
}

func (o Options) withDefaults() Options {
	if o.MaxBatch <= 0 {
		o.MaxBatch = 4096
	}
	if o.MaxBatchBytes <= 0 {
		o.MaxBatchBytes = 8 << 20
	}
	if o.Coalesce == 0 {
		o.Coalesce = 2 * time.Millisecond
	}
	if o.Watch <= 0 {
		o.Watch = 5 * time.Second
	}
	if o.MinBackoff <= 0 {
		o.MinBackoff = 50 * time.Millisecond
	}
	if o.MaxBackoff < o.MinBackoff {
		o.MaxBackoff = max(5*time.Second, o.MinBackoff)
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	return o
}

// Runner keeps projections up to date.
type Runner struct {
	log  Log
	opts Options
	runs []*run
	feed *feed // nil: there is nobody to share it
}

// NewRunner prepares projections to be run. Their names must differ.
func NewRunner(log Log, opts Options, ps ...Projection) (*Runner, error) {
	r := &Runner{log: log, opts: opts.withDefaults()}
	for _, p := range ps {
		if _, err := r.find(p.Name()); err == nil {
			return nil, fmt.Errorf("projection %q twice", p.Name())
		}
		r.runs = append(r.runs, newRun(p, log, r.opts))
	}
	if len(ps) > 1 {
		r.feed = newFeed(log, feedRecords, feedBytes)
		for _, run := range r.runs {
			if shareable(run.p.Filter()) {
				run.feed = r.feed
			}
		}
	}
	return r, nil
}

// Run works until ctx ends, and then returns nil, or until the log is closed, and then returns events.ErrClosed.
// Other failures are logged, shown in Status and tried again.
func (r *Runner) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	if r.feed != nil {
		var feeding sync.WaitGroup
		feeding.Go(func() { r.feed.work(ctx) })
		defer feeding.Wait()
		defer cancel()
	}
	closed := make([]bool, len(r.runs))
	for i, run := range r.runs {
		wg.Go(func() {
			if errors.Is(run.work(ctx), events.ErrClosed) {
				closed[i] = true
				cancel()
			}
		})
	}
	wg.Wait()
	if slices.Contains(closed, true) {
		return events.ErrClosed
	}
	return nil
}

func (r *Runner) find(name string) (*run, error) {
	for _, run := range r.runs {
		if run.p.Name() == name {
			return run, nil
		}
	}
	return nil, fmt.Errorf("%w: %q", ErrNoProjection, name)
}

// WaitFor returns when the projection has applied everything up to the given place.
func (r *Runner) WaitFor(ctx context.Context, name string, pos events.Position) error {
	run, err := r.find(name)
	if err != nil {
		return err
	}
	return run.waitFor(ctx, pos)
}

// Rebuild makes a projection forget everything and start anew. It returns when that has begun; WaitFor tells the end.
func (r *Runner) Rebuild(ctx context.Context, name string) error {
	run, err := r.find(name)
	if err != nil {
		return err
	}
	return run.rebuild(ctx)
}

// Status is how a projection fares.
type Status struct {
	Name     string
	Position events.Position // applied up to here
	Head     events.Position // of the log when the watchdog last looked
	Live     bool            // it has reached the end of the log and follows it
	Behind   time.Duration   // for how long it has been behind the head that the watchdog saw; 0: it is not
	Records  uint64          // applied by this runner
	Batches  uint64
	Rate     float64       // records a second, over the last seconds
	Busy     time.Duration // in Apply, so far
	Applied  time.Time     // when the last batch was; zero: none yet
	Restarts uint64        // of its tail, after failures
	Err      error         // the last failure, nil once something was applied or the tail is live again
	LastErr  error         // the last failure, for as long as the runner lives
	LastFail time.Time     // when that was
	Rebuilds uint64        // that were asked for and begun
}

// Status tells how the projections fare, in the order they were given in.
func (r *Runner) Status() []Status {
	all := make([]Status, len(r.runs))
	for i, run := range r.runs {
		all[i] = run.report()
	}
	return all
}
