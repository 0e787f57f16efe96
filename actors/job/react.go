package job

import (
	"slices"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/actors/quorum"
	"github.com/shardy-network/orchestrator/events"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// minMeasuredMs is how long a replica must have run before its fuel rate means anything: below it, network and queues
// weigh more than the module.
const minMeasuredMs = 100

// React says what follows from facts; without facts, what is open and has to be repeated after loading.
func React(s State, facts []events.Fact) []actors.Effect {
	if len(facts) == 0 {
		return s.reopen()
	}
	var effects []actors.Effect
	for _, fact := range facts {
		switch f := fact.(type) {
		case *eventv1.JobSubmitted:
			effects = s.announce(append(effects, s.seek(run(f.FirstSlot, f.Slots), nil)))
		case *eventv1.WaveOpened:
			effects = append(effects, s.seek(run(f.FirstSlot, f.Slots), nil))
		case *eventv1.JobRequeued:
			effects = s.announce(append(effects, s.seek(run(f.FirstSlot, f.Slots), nil)))
		case *eventv1.RefereeRequested:
			effects = append(effects, actors.Referee{Job: s.ID, Spec: s.Spec})
		case *eventv1.TaskVerified:
			effects = append(slices.Grow(effects, 2+len(s.Slots)), actors.Forget{Job: s.ID})
			effects = s.count(effects, f.Agreeing, f.Contradicted, f.Basis)
			effects = s.settle(effects)
		case *eventv1.JobDeadLettered:
			effects = append(effects, actors.Forget{Job: s.ID})
			effects = s.count(effects, f.Agreeing, f.Contradicted, deadLetterBasis(f, s.compared()))
			effects = s.settle(effects)
		case *eventv1.JobCancelled:
			effects = append(effects, actors.Forget{Job: s.ID})
			effects = s.cancelSlots(effects, f.Reason)
			effects = s.settle(effects)
		}
	}
	return effects
}

// reopen repeats the effects that the process may have died before. An open job asks every open slot to repeat its own,
// and the referee again. A decided one is forgotten and settled again, but not counted again: the counts are the only
// effects whose receivers cannot tell a repeat.
func (s *State) reopen() []actors.Effect {
	switch s.Phase {
	case Absent:
		return nil
	case Open:
	case Cancelled:
		return s.settle(s.cancelSlots([]actors.Effect{actors.Forget{Job: s.ID}}, s.Reason))
	default:
		return s.settle([]actors.Effect{actors.Forget{Job: s.ID}})
	}
	var effects []actors.Effect
	for i := range s.Slots {
		if s.Slots[i].Phase == SlotOpen {
			effects = append(effects, actors.Tell{
				To:      actors.SlotAddress(s.ID, s.First+uint32(i)),
				Command: &eventv1.Command{Kind: &eventv1.Command_OpenSlot{OpenSlot: &eventv1.OpenSlot{}}},
			})
		}
	}
	if s.Refereeing {
		effects = append(effects, actors.Referee{Job: s.ID, Spec: s.Spec})
	}
	return s.announce(effects)
}

func (s *State) seek(slots []uint32, excluded [][]byte) actors.Seek {
	return actors.Seek{
		Job: s.ID, Spec: s.Spec, Policy: s.Policy, Slots: slots, Excluded: excluded, Used: s.used(),
		Barred: s.barred(), SinceUs: s.SubmittedUs,
	}
}

// used are the holders of the round's returned slots.
func (s *State) used() []actors.Holder {
	var used []actors.Holder
	for i := range s.Slots {
		if r := &s.Slots[i].Result; s.Slots[i].Phase == SlotReturned {
			used = append(used, actors.Holder{Slot: r.Slot, Worker: r.Worker, Group: r.Group})
		}
	}
	return used
}

// barred are the parties that the spec keeps the job from.
func (s *State) barred() []actors.Holder {
	var barred []actors.Holder
	for _, p := range s.Spec.GetBarred() {
		barred = append(barred, actors.Holder{Worker: p.GetWorker(), Group: p.GetGroup()})
	}
	return barred
}

func (s *State) cancelSlots(effects []actors.Effect, reason string) []actors.Effect {
	for i := range s.Slots {
		if s.Slots[i].Phase == SlotOpen {
			effects = append(effects, actors.Tell{
				To: actors.SlotAddress(s.ID, s.First+uint32(i)),
				Command: &eventv1.Command{
					Kind: &eventv1.Command_CancelSlot{CancelSlot: &eventv1.CancelSlot{Reason: reason}},
				},
			})
		}
	}
	return effects
}

// compared reports whether the round had more than one result.
func (s *State) compared() bool {
	n := 0
	for i := range s.Slots {
		if s.Slots[i].Phase == SlotReturned {
			n++
		}
	}
	return n > 1
}

// deadLetterBasis is what a dead letter's agreeing and contradicted slots rest on.
func deadLetterBasis(f *eventv1.JobDeadLettered, compared bool) eventv1.VerdictBasis {
	switch {
	case f.Reason == eventv1.DeadLetterReason_DEAD_LETTER_REASON_RINGER_FAILED:
		return eventv1.VerdictBasis_VERDICT_BASIS_KNOWN_ANSWER
	case !compared:
		return eventv1.VerdictBasis_VERDICT_BASIS_SINGLE
	}
	return eventv1.VerdictBasis_VERDICT_BASIS_QUORUM
}

// count adds a decided job to its workers' records. A single result that was compared with nothing proves nothing and
// is not counted.
func (s *State) count(
	effects []actors.Effect, agreeing, contradicted []uint32, basis eventv1.VerdictBasis,
) []actors.Effect {
	if basis == eventv1.VerdictBasis_VERDICT_BASIS_SINGLE {
		return effects
	}
	ringer := basis == eventv1.VerdictBasis_VERDICT_BASIS_KNOWN_ANSWER
	for _, n := range agreeing {
		if slot := s.slot(n); slot != nil {
			effects = append(effects, agreed(&slot.Result, ringer))
		}
	}
	for _, n := range contradicted {
		if slot := s.slot(n); slot != nil {
			effects = append(effects, gainsaid(&slot.Result, ringer))
		}
	}
	return effects
}

func agreed(r *quorum.Result, ringer bool) actors.Effect {
	delta := &eventv1.Tally{Agreed: 1, Fuel: r.Fuel}
	if ringer {
		delta.RingersPassed = 1
	}
	return actors.CountWork{Worker: r.Worker, Delta: delta, FuelPerMs: rate(r)}
}

func gainsaid(r *quorum.Result, ringer bool) actors.Effect {
	delta := &eventv1.Tally{Contradicted: 1}
	if ringer {
		delta.RingersFailed = 1
	}
	return actors.CountWork{Worker: r.Worker, Delta: delta}
}

// rate is the fuel per millisecond of a result that ran long enough to be measured, otherwise 0.
func rate(r *quorum.Result) uint64 {
	if r.RunMs < minMeasuredMs {
		return 0
	}
	return r.Fuel / uint64(r.RunMs)
}

// settle tells the pipeline of the job's end. A cancelled job settles without a reason.
func (s *State) settle(effects []actors.Effect) []actors.Effect {
	if s.Spec.Pipeline == "" {
		return effects
	}
	end := s.chunk()
	switch {
	case s.Phase == Verified:
		end.Verified, end.Output = true, s.Verdict.Output
	case s.DeadLetter != nil:
		end.Reason = s.DeadLetter.Reason
	}
	return append(effects, actors.SettleChunk{Pipeline: s.Spec.Pipeline, Stage: s.Spec.Stage, Job: end})
}

// announce tells the pipeline to wait for a job that it has not submitted, or has seen dead-lettered.
func (s *State) announce(effects []actors.Effect) []actors.Effect {
	if s.Spec.Pipeline == "" || s.Round == 1 && s.Spec.Replaces == "" {
		return effects
	}
	open := s.chunk()
	open.Open = true
	return append(effects, actors.SettleChunk{Pipeline: s.Spec.Pipeline, Stage: s.Spec.Stage, Job: open})
}

// chunk says which of its pipeline's chunks the job stands for, and by what right when that is not the plain one.
func (s *State) chunk() *eventv1.SettledJob {
	c := &eventv1.SettledJob{Chunk: s.Spec.Chunk}
	if s.Round > 1 {
		c.Round = s.Round
	}
	if s.Spec.Replaces != "" {
		c.Job, c.Replaces, c.ReplacedRound = s.ID, s.Spec.Replaces, s.Spec.ReplacedRound
	}
	return c
}

func run(first, n uint32) []uint32 {
	slots := make([]uint32, n)
	for i := range slots {
		slots[i] = first + uint32(i)
	}
	return slots
}
