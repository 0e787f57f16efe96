package readmodel

import (
	"bytes"
	"strconv"
	"strings"

	"github.com/shardy-network/orchestrator/events"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// attempt is a hand-over's row in memory.
type attempt struct {
	job           *job
	slot, attempt uint32
	seq           int64
	worker        []byte
	outcome       Outcome
	attemptBody

	stored, touched bool
}

// maxLive bounds the attempts of a job that stay in memory between batches.
const maxLive = 128

// attempt returns a hand-over's row, nil if there is none.
func (b *batch) attempt(j *job, slot, n uint32) *attempt {
	for _, a := range j.live {
		if a.slot == slot && a.attempt == n {
			return a
		}
	}
	if !j.stored || b.err != nil {
		return nil
	}
	a, err := b.s.readAttempt(b.ctx, j, slot, n)
	if err != nil {
		b.fail(err)
		return nil
	}
	if a != nil {
		j.live = append(j.live, a)
	}
	return a
}

// last is the attempt that a slot is in, nil if there is none.
func (b *batch) last(j *job, slot uint32) *attempt {
	var n uint32
	if j.stored && b.err == nil {
		var err error
		if n, err = b.s.lastAttempt(b.ctx, j, slot); err != nil {
			b.fail(err)
			return nil
		}
	}
	for _, a := range j.live {
		if a.slot == slot {
			n = max(n, a.attempt)
		}
	}
	if n == 0 {
		return nil
	}
	return b.attempt(j, slot, n)
}

// rest lets go of attempts that are written and will hardly be spoken of again.
func (j *job) rest() {
	if j.state != open || len(j.live) > maxLive {
		j.live = nil
		return
	}
	live := j.live[:0]
	for _, a := range j.live {
		if !a.outcome.Ended() || a.outcome == OutcomeReturned && !a.recorded {
			live = append(live, a)
		}
	}
	clear(j.live[len(live):])
	j.live = live
}

func (b *batch) touchAttempt(a *attempt) {
	if !a.touched {
		a.touched = true
		b.attempts = append(b.attempts, a)
	}
}

// slotOf splits the id of an assignment.
func slotOf(id string) (job string, slot uint32, ok bool) {
	i := strings.LastIndexByte(id, '-')
	if i < 0 {
		return "", 0, false
	}
	n, err := strconv.ParseUint(id[i+1:], 10, 32)
	return id[:i], uint32(n), err == nil
}

func (b *batch) foldSlot(id string, fact events.Fact, p *Point) {
	name, slot, ok := slotOf(id)
	if !ok {
		return
	}
	switch f := fact.(type) {
	case *eventv1.AssignmentDispatched:
		p.Dispatched++
		if j := b.job(name); j != nil {
			b.dispatched(j, slot, f)
		}
		return
	case *eventv1.AssignmentStripped:
		p.Stripped++
	case *eventv1.ResultRejected:
		p.Rejected++
	}
	j := b.job(name)
	if j == nil {
		return
	}
	a := b.attemptOf(j, slot, fact)
	if a != nil && a.evolve(fact, b.at) {
		b.touchAttempt(a)
	}
}

// attemptOf is the attempt that a fact speaks of.
func (b *batch) attemptOf(j *job, slot uint32, fact events.Fact) *attempt {
	if f, ok := fact.(interface{ GetAttempt() uint32 }); ok {
		return b.attempt(j, slot, f.GetAttempt())
	}
	if _, ok := fact.(*eventv1.AssignmentCancelled); ok {
		return b.last(j, slot)
	}
	return nil
}

func (b *batch) dispatched(j *job, slot uint32, f *eventv1.AssignmentDispatched) {
	if b.attempt(j, slot, f.GetAttempt()) != nil {
		return // a repeat: no decision makes one
	}
	a := &attempt{
		job: j, slot: slot, attempt: f.GetAttempt(), seq: b.ordinal, worker: bytes.Clone(f.GetWorker()), outcome: OutcomeDispatched,
		attemptBody: attemptBody{position: int64(b.rec.Pos), group: f.GetGroup(), dispatched: b.at, ackDeadline: f.GetAckDeadlineUs()},
	}
	j.attempts++
	j.live = append(j.live, a)
	b.touch(j)
	b.touchAttempt(a)
}

// evolve takes in a fact about the attempt, and tells whether it knows it.
func (a *attempt) evolve(fact events.Fact, at int64) bool {
	switch f := fact.(type) {
	case *eventv1.TaskAcked:
		if a.outcome.Ended() {
			return false
		}
		a.outcome, a.acked, a.runDeadline = OutcomeRunning, at, f.GetExecutionDeadlineUs()
	case *eventv1.AckTimedOut:
		a.outcome = OutcomeAckTimeout
	case *eventv1.ExecutionTimedOut:
		a.outcome = OutcomeExecutionTimeout
	case *eventv1.ResultRejected:
		a.outcome, a.rejected, a.detail = OutcomeRejected, f.GetReason(), brief(f.GetDetail())
		a.result(f.GetStatus(), f.GetOutput(), f.GetFuel(), 0, f.GetAttestation())
	case *eventv1.AssignmentStripped:
		a.outcome, a.ended, a.counts = outcomeOf(f.GetReason()), at, f.GetCounts()
		if f.GetDetail() != "" {
			a.detail = brief(f.GetDetail())
		}
	case *eventv1.ResultReturned:
		a.outcome, a.ended = OutcomeReturned, at
		a.result(f.GetStatus(), f.GetOutput(), f.GetFuel(), f.GetRunMs(), f.GetAttestation())
	case *eventv1.AssignmentCancelled:
		if a.outcome.Ended() {
			return false
		}
		a.outcome, a.ended, a.detail = OutcomeCancelled, at, brief(f.GetReason())
	default:
		return false
	}
	return true
}

func (a *attempt) result(s eventv1.ResultStatus, out *eventv1.BlobRef, fuel uint64, runMs uint32, signature []byte) {
	a.status, a.output, a.size = s, out.GetSha256(), out.GetSize()
	a.fuel, a.runMs, a.attested = fuel, runMs, len(signature) > 0
}
