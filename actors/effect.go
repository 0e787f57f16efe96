package actors

import (
	"fmt"
	"strconv"
	"strings"

	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// Effect is what follows from facts once they are durable. The host carries effects out, at least once: after a
// restart they are repeated, so every receiver answers repeats.
type Effect interface{ effect() }

// Tell sends a command to an entity. The host fills in the time.
type Tell struct {
	To      Address
	Command *eventv1.Command
}

// Arm sets the entity's one deadline; an earlier one is replaced. At the deadline the entity gets the command, even if
// it has left memory meanwhile.
type Arm struct {
	AtUs    int64
	Command *eventv1.Command
}

// Disarm removes the entity's deadline.
type Disarm struct{}

// Seek asks the dispatcher for a worker for each of a job's slots.
type Seek struct {
	Job      string
	Spec     *eventv1.JobSpec
	Policy   *eventv1.JobPolicy
	Slots    []uint32
	Excluded [][]byte // workers that had one of the slots before
	Used     []Holder // replicas of the job that were already returned
	Barred   []Holder // who must not get one: a ringer's, who computed the original
	SinceUs  int64    // when the job was submitted: its age
}

// Holder is a worker, with its identity group, that holds or held a slot of a job.
type Holder struct {
	Slot   uint32
	Worker []byte
	Group  string
}

// Hold tells the dispatcher after a restart that a slot is in a worker's hands.
type Hold struct {
	Job    string
	Holder Holder
}

// Release tells the dispatcher that a worker's slot is free again. Returned says that it was given back with a result.
type Release struct {
	Job      string
	Holder   Holder
	Returned bool
}

// Forget tells the dispatcher that a job is decided: its waiting slots leave the queue.
type Forget struct{ Job string }

// Task is an attempt as the courier delivers it.
type Task struct {
	Job                string
	Slot               uint32
	Attempt            uint32
	Token              uint64
	Worker             []byte
	Group              string
	AckDeadlineUs      int64
	ExecutionTimeoutMs uint32
	Acked              bool
	Spec               *eventv1.JobSpec   // filled in by the host
	Policy             *eventv1.JobPolicy // filled in by the host
}

// Deliver hands an attempt to the courier. Restored says that it was delivered before a restart: the courier waits for
// the worker to resume it.
type Deliver struct {
	Task     Task
	Restored bool
}

// Recall tells a worker to drop an attempt.
type Recall struct {
	Worker []byte
	Token  uint64
	Reason string
}

// Referee asks for a run of the job's chunk in the orchestrator's own sandbox; RecordReferee answers.
type Referee struct {
	Job  string
	Spec *eventv1.JobSpec
}

// SubmitChunks submits the jobs [From, To) of a pipeline's stage.
type SubmitChunks struct {
	Pipeline string
	Spec     *eventv1.PipelineSpec
	Stage    uint32
	Manifest *eventv1.BlobRef
	From, To uint32
}

// CancelChunks cancels the open jobs [From, To) of a pipeline's stage.
type CancelChunks struct {
	Pipeline string
	Stage    uint32
	From, To uint32
	Reason   string
}

// GatherStage joins the outputs of a stage, cuts them anew and answers with StartStage for the next one.
type GatherStage struct {
	Pipeline   string
	Stage      uint32 // to start
	Outputs    []*eventv1.BlobRef
	ChunkBytes uint64 // 0: one chunk; joined and cut only when Recut
	Recut      bool
}

// SettleChunk tells a job's pipeline of its end. The host coalesces them into SettleJobs.
type SettleChunk struct {
	Pipeline string
	Stage    uint32
	Job      *eventv1.SettledJob
}

// CountWork adds to a worker's record. The host coalesces them into RecordWork.
type CountWork struct {
	Worker    []byte
	Delta     *eventv1.Tally
	FuelPerMs uint64
}

func (Tell) effect()         {}
func (Arm) effect()          {}
func (Disarm) effect()       {}
func (Seek) effect()         {}
func (Hold) effect()         {}
func (Release) effect()      {}
func (Forget) effect()       {}
func (Deliver) effect()      {}
func (Recall) effect()       {}
func (Referee) effect()      {}
func (SubmitChunks) effect() {}
func (CancelChunks) effect() {}
func (GatherStage) effect()  {}
func (SettleChunk) effect()  {}
func (CountWork) effect()    {}

// SlotID is the id of a job's assignment.
func SlotID(job string, slot uint32) string {
	return job + "-" + strconv.FormatUint(uint64(slot), 10)
}

// ParseSlotID is the inverse of SlotID.
func ParseSlotID(id string) (job string, slot uint32, err error) {
	i := strings.LastIndexByte(id, '-')
	if i < 0 {
		return "", 0, fmt.Errorf("malformed slot id %q", id)
	}
	n, err := strconv.ParseUint(id[i+1:], 10, 32)
	if err != nil {
		return "", 0, fmt.Errorf("malformed slot id %q", id)
	}
	return id[:i], uint32(n), nil
}

// JobAddress names a job.
func JobAddress(id string) Address { return Address{JobRoom, id} }

// SlotAddress names a job's assignment.
func SlotAddress(job string, slot uint32) Address { return Address{AssignmentRoom, SlotID(job, slot)} }

// PipelineAddress names a pipeline.
func PipelineAddress(id string) Address { return Address{PipelineRoom, id} }

// WorkerAddress names a worker by its key.
func WorkerAddress(key []byte) Address { return Address{WorkerRoom, fmt.Sprintf("%x", key)} }
