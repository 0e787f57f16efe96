package readmodel

import (
	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/events"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

const (
	open      = operatorv1.JobState_JOB_STATE_OPEN
	verified  = operatorv1.JobState_JOB_STATE_VERIFIED
	dead      = operatorv1.JobState_JOB_STATE_DEAD_LETTERED
	cancelled = operatorv1.JobState_JOB_STATE_CANCELLED
	discarded = operatorv1.JobState_JOB_STATE_DISCARDED
)

// closedStates are those in which a job may be forgotten.
var closedStates = []operatorv1.JobState{verified, cancelled, discarded}

// job is a job's row in memory.
type job struct {
	seq              int64
	id               string
	kind             eventv1.JobKind
	state            operatorv1.JobState
	tenant, pipeline string
	module           []byte
	submitted        int64
	jobBody

	decided      int64
	contradicted uint32
	reason       eventv1.DeadLetterReason
	verdictSeq   int64
	deadSeq      int64
	begun        []byte // until it is stored

	stored     bool
	touched    bool                     // by the batch
	was        operatorv1.JobState      // as stored
	wasDead    eventv1.DeadLetterReason // as stored, for dead letters
	wasDeadSeq int64
	live       []*attempt // the last one of each slot, as far as it was needed
}

// turn is one of the rarer facts of a job.
type turn struct {
	job, seq, at, position int64
	kind                   string
	data                   []byte
}

// job returns a job's row, nil if there is none.
func (b *batch) job(id string) *job {
	if j, ok := b.s.jobs.get(id); ok {
		return j
	}
	if b.err != nil {
		return nil
	}
	j, err := b.s.readJob(b.ctx, id)
	if err != nil {
		b.fail(err)
		return nil
	}
	if j != nil {
		b.s.jobs.put(id, j)
	}
	return j
}

// touch notes that the row is to be written.
func (b *batch) touch(j *job) {
	if !j.touched {
		j.touched = true
		b.jobs = append(b.jobs, j)
	}
}

func (b *batch) turn(j *job) {
	b.turns = append(b.turns, turn{j.seq, b.ordinal, b.at, int64(b.rec.Pos), b.rec.Type, b.rec.Data})
}

func (b *batch) foldJob(id string, fact events.Fact, p *Point) {
	if f, ok := fact.(*eventv1.JobSubmitted); ok {
		if b.rec.Rev == 0 || b.job(id) == nil { // the first record of a stream has no row before it
			b.submitted(id, f)
			p.Submitted++
		}
		return
	}
	j := b.job(id)
	if j == nil {
		return
	}
	switch f := fact.(type) {
	case *eventv1.ReplicaReturned:
		j.returned++
		if a := b.attempt(j, f.GetSlot(), f.GetAttempt()); a != nil {
			a.recorded = true
			b.touchAttempt(a)
		}
	case *eventv1.ReplicaFailed:
		b.turn(j)
		return
	case *eventv1.ConsensusMismatch:
		j.mismatches++
		p.Mismatches++
		b.counts[counter{what: countTotals, a: totalMismatches}]++
		b.turn(j)
	case *eventv1.WaveOpened:
		j.wave = f.GetWave()
		j.slots += f.GetSlots()
		b.turn(j)
	case *eventv1.RefereeRequested:
		j.refereeing = true
		b.turn(j)
	case *eventv1.RefereeDecided:
		j.refereeing = false
		b.turn(j)
	case *eventv1.TaskVerified:
		j.verify(f, b)
		p.Verified++
	case *eventv1.JobDeadLettered:
		j.end(dead, b.moment(f.GetAtUs()), brief(f.GetDetail()))
		j.reason, j.deadSeq = f.GetReason(), b.ordinal
		p.DeadLettered++
		b.turn(j)
	case *eventv1.JobRequeued:
		j.state, j.decided, j.reason, j.detail, j.deadSeq = open, 0, 0, "", 0
		j.round, j.wave, j.slots, j.returned = f.GetRound(), 1, f.GetSlots(), 0
		b.turn(j)
	case *eventv1.JobDiscarded:
		j.end(discarded, b.moment(f.GetAtUs()), brief(f.GetReason()))
		p.Cancelled++
		b.turn(j)
	case *eventv1.JobCancelled:
		j.end(cancelled, b.moment(f.GetAtUs()), brief(f.GetReason()))
		p.Cancelled++
		b.turn(j)
	default:
		return
	}
	b.touch(j)
}

func (j *job) end(s operatorv1.JobState, at int64, detail string) {
	j.state, j.decided, j.detail, j.refereeing, j.deadSeq = s, at, detail, false, 0
}

func (j *job) verify(f *eventv1.TaskVerified, b *batch) {
	j.end(verified, b.moment(f.GetAtUs()), "")
	j.basis, j.contradicted = f.GetBasis(), uint32(len(f.GetContradicted()))
	j.verdictSeq, j.verdictPosition, j.verdict = b.ordinal, int64(b.rec.Pos), b.rec.Data
	b.counts[counter{what: countTotals, a: totalVerdicts}]++
	if j.contradicted > 0 {
		b.counts[counter{what: countTotals, a: totalContradicted}]++
	}
}

func (b *batch) submitted(id string, f *eventv1.JobSubmitted) {
	spec := f.GetSpec()
	j := &job{
		seq: b.ordinal, id: id, kind: spec.GetKind(), state: open, tenant: spec.GetTenant(), pipeline: spec.GetPipeline(),
		module: spec.GetModule(), submitted: b.moment(f.GetAtUs()), begun: b.rec.Data,
		jobBody: jobBody{
			position: int64(b.rec.Pos), stage: spec.GetStage(), chunk: spec.GetChunk(), priority: spec.GetPriority(),
			tier: spec.GetMinTier(), round: 1, wave: 1, slots: f.GetSlots(),
		},
	}
	if j.kind == eventv1.JobKind_JOB_KIND_UNSPECIFIED {
		j.kind = eventv1.JobKind_JOB_KIND_STANDARD
	}
	if len(spec.GetKnownChecksum()) > 0 {
		spec.KnownChecksum = nil
		begun, err := proto.Marshal(f)
		if err != nil {
			begun = nil // nothing is better than the answer
		}
		j.begun = begun
	}
	b.s.jobs.put(id, j)
	b.touch(j)
}
