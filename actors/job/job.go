// Package job decides the life of one chunk: it opens waves of replicas, hears their results, and takes the verdict
// when a wave has closed.
//
// A dead letter is requeued, which opens a new round, or discarded. One that is edited is discarded for a job of its own,
// which says whom it stands in for. The pipeline of a requeued or edited job is told to wait for it.
//
// It does not hand out work (slots and dispatcher do) and does not look into results: what it compares are checksums
// that the door measured. Results of an earlier round have no voice after a requeue.
package job

import (
	"errors"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/actors/quorum"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// The refusals.
var (
	ErrNotFound        = errors.New("no such job")
	ErrInvalid         = errors.New("job is malformed")
	ErrRequestConflict = errors.New("another job was submitted with this request id")
	ErrDecided         = errors.New("job is decided")
	ErrDeadLettered    = errors.New("job is dead-lettered: requeue or discard it")
	ErrNotDeadLettered = errors.New("job is not dead-lettered")
	ErrNoSlot          = errors.New("job has no such slot in this round")
	ErrSlotClosed      = errors.New("slot is closed")
	ErrNotRefereed     = errors.New("no referee was asked")
	ErrTooManyRounds   = errors.New("job was requeued too often")
	ErrAnotherRound    = errors.New("the dead letter is of another round: the job was requeued since")
)

// MaxRounds bounds how often a job can be requeued.
const MaxRounds = 1000

// Phase is where a job stands.
type Phase uint8

// The phases. Verified, Cancelled and Discarded are final.
const (
	Absent Phase = iota
	Open
	Verified
	DeadLettered
	Cancelled
	Discarded
)

var phases = [...]string{"absent", "open", "verified", "dead-lettered", "cancelled", "discarded"}

// String names the phase.
func (p Phase) String() string {
	if int(p) < len(phases) {
		return phases[p]
	}
	return "unknown"
}

// SlotPhase is where a slot stands, as the job knows it.
type SlotPhase uint8

// The phases of a slot.
const (
	SlotOpen SlotPhase = iota
	SlotReturned
	SlotFailed
)

// Slot is one replica's place.
type Slot struct {
	Phase   SlotPhase
	Result  quorum.Result       // of a returned slot
	Failure eventv1.SlotFailure // of a failed slot
}

// State is a job as its facts tell it. Messages and slices in it belong to the log: they are read, never written.
type State struct {
	ID     string
	Phase  Phase
	Spec   *eventv1.JobSpec
	Policy *eventv1.JobPolicy
	Round  uint32 // from 1, one more with every requeue
	Wave   uint32 // of the round, from 1

	First     uint32 // number of the round's first slot; slot numbers never repeat
	WaveFirst uint32 // number of the wave's first slot
	Slots     []Slot // of the round, from First on
	Pending   uint32 // open slots of the wave

	Refereeing bool // the referee was asked and has not answered

	SubmittedUs int64
	DecidedUs   int64 // of the last terminal fact, 0 while open

	Verdict    *eventv1.TaskVerified    // verified only
	DeadLetter *eventv1.JobDeadLettered // dead-lettered and discarded
	Reason     string                   // cancelled and discarded: why
	By         string                   // cancelled and discarded: who
	ReplacedBy string                   // discarded: the job that was edited out of it, if any
}

// SubmitReply answers SubmitJob. Existing says that the job was there already.
type SubmitReply struct {
	ID       string
	Existing bool
}

// Room is the room of jobs.
var Room = actors.Room[State]{
	Name:     actors.JobRoom,
	Zero:     func(id string) State { return State{ID: id} },
	Versions: map[uint32]actors.DecideFunc[State]{1: Decide},
	Evolve:   Evolve,
	React:    React,
	Done:     Done,
}

// Done reports whether the job is decided.
func Done(s State) bool { return s.Phase > Open }

// slot returns a slot of the current round, or nil.
func (s *State) slot(n uint32) *Slot {
	if n < s.First || n-s.First >= uint32(len(s.Slots)) {
		return nil
	}
	return &s.Slots[n-s.First]
}

// next is the number of the next slot to be opened.
func (s *State) next() uint32 { return s.First + uint32(len(s.Slots)) }

// kind is the job's kind, read as standard when it was left out.
func (s *State) kind() eventv1.JobKind {
	if k := s.Spec.GetKind(); k != eventv1.JobKind_JOB_KIND_UNSPECIFIED {
		return k
	}
	return eventv1.JobKind_JOB_KIND_STANDARD
}
