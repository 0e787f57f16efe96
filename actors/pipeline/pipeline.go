// Package pipeline decides the life of what a client submits: stages, each a module applied to chunks, each stage's
// outputs feeding the next.
//
// It promises that every chunk of every stage is settled once and that no more than [Window] jobs of a pipeline are open
// at a time. It does not look into chunks, and cuts none: blobs are gathered and cut by the host.
//
// A chunk whose job was dead-lettered leaves a hole. Up to max_failures holes, over all stages, are tolerated; later
// stages get the verified outputs only, in order and closed up, so that chunk numbers of two stages need not speak of
// the same data once there are holes. A stage of which nothing was verified fails the pipeline whatever it tolerates.
//
// A job that is requeued, or edited into another, while its stage is still running opens its chunk again: the stage
// waits for it, and it fills the hole. One job stands for a chunk at a time; any other that would is cancelled, and so
// is one that comes when the stage is over. Reopened chunks come on top of the window.
package pipeline

import (
	"errors"

	"github.com/shardy-network/orchestrator/actors"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// The refusals.
var (
	ErrNotFound        = errors.New("no such pipeline")
	ErrInvalid         = errors.New("pipeline is malformed")
	ErrRequestConflict = errors.New("another pipeline was submitted with this request id")
	ErrEnded           = errors.New("pipeline has ended")
	ErrNotGathering    = errors.New("pipeline does not wait for this stage")
)

// Bounds. Lengths are bytes.
const (
	Window    = 256 // open jobs of a pipeline
	MaxStages = 16
	MaxChunks = 100_000 // of a stage
	MaxName   = 128
	MaxText   = 1024 // who, why, detail
)

// Phase is where a pipeline stands.
type Phase uint8

// The phases. Completed, Failed and Cancelled are final.
const (
	Absent    Phase = iota
	Running         // the stage's jobs are being settled
	Gathering       // the stage is complete, the next one is being cut
	Completed
	Failed
	Cancelled
)

var phases = [...]string{"absent", "running", "gathering", "completed", "failed", "cancelled"}

// String names the phase.
func (p Phase) String() string {
	if int(p) < len(phases) {
		return phases[p]
	}
	return "unknown"
}

// State is a pipeline as its facts tell it. Messages in it belong to the log: they are read, never written.
type State struct {
	ID    string
	Phase Phase
	Spec  *eventv1.PipelineSpec

	// The current stage, or the last one.
	Stage     uint32
	Manifest  *eventv1.BlobRef
	Chunks    uint32
	Submitted uint32 // chunks [0, Submitted) were handed out
	Settled   uint32 // of them
	Latest    Range  // of them: those that the last fact handed out
	Results   Results
	Reopened  Reopened

	Failures    uint32 // dead-lettered jobs of all stages
	OutputBytes uint64 // of a completed pipeline
	Detail      string // failed and cancelled: why
	By          string // cancelled: who
}

// SubmitReply answers SubmitPipeline. Existing says that the pipeline was there already.
type SubmitReply struct {
	ID       string
	Existing bool
}

// Room is the room of pipelines.
var Room = actors.Room[State]{
	Name:     actors.PipelineRoom,
	Zero:     func(id string) State { return State{ID: id} },
	Versions: map[uint32]actors.DecideFunc[State]{1: Decide},
	Evolve:   Evolve,
	React:    React,
	Done:     Done,
}

// Done reports whether the pipeline has ended, or was never submitted.
func Done(s State) bool { return s.Phase == Absent || s.Phase >= Completed }

// Outputs are the verified outputs of the current stage, in the order of its chunks; of a completed pipeline its result.
func (s *State) Outputs() []*eventv1.BlobRef { return s.Results.outputs(s.Chunks) }

// Open lists the jobs of the stage that were handed out and are not settled, as ranges.
func (s *State) Open() []Range { return s.Results.open(s.Submitted) }
