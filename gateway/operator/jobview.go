package operator

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/actors/secrecy"
	"github.com/shardy-network/orchestrator/events"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

// jobView folds a job's facts into what people read. It decides nothing.
type jobView struct {
	job      *operatorv1.Job
	first    uint32 // the first slot; a ringer's need not be 0
	slots    uint32 // one more than the last slot ever opened
	deadAtUs int64
	rounds   []*operatorv1.DeadLetterRound
}

func (v *jobView) apply(f events.Fact, atUs int64) {
	j := v.job
	if timed, ok := f.(interface{ GetAtUs() int64 }); ok && timed.GetAtUs() != 0 {
		atUs = timed.GetAtUs()
	}
	v.rounds = tellRounds(v.rounds, f, atUs)
	switch f := f.(type) {
	case *eventv1.JobSubmitted:
		j.Spec, j.Policy = secrecy.WithoutAnswer(f.Spec), f.Policy
		j.State, j.SubmittedUs, j.Wave, j.Round = operatorv1.JobState_JOB_STATE_OPEN, atUs, 1, 1
		v.first, v.slots = f.FirstSlot, f.FirstSlot+f.Slots
	case *eventv1.ReplicaReturned:
		j.Replicas = append(j.Replicas, f)
	case *eventv1.WaveOpened:
		j.Wave = f.Wave
		v.slots = max(v.slots, f.FirstSlot+f.Slots)
	case *eventv1.TaskVerified:
		j.State, j.DecidedUs, j.Verdict = operatorv1.JobState_JOB_STATE_VERIFIED, atUs, f
	case *eventv1.JobDeadLettered:
		j.State, j.DecidedUs, j.DeadLetter = operatorv1.JobState_JOB_STATE_DEAD_LETTERED, atUs, f
		v.deadAtUs = atUs
	case *eventv1.JobRequeued:
		j.State, j.DecidedUs, j.DeadLetter = operatorv1.JobState_JOB_STATE_OPEN, 0, nil
		j.Round, j.Wave = f.Round, 1
		v.slots = max(v.slots, f.FirstSlot+f.Slots)
	case *eventv1.JobCancelled:
		j.State, j.DecidedUs = operatorv1.JobState_JOB_STATE_CANCELLED, atUs
		j.EndedBy, j.EndedReason = f.By, f.Reason
	case *eventv1.JobDiscarded:
		j.State, j.ReplacedBy = operatorv1.JobState_JOB_STATE_DISCARDED, f.ReplacedBy
		j.EndedBy, j.EndedReason = f.By, f.Reason
	}
}

// hideOutputs takes away what the caller must not see: the results of a job that may still be computed, and every
// result from those who see no content.
func (v *jobView) hideOutputs(c *caller) {
	if secrecy.Ends(v.job.State) && c.is(workers) {
		return
	}
	for i, r := range v.job.Replicas {
		r = proto.CloneOf(r)
		r.Output = nil
		v.job.Replicas[i] = r
	}
	if v.job.Verdict != nil && !c.is(workers) {
		v.job.Verdict = withoutOutput(v.job.Verdict)
	}
}

func withoutOutput(f *eventv1.TaskVerified) *eventv1.TaskVerified {
	out := proto.CloneOf(f)
	out.Output = nil
	return out
}

// readFacts yields a stream's facts with their times until do says stop.
func (a *API) readFacts(ctx context.Context, stream string, span events.Span, do func(events.Fact, events.Record) bool) error {
	for r, err := range a.deps.Log.Read(ctx, stream, span) {
		if errors.Is(err, events.ErrNotFound) || errors.Is(err, events.ErrDeleted) {
			return fmt.Errorf("%w: %s", errNotFound, stream)
		}
		if err != nil {
			return err
		}
		fact, err := events.Decode(r)
		if err != nil {
			return err
		}
		if !do(fact, r) {
			return nil
		}
	}
	return nil
}

// readJob folds a job, or says that it does not exist for the caller.
func (a *API) readJob(ctx context.Context, c *caller, id string) (*jobView, error) {
	if err := events.CheckEntityID(id); err != nil {
		return nil, err
	}
	v := &jobView{job: &operatorv1.Job{Id: id}}
	stream := actors.JobAddress(id).Stream()
	err := a.readFacts(ctx, stream, events.Span{}, func(f events.Fact, r events.Record) bool {
		v.apply(f, r.Time.UnixMicro())
		return true
	})
	if err != nil {
		return nil, err
	}
	if v.job.Spec == nil || !c.sees(v.job.Spec.Tenant) {
		return nil, fmt.Errorf("%w: %s", errNotFound, stream)
	}
	return v, nil
}

// jobSpec reads whose job it is from the first fact.
func (a *API) jobSpec(ctx context.Context, c *caller, id string) (*eventv1.JobSpec, error) {
	if err := events.CheckEntityID(id); err != nil {
		return nil, err
	}
	var spec *eventv1.JobSpec
	stream := actors.JobAddress(id).Stream()
	err := a.readFacts(ctx, stream, events.Span{Limit: 1}, func(f events.Fact, _ events.Record) bool {
		if s, ok := f.(*eventv1.JobSubmitted); ok {
			spec = s.Spec
		}
		return false
	})
	if err != nil {
		return nil, err
	}
	if spec == nil || !c.sees(spec.Tenant) {
		return nil, fmt.Errorf("%w: %s", errNotFound, stream)
	}
	return spec, nil
}

// jobUpdate is what the last facts of a job say, as a watch tells it; nil when they change nothing.
func jobUpdate(id string, facts []events.Fact) *operatorv1.JobUpdate {
	for i := len(facts) - 1; i >= 0; i-- {
		switch f := facts[i].(type) {
		case *eventv1.TaskVerified:
			return &operatorv1.JobUpdate{Id: id, State: operatorv1.JobState_JOB_STATE_VERIFIED, Verdict: f}
		case *eventv1.JobDeadLettered:
			return &operatorv1.JobUpdate{Id: id, State: operatorv1.JobState_JOB_STATE_DEAD_LETTERED, DeadLetter: f}
		case *eventv1.JobCancelled:
			return &operatorv1.JobUpdate{Id: id, State: operatorv1.JobState_JOB_STATE_CANCELLED}
		case *eventv1.JobDiscarded:
			return &operatorv1.JobUpdate{Id: id, State: operatorv1.JobState_JOB_STATE_DISCARDED}
		case *eventv1.JobRequeued:
			return &operatorv1.JobUpdate{Id: id, State: operatorv1.JobState_JOB_STATE_OPEN}
		}
	}
	return nil
}
