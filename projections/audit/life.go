package audit

import (
	"fmt"
	"slices"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/actors/job"
	"github.com/shardy-network/orchestrator/actors/quorum"
	"github.com/shardy-network/orchestrator/events"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// life is what a job's own stream tells: what happened to it from outside, and what was decided.
type life struct {
	id       string
	state    job.State // folded
	broken   bool      // the facts do not fit each other
	first    uint32    // slot of the submission
	policy   *eventv1.JobPolicy
	ends     []ended // of all rounds' slots
	answers  []*eventv1.RefereeDecided
	requeues int
	verdict  events.Fact // the last one, of an earlier round too
	tally    tallied     // of all verdicts
}

// ended is how one slot ended: with a result, or not.
type ended struct {
	slot   uint32
	result *eventv1.ReplicaReturned // nil: it was given up
	failed eventv1.SlotFailure
}

// tallied counts what a job's verdicts come to. The results stay with their slots until the truth is known.
type tallied struct {
	executions, fuel, referee uint64
	counted                   []counted // results that verdicts counted for or against their workers
	accepted                  [][32]byte
}

// counted is a result that a verdict counted for its worker, or against it.
type counted struct {
	worker []byte
	sum    [32]byte
	agreed bool
}

func newLife(id string) *life { return &life{id: id, state: job.Room.Zero(id)} }

// take folds a fact of the job.
func (l *life) take(f events.Fact) {
	if l.broken {
		return
	}
	next, err := safely(l.state, f)
	if l.broken = err != nil; l.broken {
		return
	}
	l.state = next
	switch f := f.(type) {
	case *eventv1.JobSubmitted:
		l.first, l.policy = f.FirstSlot, f.Policy
	case *eventv1.ReplicaReturned:
		l.ends = append(l.ends, ended{slot: f.Slot, result: f})
	case *eventv1.ReplicaFailed:
		l.ends = append(l.ends, ended{slot: f.Slot, failed: f.Reason})
	case *eventv1.RefereeDecided:
		l.answers = append(l.answers, f)
	case *eventv1.JobRequeued:
		l.requeues++
	case *eventv1.TaskVerified, *eventv1.JobDeadLettered:
		l.verdict = f
	}
	l.tally.take(l.state, f)
}

// safely turns a panic of Evolve into an error: a forged log may hold what no decision can have made.
func safely(s job.State, f events.Fact) (next job.State, err error) {
	defer func() {
		if p := recover(); p != nil {
			next, err = s, fmt.Errorf("%w: %v", errPanic, p)
		}
	}()
	return job.Evolve(s, f)
}

// take counts a fact; the state is that after it.
func (t *tallied) take(s job.State, f events.Fact) {
	switch f := f.(type) {
	case *eventv1.ReplicaReturned:
		t.executions++
		t.fuel += f.Fuel
	case *eventv1.RefereeRequested:
		t.referee++
	case *eventv1.TaskVerified:
		t.accepted = append(t.accepted, sumOf(f.Checksum))
		t.count(s, f, f.Agreeing, f.Contradicted)
	case *eventv1.JobDeadLettered:
		if sum, ok := agreedOn(s, f); ok {
			t.accepted = append(t.accepted, sum)
		}
		t.count(s, f, f.Agreeing, f.Contradicted)
	}
}

// count asks the job's own rules whether a verdict goes on the workers' records.
func (t *tallied) count(s job.State, verdict events.Fact, agreeing, contradicted []uint32) {
	counts := slices.ContainsFunc(job.React(s, []events.Fact{verdict}), func(e actors.Effect) bool {
		_, ok := e.(actors.CountWork)
		return ok
	})
	if !counts {
		return
	}
	for i, slots := range [][]uint32{agreeing, contradicted} {
		for _, n := range slots {
			if r := resultOf(s, n); r != nil {
				t.counted = append(t.counted, counted{worker: r.Worker, sum: r.Checksum, agreed: i == 0})
			}
		}
	}
}

func resultOf(s job.State, slot uint32) *quorum.Result {
	if slot < s.First || slot-s.First >= uint32(len(s.Slots)) || s.Slots[slot-s.First].Phase != job.SlotReturned {
		return nil
	}
	return &s.Slots[slot-s.First].Result
}

// agreedOn is what a job that failed failed with: the result of those that agree.
func agreedOn(s job.State, f *eventv1.JobDeadLettered) (sum [32]byte, ok bool) {
	if f.Reason != eventv1.DeadLetterReason_DEAD_LETTER_REASON_JOB_FAILED || len(f.Agreeing) == 0 {
		return sum, false
	}
	r := resultOf(s, f.Agreeing[0])
	if r == nil {
		return sum, false
	}
	return r.Checksum, true
}

func sumOf(b []byte) (sum [32]byte) {
	copy(sum[:], b)
	return sum
}

// truth is the right result of a job, as far as it is known.
type truth struct {
	by     truthBy
	sum    [32]byte
	answer *eventv1.RecordReferee // what a referee would say; nil when only the checksum is known
}

type truthBy uint8

const (
	truthUnknown truthBy = iota
	truthReferee
	truthKnown
	truthMargin
)

// sureMargin is the lead from which on a verdict is taken for the truth.
const sureMargin = 2

// truth finds out what is known.
func (l *life) truth() truth {
	for _, a := range slices.Backward(l.answers) {
		if a.Outcome == eventv1.RefereeOutcome_REFEREE_OUTCOME_DECIDED {
			return truth{truthReferee, quorum.Checksum(a.Status, a.Fuel, a.Output), &eventv1.RecordReferee{
				Outcome: a.Outcome, Status: a.Status, Output: a.Output, Fuel: a.Fuel,
			}}
		}
	}
	if l.state.Spec.GetKind() == eventv1.JobKind_JOB_KIND_LITE_TEST {
		return truth{by: truthKnown, sum: sumOf(l.state.Spec.GetKnownChecksum())}
	}
	if l.policy.GetMargin() < sureMargin {
		return truth{}
	}
	var r *quorum.Result
	switch f := l.verdict.(type) {
	case *eventv1.TaskVerified:
		if f.Basis == eventv1.VerdictBasis_VERDICT_BASIS_QUORUM && len(f.Agreeing) > 0 {
			r = resultOf(l.state, f.Agreeing[0])
		}
	case *eventv1.JobDeadLettered:
		if _, ok := agreedOn(l.state, f); ok {
			r = resultOf(l.state, f.Agreeing[0])
		}
	}
	if r == nil {
		return truth{}
	}
	return truth{truthMargin, r.Checksum, &eventv1.RecordReferee{
		Outcome: eventv1.RefereeOutcome_REFEREE_OUTCOME_DECIDED, Status: r.Status, Output: r.Output, Fuel: r.Fuel,
	}}
}
