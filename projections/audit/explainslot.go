package audit

import (
	"github.com/shardy-network/orchestrator/actors/quorum"
	"github.com/shardy-network/orchestrator/events"
	auditv1 "github.com/shardy-network/orchestrator/proto/shardy/audit/v1"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// slot takes a fact of one of the job's slots.
func (t *teller) slot(s *toldSlot, r *events.Record, fact events.Fact, atUs int64) {
	if f, ok := fact.(*eventv1.AssignmentDispatched); ok {
		t.dispatched(s, r, f, atUs)
		return
	}
	switch f := fact.(type) {
	case *eventv1.AssignmentDeadLettered:
		s.slot.Phase, s.slot.Failure = auditv1.SlotPhase_SLOT_PHASE_DEAD_LETTERED, f.Reason
		return
	case *eventv1.AssignmentCancelled:
		s.slot.Phase = auditv1.SlotPhase_SLOT_PHASE_CANCELLED
	}
	if len(s.slot.Attempts) == 0 {
		return
	}
	a := s.slot.Attempts[len(s.slot.Attempts)-1]
	switch f := fact.(type) {
	case *eventv1.TaskAcked:
		a.AckedUs, s.slot.Phase = atUs, auditv1.SlotPhase_SLOT_PHASE_RUNNING
	case *eventv1.AckTimedOut, *eventv1.ExecutionTimedOut:
		// AssignmentStripped says it too.
	case *eventv1.ResultRejected:
		a.Reject, a.Detail = f.Reason, f.Detail
		a.Result = t.result(s, f.Attempt, f.Status, f.Fuel, f.Output, f.Attestation)
	case *eventv1.AssignmentStripped:
		t.stripped(s, a, f, atUs)
	case *eventv1.ResultReturned:
		s.slot.Phase = auditv1.SlotPhase_SLOT_PHASE_RETURNED
		a.End, a.EndedUs = auditv1.AttemptEnd_ATTEMPT_END_RETURNED, atUs
		a.Result = t.result(s, f.Attempt, f.Status, f.Fuel, f.Output, f.Attestation)
		a.Result.RunMs = f.RunMs
	case *eventv1.AssignmentCancelled:
		if a.EndedUs == 0 {
			a.End, a.EndedUs, a.Detail = auditv1.AttemptEnd_ATTEMPT_END_CANCELLED, atUs, f.Reason
		}
	}
}

func (t *teller) dispatched(s *toldSlot, r *events.Record, f *eventv1.AssignmentDispatched, atUs int64) {
	s.last = handed{attempt: f}
	s.slot.Phase = auditv1.SlotPhase_SLOT_PHASE_DISPATCHED
	s.slot.Attempts = append(s.slot.Attempts, &auditv1.Attempt{
		Attempt: f.Attempt, Worker: f.Worker, Group: f.Group, DispatchedUs: atUs,
		Placement: &auditv1.Placement{
			Head: f.Head, Seed: f.Seed, Candidates: uint32(len(f.Candidates)),
			Fault: misplaced(r.Pos, t.story.Job, s.slot.Slot, f),
		},
	})
}

func (t *teller) stripped(s *toldSlot, a *auditv1.Attempt, f *eventv1.AssignmentStripped, atUs int64) {
	s.slot.Phase = auditv1.SlotPhase_SLOT_PHASE_WAITING
	a.End, a.EndedUs, a.Strip, a.Counts = auditv1.AttemptEnd_ATTEMPT_END_STRIPPED, atUs, f.Reason, f.Counts
	if f.Reason == eventv1.StripReason_STRIP_REASON_RESULT_REJECTED {
		a.End = auditv1.AttemptEnd_ATTEMPT_END_REJECTED
	}
	if f.Detail != "" {
		a.Detail = f.Detail
	}
}

// result is what a worker said, with what its signature is worth.
func (t *teller) result(s *toldSlot, attempt uint32, status eventv1.ResultStatus, fuel uint64, out *eventv1.BlobRef, signature []byte) *auditv1.Result {
	sum := quorum.Checksum(status, fuel, out)
	r := &auditv1.Result{Status: status, Fuel: fuel, Checksum: sum[:], Output: out, Signature: auditv1.SignatureState_SIGNATURE_STATE_WRONG}
	if len(signature) == 0 {
		r.Signature = auditv1.SignatureState_SIGNATURE_STATE_ABSENT
		return r
	}
	said, wrong := statement(&t.exhib, &s.last, t.story.Job, s.slot.Slot, attempt, status, fuel, out)
	if wrong == "" && said.Verify(s.last.attempt.GetWorker(), signature) {
		r.Signature = auditv1.SignatureState_SIGNATURE_STATE_VERIFIED
	}
	return r
}

// Withhold takes out of a story what lets a reader get at results: the names of outputs and, while the job may still be
// computed, the checksums of results that were not tallied in public.
func Withhold(s *auditv1.Story) {
	s.Withheld = true
	for _, f := range s.GetEvidence().GetFaults() {
		f.Detail = "withheld" // it may say what was returned
	}
	undecided := s.Phase == auditv1.JobPhase_JOB_PHASE_OPEN || s.Phase == auditv1.JobPhase_JOB_PHASE_DEAD_LETTERED
	for _, round := range s.Rounds {
		if round.Referee != nil {
			round.Referee.Output = nil
			if undecided {
				round.Referee.Checksum = nil
			}
		}
		if v := round.Verdict; v != nil {
			v.Output = nil
			if undecided {
				v.Checksum, v.KnownChecksum = nil, nil
			}
		}
		for _, wave := range round.Waves {
			withholdWave(wave, undecided)
		}
	}
}

func withholdWave(wave *auditv1.Wave, undecided bool) {
	for _, slot := range wave.Slots {
		for _, a := range slot.Attempts {
			if a.Result == nil {
				continue
			}
			a.Result.Output = nil
			if undecided {
				a.Result.Checksum = nil
			}
		}
	}
	if votes := wave.GetTally().GetVotes(); undecided && len(votes) == 1 {
		votes[0].Checksum = nil // several are in a ConsensusMismatch, which everybody reads
	}
}
