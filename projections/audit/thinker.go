package audit

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/actors/job"
	"github.com/shardy-network/orchestrator/events"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// thinker compares the jobs that are dealt to it. It belongs to one goroutine.
type thinker struct {
	log   Streams
	alts  []AltAccount
	with  []Alternative
	most  int // jobs listed
	lives *shelf[*life]
	late  map[string]bool // jobs that were put away undecided: read again at the end

	jobs, open, cancelled, unreadable, events uint64
	truth                                     Truth
	recorded                                  Account
	workers                                   map[string][]record // by key: the recorded one, then one for each policy
}

// record counts a worker's results.
type record struct{ agreed, contradicted uint64 }

func newThinker(log Streams, o WhatIfOptions, room int) *thinker {
	t := &thinker{
		log: log, with: o.Alternatives, most: o.MaxListed, alts: make([]AltAccount, len(o.Alternatives)),
		late: make(map[string]bool), workers: make(map[string][]record),
	}
	t.lives = newShelf(room, func(*life) bool { return false }, func(id string, _ *life) { t.late[id] = true })
	return t
}

func (t *thinker) take(_ context.Context, r *events.Record) error {
	t.events++
	id := strings.TrimPrefix(r.Stream, jobPrefix)
	if t.late[id] {
		return nil
	}
	l, ok := t.lives.get(id)
	if !ok {
		l = newLife(id)
		t.lives.put(id, l)
	}
	t.fold(l, *r)
	if p := l.state.Phase; p == job.Verified || p == job.Cancelled || p == job.Discarded {
		t.lives.remove(id)
		t.judge(l)
	}
	return nil
}

func (t *thinker) fold(l *life, r events.Record) {
	f, err := events.Decode(r)
	if err != nil {
		l.broken = true
		return
	}
	l.take(f)
}

// end judges what is left: dead letters that nobody requeued, and what was put away.
func (t *thinker) end(ctx context.Context) error {
	for _, id := range slices.Sorted(maps.Keys(t.lives.books)) {
		t.judge(t.lives.books[id].value)
	}
	for _, id := range slices.Sorted(maps.Keys(t.late)) {
		l := newLife(id)
		for r, err := range t.log.Read(ctx, actors.JobAddress(id).Stream(), events.Span{}) {
			if errors.Is(err, events.ErrNotFound) || errors.Is(err, events.ErrDeleted) {
				break
			}
			if err != nil {
				return fmt.Errorf("read job %s again: %w", id, err)
			}
			t.fold(l, r)
		}
		t.judge(l)
	}
	return nil
}

// judge compares one job.
func (t *thinker) judge(l *life) {
	switch {
	case l.broken || l.state.Spec == nil:
		t.unreadable++
		return
	case l.state.Phase == job.Open:
		t.open++
		return
	case l.state.Phase == job.Cancelled || l.verdict == nil:
		t.cancelled++
		return
	}
	l.sorted()
	known := l.truth()
	t.jobs++
	switch known.by {
	case truthReferee:
		t.truth.Referee++
	case truthKnown:
		t.truth.Known++
	case truthMargin:
		t.truth.Margin++
	default:
		t.truth.Unknown++
	}
	t.recorded.add(l.verdict, &l.tally, known)
	t.remember(0, &l.tally)
	for i := range t.with {
		t.try(i, l, known)
	}
}

// try plays a job under one policy.
func (t *thinker) try(i int, l *life, known truth) {
	a := &t.alts[i]
	then, err := l.under(overlay(l.policy, part(t.with[i].Policy, l.state.Spec.GetKind())), known)
	switch {
	case errors.Is(err, errWanting), errors.Is(err, errUnasked):
		a.Wanting++
		a.Missing += then.missing
		if errors.Is(err, errUnasked) {
			a.Unasked++
		}
		then.verdict = nil
	case err != nil:
		a.Refused++
		if a.Why == "" || err.Error() < a.Why {
			a.Why = err.Error()
		}
		return
	}
	a.add(then.verdict, &then.tally, known)
	t.remember(i+1, &then.tally)
	if err != nil {
		return
	}
	same, alike := compareVerdicts(l.verdict, then.verdict)
	a.Resting += one(same && !alike)
	if !same {
		a.Changed++
		a.Jobs = append(a.Jobs, JobChange{Job: l.id, Recorded: verdictText(l.verdict), Then: verdictText(then.verdict)})
		if len(a.Jobs) >= 4*t.most {
			a.Jobs = firstJobs(a.Jobs, t.most)
		}
	}
}

func firstJobs(jobs []JobChange, most int) []JobChange {
	slices.SortFunc(jobs, func(a, b JobChange) int { return strings.Compare(a.Job, b.Job) })
	return jobs[:min(len(jobs), most)]
}

// add counts a job's end and all of its verdicts.
func (a *Account) add(verdict events.Fact, t *tallied, known truth) {
	a.Executions += t.executions
	a.Fuel += t.fuel
	a.Referee += t.referee
	switch f := verdict.(type) {
	case *eventv1.TaskVerified:
		a.Verified++
	case *eventv1.JobDeadLettered:
		switch f.Reason {
		case eventv1.DeadLetterReason_DEAD_LETTER_REASON_JOB_FAILED:
			a.Failed++
		case eventv1.DeadLetterReason_DEAD_LETTER_REASON_RINGER_FAILED:
			a.Ringers++
		default:
			a.NoVerdict++
		}
	}
	if known.by != truthUnknown && slices.ContainsFunc(t.accepted, func(sum [32]byte) bool { return sum != known.sum }) {
		a.WrongAccepts++
	}
	for i := range t.counted {
		c := &t.counted[i]
		right := known.by != truthUnknown && c.sum == known.sum
		wrong := known.by != truthUnknown && c.sum != known.sum
		switch {
		case c.agreed:
			a.Rewarded++
			a.WronglyRewarded += one(wrong)
		default:
			a.Contradicted++
			a.WronglyContradicted += one(right)
		}
	}
}

func one(is bool) uint64 {
	if is {
		return 1
	}
	return 0
}

// remember puts what verdicts counted on the workers' records.
func (t *thinker) remember(column int, done *tallied) {
	for i := range done.counted {
		c := &done.counted[i]
		row := t.workers[string(c.worker)]
		if row == nil {
			row = make([]record, len(t.with)+1)
			t.workers[string(c.worker)] = row
		}
		if c.agreed {
			row[column].agreed++
		} else {
			row[column].contradicted++
		}
	}
}

// merge adds what another thinker found.
func (t *thinker) merge(o *thinker) {
	t.jobs += o.jobs
	t.open += o.open
	t.cancelled += o.cancelled
	t.unreadable += o.unreadable
	t.events += o.events
	t.truth.Referee += o.truth.Referee
	t.truth.Known += o.truth.Known
	t.truth.Margin += o.truth.Margin
	t.truth.Unknown += o.truth.Unknown
	t.recorded.merge(o.recorded)
	for i := range t.alts {
		a, b := &t.alts[i], &o.alts[i]
		a.Account.merge(b.Account)
		a.Changed += b.Changed
		a.Resting += b.Resting
		a.Wanting += b.Wanting
		a.Missing += b.Missing
		a.Unasked += b.Unasked
		a.Refused += b.Refused
		if b.Why != "" && (a.Why == "" || b.Why < a.Why) {
			a.Why = b.Why
		}
		a.Jobs = append(a.Jobs, b.Jobs...)
	}
	for key, row := range o.workers {
		mine := t.workers[key]
		if mine == nil {
			t.workers[key] = row
			continue
		}
		for i := range mine {
			mine[i].agreed += row[i].agreed
			mine[i].contradicted += row[i].contradicted
		}
	}
}

func (a *Account) merge(b Account) {
	a.Executions += b.Executions
	a.Fuel += b.Fuel
	a.Verified += b.Verified
	a.Failed += b.Failed
	a.NoVerdict += b.NoVerdict
	a.Ringers += b.Ringers
	a.Referee += b.Referee
	a.WrongAccepts += b.WrongAccepts
	a.Rewarded += b.Rewarded
	a.WronglyRewarded += b.WronglyRewarded
	a.Contradicted += b.Contradicted
	a.WronglyContradicted += b.WronglyContradicted
}
