package audit

import (
	"errors"
	"slices"

	"github.com/shardy-network/orchestrator/actors/job"
	"github.com/shardy-network/orchestrator/actors/policy"
	"github.com/shardy-network/orchestrator/events"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// Why a job cannot be decided again.
var (
	errWanting = errors.New("more results are needed than were recorded")
	errUnasked = errors.New("a referee would be asked, and what it would say is not known")
)

// another is what becomes of a job under another policy.
type another struct {
	state   job.State
	verdict events.Fact
	tally   tallied
	missing uint64 // results that are needed at least
}

// under plays the recorded results, in the order of their slots, under another policy. It is the job's own rules that
// decide: the rules of today, as for every new job.
func (l *life) under(p *eventv1.JobPolicy, known truth) (another, error) {
	a := another{state: job.Room.Zero(l.id)}
	if err := policy.CheckJob(p); err != nil {
		return a, err
	}
	asked, used, again := 0, 0, l.requeues
	cmd := &eventv1.Command{Kind: &eventv1.Command_SubmitJob{SubmitJob: &eventv1.SubmitJob{
		Spec: l.state.Spec, Policy: p, FirstSlot: l.first,
	}}}
	for cmd != nil {
		if err := a.do(cmd); err != nil {
			return a, err
		}
		var err error
		switch cmd = nil; {
		case a.state.Phase == job.DeadLettered && again > 0 && used < len(l.ends):
			again--
			cmd = &eventv1.Command{Kind: &eventv1.Command_RequeueJob{RequeueJob: &eventv1.RequeueJob{}}}
		case a.state.Phase != job.Open:
		case a.state.Refereeing:
			cmd, err = l.referee(asked, known)
			asked++
		case used == len(l.ends):
			a.missing, err = uint64(a.state.Pending), errWanting
		default:
			cmd = l.ends[used].command(a.state)
			used++
		}
		if err != nil {
			return a, err
		}
	}
	return a, nil
}

// do decides a command and folds what follows.
func (a *another) do(cmd *eventv1.Command) error {
	d, err := job.Decide(a.state, cmd)
	if err != nil {
		return err
	}
	for _, f := range d.Facts {
		next, err := job.Evolve(a.state, f)
		if err != nil {
			return err
		}
		a.state = next
		switch f.(type) {
		case *eventv1.TaskVerified, *eventv1.JobDeadLettered:
			a.verdict = f
		}
		a.tally.take(a.state, f)
	}
	return nil
}

// command hands a recorded end to the first slot that is open.
func (e *ended) command(s job.State) *eventv1.Command {
	i := slices.IndexFunc(s.Slots, func(slot job.Slot) bool { return slot.Phase == job.SlotOpen })
	slot := s.First + uint32(max(i, 0))
	if e.result == nil {
		return &eventv1.Command{Kind: &eventv1.Command_RecordFailure{RecordFailure: &eventv1.RecordFailure{Slot: slot, Reason: e.failed}}}
	}
	r := e.result
	return &eventv1.Command{Kind: &eventv1.Command_RecordReplica{RecordReplica: &eventv1.RecordReplica{
		Slot: slot, Attempt: r.Attempt, Worker: r.Worker, Group: r.Group, Status: r.Status, Output: r.Output, Fuel: r.Fuel, RunMs: r.RunMs,
	}}}
}

// referee is what the referee says when it is asked for the n-th time: what it said then, or the truth.
func (l *life) referee(n int, known truth) (*eventv1.Command, error) {
	answer := known.answer
	if n < len(l.answers) {
		f := l.answers[n]
		answer = &eventv1.RecordReferee{Outcome: f.Outcome, Status: f.Status, Output: f.Output, Fuel: f.Fuel, Detail: f.Detail}
	}
	if answer == nil {
		return nil, errUnasked
	}
	return &eventv1.Command{Kind: &eventv1.Command_RecordReferee{RecordReferee: answer}}, nil
}

// sorted puts the ends in the order of their slots, which is the order in which they are played.
func (l *life) sorted() {
	slices.SortStableFunc(l.ends, func(a, b ended) int { return int(a.slot) - int(b.slot) })
}
