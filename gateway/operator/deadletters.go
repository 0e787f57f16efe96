package operator

import (
	"context"
	"fmt"

	"connectrpc.com/connect"

	"github.com/shardy-network/orchestrator/actors/secrecy"
	"github.com/shardy-network/orchestrator/events"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

// tellRounds follows the rounds of a job by one fact.
func tellRounds(rounds []*operatorv1.DeadLetterRound, f events.Fact, atUs int64) []*operatorv1.DeadLetterRound {
	if len(rounds) == 0 {
		if f, ok := f.(*eventv1.JobSubmitted); ok {
			return append(rounds, &operatorv1.DeadLetterRound{
				Round: 1, OpenedUs: atUs, FirstSlot: f.FirstSlot, Slots: f.Slots, Waves: 1,
			})
		}
		return rounds
	}
	last := rounds[len(rounds)-1]
	switch f := f.(type) {
	case *eventv1.WaveOpened:
		last.Slots += f.Slots
		last.Waves = f.Wave
	case *eventv1.JobDeadLettered:
		last.End = f
	case *eventv1.JobRequeued:
		rounds = append(rounds, &operatorv1.DeadLetterRound{
			Round: f.Round, OpenedUs: atUs, By: f.By, Reason: f.Reason, FirstSlot: f.FirstSlot, Slots: f.Slots, Waves: 1,
		})
	}
	return rounds
}

// letter is the job as a row of the dead letters.
func (v *jobView) letter() *operatorv1.DeadLetter {
	j := v.job
	return &operatorv1.DeadLetter{
		Id: j.Id, Reason: j.DeadLetter.GetReason(), Detail: j.DeadLetter.GetDetail(), Tenant: j.Spec.Tenant,
		Pipeline: j.Spec.Pipeline, AtUs: v.deadAtUs, Round: j.Round, Kind: j.Spec.Kind, Module: j.Spec.Module,
		Stage: j.Spec.Stage, Chunk: j.Spec.Chunk,
	}
}

func (v *jobView) isLetter() bool { return v.job.State == operatorv1.JobState_JOB_STATE_DEAD_LETTERED }

// wasLetter also counts the discarded: their story can still be read.
func (v *jobView) wasLetter() bool {
	return v.isLetter() || v.job.State == operatorv1.JobState_JOB_STATE_DISCARDED
}

func (v *jobView) noLetter() error {
	err := fmt.Errorf("%w: job %s is %s, not a dead letter", errNotFound, v.job.Id, plain(v.job.State.String(), "JOB_STATE_"))
	if v.job.ReplacedBy != "" {
		err = fmt.Errorf("%w: it was replaced by job %s", err, v.job.ReplacedBy)
	}
	return err
}

// DescribeDeadLetter shows a dead letter, or one that was discarded, with its job and the history of all attempts.
func (a *API) DescribeDeadLetter(ctx context.Context, req *operatorv1.DescribeDeadLetterRequest) (*operatorv1.DescribeDeadLetterResponse, error) {
	c := callerOf(ctx)
	v, err := a.readJob(ctx, c, req.Id)
	if err != nil {
		return nil, err
	}
	if !v.wasLetter() {
		return nil, v.noLetter()
	}
	slots, err := a.readSlots(ctx, req.Id, v.first, v.slots)
	if err != nil {
		return nil, err
	}
	res := &operatorv1.DescribeDeadLetterResponse{
		Job: v.job, DeadLetter: v.letter(), Rounds: v.rounds, Payloads: v.payloads(c),
	}
	for _, s := range slots {
		v.job.Slots = append(v.job.Slots, s.slot)
		res.Attempts = append(res.Attempts, s.attempts...)
	}
	v.hideOutputs(c)
	return res, nil
}

// payloads lists the content that belongs to a job, by name where the caller may read it.
func (v *jobView) payloads(c *caller) []*operatorv1.DeadLetterPayload {
	show := func(p *operatorv1.DeadLetterPayload, ref *eventv1.BlobRef, readable bool) *operatorv1.DeadLetterPayload {
		if p.Readable = readable; readable {
			p.Ref = ref
		}
		return p
	}
	list := []*operatorv1.DeadLetterPayload{
		show(&operatorv1.DeadLetterPayload{Input: true}, v.job.Spec.Input, c.is(workers)),
	}
	for _, r := range v.job.Replicas {
		if r.Output != nil {
			list = append(list, show(&operatorv1.DeadLetterPayload{Slot: r.Slot}, r.Output, v.readsOutputs(c)))
		}
	}
	return list
}

// readsOutputs reports whether the caller may read what slots returned: not before nobody computes the job any more,
// but for admins.
func (v *jobView) readsOutputs(c *caller) bool {
	return c.is(byAdmin) || secrecy.Ends(v.job.State) && c.is(workers)
}

// DownloadPayload streams the input of a dead letter, or what one of its slots returned.
func (a *API) DownloadPayload(ctx context.Context, req *operatorv1.DownloadPayloadRequest, out *connect.ServerStream[operatorv1.DownloadPayloadResponse]) error {
	return a.ReadPayload(ctx, req, func(part []byte) error {
		return out.Send(&operatorv1.DownloadPayloadResponse{Data: part})
	})
}

// ReadPayload hands the content to send in parts of at most 256 KiB; an empty content is one empty part.
func (a *API) ReadPayload(ctx context.Context, req *operatorv1.DownloadPayloadRequest, send func(part []byte) error) error {
	c := callerOf(ctx)
	v, err := a.readJob(ctx, c, req.Id)
	if err != nil {
		return err
	}
	if !v.wasLetter() {
		return v.noLetter()
	}
	ref, err := v.payload(c, req.Slot)
	if err != nil {
		return err
	}
	return a.sendContent(ctx, ref, send)
}

func (v *jobView) payload(c *caller, slot *uint32) (*eventv1.BlobRef, error) {
	if slot == nil {
		if !c.is(workers) {
			return nil, errRole
		}
		return v.job.Spec.Input, nil
	}
	for _, r := range v.job.Replicas {
		switch {
		case r.Slot != *slot:
		case r.Output == nil:
			return nil, fmt.Errorf("slot %d: %w: it ended with %s", *slot, errNoOutput, plain(r.Status.String(), "RESULT_STATUS_"))
		case !v.readsOutputs(c):
			return nil, fmt.Errorf("slot %d: %w", *slot, errHidden)
		default:
			return r.Output, nil
		}
	}
	return nil, fmt.Errorf("%w: slot %d of job %s returned nothing", errNotFound, *slot, v.job.Id)
}
