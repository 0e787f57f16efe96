package audittest

import (
	"encoding/binary"
	"testing"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/actors/proof"
	"github.com/shardy-network/orchestrator/events"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// Scenes are the fates that a job can have. Each returns the job's id.
var Scenes = []struct {
	Name string
	Play func(*World) string
}{
	{"verified", func(w *World) string {
		id := w.Submit(true)
		w.Work()
		return id
	}},
	{"liar", func(w *World) string {
		id := w.Submit(true)
		w.Lie("a lie")
		w.Work()
		return id
	}},
	{"referee", func(w *World) string {
		id := w.Submitted(func(s *eventv1.SubmitJob) { s.Policy.MaxReplicas = 3 })
		w.Lie("one")
		w.Lie("two")
		w.Work()
		w.Refereed()
		return id
	}},
	{"no_budget", func(w *World) string {
		id := w.Submitted(func(s *eventv1.SubmitJob) { s.Policy.MaxReplicas = 2 })
		w.Lie("one")
		w.Work()
		w.Referees = nil
		w.Do(actors.JobAddress(id), &eventv1.Command{Kind: &eventv1.Command_RecordReferee{RecordReferee: &eventv1.RecordReferee{
			Outcome: eventv1.RefereeOutcome_REFEREE_OUTCOME_NO_BUDGET, Detail: "the minute is used up",
		}}})
		return id
	}},
	{"module_fails", func(w *World) string {
		id := w.Submit(true)
		for len(w.Tasks) > 0 {
			t := w.Take(0)
			w.Ack(t)
			w.Fail(t, eventv1.ResultStatus_RESULT_STATUS_TRAP)
		}
		return id
	}},
	{"exhausted", func(w *World) string {
		id := w.Submitted(func(s *eventv1.SubmitJob) { s.Policy.MaxAttempts = 2 })
		for len(w.Tasks) > 0 {
			w.Expire(w.Take(0))
		}
		return id
	}},
	{"requeued", func(w *World) string {
		id := w.Submitted(func(s *eventv1.SubmitJob) {
			s.Policy.MaxReplicas, s.Policy.Referee = 2, eventv1.RefereeMode_REFEREE_MODE_NEVER
		})
		w.Lie("a lie")
		w.Work()
		w.Do(actors.JobAddress(id), &eventv1.Command{Kind: &eventv1.Command_RequeueJob{RequeueJob: &eventv1.RequeueJob{By: "ops", Reason: "a worker was banned"}}})
		w.Work()
		return id
	}},
	{"ringer_passed", func(w *World) string { return w.Ringer("out of ringer") }},
	{"ringer_failed", func(w *World) string { return w.Ringer("a guess") }},
	{"stress", func(w *World) string {
		id := w.Submitted(func(s *eventv1.SubmitJob) {
			s.Spec.Kind = eventv1.JobKind_JOB_KIND_STRESS
			s.Policy = Rules(false)
			s.Policy.Redundancy, s.Policy.Margin, s.Policy.MaxReplicas = 1, 1, 1
		})
		t := w.Take(0)
		w.Ack(t)
		w.Answer(t, "out", func(c *eventv1.ReturnResult) { c.Attestation = nil })
		return id
	}},
	{"troubles", func(w *World) string {
		id := w.Submit(true)
		t := w.Take(0)
		w.Expire(t)
		t = w.Take(0)
		w.Do(actors.SlotAddress(t.Job, t.Slot), &eventv1.Command{Kind: &eventv1.Command_StripSlot{StripSlot: &eventv1.StripSlot{
			Token: t.Token, Reason: eventv1.StripReason_STRIP_REASON_NOT_RESUMED,
		}}})
		t = w.Take(0)
		w.Ack(t)
		w.Answer(t, "out", func(c *eventv1.ReturnResult) {
			c.Attestation[0] ^= 1
			c.Reject, c.Detail = eventv1.RejectReason_REJECT_REASON_SIGNATURE, "not the worker's"
		})
		w.Work()
		return id
	}},
	{"open", func(w *World) string {
		id := w.Submit(true)
		t := w.Take(0)
		w.Ack(t)
		w.Answer(t, "out of "+id, nil)
		w.Ack(w.Take(0))
		return id
	}},
	{"edited", func(w *World) string {
		dead := w.Submitted(func(s *eventv1.SubmitJob) { s.Policy.MaxReplicas, s.Policy.Redundancy, s.Policy.Margin = 1, 1, 1 })
		t := w.Take(0)
		w.Fail(t, eventv1.ResultStatus_RESULT_STATUS_OUT_OF_FUEL)
		id := w.Submitted(func(s *eventv1.SubmitJob) {
			s.Spec.Replaces, s.Spec.ReplacedRound, s.Spec.FuelLimit = dead, 1, 2_000_000
		})
		w.Do(actors.JobAddress(dead), &eventv1.Command{Kind: &eventv1.Command_DiscardJob{DiscardJob: &eventv1.DiscardJob{
			By: "ops", Reason: "more fuel", ReplacedBy: id, Round: 1,
		}}})
		w.Work()
		return id
	}},
	{"replaced", func(w *World) string {
		dead := w.Submitted(func(s *eventv1.SubmitJob) { s.Policy.MaxReplicas, s.Policy.Redundancy, s.Policy.Margin = 1, 1, 1 })
		w.Fail(w.Take(0), eventv1.ResultStatus_RESULT_STATUS_OUT_OF_FUEL)
		w.Do(actors.JobAddress(dead), &eventv1.Command{Kind: &eventv1.Command_DiscardJob{DiscardJob: &eventv1.DiscardJob{
			By: "ops", Reason: "more fuel", ReplacedBy: events.DeriveEntityID([]byte("its edit")), Round: 1,
		}}})
		return dead
	}},
	{"cancelled", func(w *World) string {
		id := w.Submit(true)
		w.Do(actors.JobAddress(id), &eventv1.Command{Kind: &eventv1.Command_CancelJob{CancelJob: &eventv1.CancelJob{By: "alice", Reason: "wrong input"}}})
		w.Tasks = nil
		return id
	}},
}

// Scene plays the scene of that name in a new world.
func Scene(t testing.TB, name string) (*World, string) {
	t.Helper()
	for _, s := range Scenes {
		if s.Name == name {
			w := New(t)
			return w, s.Play(w)
		}
	}
	t.Fatalf("no scene %q", name)
	return nil, ""
}

// Submitted submits a job that is not like the others.
func (w *World) Submitted(change func(*eventv1.SubmitJob)) string {
	w.count++
	s := &eventv1.SubmitJob{Spec: w.Spec(), Policy: Rules(true)}
	change(s)
	id := events.DeriveEntityID(binary.BigEndian.AppendUint64(nil, w.count), []byte("scene"))
	w.Do(actors.JobAddress(id), &eventv1.Command{Kind: &eventv1.Command_SubmitJob{SubmitJob: s}})
	return id
}

// Lie lets the next task's worker return something else.
func (w *World) Lie(output string) {
	t := w.Take(0)
	w.Ack(t)
	w.Answer(t, output, nil)
}

// Fail returns a result without an output.
func (w *World) Fail(t actors.Task, status eventv1.ResultStatus) {
	w.Answer(t, "", func(c *eventv1.ReturnResult) {
		spec := w.SpecOf(t)
		c.Status = status
		c.Attestation = proof.Statement{
			Job: t.Job, Slot: t.Slot, Token: t.Token, Module: [32]byte(spec.Module), Input: [32]byte(spec.Input.Sha256),
			Status: status, Fuel: c.Fuel, Output: [32]byte(c.Output.Sha256),
		}.Sign(w.Key(t))
	})
}

// Ringer is a lite_test whose answer is known.
func (w *World) Ringer(answer string) string {
	known := proof.Checksum(eventv1.ResultStatus_RESULT_STATUS_OK, 500, [32]byte(w.Blob([]byte("out of ringer")).Sha256))
	id := w.Submitted(func(s *eventv1.SubmitJob) {
		s.Spec.Kind, s.Spec.KnownChecksum, s.FirstSlot = eventv1.JobKind_JOB_KIND_LITE_TEST, known[:], 1
		s.Spec.Barred = []*eventv1.Party{{Worker: Public(w.Workers[9]), Group: "j"}}
		s.Policy.Redundancy, s.Policy.Margin, s.Policy.MaxReplicas = 1, 1, 1
		s.Policy.Referee = eventv1.RefereeMode_REFEREE_MODE_NEVER
	})
	t := w.Take(0)
	w.Ack(t)
	w.Answer(t, answer, nil)
	return id
}
