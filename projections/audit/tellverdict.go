package audit

import (
	"fmt"
	"strings"

	auditv1 "github.com/shardy-network/orchestrator/proto/shardy/audit/v1"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

func (t *telling) tellVerdict(r *auditv1.Round) {
	v := r.Verdict
	t.gap()
	switch v.DeadLetter {
	case eventv1.DeadLetterReason_DEAD_LETTER_REASON_UNSPECIFIED:
		size := ""
		if v.Output != nil {
			size = fmt.Sprintf(" and an output of %d bytes", v.Output.Size)
		}
		t.line("Verdict at %s: verified, %s with %d fuel%s.", stamp(v.AtUs), value(v.Checksum), v.Fuel, size)
	case eventv1.DeadLetterReason_DEAD_LETTER_REASON_JOB_FAILED:
		t.line("Verdict at %s: the module itself fails (%s), the same way everywhere.", stamp(v.AtUs), phrase(v.Status))
	case eventv1.DeadLetterReason_DEAD_LETTER_REASON_RINGER_FAILED:
		t.line("Verdict at %s: the ringer failed, its answer is not the known one.", stamp(v.AtUs))
	default:
		t.line("Verdict at %s: none, the job is a dead letter: %s%s.", stamp(v.AtUs), phrase(v.DeadLetter), because(v.Detail))
	}
	if rule := ruleText(r); rule != "" {
		t.line("Rule: %s", rule)
	}
	attempts := returned(r)
	for _, n := range v.Agreeing {
		t.line("  Slot %d agreed: %s.", n, worker(attempts[n].GetWorker(), attempts[n].GetGroup()))
	}
	for _, n := range v.Contradicted {
		t.line("  Slot %d is CONTRADICTED: %s %s.", n, worker(attempts[n].GetWorker(), attempts[n].GetGroup()), signedText(attempts[n]))
	}
	if follows := followText(v); follows != "" {
		t.line("What follows: %s", follows)
	}
}

// ruleText says which rule decided, and by how much.
func ruleText(r *auditv1.Round) string {
	v := r.Verdict
	var last *auditv1.Tally
	for _, w := range r.Waves {
		if w.Tally != nil {
			last = w.Tally
		}
	}
	switch v.Basis {
	case eventv1.VerdictBasis_VERDICT_BASIS_QUORUM:
		votes := last.GetVotes()
		if len(votes) == 0 {
			return "the value ahead of all others by the margin decides."
		}
		against := uint32(0)
		if len(votes) > 1 {
			against = votes[1].Groups
		}
		return fmt.Sprintf("the value that is ahead of the runner-up by %s decides. It has %d, the runner-up %d.",
			count(int(last.Margin), "identity group"), votes[0].Groups, against)
	case eventv1.VerdictBasis_VERDICT_BASIS_REFEREE:
		return "no value was far enough ahead, so the orchestrator's own run decides."
	case eventv1.VerdictBasis_VERDICT_BASIS_SINGLE:
		return "one identity group is enough under this policy; there was nothing to compare with."
	case eventv1.VerdictBasis_VERDICT_BASIS_KNOWN_ANSWER:
		return fmt.Sprintf("the answer was known beforehand (%s); a result passes when it is equal.", value(v.KnownChecksum))
	}
	if v.DeadLetter == eventv1.DeadLetterReason_DEAD_LETTER_REASON_NO_QUORUM {
		return "without enough of a lead, and without a referee's answer, nobody is contradicted."
	}
	return ""
}

// returned are the attempts of a round that returned a result, by slot.
func returned(r *auditv1.Round) map[uint32]*auditv1.Attempt {
	out := make(map[uint32]*auditv1.Attempt)
	for _, w := range r.Waves {
		for _, s := range w.Slots {
			if n := len(s.Attempts); n > 0 && s.Attempts[n-1].End == auditv1.AttemptEnd_ATTEMPT_END_RETURNED {
				out[s.Slot] = s.Attempts[n-1]
			}
		}
	}
	return out
}

func signedText(a *auditv1.Attempt) string {
	verb := "returned"
	if a.GetResult().GetSignature() == auditv1.SignatureState_SIGNATURE_STATE_VERIFIED {
		verb = "signed"
	}
	return verb + " " + result(a.GetResult())
}

func followText(v *auditv1.Verdict) string {
	switch {
	case v.Basis == eventv1.VerdictBasis_VERDICT_BASIS_SINGLE:
		return "nothing for the worker's record, because a result that was compared with nothing proves nothing."
	case len(v.Agreeing) == 0 && len(v.Contradicted) == 0:
		return ""
	}
	var parts []string
	if n := len(v.Agreeing); n > 0 {
		parts = append(parts, fmt.Sprintf("%s counted as agreed work", count(n, "result")))
	}
	if n := len(v.Contradicted); n > 0 {
		parts = append(parts, fmt.Sprintf("%s counted as contradicted on the worker's record", count(n, "result")))
	}
	return strings.Join(parts, ", ") + "."
}

func (t *telling) ending() {
	s := t.s
	switch s.Phase {
	case auditv1.JobPhase_JOB_PHASE_CANCELLED:
		t.gap()
		t.line("%s cancelled it at %s%s. There is no verdict, and nobody is contradicted.", name(s.By), stamp(s.DecidedUs), because(s.Reason))
	case auditv1.JobPhase_JOB_PHASE_DISCARDED:
		t.gap()
		t.line("%s discarded the dead letter%s.", name(s.By), because(s.Reason))
		if s.ReplacedBy != "" {
			t.line("Job %s was edited out of it and stands in for it.", s.ReplacedBy)
		}
	case auditv1.JobPhase_JOB_PHASE_OPEN:
		t.gap()
		t.line("There is no verdict yet.")
	}
}

func (t *telling) tellEvidence() {
	e := t.s.GetEvidence()
	if e == nil {
		return
	}
	items := []string{fmt.Sprintf("%s read, log positions %d to %d.", count(int(t.s.Records), "record"), t.s.FirstPosition, t.s.LastPosition)}
	again := fmt.Sprintf("%s decided again", count(int(e.Commands-e.Undecidable), "command"))
	if e.FaultCount == 0 {
		again += ", with the very facts that are recorded"
	}
	items = append(items, again+".")
	if e.Undecidable > 0 {
		items = append(items, fmt.Sprintf("%s undecidable: the rules of that time are gone.", count(int(e.Undecidable), "command")))
	}
	if e.Signatures > 0 {
		items = append(items, fmt.Sprintf("%s verified.", count(int(e.Signatures), "signature")))
	}
	if e.Placements > 0 {
		items = append(items, fmt.Sprintf("%s drawn again from the seed.", count(int(e.Placements), "placement")))
	}
	if e.Checksums > 0 {
		items = append(items, "The verdict's checksum is that of its results.")
	}
	t.list("Evidence:", items)
	if e.FaultCount == 0 {
		return
	}
	var faults []string
	for _, f := range e.Faults {
		faults = append(faults, fmt.Sprintf("%s revision %d: %s: %s", f.Stream, f.Revision, f.Kind, f.Detail))
	}
	t.list(fmt.Sprintf("WRONG in %s:", count(int(e.FaultCount), "place")), faults)
}

// unproven says what a story's records do not prove.
func unproven(s *auditv1.Story) []string {
	var out []string
	var v *auditv1.Verdict
	if n := len(s.Rounds); n > 0 {
		v = s.Rounds[n-1].Verdict
	}
	switch v.GetBasis() {
	case eventv1.VerdictBasis_VERDICT_BASIS_QUORUM:
		out = append(out, unprovenQuorum)
	case eventv1.VerdictBasis_VERDICT_BASIS_SINGLE:
		out = append(out, unprovenSingle)
	case eventv1.VerdictBasis_VERDICT_BASIS_REFEREE:
		out = append(out, unprovenReferee)
	case eventv1.VerdictBasis_VERDICT_BASIS_KNOWN_ANSWER:
		out = append(out, "Where the known answer is from: the orchestrator took it from another job, which these records do not name.")
	}
	if e := s.GetEvidence(); e.GetUnsigned() > 0 {
		out = append(out, fmt.Sprintf("Who sent %s: there is no signature.", count(int(e.Unsigned), "result")))
	}
	out = append(out,
		"That identity groups are different people: keys are free, and the orchestrator assigned the groups.",
		"When things happened: times are the orchestrator's clock.",
		unprovenLog)
	return out
}

// What is not proven, where other code has to know the sentence.
const (
	unprovenQuorum  = "That the agreed result is right: workers that collude would agree on a wrong one. Running the module again proves it."
	unprovenSingle  = "That the result is right: it is one worker's word. Running the module again proves it."
	unprovenReferee = "That the referee ran the module rightly: it is the orchestrator's word. Running the module again proves it."
	unprovenLog     = "That the log was never rewritten as a whole: signed checkpoints do (audit verify, audit bundle)."
)

// rerunProves are the sentences that fall when the module was run again and gave what was decided.
var rerunProves = []string{unprovenQuorum, unprovenSingle, unprovenReferee}
