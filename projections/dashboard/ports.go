package dashboard

import (
	"context"
	"io"
	"iter"

	"github.com/shardy-network/orchestrator/events"
	"github.com/shardy-network/orchestrator/projections"
)

// Runner keeps the projections up to date; *projections.Runner is one.
type Runner interface {
	Status() []projections.Status
	// Rebuild returns when the projection has begun anew.
	Rebuild(ctx context.Context, name string) error
	WaitFor(ctx context.Context, name string, pos events.Position) error
}

// Log is the part of the event log that is read here; an events.Log is one.
type Log interface {
	Read(ctx context.Context, stream string, span events.Span) iter.Seq2[events.Record, error]
	ReadAll(ctx context.Context, after events.Position, f events.Filter) iter.Seq2[events.Record, error]
	Tail(ctx context.Context, after events.Position, f events.Filter) iter.Seq2[events.Tick, error]
	Head(ctx context.Context) (events.Position, error)
}

// Blobs is content by its SHA-256; a *blobs.Store is one. A blob that is not there is blobs.ErrNotFound.
type Blobs interface {
	Open(ctx context.Context, sum [32]byte) (content io.ReadCloser, size int64, err error)
}

// Access knows the tokens.
type Access interface {
	// Identify finds the bearer of a token. An unknown token MUST be ErrDenied; the time that it takes MUST NOT tell
	// how much of a token was right. It MUST be safe for concurrent use.
	Identify(ctx context.Context, token string) (Viewer, error)
}

// Actions carries out what an operator asks for, and answers after it is durable.
//
// By is the viewer's name, for the record. A refusal that the operator should read MUST be a *Refusal; any other error
// is shown as a failure of the server. A thing that is not there is ErrNotFound.
type Actions interface {
	WorkerActions
	WorkActions
}

// WorkerActions is what can be done to a worker.
type WorkerActions interface {
	DrainWorker(ctx context.Context, by string, key []byte, reason string) error
	BanWorker(ctx context.Context, by string, key []byte, reason string) error
	ReinstateWorker(ctx context.Context, by string, key []byte, reason string) error
}

// WorkActions is what can be done to jobs and pipelines.
//
// With dry nothing is written: the answer says what would become of it.
type WorkActions interface {
	// RequeueJobs opens a new round for each of some dead letters, and DiscardJobs gives each up for good. There is an
	// outcome for each, in the same order; the error is about all of them.
	RequeueJobs(ctx context.Context, by string, jobs []string, reason string, dry bool) ([]Outcome, error)
	DiscardJobs(ctx context.Context, by string, jobs []string, reason string, dry bool) ([]Outcome, error)
	// EditJob submits a dead letter again in another way, and discards the old one.
	EditJob(ctx context.Context, by, job string, edit JobEdit, reason string, dry bool) (Edited, error)
	CancelJob(ctx context.Context, by, job, reason string) error
	CancelPipeline(ctx context.Context, by, pipeline, reason string) error
}

// Outcome is what became of one of many, or would.
type Outcome struct {
	Job     string
	Refusal *Refusal // nil: it is done
}

// Edited is the job that stands in for a dead letter.
type Edited struct {
	ID      string
	Changes []FieldChange
}

// FieldChange is a field of a job's spec that was edited.
type FieldChange struct{ Field, Before, After string }

// JobEdit is what an edited job has in another way. Nil: as it was.
type JobEdit struct {
	Module         []byte // SHA-256 of an admitted module
	FuelLimit      *uint64
	MinTier        *uint32
	MinMemoryBytes *uint64
	Priority       *int32
}

// Refusal is an answer no, in words that the operator sees. Code is one of the API's typed reasons, for example
// JOB_NOT_DEAD_LETTERED.
type Refusal struct {
	Code string
	Text string
}

func (r *Refusal) Error() string { return r.Text }

// Figures counts what is in memory.
type Figures struct {
	Tiers        []TierFigures // ascending
	WaitingSlots int           // of jobs, without a worker
	InFlight     int           // slots in the hands of workers
	Sessions     int           // of workers
	Recovering   int64         // jobs and pipelines still to be reopened after the start
	Draining     bool          // the process is about to end
}

// TierFigures counts the connected workers of one proven tier.
type TierFigures struct {
	Tier            uint32
	Connected, Idle int
}

// LiveWorker is what a connected worker does.
type LiveWorker struct {
	Credits  uint32 // tasks that it would take now
	InFlight int    // tasks that it holds
	Node     string // process that it is connected to; empty: this one
}

// Section is a part of the diagnostics: names with values, or a table, or a text. What is empty is left out.
type Section struct {
	Title string
	Note  string // one sentence under the title; may be empty
	Rows  []SectionRow

	Columns []string   // of Table; a title that ends in "#" is one of numbers
	Table   [][]string // for example the busiest shards; at most 512 lines are shown
	Text    string     // for example the stack of the last panic
}

// SectionRow is a value with its name. Origin says where a configured value came from: flag, environment, file,
// default; empty for what is no configuration.
type SectionRow struct {
	Name, Value, Origin string
}
