package readmodel

import (
	"errors"
	"time"

	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

// The refusals of queries. Doors map them once.
var (
	ErrPage     = errors.New("malformed place in a list")
	ErrNotFound = errors.New("not found, or forgotten")
	ErrQuery    = errors.New("query asks for too much at once")
	// ErrRebuilding is the answer instead of ErrNotFound while the rows are not complete: see Partial. Lists and counts
	// answer from the rows there are.
	ErrRebuilding = errors.New("read model is being rebuilt")
	ErrClosed     = errors.New("read model is closed")
)

const (
	// DefaultPage and MaxPage bound the rows of a page.
	DefaultPage = 50
	MaxPage     = 1000
	// MaxFilter bounds the values of one filter.
	MaxFilter = 64
	// CountLimit is where counts end that are taken row by row, those under filters that no counter stands for: it
	// means so many or more.
	CountLimit = 10_000
)

// Page is a part of a list. Lists show the newest first and stay in place while rows come and go: what was shown is not
// shown again on a later page, and what stays is not skipped.
type Page struct {
	After string // where the part before ended: what the query returned as next; empty: from the start
	Limit int    // rows, up to MaxPage; 0: DefaultPage
}

// JobQuery narrows the list of jobs. Zero fields do not. The order is that of submission; with Worker, that of the
// worker's last hand-over.
type JobQuery struct {
	Page
	States   []operatorv1.JobState // any of them
	Kinds    []eventv1.JobKind     // any of them
	Tenants  []string              // any of them; nil: everybody's; empty but not nil: nobody's
	Pipeline string
	Module   []byte
	Worker   []byte    // jobs that were ever handed to this worker
	Since    time.Time // submitted at or after
	Until    time.Time // submitted before
}

// AttemptQuery narrows the list of attempts. Zero fields do not. The order is that of the hand-overs; of all attempts
// it is that of their jobs.
type AttemptQuery struct {
	Page
	Job      string
	Worker   []byte
	Outcomes []Outcome // any of them
}

// PipelineQuery narrows the list of pipelines. Zero fields do not.
type PipelineQuery struct {
	Page
	States  []operatorv1.PipelineState
	Tenants []string // as in JobQuery
	Since   time.Time
	Until   time.Time
}

// WorkerQuery narrows the list of workers. Zero fields do not.
type WorkerQuery struct {
	Page
	Tiers  []uint32 // any of them; 0 is a tier here: none
	States []WorkerState
	Search string // key in hex, from its beginning
}

// DeadLetterQuery narrows the list of dead letters. Zero fields do not. The order is that in which they became ones.
type DeadLetterQuery struct {
	Page
	Reasons  []eventv1.DeadLetterReason
	Kinds    []eventv1.JobKind
	Tenants  []string // as in JobQuery
	Pipeline string
	Module   []byte
	Since    time.Time // dead-lettered at or after
	Until    time.Time // dead-lettered before
}

// VerdictQuery narrows the list of verdicts. Zero fields do not. The order is that of the decisions.
type VerdictQuery struct {
	Page
	Tenants          []string // as in JobQuery
	OnlyContradicted bool     // at least one worker said otherwise
}

// WorkerCount is how many workers there are of a tier in a state.
type WorkerCount struct {
	Tier  uint32
	State WorkerState
	N     int64
}

// Totals are counts of everything, each from one counter.
type Totals struct {
	Jobs         map[operatorv1.JobState]int64
	Pipelines    map[operatorv1.PipelineState]int64
	Workers      []WorkerCount
	DeadLetters  map[eventv1.DeadLetterReason]int64
	Modules      int64
	Verdicts     int64 // ever taken, forgotten ones too
	Contradicted int64 // verdicts with a result that they contradict, ever
	Mismatches   int64 // ever
}
