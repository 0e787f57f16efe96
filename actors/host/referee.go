package host

import (
	"github.com/shardy-network/orchestrator/actors"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// referees runs disputed chunks one after another. A full queue answers "no budget": a dead letter beats a verdict
// that never comes.
type referees struct {
	host  *Host
	queue chan actors.Referee
}

func newReferees(h *Host, limit int) *referees {
	return &referees{host: h, queue: make(chan actors.Referee, limit)}
}

func (r *referees) ask(x actors.Referee) {
	if r.host.cfg.Referee == nil {
		r.answer(x.Job, &eventv1.RecordReferee{Outcome: eventv1.RefereeOutcome_REFEREE_OUTCOME_NO_BUDGET, Detail: "this orchestrator has no referee"})
		return
	}
	select {
	case r.queue <- x:
	default:
		r.answer(x.Job, &eventv1.RecordReferee{Outcome: eventv1.RefereeOutcome_REFEREE_OUTCOME_NO_BUDGET, Detail: "the referee's queue is full"})
	}
}

// room is how many more requests the queue takes.
func (r *referees) room() int { return cap(r.queue) - len(r.queue) }

func (r *referees) run() {
	for {
		select {
		case x := <-r.queue:
			verdict := r.host.cfg.Referee.Run(r.host.ctx, x.Spec)
			if r.host.ctx.Err() != nil {
				return // the job asks again when it is reopened
			}
			r.answer(x.Job, verdict)
		case <-r.host.ctx.Done():
			return
		}
	}
}

func (r *referees) answer(job string, verdict *eventv1.RecordReferee) {
	r.host.Tell(actors.JobAddress(job), &eventv1.Command{Kind: &eventv1.Command_RecordReferee{RecordReferee: verdict}}, nil)
}
