package job

import (
	"fmt"
	"slices"

	"github.com/shardy-network/orchestrator/actors/quorum"
	"github.com/shardy-network/orchestrator/events"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// results appends the round's results to buf and counts its failed slots.
func (s *State) results(buf []quorum.Result) (results []quorum.Result, failed int) {
	for i := range s.Slots {
		switch s.Slots[i].Phase {
		case SlotReturned:
			buf = append(buf, s.Slots[i].Result)
		case SlotFailed:
			failed++
		}
	}
	return buf, failed
}

// Tally counts the round's results as they stand. It is what the verdict is taken from when the wave has closed.
func (s State) Tally() quorum.Verdict {
	var buf [8]quorum.Result
	results, failed := s.results(buf[:0])
	return quorum.Decide(results, failed, quorum.Rule{Margin: s.Policy.GetMargin(), MaxReplicas: s.Policy.GetMaxReplicas()})
}

// conclude appends what follows from a wave that has closed.
func (s State) conclude(facts []events.Fact, atUs int64) []events.Fact {
	if s.waveLost() && !(s.stranded() && s.returned()) {
		return append(facts, &eventv1.JobDeadLettered{
			Reason: eventv1.DeadLetterReason_DEAD_LETTER_REASON_DELIVERY_EXHAUSTED,
			Detail: fmt.Sprintf("wave %d lost all its slots", s.Wave), AtUs: atUs,
		})
	}
	if s.kind() == eventv1.JobKind_JOB_KIND_LITE_TEST {
		return append(facts, s.ringerVerdict(atUs))
	}
	v := s.Tally()
	switch v.Outcome {
	case quorum.Verified:
		return append(facts, verified(&v.Votes[0], v.Contradicted(), quorumBasis(&v), atUs))
	case quorum.Failed:
		return append(facts, agreedFailure(&v.Votes[0], v.Contradicted(), atUs))
	}
	why := fmt.Sprintf("lead %d of %d", v.Lead, v.Rule.Margin)
	if v.Mismatch() {
		facts = append(facts, &eventv1.ConsensusMismatch{Wave: s.Wave, Votes: recorded(v.Votes)})
		why = "results differ: " + why
	}
	switch {
	case v.Outcome == quorum.Exhausted:
		why = fmt.Sprintf("%s at the cap of %d replicas", why, v.Rule.MaxReplicas)
	case s.stranded():
		why += ", and nobody who is connected may take another replica"
	default:
		return append(facts, &eventv1.WaveOpened{Wave: s.Wave + 1, FirstSlot: s.next(), Slots: v.Need, Why: why})
	}
	if s.Policy.Referee == eventv1.RefereeMode_REFEREE_MODE_NEVER {
		return append(facts, noQuorum(why, atUs))
	}
	return append(facts, &eventv1.RefereeRequested{Why: why})
}

// waveLost reports whether no slot of the wave returned a result.
func (s *State) waveLost() bool {
	return !slices.ContainsFunc(s.Slots[s.WaveFirst-s.First:], func(slot Slot) bool { return slot.Phase == SlotReturned })
}

// stranded reports whether a slot of the wave was given up because nobody may have it: then another wave would wait in
// vain as well.
func (s *State) stranded() bool {
	return slices.ContainsFunc(s.Slots[s.WaveFirst-s.First:], func(slot Slot) bool {
		return slot.Failure == eventv1.SlotFailure_SLOT_FAILURE_NO_ELIGIBLE_WORKER
	})
}

// returned reports whether any slot of the round returned a result.
func (s *State) returned() bool {
	return slices.ContainsFunc(s.Slots, func(slot Slot) bool { return slot.Phase == SlotReturned })
}

// quorumBasis tells a verdict that had something to compare from one that had not.
func quorumBasis(v *quorum.Verdict) eventv1.VerdictBasis {
	if v.Votes[0].Groups == 1 {
		return eventv1.VerdictBasis_VERDICT_BASIS_SINGLE
	}
	return eventv1.VerdictBasis_VERDICT_BASIS_QUORUM
}

// ringerVerdict compares the results of a lite_test with the answer that is known.
func (s *State) ringerVerdict(atUs int64) events.Fact {
	var answer [32]byte
	copy(answer[:], s.Spec.KnownChecksum)
	right, wrong := s.divide(answer)
	if len(right) == 0 {
		return &eventv1.JobDeadLettered{
			Reason: eventv1.DeadLetterReason_DEAD_LETTER_REASON_RINGER_FAILED,
			Detail: "the answer is not the known one", Contradicted: wrong, AtUs: atUs,
		}
	}
	r := &s.slot(right[0]).Result
	return &eventv1.TaskVerified{
		Checksum: r.Checksum[:], Output: r.Output, Fuel: r.Fuel, Agreeing: right, Contradicted: wrong,
		Basis: eventv1.VerdictBasis_VERDICT_BASIS_KNOWN_ANSWER, AtUs: atUs,
	}
}

// divide parts the round's returned slots by whether their checksum is this one.
func (s *State) divide(checksum [32]byte) (same, other []uint32) {
	for i := range s.Slots {
		if s.Slots[i].Phase != SlotReturned {
			continue
		}
		if s.Slots[i].Result.Checksum == checksum {
			same = append(same, s.First+uint32(i))
		} else {
			other = append(other, s.First+uint32(i))
		}
	}
	return same, other
}

func verified(w *quorum.Vote, contradicted []uint32, basis eventv1.VerdictBasis, atUs int64) events.Fact {
	return &eventv1.TaskVerified{
		Checksum: w.Checksum[:], Output: w.Output, Fuel: w.Fuel, Agreeing: w.Slots, Contradicted: contradicted,
		Basis: basis, AtUs: atUs,
	}
}

func agreedFailure(w *quorum.Vote, contradicted []uint32, atUs int64) events.Fact {
	return &eventv1.JobDeadLettered{
		Reason: eventv1.DeadLetterReason_DEAD_LETTER_REASON_JOB_FAILED,
		Detail: "the module fails the same way everywhere", Status: w.Status,
		Agreeing: w.Slots, Contradicted: contradicted, AtUs: atUs,
	}
}

func noQuorum(detail string, atUs int64) events.Fact {
	return &eventv1.JobDeadLettered{
		Reason: eventv1.DeadLetterReason_DEAD_LETTER_REASON_NO_QUORUM, Detail: detail, AtUs: atUs,
	}
}

func recorded(votes []quorum.Vote) []*eventv1.Vote {
	out := make([]*eventv1.Vote, len(votes))
	for i := range votes {
		v := &votes[i]
		out[i] = &eventv1.Vote{Checksum: v.Checksum[:], Status: v.Status, Slots: v.Slots, Groups: v.Groups}
	}
	return out
}
