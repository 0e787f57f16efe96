// Package worker decides the life of a worker: who it is, what it claims, what it has proven, whether it is admitted,
// and what became of its results.
//
// It promises that a tier is only ever given for a proof that stands, and that work which comes back far slower than
// the proof says voids it. It never punishes: slowness costs the tier until the worker is tested again, a ban is an
// operator's act, and money is the ledger's. Results are counted in batches, so the record lags behind the verdicts.
package worker

import (
	"encoding/hex"
	"errors"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/actors/admission"
	"github.com/shardy-network/orchestrator/events"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// The refusals.
var (
	ErrInvalid       = errors.New("command to a worker is malformed")
	ErrNotRegistered = errors.New("worker is not registered")
	ErrBanned        = errors.New("worker is banned")
	ErrNoProfile     = errors.New("worker has not reported a profile")
)

// Lengths in bytes.
const (
	SessionSize = 16
	MaxGroup    = 128
	MaxNode     = 128
	MaxReason   = 1024
	MaxNonce    = 64
)

// DefaultProofTTL is how long a proof stands when the challenge does not say, in seconds; MaxProofTTL is the most.
const (
	DefaultProofTTL = 24 * 3600
	MaxProofTTL     = 90 * 24 * 3600
)

// State is a worker as its facts tell it. Messages and slices in it belong to the log: they are read, never written.
type State struct {
	ID    string // hex of the key
	Key   []byte // ed25519 public key; nil: not registered
	Owner []byte // nil: none

	// The last session.
	Connected bool
	Session   []byte
	Group     string // identity group
	Node      string

	Profile    *eventv1.Profile // the claim
	Proven     *eventv1.Proven  // the proof that stands or stood; nil: none since it was voided
	Nonce      []byte           // of the last challenge
	Failure    *eventv1.ChallengeFailed
	Tier       uint32 // 0: not admitted
	Sure       *eventv1.Proven
	ChunkBytes uint64
	Rejected   *eventv1.AdmissionRejected // the standing refusal

	Drained bool
	Banned  bool

	Record Record
	Speed  Speed
}

// Record is what became of the worker's results; sums stop at the largest number.
type Record struct {
	Agreed, Contradicted, Rejected, TimedOut, Dropped, Failed uint64
	Fuel                                                      uint64 // agreed work
	RingersPassed, RingersFailed                              uint64
}

// ConnectReply answers ConnectWorker: what need not be asked again.
type ConnectReply struct {
	Tier       uint32
	Profile    *eventv1.Profile
	Proven     *eventv1.Proven
	ProofValid bool // at the time of the command
	Drained    bool
}

// AdmitReply answers AdmitWorker, and ReportProfile when the claim is absurd.
type AdmitReply struct {
	Tier       uint32               // 0: rejected
	Proven     *eventv1.Proven      // what may be relied on: capped by the claim, memory as far as it is believed
	ChunkBytes uint64               // largest input to offer
	Rejection  *admission.Rejection // nil: admitted
}

// Room is the room of workers.
var Room = actors.Room[State]{
	Name:     actors.WorkerRoom,
	Zero:     func(id string) State { return State{ID: id} },
	Versions: map[uint32]actors.DecideFunc[State]{1: Decide},
	Evolve:   Evolve,
	React:    React,
	Done:     Done,
}

// Done reports whether the worker is away.
func Done(s State) bool { return !s.Connected }

// React says what follows from facts: nothing. Doors watch the facts of the workers that they hold.
func React(State, []events.Fact) []actors.Effect { return nil }

// Registered reports whether the worker ever connected.
func (s *State) Registered() bool { return s.Key != nil }

// ProofValid reports whether the worker has a complete proof that has not expired at that time.
func (s *State) ProofValid(atUs int64) bool {
	return s.Proven.GetMflops() > 0 && s.Proven.GetMemoryBytes() > 0 && atUs < s.Proven.ExpiresUs
}

// owns reports whether the stream is named after the key.
func (s *State) owns(key []byte) bool { return hex.EncodeToString(key) == s.ID }
