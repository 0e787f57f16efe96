package projections

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/shardy-network/orchestrator/events"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// OpenWorkOptions tune an open-work projection. The zero value is right for most.
type OpenWorkOptions struct {
	// SaveEvery is the least time between two checkpoints. Default: 30 s.
	SaveEvery time.Duration
	// Logger hears of checkpoints that could not be read or written. Default: slog.Default().
	Logger *slog.Logger
}

func (o OpenWorkOptions) withDefaults() OpenWorkOptions {
	if o.SaveEvery <= 0 {
		o.SaveEvery = 30 * time.Second
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	return o
}

// StreamReader reads single streams: how a checkpoint is held against the log it claims to come from.
type StreamReader interface {
	Read(ctx context.Context, stream string, span events.Span) iter.Seq2[events.Record, error]
}

// OpenWork is the projection of what a start needs: the jobs and pipelines that are open, and the admitted modules. It
// lives in memory, some 100 bytes a job; a checkpoint file saves a restart from reading the whole log.
type OpenWork struct {
	opts OpenWorkOptions
	path string // of the checkpoint; empty: none

	mu        sync.RWMutex // guards what follows
	at        events.Position
	anchor    anchor
	jobs      table[struct{}]
	pipelines table[struct{}]
	modules   table[*eventv1.ModuleAdmitted] // rows are replaced, never changed
	dirty     bool                           // changed since the last checkpoint
	saved     time.Time
	saving    bool

	saves sync.WaitGroup
}

// anchor names the last event applied, to recognise the log again.
type anchor struct {
	stream string
	rev    uint64
	pos    events.Position
	id     events.ID
}

var (
	_ Projection = (*OpenWork)(nil)
	_ Batcher    = (*OpenWork)(nil)
)

// OpenOpenWork loads the projection from its checkpoint file, or starts it empty when the file is missing, damaged or
// not of this log; it is then rebuilt from the log. An empty path means no checkpoints.
func OpenOpenWork(ctx context.Context, path string, log StreamReader, opts OpenWorkOptions) (*OpenWork, error) {
	w := &OpenWork{opts: opts.withDefaults(), path: path}
	w.clear()
	if path == "" {
		return w, nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("open work: %w", err)
	}
	err := w.load(ctx, log)
	if err != nil && ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil {
		w.clear()
		if !errors.Is(err, os.ErrNotExist) {
			w.opts.Logger.Warn("checkpoint of the open work is of no use, reading the whole log", "error", err)
		}
	}
	return w, nil
}

// clear must be called with the lock held, or before anyone else has the projection.
func (w *OpenWork) clear() {
	w.at, w.anchor, w.dirty = 0, anchor{}, false
	w.jobs, w.pipelines, w.modules = newTable[struct{}](), newTable[struct{}](), newTable[*eventv1.ModuleAdmitted]()
	w.saved = time.Now()
}

// Name is "open-work".
func (w *OpenWork) Name() string { return "open-work" }

// Batch asks the runner for a few batches a second: only a start is in a hurry, and waits.
func (w *OpenWork) Batch() Batch { return Batch{MinCoalesce: 250 * time.Millisecond} }

// Filter passes the facts that open, close or describe something.
func (w *OpenWork) Filter() events.Filter {
	return events.Filter{Types: []string{
		"JobSubmitted", "TaskVerified", "JobDeadLettered", "JobRequeued", "JobDiscarded", "JobCancelled",
		"Pipeline", "StageStarted", "JobsSettled", "ChunksReopened",
		"Worker", "ProfileReported", "ChallengePassed", "ChallengeFailed", "AdmissionRejected", "TierChanged", "ReliabilityChanged",
		"ModuleAdmitted",
	}}
}

// Position is the place up to which everything was applied.
func (w *OpenWork) Position() events.Position {
	w.mu.RLock()
	defer w.mu.RUnlock()
	return w.at
}

// Apply takes in a batch. Records that do not decode as their facts stop the projection: they are damage.
func (w *OpenWork) Apply(_ context.Context, batch []events.Record, upTo events.Position) error {
	facts, err := Facts(batch)
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range batch {
		if facts[i] != nil {
			w.apply(&batch[i], facts[i])
		}
	}
	if n := len(batch); n > 0 {
		last := &batch[n-1]
		w.anchor = anchor{last.Stream, last.Rev, last.Pos, last.ID}
		w.dirty = true
	}
	w.at = upTo
	w.saveIfDue()
	return nil
}

// Reset forgets everything, the checkpoint too.
func (w *OpenWork) Reset(context.Context) error {
	w.saves.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.clear()
	if w.path == "" {
		return nil
	}
	if err := os.Remove(w.path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("open work: %w", err)
	}
	return nil
}

// Close writes a last checkpoint. The runner must have ended.
func (w *OpenWork) Close() error {
	w.saves.Wait()
	return w.Save()
}

// entity returns the id behind a stream's prefix.
func entity(stream, prefix string) (string, bool) { return strings.CutPrefix(stream, prefix) }
