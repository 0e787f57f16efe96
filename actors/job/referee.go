package job

import (
	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/actors/quorum"
	"github.com/shardy-network/orchestrator/events"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// recordReferee takes the verdict from the orchestrator's own run of the chunk. A run that did not happen or did not
// end leaves the job without a quorum: nobody is contradicted.
func (s State) recordReferee(c *eventv1.RecordReferee, atUs int64) (actors.Decision, error) {
	if s.Phase != Open {
		return actors.Decision{}, ErrDecided
	}
	if !s.Refereeing {
		return actors.Decision{}, ErrNotRefereed
	}
	if err := checkReferee(c); err != nil {
		return actors.Decision{}, err
	}
	facts := []events.Fact{&eventv1.RefereeDecided{
		Outcome: c.Outcome, Status: c.Status, Output: c.Output, Fuel: c.Fuel, Detail: c.Detail,
	}}
	switch c.Outcome {
	case eventv1.RefereeOutcome_REFEREE_OUTCOME_DECIDED:
		facts = append(facts, s.refereeVerdict(c, atUs))
	case eventv1.RefereeOutcome_REFEREE_OUTCOME_NO_BUDGET:
		facts = append(facts, noQuorum("the referee had no budget", atUs))
	default:
		facts = append(facts, noQuorum("the referee's run failed", atUs))
	}
	return actors.Decision{Facts: facts}, nil
}

func (s *State) refereeVerdict(c *eventv1.RecordReferee, atUs int64) events.Fact {
	w := quorum.Vote{
		Checksum: quorum.Checksum(c.Status, c.Fuel, c.Output), Status: c.Status, Fuel: c.Fuel, Output: c.Output,
	}
	var contradicted []uint32
	w.Slots, contradicted = s.divide(w.Checksum)
	if c.Status == eventv1.ResultStatus_RESULT_STATUS_OK {
		return verified(&w, contradicted, eventv1.VerdictBasis_VERDICT_BASIS_REFEREE, atUs)
	}
	return agreedFailure(&w, contradicted, atUs)
}
