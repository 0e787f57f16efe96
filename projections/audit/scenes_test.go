package audit_test

import (
	"encoding/hex"
	"testing"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/actors/proof"
	"github.com/shardy-network/orchestrator/events"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// scenes are the fates that a job can have. Each returns the job's id.
var scenes = []struct {
	name string
	play func(*world) string
}{
	{"verified", func(w *world) string {
		id := w.submit(true)
		w.work()
		return id
	}},
	{"liar", func(w *world) string {
		id := w.submit(true)
		w.lie("a lie")
		w.work()
		return id
	}},
	{"referee", func(w *world) string {
		id := w.submitted(func(s *eventv1.SubmitJob) { s.Policy.MaxReplicas = 3 })
		w.lie("one")
		w.lie("two")
		w.work()
		w.refereed()
		return id
	}},
	{"no_budget", func(w *world) string {
		id := w.submitted(func(s *eventv1.SubmitJob) { s.Policy.MaxReplicas = 2 })
		w.lie("one")
		w.work()
		w.referee = nil
		w.do(actors.JobAddress(id), &eventv1.Command{Kind: &eventv1.Command_RecordReferee{RecordReferee: &eventv1.RecordReferee{
			Outcome: eventv1.RefereeOutcome_REFEREE_OUTCOME_NO_BUDGET, Detail: "the minute is used up",
		}}})
		return id
	}},
	{"module_fails", func(w *world) string {
		id := w.submit(true)
		for len(w.tasks) > 0 {
			t := w.take(0)
			w.ack(t)
			w.fail(t, eventv1.ResultStatus_RESULT_STATUS_TRAP)
		}
		return id
	}},
	{"exhausted", func(w *world) string {
		id := w.submitted(func(s *eventv1.SubmitJob) { s.Policy.MaxAttempts = 2 })
		for len(w.tasks) > 0 {
			w.expire(w.take(0))
		}
		return id
	}},
	{"requeued", func(w *world) string {
		id := w.submitted(func(s *eventv1.SubmitJob) {
			s.Policy.MaxReplicas, s.Policy.Referee = 2, eventv1.RefereeMode_REFEREE_MODE_NEVER
		})
		w.lie("a lie")
		w.work()
		w.do(actors.JobAddress(id), &eventv1.Command{Kind: &eventv1.Command_RequeueJob{RequeueJob: &eventv1.RequeueJob{By: "ops", Reason: "a worker was banned"}}})
		w.work()
		return id
	}},
	{"ringer_passed", func(w *world) string { return w.ringer("out of ringer") }},
	{"ringer_failed", func(w *world) string { return w.ringer("a guess") }},
	{"stress", func(w *world) string {
		id := w.submitted(func(s *eventv1.SubmitJob) {
			s.Spec.Kind = eventv1.JobKind_JOB_KIND_STRESS
			s.Policy = rules(false)
			s.Policy.Redundancy, s.Policy.Margin, s.Policy.MaxReplicas = 1, 1, 1
		})
		t := w.take(0)
		w.ack(t)
		w.answer(t, "out", func(c *eventv1.ReturnResult) { c.Attestation = nil })
		return id
	}},
	{"troubles", func(w *world) string {
		id := w.submit(true)
		t := w.take(0)
		w.expire(t)
		t = w.take(0)
		w.do(actors.SlotAddress(t.Job, t.Slot), &eventv1.Command{Kind: &eventv1.Command_StripSlot{StripSlot: &eventv1.StripSlot{
			Token: t.Token, Reason: eventv1.StripReason_STRIP_REASON_NOT_RESUMED,
		}}})
		t = w.take(0)
		w.ack(t)
		w.answer(t, "out", func(c *eventv1.ReturnResult) {
			c.Attestation[0] ^= 1
			c.Reject, c.Detail = eventv1.RejectReason_REJECT_REASON_SIGNATURE, "not the worker's"
		})
		w.work()
		return id
	}},
	{"open", func(w *world) string {
		id := w.submit(true)
		t := w.take(0)
		w.ack(t)
		w.answer(t, "out of "+id, nil)
		w.ack(w.take(0))
		return id
	}},
	{"edited", func(w *world) string {
		dead := w.submitted(func(s *eventv1.SubmitJob) { s.Policy.MaxReplicas, s.Policy.Redundancy, s.Policy.Margin = 1, 1, 1 })
		t := w.take(0)
		w.fail(t, eventv1.ResultStatus_RESULT_STATUS_OUT_OF_FUEL)
		id := w.submitted(func(s *eventv1.SubmitJob) {
			s.Spec.Replaces, s.Spec.ReplacedRound, s.Spec.FuelLimit = dead, 1, 2_000_000
		})
		w.do(actors.JobAddress(dead), &eventv1.Command{Kind: &eventv1.Command_DiscardJob{DiscardJob: &eventv1.DiscardJob{
			By: "ops", Reason: "more fuel", ReplacedBy: id, Round: 1,
		}}})
		w.work()
		return id
	}},
	{"replaced", func(w *world) string {
		dead := w.submitted(func(s *eventv1.SubmitJob) { s.Policy.MaxReplicas, s.Policy.Redundancy, s.Policy.Margin = 1, 1, 1 })
		w.fail(w.take(0), eventv1.ResultStatus_RESULT_STATUS_OUT_OF_FUEL)
		w.do(actors.JobAddress(dead), &eventv1.Command{Kind: &eventv1.Command_DiscardJob{DiscardJob: &eventv1.DiscardJob{
			By: "ops", Reason: "more fuel", ReplacedBy: events.DeriveEntityID([]byte("its edit")), Round: 1,
		}}})
		return dead
	}},
	{"cancelled", func(w *world) string {
		id := w.submit(true)
		w.do(actors.JobAddress(id), &eventv1.Command{Kind: &eventv1.Command_CancelJob{CancelJob: &eventv1.CancelJob{By: "alice", Reason: "wrong input"}}})
		w.tasks = nil
		return id
	}},
}

func scene(t testing.TB, name string) (*world, string) {
	t.Helper()
	for _, s := range scenes {
		if s.name == name {
			w := newWorld(t)
			return w, s.play(w)
		}
	}
	t.Fatalf("no scene %q", name)
	return nil, ""
}

// submitted submits a job that is not like the others.
func (w *world) submitted(change func(*eventv1.SubmitJob)) string {
	w.count++
	s := &eventv1.SubmitJob{Spec: w.spec(), Policy: rules(true)}
	change(s)
	id := events.DeriveEntityID([]byte{byte(w.count)}, []byte("scene"))
	w.do(actors.JobAddress(id), &eventv1.Command{Kind: &eventv1.Command_SubmitJob{SubmitJob: s}})
	return id
}

// lie lets the next task's worker return something else.
func (w *world) lie(output string) {
	t := w.take(0)
	w.ack(t)
	w.answer(t, output, nil)
}

// fail returns a result without an output.
func (w *world) fail(t actors.Task, status eventv1.ResultStatus) {
	w.answer(t, "", func(c *eventv1.ReturnResult) {
		spec := w.spoken(t)
		c.Status = status
		c.Attestation = proof.Statement{
			Job: t.Job, Slot: t.Slot, Token: t.Token, Module: [32]byte(spec.Module), Input: [32]byte(spec.Input.Sha256),
			Status: status, Fuel: c.Fuel, Output: [32]byte(c.Output.Sha256),
		}.Sign(w.key(t))
	})
}

// ringer is a lite_test whose answer is known.
func (w *world) ringer(answer string) string {
	known := proof.Checksum(eventv1.ResultStatus_RESULT_STATUS_OK, 500, [32]byte(w.blob([]byte("out of ringer")).Sha256))
	id := w.submitted(func(s *eventv1.SubmitJob) {
		s.Spec.Kind, s.Spec.KnownChecksum, s.FirstSlot = eventv1.JobKind_JOB_KIND_LITE_TEST, known[:], 1
		s.Spec.Barred = []*eventv1.Party{{Worker: public(w.workers[9]), Group: "j"}}
		s.Policy.Redundancy, s.Policy.Margin, s.Policy.MaxReplicas = 1, 1, 1
		s.Policy.Referee = eventv1.RefereeMode_REFEREE_MODE_NEVER
	})
	t := w.take(0)
	w.ack(t)
	w.answer(t, answer, nil)
	return id
}

func hexOf(b []byte) string { return hex.EncodeToString(b) }
