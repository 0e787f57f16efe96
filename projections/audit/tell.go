package audit

import (
	"fmt"
	"strings"

	auditv1 "github.com/shardy-network/orchestrator/proto/shardy/audit/v1"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// Tell is a story in words, one line an element. Lines hold what strangers said (groups, reasons, tenants): whoever
// prints them on a terminal takes the control characters out.
func Tell(s *auditv1.Story) []string {
	t := &telling{s: s}
	standing := phrase(s.Phase)
	if s.Phase == auditv1.JobPhase_JOB_PHASE_DEAD_LETTERED {
		standing = "a dead letter"
	}
	t.line("Job %s is %s.", s.Job, standing)
	t.gap()
	t.submission()
	for _, r := range s.Rounds {
		t.tellRound(r)
	}
	t.ending()
	t.tellEvidence()
	t.list("Not proven by these records:", s.Unproven)
	return t.lines
}

type telling struct {
	s     *auditv1.Story
	lines []string
}

func (t *telling) line(format string, args ...any) {
	t.lines = append(t.lines, fmt.Sprintf(format, args...))
}

func (t *telling) gap() { t.lines = append(t.lines, "") }

func (t *telling) list(heading string, items []string) {
	if len(items) == 0 {
		return
	}
	t.gap()
	t.line("%s", heading)
	for _, item := range items {
		t.line("  - %s", item)
	}
}

func (t *telling) submission() {
	spec, p := t.s.GetSpec(), t.s.GetPolicy()
	if spec == nil {
		t.line("Its submission is not in the records.")
		return
	}
	kind := spec.Kind
	if kind == eventv1.JobKind_JOB_KIND_UNSPECIFIED {
		kind = eventv1.JobKind_JOB_KIND_STANDARD
	}
	t.line("Tenant %q submitted it at %s: a %s job, module %s on input %s of %d bytes, at most %d fuel.",
		spec.Tenant, stamp(t.s.SubmittedUs), phrase(kind), short(spec.Module), short(spec.GetInput().GetSha256()),
		spec.GetInput().GetSize(), spec.FuelLimit)
	if spec.Pipeline != "" {
		t.line("It is chunk %d of stage %d of pipeline %s.", spec.Chunk, spec.Stage, spec.Pipeline)
	}
	if spec.Replaces != "" {
		t.line("It was edited and stands in for dead letter %s, which ended in round %d.", spec.Replaces, spec.ReplacedRound)
	}
	source := "the built-in policy"
	if p.GetVersion() > 0 {
		source = fmt.Sprintf("version %d of the deployment's policy", p.Version)
	}
	referee := "then the referee decides"
	if p.GetReferee() == eventv1.RefereeMode_REFEREE_MODE_NEVER {
		referee = "then there is no verdict"
	}
	t.line("It is decided by %s: %s to begin with, a lead of %d decides, at most %s, %s; %s a slot.",
		source, count(int(p.GetRedundancy()), "replica"), p.GetMargin(), count(int(p.GetMaxReplicas()), "replica"),
		referee, count(int(p.GetMaxAttempts()), "delivery"))
	if !p.GetRequireAttestation() {
		t.line("Its results need no signature.")
	}
	if n := len(spec.Barred); n > 0 {
		t.line("It is kept from %s.", count(n, "worker"))
	}
}

func (t *telling) tellRound(r *auditv1.Round) {
	if r.Round > 1 {
		t.gap()
		t.line("Round %d: %s requeued the job at %s%s.", r.Round, name(r.By), stamp(r.AtUs), because(r.Reason))
	}
	for _, w := range r.Waves {
		t.tellWave(r, w)
	}
	if r.Referee != nil {
		t.tellReferee(r.Referee)
	}
	if r.Verdict != nil {
		t.tellVerdict(r)
	}
}

func (t *telling) tellWave(r *auditv1.Round, w *auditv1.Wave) {
	t.gap()
	slots := make([]uint32, len(w.Slots))
	for i, s := range w.Slots {
		slots[i] = s.Slot
	}
	why := "with the submission"
	switch {
	case w.Wave > 1:
		why = "because " + w.Why
	case r.Round > 1:
		why = "with the requeue"
	}
	t.line("Wave %d opened %s %s.", w.Wave, slotList(slots), why)
	for _, s := range w.Slots {
		t.tellSlot(s)
	}
	if w.Tally != nil {
		t.tellTally(w.Tally)
	}
}

func (t *telling) tellSlot(s *auditv1.Slot) {
	if len(s.Attempts) == 0 {
		t.line("  Slot %d was never handed out: it %s.", s.Slot, slotEnd(s))
		return
	}
	for _, a := range s.Attempts {
		t.tellAttempt(s, a)
	}
	if s.Phase == auditv1.SlotPhase_SLOT_PHASE_DEAD_LETTERED {
		t.line("  Slot %d %s.", s.Slot, slotEnd(s))
	}
}

func slotEnd(s *auditv1.Slot) string {
	switch s.Phase {
	case auditv1.SlotPhase_SLOT_PHASE_DEAD_LETTERED:
		if s.Failure == eventv1.SlotFailure_SLOT_FAILURE_NO_ELIGIBLE_WORKER {
			return "was given up: nobody who was connected might have it"
		}
		return "was given up after its last delivery"
	case auditv1.SlotPhase_SLOT_PHASE_CANCELLED:
		return "was cancelled"
	}
	return "waits for a worker"
}

func (t *telling) tellAttempt(s *auditv1.Slot, a *auditv1.Attempt) {
	var b strings.Builder
	fmt.Fprintf(&b, "  Slot %d, attempt %d: %s got it %s after the submission", s.Slot, a.Attempt, worker(a.Worker, a.Group), span(a.DispatchedUs-t.s.SubmittedUs))
	last := a.DispatchedUs
	if a.AckedUs > 0 {
		fmt.Fprintf(&b, ", acknowledged it %s later", span(a.AckedUs-last))
		last = a.AckedUs
	}
	took := span(a.EndedUs - last)
	switch a.End {
	case auditv1.AttemptEnd_ATTEMPT_END_RETURNED:
		fmt.Fprintf(&b, ", returned %s %s later", result(a.Result), took)
	case auditv1.AttemptEnd_ATTEMPT_END_REJECTED:
		fmt.Fprintf(&b, ", and its result was rejected %s later: %s%s", took, phrase(a.Reject), because(a.Detail))
	case auditv1.AttemptEnd_ATTEMPT_END_STRIPPED:
		fmt.Fprintf(&b, ", and lost it %s later: %s%s", took, stripText(a.Strip), because(a.Detail))
		if !a.Counts {
			b.WriteString("; that does not count against the slot")
		}
	case auditv1.AttemptEnd_ATTEMPT_END_CANCELLED:
		fmt.Fprintf(&b, ", and it was taken back %s later%s", took, because(a.Detail))
	default:
		b.WriteString(", and holds it")
	}
	b.WriteString(". ")
	b.WriteString(backing(a))
	t.lines = append(t.lines, strings.TrimRight(b.String(), " "))
}

// backing says what supports an attempt's result and choice.
func backing(a *auditv1.Attempt) string {
	var parts []string
	switch a.Result.GetSignature() {
	case auditv1.SignatureState_SIGNATURE_STATE_VERIFIED:
		parts = append(parts, "Signature verified.")
	case auditv1.SignatureState_SIGNATURE_STATE_WRONG:
		parts = append(parts, "ITS SIGNATURE IS WRONG.")
	case auditv1.SignatureState_SIGNATURE_STATE_ABSENT:
		parts = append(parts, "Unsigned.")
	}
	switch p := a.Placement; {
	case p == nil:
	case p.Fault != "":
		parts = append(parts, "WRONGLY PLACED: "+p.Fault+".")
	case p.Candidates == 1:
		parts = append(parts, "It was the only candidate.")
	default:
		parts = append(parts, fmt.Sprintf("The seed from log position %d picks it out of %d candidates.", p.Head, p.Candidates))
	}
	return strings.Join(parts, " ")
}

func (t *telling) tellTally(v *auditv1.Tally) {
	if len(v.Votes) == 0 {
		t.line("  Vote: no results.")
		return
	}
	for _, vote := range v.Votes {
		t.line("  Vote: %s (%s), %s, %s.", value(vote.Checksum), phrase(vote.Status), slotList(vote.Slots), count(int(vote.Groups), "identity group"))
	}
	if t.s.GetSpec().GetKind() == eventv1.JobKind_JOB_KIND_LITE_TEST {
		return // the known answer decides, not the lead
	}
	decides := "decides nothing yet"
	if v.Lead >= v.Margin {
		decides = "decides"
	}
	t.line("  A lead of %d is needed; it is %d: that %s.", v.Margin, v.Lead, decides)
}

func (t *telling) tellReferee(r *auditv1.Referee) {
	t.gap()
	t.line("The referee was asked at %s because %s.", stamp(r.AskedUs), name(r.Why))
	switch {
	case r.AnsweredUs == 0:
		t.line("It has not answered yet.")
	case r.Outcome == eventv1.RefereeOutcome_REFEREE_OUTCOME_DECIDED:
		t.line("The orchestrator ran the chunk itself. %s later it had %s (%s, %d fuel).",
			span(r.AnsweredUs-r.AskedUs), value(r.Checksum), phrase(r.Status), r.Fuel)
	default:
		t.line("There is no answer: %s%s.", phrase(r.Outcome), because(r.Detail))
	}
}
