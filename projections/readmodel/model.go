package readmodel

import (
	"context"
	"time"

	"github.com/shardy-network/orchestrator/events"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"

	"github.com/shardy-network/orchestrator/projections"
)

// Model is the read model. Queries may be asked from everywhere at any time; each sees the rows of one place in the
// log.
type Model struct{}

var _ projections.Projection = (*Model)(nil)

// Open opens the database at path, or one in memory when path is empty. A database that is missing, damaged, of another
// log or of another version is deleted and begun anew: the model's place is then before the first event.
func Open(ctx context.Context, path string, log projections.StreamReader, o Options) (*Model, error) {
	return nil, ErrClosed
}

// Close ends what is under way and releases the database.
func (m *Model) Close() error { return nil }

// Name is "read-model".
func (m *Model) Name() string { return "read-model" }

// Filter passes all facts.
func (m *Model) Filter() events.Filter { return events.Filter{} }

// Position is the place up to which everything was applied.
func (m *Model) Position() events.Position { return 0 }

// Apply takes in a batch and writes it in one transaction.
func (m *Model) Apply(ctx context.Context, batch []events.Record, upTo events.Position) error {
	return ErrClosed
}

// Reset begins a rebuild.
func (m *Model) Reset(ctx context.Context) error { return ErrClosed }

// Changed is closed when rows have changed; ask again for the next time.
func (m *Model) Changed() <-chan struct{} { return nil }

// Rebuilding reports whether a rebuild is under way: rows are of the past, and the newest may be missing.
func (m *Model) Rebuilding() bool { return false }

// Jobs lists jobs; next is empty at the end.
func (m *Model) Jobs(ctx context.Context, q JobQuery) (rows []JobRow, next string, err error) {
	return nil, "", ErrClosed
}

// CountJobs counts the jobs that a query would list, by state. See CountLimit.
func (m *Model) CountJobs(ctx context.Context, q JobQuery) (map[operatorv1.JobState]int64, error) {
	return nil, ErrClosed
}

// Job returns one job, or ErrNotFound.
func (m *Model) Job(ctx context.Context, id string) (*Job, error) { return nil, ErrClosed }

// Attempts lists hand-overs.
func (m *Model) Attempts(ctx context.Context, q AttemptQuery) (rows []Attempt, next string, err error) {
	return nil, "", ErrClosed
}

// Pipelines lists pipelines.
func (m *Model) Pipelines(ctx context.Context, q PipelineQuery) (rows []PipelineRow, next string, err error) {
	return nil, "", ErrClosed
}

// CountPipelines counts the pipelines that a query would list, by state.
func (m *Model) CountPipelines(ctx context.Context, q PipelineQuery) (map[operatorv1.PipelineState]int64, error) {
	return nil, ErrClosed
}

// Pipeline returns one pipeline, or ErrNotFound.
func (m *Model) Pipeline(ctx context.Context, id string) (*Pipeline, error) { return nil, ErrClosed }

// Chunks lists the chunks [from, from+limit) of a pipeline's stage, in order, at most MaxPage of them.
func (m *Model) Chunks(ctx context.Context, pipeline string, stage, from uint32, limit int) ([]Chunk, error) {
	return nil, ErrClosed
}

// Workers lists workers.
func (m *Model) Workers(ctx context.Context, q WorkerQuery) (rows []Worker, next string, err error) {
	return nil, "", ErrClosed
}

// CountWorkers counts the workers that a query would list, by tier and state.
func (m *Model) CountWorkers(ctx context.Context, q WorkerQuery) ([]WorkerCount, error) {
	return nil, ErrClosed
}

// Worker returns one worker, or ErrNotFound.
func (m *Model) Worker(ctx context.Context, key []byte) (*Worker, error) { return nil, ErrClosed }

// Sessions lists a worker's connections.
func (m *Model) Sessions(ctx context.Context, key []byte, p Page) (rows []Session, next string, err error) {
	return nil, "", ErrClosed
}

// DeadLetters lists dead letters.
func (m *Model) DeadLetters(ctx context.Context, q DeadLetterQuery) (rows []DeadLetter, next string, err error) {
	return nil, "", ErrClosed
}

// CountDeadLetters counts the dead letters that a query would list, by reason.
func (m *Model) CountDeadLetters(ctx context.Context, q DeadLetterQuery) (map[eventv1.DeadLetterReason]int64, error) {
	return nil, ErrClosed
}

// Verdicts lists decided jobs.
func (m *Model) Verdicts(ctx context.Context, q VerdictQuery) (rows []Verdict, next string, err error) {
	return nil, "", ErrClosed
}

// Mismatches lists waves that did not agree.
func (m *Model) Mismatches(ctx context.Context, p Page) (rows []Mismatch, next string, err error) {
	return nil, "", ErrClosed
}

// Modules lists admitted and refused modules.
func (m *Model) Modules(ctx context.Context, p Page) (rows []Module, next string, err error) {
	return nil, "", ErrClosed
}

// Totals returns all counters, of one moment.
func (m *Model) Totals(ctx context.Context) (Totals, error) { return Totals{}, ErrClosed }

// Throughput returns what happened in [since, until) in steps of the given size, empty steps included, at most MaxPage
// of them. Steps are whole seconds, minutes or hours; what was forgotten in small steps is not spread over them.
func (m *Model) Throughput(ctx context.Context, since, until time.Time, step time.Duration) ([]Point, error) {
	return nil, ErrClosed
}
