package operator

import (
	"context"
	"errors"

	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

// The refusals of a catalogue.
var (
	// ErrPage refuses a page token that no list has given out.
	ErrPage = errors.New("malformed place in a list")
	// ErrLists says that lists would leave out what there is.
	ErrLists = errors.New("the lists are being built anew: ask again in a while")
)

// Catalogue answers lists. Each list is in a fixed order and holds nothing but what the query lets pass; next is the
// place to continue after, empty at the end, and MUST lie behind the one that was given. A malformed place is ErrPage. What was appended before the question SHOULD be in the answer; a catalogue that cannot
// answer for what there is MUST say ErrLists.
type Catalogue interface {
	Jobs(ctx context.Context, q JobQuery) (rows []*operatorv1.JobRow, next string, err error)
	Pipelines(ctx context.Context, q PipelineQuery) (rows []*operatorv1.Pipeline, next string, err error)
	DeadLetters(ctx context.Context, q DeadLetterQuery) (rows []*operatorv1.DeadLetter, next string, err error)
	Workers(ctx context.Context, q WorkerQuery) (rows []*operatorv1.Worker, next string, err error)
	Modules(ctx context.Context, page Page) (rows []*eventv1.ModuleAdmitted, next string, err error)
}

// Counts tells how many rows the lists have on all their pages.
type Counts interface {
	CountJobs(ctx context.Context, q JobQuery) ([]*operatorv1.JobCount, error)
	CountPipelines(ctx context.Context, q PipelineQuery) ([]*operatorv1.PipelineCount, error)
	CountDeadLetters(ctx context.Context, q DeadLetterQuery) ([]*operatorv1.DeadLetterCount, error)
	CountWorkers(ctx context.Context, q WorkerQuery) ([]*operatorv1.WorkerCount, error)
}

// Page is a part of a list.
type Page struct {
	After string // where the part before ended: what the list returned as next; empty: from the start
	Limit int    // rows, from 1
}

// JobQuery narrows the list of jobs. Zero fields do not. Times are microseconds since 1970.
type JobQuery struct {
	Page
	States          []operatorv1.JobState // any of them
	Kind            eventv1.JobKind
	Tenants         []string // any of them; nil: everybody's
	Pipeline        string
	Module          []byte
	Worker          []byte // that ever had it
	FromUs, UntilUs int64  // submitted at or after, and before
}

// PipelineQuery narrows the list of pipelines. Zero fields do not.
type PipelineQuery struct {
	Page
	States          []operatorv1.PipelineState
	Tenants         []string
	FromUs, UntilUs int64
}

// DeadLetterQuery narrows the list of dead letters. Zero fields do not.
type DeadLetterQuery struct {
	Page
	Reasons         []eventv1.DeadLetterReason
	Kind            eventv1.JobKind
	Tenants         []string
	Pipeline        string
	Module          []byte
	FromUs, UntilUs int64 // dead-lettered at or after, and before
}

// WorkerQuery narrows the list of workers. Zero fields do not.
type WorkerQuery struct {
	Page
	Tier   uint32
	State  string // connected, disconnected, rejected, draining or banned
	Search string // the key in hex begins so
}
