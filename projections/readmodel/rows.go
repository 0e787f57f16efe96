package readmodel

import (
	"time"

	"github.com/shardy-network/orchestrator/events"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

// JobRow is a job as lists show it. Times that have not come are zero.
type JobRow struct {
	ID       string
	State    operatorv1.JobState
	Kind     eventv1.JobKind // never unspecified
	Tenant   string
	Pipeline string // empty: submitted alone
	Stage    uint32
	Chunk    uint32
	Module   []byte // SHA-256 of the admitted module
	Priority int32
	MinTier  uint32

	Round        uint32 // from 1
	Wave         uint32 // of the round, from 1
	Slots        uint32 // opened in the round
	Returned     uint32 // results recorded in the round
	Mismatches   uint32 // waves that did not agree, in all rounds
	Attempts     uint32 // hand-overs in all rounds
	Contradicted uint32 // slots whose result the verdict contradicts

	Submitted time.Time
	Decided   time.Time // verified, dead-lettered, cancelled or discarded

	Basis    eventv1.VerdictBasis     // verified only
	Checksum []byte                   // verified only: the canonical one
	Reason   eventv1.DeadLetterReason // dead-lettered and discarded only
	Detail   string                   // why it was dead-lettered, cancelled or discarded
	Position events.Position          // of its first record
}

// Job is a job with everything that became of it.
type Job struct {
	JobRow
	Spec       *eventv1.JobSpec // without the answer of a ringer
	Policy     *eventv1.JobPolicy
	Verdict    *eventv1.TaskVerified    // nil: none
	DeadLetter *eventv1.JobDeadLettered // nil: it is none
	By         string                   // who cancelled or discarded it
	ReplacedBy string                   // discarded only: the job that was edited out of it; Spec.Replaces is the way back
	Refereeing bool                     // the referee was asked and has not answered
	Referee    *eventv1.RefereeDecided  // of the round; nil: not asked, or no answer yet

	Votes       []Vote       // of the round, most groups first, then by checksum
	Waves       []Wave       // of all rounds, in order
	Assignments []Assignment // of all rounds, by slot
}

// Vote is one group of identical results.
type Vote struct {
	Checksum []byte
	Status   eventv1.ResultStatus
	Slots    []uint32
	Groups   uint32 // distinct identity groups in it: what counts
	Decided  bool   // it is what the verdict says
}

// Wave is a set of slots that were opened together.
type Wave struct {
	Round, Wave      uint32
	FirstSlot, Slots uint32
	Opened           time.Time
	Why              string          // empty for the first wave of the first round
	Mismatch         []*eventv1.Vote // how it disagreed; nil: it did not
}

// SlotState is where a replica slot stands.
type SlotState string

// The states of a slot.
const (
	SlotWaiting      SlotState = "waiting"
	SlotDispatched   SlotState = "dispatched"
	SlotRunning      SlotState = "running"
	SlotReturned     SlotState = "returned"
	SlotDeadLettered SlotState = "dead_lettered"
	SlotCancelled    SlotState = "cancelled"
)

// Assignment is one replica slot of a job.
type Assignment struct {
	Slot        uint32
	Round, Wave uint32
	State       SlotState
	Failure     eventv1.SlotFailure // dead-lettered only
	Attempts    []Attempt           // in order
}

// Attempt is one hand-over of a slot to a worker. Times that have not come are zero.
type Attempt struct {
	Job     string
	Slot    uint32
	Attempt uint32 // from 1
	Worker  []byte // ed25519 public key
	Group   string // identity group

	Dispatched  time.Time
	Acked       time.Time
	Ended       time.Time
	AckDeadline time.Time
	RunDeadline time.Time // zero until acknowledged

	Outcome  Outcome
	Rejected eventv1.RejectReason // OutcomeRejected only
	Detail   string               // of a loss or a rejection
	Counts   bool                 // lost, and counted against the slot's attempts

	// Of a result that was returned.
	Status       eventv1.ResultStatus
	Checksum     []byte // consensus checksum
	Output       *eventv1.BlobRef
	Fuel         uint64
	RunMs        uint32 // 0: not measured
	Attested     bool   // the worker signed it
	Contradicted bool   // the verdict says otherwise
	Position     events.Position
}

// PipelineRow is a pipeline as lists show it.
type PipelineRow struct {
	ID          string
	State       operatorv1.PipelineState
	Name        string
	Tenant      string
	Stage       uint32 // the current one, or the last one
	Stages      uint32
	Chunks      uint32 // of the stage
	Settled     uint32 // of the stage
	Failed      uint32 // dead-lettered jobs of all stages
	Submitted   time.Time
	Ended       time.Time
	Detail      string // why it failed or was cancelled
	By          string // who cancelled it
	OutputBytes uint64
	Position    events.Position // of its first record
}

// Pipeline is a pipeline with its stages.
type Pipeline struct {
	PipelineRow
	Spec     *eventv1.PipelineSpec
	Progress []Stage // one for each stage of the spec
}

// Stage is how far one stage of a pipeline is.
type Stage struct {
	Stage     uint32
	Name      string
	Module    []byte
	Manifest  *eventv1.BlobRef // nil: not cut yet
	Chunks    uint32           // 0: not cut yet
	Settled   uint32
	Failed    uint32 // of the settled
	Started   time.Time
	Completed time.Time
}

// Chunk is one chunk of a stage.
type Chunk struct {
	Chunk  uint32
	Job    string // its id; the job may not have been submitted yet
	State  operatorv1.JobState
	Output *eventv1.BlobRef // verified only
}

// WorkerState is the strongest reason why a worker does or does not get work.
type WorkerState string

// The states of a worker.
const (
	WorkerConnected    WorkerState = "connected"
	WorkerDisconnected WorkerState = "disconnected"
	WorkerRejected     WorkerState = "rejected"
	WorkerDraining     WorkerState = "draining"
	WorkerBanned       WorkerState = "banned"
)

// WorkerStates are all of them.
var WorkerStates = []WorkerState{WorkerConnected, WorkerDisconnected, WorkerRejected, WorkerDraining, WorkerBanned}

// Worker is a worker: what it claims, what it has proven, what it has done.
type Worker struct {
	Key        []byte // ed25519 public key
	Owner      []byte // empty: none
	State      WorkerState
	Connected  bool
	Tier       uint32           // 0: none
	Claim      *eventv1.Profile // nil: none yet
	Proven     *eventv1.Proven  // nil: none
	Group      string
	Node       string // that it is or was connected to
	Record     *eventv1.Tally
	ChunkBytes uint64 // that it is offered
	Rejection  eventv1.RejectionReason
	Detail     string // of the state
	Registered time.Time
	LastSeen   time.Time
	Sessions   uint64 // so far
	Position   events.Position
}

// Session is one connection of a worker.
type Session struct {
	ID        []byte
	Group     string
	Node      string
	Connected time.Time
	Ended     time.Time // zero: it stands
	Why       string    // it ended
}

// DeadLetter is a job that nobody could finish and nobody has discarded.
type DeadLetter struct {
	Job      string
	Reason   eventv1.DeadLetterReason
	Detail   string
	Tenant   string
	Pipeline string
	Stage    uint32
	Chunk    uint32
	Kind     eventv1.JobKind
	Module   []byte
	Round    uint32
	Attempts uint32
	At       time.Time
}

// Verdict is a decided job.
type Verdict struct {
	Job          string
	Tenant       string
	Pipeline     string
	Kind         eventv1.JobKind
	Basis        eventv1.VerdictBasis
	Checksum     []byte
	Fuel         uint64
	Agreeing     []uint32 // slots
	Contradicted []uint32 // slots
	Round, Wave  uint32
	Returned     uint32 // results it was taken from
	Votes        []Vote
	Submitted    time.Time
	Decided      time.Time
	Position     events.Position // of the verdict
}

// Mismatch is a wave whose results did not agree.
type Mismatch struct {
	Job      string
	Tenant   string
	Pipeline string
	Kind     eventv1.JobKind
	State    operatorv1.JobState // of the job now
	Round    uint32
	Wave     uint32
	Votes    []*eventv1.Vote
	At       time.Time
	Position events.Position
}

// Module is an admitted or refused module.
type Module struct {
	Original []byte
	Admitted *eventv1.ModuleAdmitted // nil: refused
	Refused  *eventv1.ModuleRefused  // nil: admitted
	At       time.Time
	Position events.Position
}

// Point is what happened within one step of a throughput series.
type Point struct {
	At           time.Time // begin of the step
	Submitted    uint64
	Verified     uint64
	DeadLettered uint64
	Cancelled    uint64 // discarded too
	Mismatches   uint64
	Dispatched   uint64
	Stripped     uint64 // hand-overs that were lost
	Rejected     uint64 // results that were refused
	Events       uint64 // records of all kinds
}
