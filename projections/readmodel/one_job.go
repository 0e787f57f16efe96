package readmodel

import (
	"bytes"
	"context"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/actors/quorum"
	"github.com/shardy-network/orchestrator/events"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

const (
	// maxShownAttempts bounds the attempts of one job that are shown: those of its last slots.
	maxShownAttempts = 2048

	jobByID     = `SELECT ` + jobColumns + `, begun FROM jobs WHERE id = ?`
	jobTurns    = `SELECT seq, type, at, data FROM turns WHERE job = ? ORDER BY seq`
	jobAttempts = `SELECT ` + attemptColumns + ` FROM attempts a WHERE a.job = ? ORDER BY a.slot DESC, a.attempt DESC LIMIT ?`

	attemptColumns     = `a.slot, a.attempt, a.worker, a.outcome, a.body`
	attemptColumnCount = 5
)

// shownAttempt is an attempt with what only its job needs to know.
type shownAttempt struct {
	Attempt
	recorded bool
}

func (r row) attempt() shownAttempt {
	var b attemptBody
	unpack(&b, r.blob(4))
	a := shownAttempt{Attempt{
		Slot: r.u32(0), Attempt: r.u32(1), Worker: r.blob(2), Outcome: Outcome(r.int(3)), Position: events.Position(b.position), Group: b.group,
		Dispatched: timeOf(b.dispatched), AckDeadline: timeOf(b.ackDeadline), Acked: timeOf(b.acked), RunDeadline: timeOf(b.runDeadline),
		Ended: timeOf(b.ended), Rejected: b.rejected, Detail: b.detail, Counts: b.counts, Status: b.status, Fuel: b.fuel, RunMs: b.runMs,
		Attested: b.attested,
	}, b.recorded}
	if len(b.output) > 0 {
		a.Output = &eventv1.BlobRef{Sha256: b.output, Size: b.size}
	}
	if a.Outcome == OutcomeReturned {
		sum := quorum.Checksum(a.Status, a.Fuel, a.Output)
		a.Checksum = sum[:]
	}
	return a
}

// Job returns one job, or ErrNotFound.
func (m *Model) Job(ctx context.Context, id string) (*Job, error) {
	var v jobView
	err := m.read(ctx, func(c *conn) error { return v.read(ctx, c, id) })
	if err != nil {
		return nil, err
	}
	return v.finish(), nil
}

// jobView puts a job together from its rows.
type jobView struct {
	job    Job
	tries  []shownAttempt
	waves  []Wave
	failed map[uint32]eventv1.SlotFailure

	decided events.Position // of the verdict
}

func (v *jobView) read(ctx context.Context, c *conn, id string) error {
	var seq int64
	var begun eventv1.JobSubmitted
	found, err := c.one(ctx, jobByID, []any{id}, func(r row) {
		var b *jobBody
		seq = r.int(0)
		v.job.JobRow, b = r.jobAndBody()
		if f := (&eventv1.TaskVerified{}); len(b.verdict) > 0 && proto.Unmarshal(b.verdict, f) == nil {
			v.job.Verdict = f
		}
		v.job.Refereeing, v.decided = b.refereeing, events.Position(b.verdictPosition)
		if proto.Unmarshal(r.blob(12), &begun) == nil {
			v.job.Spec, v.job.Policy = begun.GetSpec(), begun.GetPolicy()
		}
	})
	if err == nil && !found {
		err = ErrNotFound
	}
	if err != nil {
		return err
	}
	v.failed = map[uint32]eventv1.SlotFailure{}
	v.waves = []Wave{{Round: 1, Wave: 1, FirstSlot: begun.GetFirstSlot(), Slots: begun.GetSlots(), Opened: v.job.Submitted}}
	err = c.each(ctx, jobTurns, []any{seq}, func(r row) error {
		fact, err := events.NewFact(r.text(1))
		if err == nil && proto.Unmarshal(r.blob(3), fact) == nil {
			v.turn(fact, r.int(2))
		}
		return nil
	})
	if err != nil {
		return err
	}
	err = c.each(ctx, jobAttempts, []any{seq, maxShownAttempts}, func(r row) error {
		v.tries = append(v.tries, r.attempt())
		return nil
	})
	slices.Reverse(v.tries)
	return err
}

func (v *jobView) turn(fact events.Fact, at int64) {
	last := &v.waves[len(v.waves)-1]
	switch f := fact.(type) {
	case *eventv1.ReplicaFailed:
		v.failed[f.GetSlot()] = f.GetReason()
	case *eventv1.ConsensusMismatch:
		last.Mismatch = f.GetVotes()
	case *eventv1.WaveOpened:
		v.waves = append(v.waves, Wave{
			Round: last.Round, Wave: f.GetWave(), FirstSlot: f.GetFirstSlot(), Slots: f.GetSlots(), Opened: timeOf(at), Why: f.GetWhy(),
		})
	case *eventv1.RefereeDecided:
		v.job.Referee = f
	case *eventv1.JobDeadLettered:
		v.job.DeadLetter = f
	case *eventv1.JobRequeued:
		v.job.DeadLetter, v.job.Referee = nil, nil
		v.waves = append(v.waves, Wave{
			Round: f.GetRound(), Wave: 1, FirstSlot: f.GetFirstSlot(), Slots: f.GetSlots(), Opened: timeOf(at), Why: "requeued by " + f.GetBy() + ": " + f.GetReason(),
		})
	case *eventv1.JobDiscarded:
		v.job.By, v.job.ReplacedBy = f.GetBy(), f.GetReplacedBy()
	case *eventv1.JobCancelled:
		v.job.By = f.GetBy()
	}
}

// finish draws the slots and the votes.
func (v *jobView) finish() *Job {
	j := &v.job
	j.Waves = v.waves
	index := map[uint32]int{}
	for _, w := range v.waves {
		for n := range min(w.Slots, maxShownAttempts) {
			slot := w.FirstSlot + n
			index[slot] = len(j.Assignments)
			j.Assignments = append(j.Assignments, Assignment{Slot: slot, Round: w.Round, Wave: w.Wave, State: SlotWaiting})
		}
	}
	votes := map[string]*Vote{}
	parties := map[string]map[string]bool{}
	for _, t := range v.tries {
		i, ok := index[t.Slot]
		if !ok {
			continue
		}
		a := &j.Assignments[i]
		t.Job = j.ID
		t.Contradicted = slices.Contains(j.Verdict.GetContradicted(), t.Slot) && t.Outcome == OutcomeReturned
		a.Attempts = append(a.Attempts, t.Attempt)
		if t.Outcome == OutcomeReturned && t.recorded && a.Round == j.Round {
			v.vote(votes, parties, &t.Attempt)
		}
	}
	for i := range j.Assignments {
		v.state(&j.Assignments[i])
	}
	for _, vote := range votes {
		j.Votes = append(j.Votes, *vote)
	}
	slices.SortFunc(j.Votes, func(a, b Vote) int {
		if a.Groups != b.Groups {
			return int(b.Groups) - int(a.Groups)
		}
		return bytes.Compare(a.Checksum, b.Checksum)
	})
	return j
}

func (v *jobView) vote(votes map[string]*Vote, parties map[string]map[string]bool, a *Attempt) {
	key := string(a.Checksum)
	if votes[key] == nil {
		votes[key] = &Vote{Checksum: a.Checksum, Status: a.Status, Decided: v.job.Verdict != nil && bytes.Equal(a.Checksum, v.job.Verdict.GetChecksum())}
		parties[key] = map[string]bool{}
	}
	party := a.Group
	if party == "" {
		party = "\x00" + string(a.Worker)
	}
	parties[key][party] = true
	votes[key].Slots = append(votes[key].Slots, a.Slot)
	votes[key].Groups = uint32(len(parties[key]))
}

// state names where a slot stands.
func (v *jobView) state(a *Assignment) {
	reason, failed := v.failed[a.Slot]
	var last Outcome
	if n := len(a.Attempts); n > 0 {
		last = a.Attempts[n-1].Outcome
	}
	switch {
	case failed:
		a.State, a.Failure = SlotDeadLettered, reason
	case last == OutcomeReturned:
		a.State = SlotReturned
	case last == OutcomeCancelled || v.job.State != open || a.Round != v.job.Round:
		a.State = SlotCancelled
	case last == OutcomeRunning:
		a.State = SlotRunning
	case last == OutcomeDispatched:
		a.State = SlotDispatched
	}
}
