package readmodel

import (
	"context"

	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

const (
	backJob = `SELECT seq, kind, state, tenant, pipeline, module, submitted, decided, contradicted, reason, verdict_seq, dead_seq, body
		FROM jobs WHERE id = ?`
	backAttempt  = `SELECT seq, worker, outcome, body FROM attempts WHERE job = ? AND slot = ? AND attempt = ?`
	backLast     = `SELECT max(attempt) FROM attempts WHERE job = ? AND slot = ?`
	backPipeline = `SELECT seq, position, state, name, tenant, stage, stages, submitted, ended, detail, by_whom, output_bytes
		FROM pipelines WHERE id = ?`
	backStages = `SELECT stage, chunks, settled, failed, started, completed, manifest, size FROM stages WHERE pipeline = ? ORDER BY stage`
	backHoles  = `SELECT chunk FROM holes WHERE pipeline = ? AND stage = ?`
	backWorker = `SELECT seq, position, tier, state, flags, owner, party, node, session, claim, proven, record, chunk_bytes, rejection,
		detail, registered, seen, sessions FROM workers WHERE key = ?`
)

func (s *store) readJob(ctx context.Context, id string) (j *job, err error) {
	_, err = s.w.one(ctx, backJob, []any{id}, func(r row) {
		j = &job{
			id: id, seq: r.int(0), kind: eventv1.JobKind(r.int(1)), state: operatorv1.JobState(r.int(2)), tenant: r.text(3),
			pipeline: r.text(4), module: r.blob(5), submitted: r.int(6), decided: r.int(7), contradicted: r.u32(8),
			reason: eventv1.DeadLetterReason(r.int(9)), verdictSeq: r.int(10), deadSeq: r.int(11), stored: true,
		}
		unpack(&j.jobBody, r.blob(12))
		j.was, j.wasDead, j.wasDeadSeq = j.state, j.reason, j.deadSeq
	})
	return j, err
}

func (s *store) readAttempt(ctx context.Context, j *job, slot, n uint32) (a *attempt, err error) {
	_, err = s.w.one(ctx, backAttempt, []any{j.seq, slot, n}, func(r row) {
		a = &attempt{
			job: j, slot: slot, attempt: n, seq: r.int(0), worker: r.blob(1), outcome: Outcome(r.int(2)), stored: true,
		}
		unpack(&a.attemptBody, r.blob(3))
	})
	return a, err
}

func (s *store) lastAttempt(ctx context.Context, j *job, slot uint32) (n uint32, err error) {
	_, err = s.w.one(ctx, backLast, []any{j.seq, slot}, func(r row) { n = r.u32(0) })
	return n, err
}

func (s *store) readPipeline(ctx context.Context, id string) (p *pipeline, err error) {
	_, err = s.w.one(ctx, backPipeline, []any{id}, func(r row) {
		p = &pipeline{
			id: id, seq: r.int(0), position: r.int(1), state: operatorv1.PipelineState(r.int(2)), name: r.text(3), tenant: r.text(4),
			stage: r.u32(5), stages: r.u32(6), submitted: r.int(7), ended: r.int(8), detail: r.text(9), by: r.text(10),
			outputBytes: uint64(r.int(11)), stored: true,
		}
		p.was = p.state
	})
	if err != nil || p == nil {
		return p, err
	}
	err = s.w.each(ctx, backStages, []any{p.seq}, func(r row) error {
		p.progress = append(p.progress, stage{
			stage: r.u32(0), chunks: r.u32(1), settled: r.u32(2), failed: r.u32(3), started: r.int(4), completed: r.int(5),
			manifest: r.blob(6), size: uint64(r.int(7)),
		})
		return nil
	})
	return p, err
}

func (s *store) readHoles(ctx context.Context, pipeline int64, stage uint32) (map[uint32]bool, error) {
	holes := map[uint32]bool{}
	err := s.w.each(ctx, backHoles, []any{pipeline, stage}, func(r row) error {
		holes[r.u32(0)] = true
		return nil
	})
	return holes, err
}

func (s *store) readWorker(ctx context.Context, key []byte) (w *worker, err error) {
	_, err = s.w.one(ctx, backWorker, []any{key}, func(r row) {
		w = &worker{
			key: key, seq: r.int(0), position: r.int(1), tier: r.u32(2), was: uint8(r.int(3)), flags: uint8(r.int(4)), owner: r.blob(5),
			group: r.text(6), node: r.text(7), session: r.blob(8), claim: readMessage[eventv1.Profile](r.blob(9)),
			proven: readMessage[eventv1.Proven](r.blob(10)), record: readMessage[eventv1.Tally](r.blob(11)),
			chunkBytes: uint64(r.int(12)), rejection: eventv1.RejectionReason(r.int(13)), detail: r.text(14),
			registered: r.int(15), seen: r.int(16), sessions: uint64(r.int(17)), stored: true,
		}
		w.wasTier = w.tier
		if w.record == nil {
			w.record = new(eventv1.Tally)
		}
	})
	return w, err
}
