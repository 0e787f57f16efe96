package readmodel

import (
	"context"

	"github.com/shardy-network/orchestrator/events"
)

const (
	insertJob = `INSERT INTO jobs (seq, id, kind, state, tenant, pipeline, module, submitted, decided, contradicted, reason,
		verdict_seq, dead_seq, body, begun) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`
	// updateJob leaves alone what the indexes hold.
	updateJob     = `UPDATE jobs SET body = ? WHERE seq = ?`
	turnJob       = `UPDATE jobs SET state = ?, decided = ?, contradicted = ?, reason = ?, verdict_seq = ?, dead_seq = ?, body = ? WHERE seq = ?`
	insertTurn    = `INSERT INTO turns (job, seq, type, at, position, data) VALUES (?, ?, ?, ?, ?, ?)`
	insertAttempt = `INSERT INTO attempts (job, slot, attempt, seq, worker, outcome, body) VALUES (?, ?, ?, ?, ?, ?, ?)`
	updateAttempt = `UPDATE attempts SET outcome = ?, body = ? WHERE job = ? AND slot = ? AND attempt = ?`

	insertPipeline = `INSERT INTO pipelines (seq, id, position, state, name, tenant, stage, stages, submitted, ended, detail, by_whom,
		output_bytes, begun) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`
	updatePipeline = `UPDATE pipelines SET state = ?, stage = ?, ended = ?, detail = ?, by_whom = ?, output_bytes = ? WHERE seq = ?`
	putStage       = `INSERT OR REPLACE INTO stages (pipeline, stage, chunks, settled, failed, started, completed, manifest, size)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`
	insertHole = `INSERT OR IGNORE INTO holes (pipeline, stage, chunk) VALUES (?, ?, ?)`
	deleteHole = `DELETE FROM holes WHERE pipeline = ? AND stage = ? AND chunk = ?`

	insertWorker = `INSERT INTO workers (seq, key, position, owner, tier, state, flags, party, node, session, claim, proven, record,
		chunk_bytes, rejection, detail, registered, seen, sessions) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`
	updateWorker = `UPDATE workers SET owner = ?, tier = ?, state = ?, flags = ?, party = ?, node = ?, session = ?, claim = ?, proven = ?,
		record = ?, chunk_bytes = ?, rejection = ?, detail = ?, seen = ?, sessions = ? WHERE seq = ?`
	insertSession = `INSERT INTO sessions (worker, seq, id, party, node, connected, ended, why) VALUES (?, ?, ?, ?, ?, ?, 0, '')`
	endSession    = `UPDATE sessions SET ended = ?, why = ? WHERE worker = ? AND seq = (SELECT max(seq) FROM sessions WHERE worker = ?) AND ended = 0`
	trimSessions  = `DELETE FROM sessions WHERE worker = ? AND seq <= (SELECT seq FROM sessions WHERE worker = ? ORDER BY seq DESC LIMIT 1 OFFSET ?)`

	deleteModule = `DELETE FROM modules WHERE original = ? RETURNING admitted`
	insertModule = `INSERT INTO modules (seq, original, position, at, admitted, fact) VALUES (?, ?, ?, ?, ?, ?)`
	trimModules  = `DELETE FROM modules WHERE admitted = 0 AND seq <= (SELECT seq FROM modules WHERE admitted = 0 ORDER BY seq DESC LIMIT 1 OFFSET ?) RETURNING seq`

	putPlace = `INSERT OR REPLACE INTO place (one, position, ordinal, stream, rev, at, id, goal) VALUES (1, ?, ?, ?, ?, ?, ?, ?)`
)

// keptRefusals is how many refused modules are kept.
const keptRefusals = 10_000

// write puts what the batch touched into the transaction that is open.
func (b *batch) write(ctx context.Context) error {
	for _, part := range []func(context.Context) error{
		b.writeJobs, b.writeAttempts, b.writePipelines, b.writeWorkers, b.writeSessions, b.writeModules,
	} {
		if err := part(ctx); err != nil {
			return err
		}
	}
	if err := b.forget(ctx); err != nil {
		return err
	}
	if err := b.writeSeries(ctx); err != nil {
		return err
	}
	return b.writeCounters(ctx)
}

func (b *batch) writeJobs(ctx context.Context) error {
	for i, j := range b.jobs {
		if i%1024 == 0 && b.ctx.Err() != nil {
			return context.Cause(b.ctx)
		}
		if err := b.writeJob(ctx, j); err != nil {
			return err
		}
	}
	for _, t := range b.turns {
		if err := b.s.w.run(ctx, insertTurn, t.job, t.seq, t.kind, t.at, t.position, t.data); err != nil {
			return err
		}
	}
	return nil
}

func (b *batch) writeJob(ctx context.Context, j *job) (err error) {
	w := b.s.w
	moved := j.state != j.was || j.deadSeq != j.wasDeadSeq
	b.packed = pack(&j.jobBody, b.packed)
	switch {
	case !j.stored:
		err = w.run(ctx, insertJob, j.seq, j.id, int64(j.kind), int64(j.state), j.tenant, j.pipeline, j.module, j.submitted, j.decided,
			j.contradicted, int64(j.reason), orNull(j.verdictSeq), orNull(j.deadSeq), b.packed, j.begun)
	case moved:
		err = w.run(ctx, turnJob, int64(j.state), j.decided, j.contradicted, int64(j.reason), orNull(j.verdictSeq), orNull(j.deadSeq),
			b.packed, j.seq)
	default:
		err = w.run(ctx, updateJob, b.packed, j.seq)
	}
	if err != nil {
		return err
	}
	if moved {
		b.countJob(j, int64(j.was), int64(j.state))
		if j.was == dead {
			b.countDead(j, int64(j.wasDead), -1)
		}
		if j.state == dead {
			b.countDead(j, int64(j.reason), 1)
		}
	}
	j.stored, j.touched, j.begun = true, false, nil
	j.was, j.wasDead, j.wasDeadSeq = j.state, j.reason, j.deadSeq
	return nil
}

// orNull keeps rows that have no such number out of the partial indexes.
func orNull(n int64) any {
	if n == 0 {
		return nil
	}
	return n
}

func (b *batch) writeAttempts(ctx context.Context) error {
	w := b.s.w
	for _, a := range b.attempts {
		var err error
		b.packed = pack(&a.attemptBody, b.packed)
		if a.stored {
			err = w.run(ctx, updateAttempt, uint8(a.outcome), b.packed, a.job.seq, a.slot, a.attempt)
		} else {
			err = w.run(ctx, insertAttempt, a.job.seq, a.slot, a.attempt, a.seq, a.worker, uint8(a.outcome), b.packed)
		}
		if err != nil {
			return err
		}
		a.stored, a.touched = true, false
	}
	for _, a := range b.attempts {
		a.job.rest()
	}
	return nil
}

func (b *batch) writePipelines(ctx context.Context) (err error) {
	w := b.s.w
	for _, p := range b.pipelines {
		if p.stored {
			err = w.run(ctx, updatePipeline, int64(p.state), p.stage, p.ended, p.detail, p.by, p.outputBytes, p.seq)
		} else {
			err = w.run(ctx, insertPipeline, p.seq, p.id, p.position, int64(p.state), p.name, p.tenant, p.stage, p.stages, p.submitted,
				p.ended, p.detail, p.by, p.outputBytes, p.begun)
		}
		if err != nil {
			return err
		}
		if err := b.writeStages(ctx, p); err != nil {
			return err
		}
		if p.was != p.state {
			b.countPipeline(p, int64(p.was), -1)
			b.countPipeline(p, int64(p.state), 1)
		}
		p.stored, p.touched, p.begun, p.was = true, false, nil, p.state
	}
	for _, h := range b.holes {
		text := insertHole
		if !h.there {
			text = deleteHole
		}
		if err := w.run(ctx, text, h.pipeline, h.stage, h.chunk); err != nil {
			return err
		}
	}
	return nil
}

func (b *batch) writeStages(ctx context.Context, p *pipeline) error {
	for i := range p.progress {
		s := &p.progress[i]
		if !s.touched {
			continue
		}
		err := b.s.w.run(ctx, putStage, p.seq, s.stage, s.chunks, s.settled, s.failed, s.started, s.completed, s.manifest, s.size)
		if err != nil {
			return err
		}
		s.touched = false
	}
	return nil
}

func (b *batch) writeWorkers(ctx context.Context) (err error) {
	for _, w := range b.workers {
		state := w.state()
		if w.stored {
			err = b.s.w.run(ctx, updateWorker, w.owner, w.tier, state, w.flags, w.group, w.node, w.session, message(w.claim), message(w.proven),
				message(w.record), w.chunkBytes, int64(w.rejection), w.detail, w.seen, w.sessions, w.seq)
		} else {
			err = b.s.w.run(ctx, insertWorker, w.seq, w.key, w.position, w.owner, w.tier, state, w.flags, w.group, w.node, w.session,
				message(w.claim), message(w.proven), message(w.record), w.chunkBytes, int64(w.rejection), w.detail, w.registered, w.seen, w.sessions)
		}
		if err != nil {
			return err
		}
		if w.stored {
			b.count(counter{countWorkers, "", int64(w.wasTier), int64(w.was)}, -1)
		}
		b.count(counter{countWorkers, "", int64(w.tier), int64(state)}, 1)
		w.stored, w.touched, w.was, w.wasTier = true, false, state, w.tier
	}
	return nil
}

func (b *batch) writeSessions(ctx context.Context) error {
	grown := map[int64]bool{}
	for _, t := range b.sessions {
		seq := t.worker.seq
		var err error
		if t.began {
			grown[seq] = true
			err = b.s.w.run(ctx, insertSession, seq, t.seq, t.id, t.group, t.node, t.at)
		} else {
			err = b.s.w.run(ctx, endSession, t.at, t.why, seq, seq)
		}
		if err != nil {
			return err
		}
	}
	for seq := range grown {
		if err := b.s.w.run(ctx, trimSessions, seq, seq, b.s.opts.Sessions); err != nil {
			return err
		}
	}
	return nil
}

func (b *batch) writeModules(ctx context.Context) error {
	for _, m := range b.modules {
		err := b.s.w.each(ctx, deleteModule, []any{m.original}, func(r row) error {
			b.count(moduleCounter(r.int(0) != 0), -1)
			return nil
		})
		if err == nil {
			err = b.s.w.run(ctx, insertModule, m.seq, m.original, m.position, m.at, m.admitted, m.fact)
		}
		if err != nil {
			return err
		}
		b.count(moduleCounter(m.admitted), 1)
	}
	if len(b.modules) == 0 {
		return nil
	}
	return b.s.w.each(ctx, trimModules, []any{keptRefusals}, func(row) error {
		b.count(moduleCounter(false), -1)
		return nil
	})
}

func moduleCounter(admitted bool) counter {
	if admitted {
		return counter{what: countTotals, a: totalModules}
	}
	return counter{what: countTotals, a: totalRefused}
}

// place is where the rows stand.
type place struct {
	position events.Position
	ordinal  int64
	stream   string
	rev      uint64
	at       events.Position // of the last record
	id       events.ID
}

func (b *batch) writePlace(ctx context.Context, p place) error {
	return b.s.w.run(ctx, putPlace, int64(p.position), p.ordinal, p.stream, int64(p.rev), int64(p.at), p.id[:], int64(b.s.goal))
}
