package readmodel

import (
	"context"
	"errors"
	"slices"

	"google.golang.org/protobuf/proto"

	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

const (
	shownColumns = attemptColumns + `, j.id, j.body`

	// Attempts are rows without a number: walks yield them whole. ?1 place, ?2 how many.
	walkTriesWorker = `SELECT ` + shownColumns + `, a.seq FROM attempts a INDEXED BY attempts_worker CROSS JOIN jobs j ON j.seq = a.job
		WHERE a.worker = ?3 AND a.seq < ?1 AND (?4 IS NULL OR a.job = ?4) ORDER BY a.seq DESC LIMIT ?2`
	walkTriesWorkerDone = `SELECT ` + shownColumns + `, a.seq FROM attempts a INDEXED BY attempts_worker CROSS JOIN jobs j ON j.seq = a.job
		WHERE a.worker = ?3 AND a.outcome = 3 AND a.seq < ?1 AND (?4 IS NULL OR a.job = ?4) ORDER BY a.seq DESC LIMIT ?2`
	walkTriesWorkerOdd = `SELECT ` + shownColumns + `, a.seq FROM attempts a INDEXED BY attempts_odd_worker CROSS JOIN jobs j ON j.seq = a.job
		WHERE a.worker = ?3 AND a.outcome = ?5 AND a.outcome <> 3 AND a.seq < ?1 AND (?4 IS NULL OR a.job = ?4) ORDER BY a.seq DESC LIMIT ?2`
	walkTriesOdd = `SELECT ` + shownColumns + `, a.seq FROM attempts a INDEXED BY attempts_odd CROSS JOIN jobs j ON j.seq = a.job
		WHERE a.outcome = ?5 AND a.outcome <> 3 AND a.seq < ?1 AND (?4 IS NULL OR a.job = ?4) ORDER BY a.seq DESC LIMIT ?2`
	walkTriesJob = `SELECT ` + shownColumns + `, a.slot << 32 | a.attempt FROM attempts a CROSS JOIN jobs j ON j.seq = a.job
		WHERE a.job = ?3 AND (a.slot, a.attempt) < (?1 >> 32, ?1 & 4294967295) AND (?4 >> a.outcome) & 1
		ORDER BY a.slot DESC, a.attempt DESC LIMIT ?2`
	walkTries = `SELECT ` + shownColumns + `, a.job FROM attempts a CROSS JOIN jobs j ON j.seq = a.job
		WHERE a.job < ?1 AND (?3 >> a.outcome) & 1 ORDER BY a.job DESC, a.slot DESC, a.attempt DESC LIMIT ?2`
	seqOfJob = `SELECT seq FROM jobs WHERE id = ?`
)

func (r row) shown() Attempt {
	t := r.attempt()
	t.Job = r.text(attemptColumnCount)
	if t.Outcome == OutcomeReturned {
		var b jobBody
		unpack(&b, r.blob(attemptColumnCount+1))
		var f eventv1.TaskVerified
		t.Contradicted = proto.Unmarshal(b.verdict, &f) == nil && slices.Contains(f.GetContradicted(), t.Slot)
	}
	return t.Attempt
}

// errEnough ends a walk.
var errEnough = errors.New("enough")

type placed struct {
	n int64
	a Attempt
}

// Attempts lists hand-overs: newest first; those of one job by slot and attempt, the last ones first. Without a worker
// and with returned ones among the outcomes they come in the order of their jobs, whole jobs a page.
func (m *Model) Attempts(ctx context.Context, q AttemptQuery) (rows []Attempt, next string, err error) {
	if err := checkFilter(len(q.Outcomes)); err != nil {
		return nil, "", err
	}
	walks, order := q.walks()
	before, limit, err := q.open(order)
	if err != nil {
		return nil, "", err
	}
	err = m.read(ctx, func(c *conn) error {
		var job any
		if q.Job != "" {
			found, err := c.one(ctx, seqOfJob, []any{q.Job}, func(r row) { job = r.int(0) })
			if err != nil || !found {
				return err
			}
		}
		for i := range walks {
			walks[i].args = q.args(walks[i], job)
		}
		rows, next, err = gather(ctx, c, order, before, limit, walks)
		return err
	})
	return rows, next, err
}

// walks chooses the indexes to walk along.
func (q *AttemptQuery) walks() (walks []source, order byte) {
	returned := len(q.Outcomes) == 0 || slices.Contains(q.Outcomes, OutcomeReturned)
	switch {
	case q.Job != "" && len(q.Worker) == 0:
		return []source{{text: walkTriesJob}}, orderSlot
	case len(q.Worker) == 0 && returned:
		return []source{{text: walkTries}}, orderByJob
	case len(q.Worker) > 0 && len(q.Outcomes) == 0:
		return []source{{text: walkTriesWorker}}, orderBegun
	}
	for _, o := range distinct(q.Outcomes) {
		switch {
		case len(q.Worker) > 0 && o == OutcomeReturned:
			walks = append(walks, source{text: walkTriesWorkerDone})
		case len(q.Worker) > 0:
			walks = append(walks, source{text: walkTriesWorkerOdd, args: []any{uint8(o)}})
		default:
			walks = append(walks, source{text: walkTriesOdd, args: []any{uint8(o)}})
		}
	}
	return walks, orderBegun
}

// args are the parameters of a walk behind the place and the limit.
func (q *AttemptQuery) args(w source, job any) []any {
	switch w.text {
	case walkTriesJob:
		return []any{job, mask(q.Outcomes)}
	case walkTries:
		return []any{mask(q.Outcomes)}
	}
	return append([]any{q.Worker, job}, w.args...)
}

// gather merges walks that yield attempts.
func gather(ctx context.Context, c *conn, order byte, before int64, limit int, walks []source) (rows []Attempt, next string, err error) {
	var all []placed
	for _, w := range walks {
		most := limit + 1
		if order == orderByJob {
			most = limit + maxShownAttempts // a page ends with a whole job
		}
		err := c.each(ctx, w.text, append([]any{before, most}, w.args...), func(r row) error {
			n := r.int(attemptColumnCount + 2)
			if order == orderByJob && len(all) >= limit && n != all[len(all)-1].n {
				next = placeOf(order, all[len(all)-1].n)
				return errEnough
			}
			all = append(all, placed{n, r.shown()})
			return nil
		})
		if err != nil && err != errEnough {
			return nil, "", err
		}
	}
	slices.SortStableFunc(all, func(a, b placed) int { return int(min(max(b.n-a.n, -1), 1)) })
	if order != orderByJob && len(all) > limit {
		all = all[:limit]
		next = placeOf(order, all[limit-1].n)
	}
	for i := range all {
		rows = append(rows, all[i].a)
	}
	return rows, next, nil
}
