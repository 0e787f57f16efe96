package readmodel

import (
	"context"

	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

const (
	backJob = `SELECT seq, position, kind, state, tenant, pipeline, stage, chunk, module, priority, tier, submitted, round, wave, slots,
		returned, mismatches, attempts, refereeing, decided, basis, contradicted, reason, detail, verdict_seq, verdict_position, verdict,
		dead_seq FROM jobs WHERE id = ?`
	backAttempt = `SELECT seq, position, worker, party, dispatched, ack_deadline, acked, run_deadline, ended, outcome, rejected, detail,
		counts, status, output, size, fuel, run_ms, attested, recorded FROM attempts WHERE job = ? AND slot = ? AND attempt = ?`
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
			id: id, seq: r.int(0), position: r.int(1), kind: eventv1.JobKind(r.int(2)), state: operatorv1.JobState(r.int(3)),
			tenant: r.text(4), pipeline: r.text(5), stage: r.u32(6), chunk: r.u32(7), module: r.blob(8),
			priority: int32(r.int(9)), tier: r.u32(10), submitted: r.int(11), round: r.u32(12), wave: r.u32(13), slots: r.u32(14),
			returned: r.u32(15), mismatches: r.u32(16), attempts: r.u32(17), refereeing: r.int(18) != 0, decided: r.int(19),
			basis: eventv1.VerdictBasis(r.int(20)), contradicted: r.u32(21), reason: eventv1.DeadLetterReason(r.int(22)),
			detail: r.text(23), verdictSeq: r.int(24), verdictPosition: r.int(25), verdict: r.blob(26), deadSeq: r.int(27), stored: true,
		}
		j.was, j.wasDead, j.wasDeadSeq = j.state, j.reason, j.deadSeq
	})
	return j, err
}

func (s *store) readAttempt(ctx context.Context, j *job, slot, n uint32) (a *attempt, err error) {
	_, err = s.w.one(ctx, backAttempt, []any{j.seq, slot, n}, func(r row) {
		a = &attempt{
			job: j, slot: slot, attempt: n, seq: r.int(0), position: r.int(1), worker: r.blob(2), group: r.text(3),
			dispatched: r.int(4), ackDeadline: r.int(5), acked: r.int(6), runDeadline: r.int(7), ended: r.int(8),
			outcome: Outcome(r.int(9)), rejected: eventv1.RejectReason(r.int(10)), detail: r.text(11), counts: r.int(12) != 0,
			status: eventv1.ResultStatus(r.int(13)), output: r.blob(14), size: uint64(r.int(15)), fuel: uint64(r.int(16)),
			runMs: r.u32(17), attested: r.int(18) != 0, recorded: r.int(19) != 0, stored: true,
		}
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
