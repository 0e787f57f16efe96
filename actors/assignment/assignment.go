// Package assignment decides the life of one replica slot: it is handed to one worker at a time, each hand-over is an
// attempt with a fencing token, and only the holder of the current token is heard.
//
// It does not choose workers (the dispatcher does) and does not judge results (the door measures them, the job compares
// them). What comes late, twice or with another token is refused and leaves no trace in the log.
package assignment

import (
	"errors"

	"github.com/shardy-network/orchestrator/actors"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// The refusals.
var (
	ErrInvalid    = errors.New("command to a slot is malformed")
	ErrNotWaiting = errors.New("slot is not waiting for a worker")
	ErrStaleToken = errors.New("token is not the slot's current one")
	ErrStaleTimer = errors.New("deadline belongs to an attempt that is over")
	ErrDuplicate  = errors.New("result was returned already")
	ErrClosed     = errors.New("slot is closed")
	ErrInFlight   = errors.New("slot is in the hands of a worker")
)

// Bounds. Lengths are bytes.
const (
	MaxCandidates   = 64
	CandidateSize   = 8
	SeedSize        = 16
	MaxGroup        = 128
	MaxDetail       = 1024
	MaxProofSeed    = 64
	MaxExcluded     = 32 // workers that a slot remembers
	MaxFreeAttempts = 64 // attempts that may be lost without counting; later ones count whatever their reason
)

// Phase is where a slot stands.
type Phase uint8

// The phases. Returned, DeadLettered and Cancelled are final.
const (
	Waiting Phase = iota
	Dispatched
	Running // acknowledged
	Returned
	DeadLettered
	Cancelled
)

var phases = [...]string{"waiting", "dispatched", "running", "returned", "dead-lettered", "cancelled"}

// String names the phase.
func (p Phase) String() string {
	if int(p) < len(phases) {
		return phases[p]
	}
	return "unknown"
}

// State is a slot as its facts tell it. Messages and slices in it belong to the log: they are read, never written.
type State struct {
	Job   string
	Slot  uint32
	Phase Phase

	// The current attempt or, while the slot waits or is closed, the last one.
	Attempt             uint32 // from 1; 0: never dispatched
	Worker              []byte // ed25519 public key
	Group               string // identity group
	Token               uint64 // fencing token
	AckDeadlineUs       int64
	ExecutionDeadlineUs int64 // 0: not acknowledged
	ExecutionTimeoutMs  uint32

	MaxAttempts uint32              // of the last dispatch
	Counted     uint32              // attempts lost that count against MaxAttempts
	Free        uint32              // attempts lost that do not
	Excluded    [][]byte            // workers whose lost attempts counted, oldest first: others come before them
	Failure     eventv1.SlotFailure // dead-lettered only: why
	Recalled    bool                // the cancellation took the slot out of a worker's hands

	Result *eventv1.ResultReturned // returned only
}

// ReturnReply answers ReturnResult. Not accepted: the result was rejected, and that is on record.
type ReturnReply struct {
	Accepted bool
	Reject   eventv1.RejectReason
}

// Room is the room of assignments.
var Room = actors.Room[State]{
	Name:     actors.AssignmentRoom,
	Zero:     zero,
	Versions: map[uint32]actors.DecideFunc[State]{1: Decide},
	Evolve:   Evolve,
	React:    React,
	Done:     Done,
}

// zero is a slot that was never dispatched. An id that is not a slot's has no job; its commands are refused.
func zero(id string) State {
	job, slot, err := actors.ParseSlotID(id)
	if err != nil {
		return State{}
	}
	return State{Job: job, Slot: slot}
}

// Done reports whether the slot is closed for good.
func Done(s State) bool { return s.Phase >= Returned }

// InFlight reports whether a worker holds the slot.
func (s State) InFlight() bool { return s.Phase == Dispatched || s.Phase == Running }

func (s *State) holder() actors.Holder {
	return actors.Holder{Slot: s.Slot, Worker: s.Worker, Group: s.Group}
}
