package audit

import (
	"context"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/actors/job"
	"github.com/shardy-network/orchestrator/actors/quorum"
	"github.com/shardy-network/orchestrator/actors/secrecy"
	"github.com/shardy-network/orchestrator/events"
	auditv1 "github.com/shardy-network/orchestrator/proto/shardy/audit/v1"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// Explain reads a job's records and tells its story, with what was verified of it. The errors are Collect's.
func Explain(ctx context.Context, log Streams, job string) (*auditv1.Story, error) {
	c, err := Collect(ctx, log, job)
	if err != nil {
		return nil, err
	}
	return c.Story(ctx)
}

// Story tells the case. Every command is decided again for it and every signature verified.
func (c *Case) Story(ctx context.Context) (*auditv1.Story, error) {
	report, err := c.Replay(ctx, nil)
	if err != nil {
		return nil, err
	}
	return c.story(report), nil
}

func (c *Case) story(report Report) *auditv1.Story {
	t := newTeller(c)
	for i := range c.records {
		t.take(&c.records[i])
	}
	s := t.story
	s.Evidence = evidence(report)
	s.Unproven = unproven(s)
	return s
}

func evidence(r Report) *auditv1.Evidence {
	e := &auditv1.Evidence{
		Commands: r.Commands, Undecidable: r.Undecidable, Signatures: r.Evidence.Attestations,
		Unsigned: r.Evidence.Unattested, Placements: r.Evidence.Placements, Checksums: r.Evidence.Checksums,
		FaultCount: r.Divergences,
	}
	for _, d := range r.Found {
		e.Faults = append(e.Faults, &auditv1.Fault{
			Stream: d.Stream, Revision: d.Revision, Position: uint64(d.Position), Kind: string(d.Kind), Detail: d.Detail,
		})
	}
	return e
}

// teller folds a case's records into a story. It judges nothing but signatures and placements: a record that does not
// fit is left out of the story, and the replay has named it.
type teller struct {
	story  *auditv1.Story
	state  job.State
	lost   bool // the job's state is not known any more
	round  *auditv1.Round
	wave   *auditv1.Wave
	slots  map[uint32]*toldSlot
	opened int              // slots told, bounded: a forged fact may open any number
	clock  map[string]int64 // time of the last decision, by stream
	exhib  exhibit
}

type toldSlot struct {
	slot *auditv1.Slot
	last handed
}

func newTeller(c *Case) *teller {
	t := &teller{
		story: &auditv1.Story{Job: c.Job, Phase: auditv1.JobPhase_JOB_PHASE_OPEN, Records: uint64(len(c.records))},
		state: job.Room.Zero(c.Job), slots: make(map[uint32]*toldSlot), clock: make(map[string]int64),
	}
	if n := len(c.records); n > 0 {
		t.story.FirstPosition, t.story.LastPosition = uint64(c.records[0].Pos), uint64(c.records[n-1].Pos)
	}
	return t
}

func (t *teller) take(r *events.Record) {
	fact, err := events.Decode(*r)
	if err != nil {
		return
	}
	atUs := t.time(r)
	if r.Stream == actors.JobAddress(t.story.Job).Stream() {
		t.job(r, fact, atUs)
		return
	}
	if id, n, err := actors.ParseSlotID(r.Stream[min(len(r.Stream), len(assignmentPrefix)):]); err == nil && id == t.story.Job {
		if s := t.slots[n]; s != nil {
			t.slot(s, r, fact, atUs)
		}
	}
}

// time is when a record was decided: its command's time, or that of the append where there is none.
func (t *teller) time(r *events.Record) int64 {
	if env, err := events.DecodeEnvelope(*r); err == nil && env.Command != nil && env.Command.AtUs > 0 {
		t.clock[r.Stream] = env.Command.AtUs
	}
	if at, ok := t.clock[r.Stream]; ok {
		return at
	}
	return r.Time.UnixMicro()
}

// job takes a fact of the job's own stream.
func (t *teller) job(r *events.Record, fact events.Fact, atUs int64) {
	if !t.lost {
		next, err := job.Evolve(t.state, fact)
		t.lost = err != nil
		if err == nil {
			t.state = next
		}
	}
	s := t.story
	switch f := fact.(type) {
	case *eventv1.JobSubmitted:
		s.Spec, s.Policy, s.SubmittedUs = secrecy.WithoutAnswer(f.Spec), f.Policy, atUs
		t.exhib = exhibit{spec: f.Spec, policy: f.Policy}
		t.openRound(1, atUs)
		t.openWave(1, f.FirstSlot, f.Slots, "", atUs)
	case *eventv1.JobRequeued:
		t.openRound(f.Round, atUs)
		t.round.By, t.round.Reason = f.By, f.Reason
		s.Phase, s.DecidedUs = auditv1.JobPhase_JOB_PHASE_OPEN, 0
		t.openWave(1, f.FirstSlot, f.Slots, "", atUs)
	case *eventv1.JobCancelled:
		s.Phase, s.By, s.Reason, s.DecidedUs = auditv1.JobPhase_JOB_PHASE_CANCELLED, f.By, f.Reason, atUs
	case *eventv1.JobDiscarded:
		s.Phase, s.By, s.Reason, s.ReplacedBy = auditv1.JobPhase_JOB_PHASE_DISCARDED, f.By, f.Reason, f.ReplacedBy
	default:
		if t.round != nil {
			t.within(r, fact, atUs)
		}
	}
}

// within takes a fact of the round that is being told.
func (t *teller) within(r *events.Record, fact events.Fact, atUs int64) {
	switch f := fact.(type) {
	case *eventv1.ReplicaReturned, *eventv1.ReplicaFailed:
		if !t.lost && t.state.Pending == 0 {
			t.wave.Tally = tally(t.state.Tally())
		}
	case *eventv1.WaveOpened:
		t.openWave(f.Wave, f.FirstSlot, f.Slots, f.Why, atUs)
	case *eventv1.RefereeRequested:
		t.round.Referee = &auditv1.Referee{AskedUs: atUs, Why: f.Why}
	case *eventv1.RefereeDecided:
		t.refereed(f, atUs)
	case *eventv1.TaskVerified:
		t.decided(auditv1.JobPhase_JOB_PHASE_VERIFIED, atUs, &auditv1.Verdict{
			Position: uint64(r.Pos), Basis: f.Basis, Status: eventv1.ResultStatus_RESULT_STATUS_OK, Checksum: f.Checksum,
			Output: f.Output, Fuel: f.Fuel, Agreeing: f.Agreeing, Contradicted: f.Contradicted,
		})
	case *eventv1.JobDeadLettered:
		t.decided(auditv1.JobPhase_JOB_PHASE_DEAD_LETTERED, atUs, t.deadLetter(r, f))
	}
}

func (t *teller) decided(p auditv1.JobPhase, atUs int64, v *auditv1.Verdict) {
	v.AtUs = atUs
	if v.Basis == eventv1.VerdictBasis_VERDICT_BASIS_KNOWN_ANSWER {
		v.KnownChecksum = t.exhib.spec.GetKnownChecksum()
	}
	t.story.Phase, t.story.DecidedUs, t.round.Verdict = p, atUs, v
}

// deadLetter says what a job that failed rests on: the fact itself does not.
func (t *teller) deadLetter(r *events.Record, f *eventv1.JobDeadLettered) *auditv1.Verdict {
	v := &auditv1.Verdict{
		Position: uint64(r.Pos), DeadLetter: f.Reason, Detail: f.Detail, Status: f.Status, Agreeing: f.Agreeing,
		Contradicted: f.Contradicted,
	}
	switch f.Reason {
	case eventv1.DeadLetterReason_DEAD_LETTER_REASON_RINGER_FAILED:
		v.Basis = eventv1.VerdictBasis_VERDICT_BASIS_KNOWN_ANSWER
	case eventv1.DeadLetterReason_DEAD_LETTER_REASON_JOB_FAILED:
		votes := t.wave.GetTally().GetVotes()
		switch {
		case t.round.Referee.GetOutcome() == eventv1.RefereeOutcome_REFEREE_OUTCOME_DECIDED:
			v.Basis, v.Checksum, v.Fuel = eventv1.VerdictBasis_VERDICT_BASIS_REFEREE, t.round.Referee.Checksum, t.round.Referee.Fuel
		case len(votes) == 0:
		case votes[0].Groups == 1:
			v.Basis, v.Checksum = eventv1.VerdictBasis_VERDICT_BASIS_SINGLE, votes[0].Checksum
		default:
			v.Basis, v.Checksum = eventv1.VerdictBasis_VERDICT_BASIS_QUORUM, votes[0].Checksum
		}
	}
	return v
}

func (t *teller) refereed(f *eventv1.RefereeDecided, atUs int64) {
	ref := t.round.Referee
	if ref == nil {
		ref = &auditv1.Referee{AskedUs: atUs}
		t.round.Referee = ref
	}
	ref.AnsweredUs, ref.Outcome, ref.Detail = atUs, f.Outcome, f.Detail
	if f.Outcome == eventv1.RefereeOutcome_REFEREE_OUTCOME_DECIDED {
		sum := quorum.Checksum(f.Status, f.Fuel, f.Output)
		ref.Status, ref.Fuel, ref.Output, ref.Checksum = f.Status, f.Fuel, f.Output, sum[:]
	}
}

func (t *teller) openRound(round uint32, atUs int64) {
	t.round = &auditv1.Round{Round: round, AtUs: atUs}
	t.story.Rounds = append(t.story.Rounds, t.round)
}

func (t *teller) openWave(wave, first, slots uint32, why string, atUs int64) {
	t.wave = &auditv1.Wave{Wave: wave, AtUs: atUs, Why: why}
	t.round.Waves = append(t.round.Waves, t.wave)
	for n := first; n-first < slots && t.opened < MaxCaseSlots; n++ {
		t.opened++
		s := &auditv1.Slot{Slot: n, Phase: auditv1.SlotPhase_SLOT_PHASE_WAITING}
		t.wave.Slots = append(t.wave.Slots, s)
		t.slots[n] = &toldSlot{slot: s}
	}
}

func tally(v quorum.Verdict) *auditv1.Tally {
	out := &auditv1.Tally{Lead: v.Lead, Margin: v.Rule.Margin, Failed: uint32(v.Failed)}
	for i := range v.Votes {
		vote := &v.Votes[i]
		out.Votes = append(out.Votes, &eventv1.Vote{
			Checksum: vote.Checksum[:], Status: vote.Status, Slots: vote.Slots, Groups: vote.Groups,
		})
	}
	return out
}
