package gateway

import (
	"time"

	"github.com/shardy-network/orchestrator/gateway/wire"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	workerv1 "github.com/shardy-network/orchestrator/proto/shardy/worker/v1"
)

// sweep is the one clock of all sessions: in the course of a ping interval it visits every shard of the table once,
// pings who is quiet, and ends who was silent too long or owes a payload.
func (d *Door) sweep() {
	tick := time.NewTicker(max(d.cfg.PingInterval/tableShards, time.Millisecond))
	defer tick.Stop()
	var scratch []*session
	renewed := time.Now()
	for shard := 0; ; shard = (shard + 1) % tableShards {
		select {
		case <-d.ctx.Done():
			return
		case now := <-tick.C:
			scratch = d.table.eachOf(shard, scratch, func(s *session) { s.visit(now) })
			for _, t := range d.waiting.overdue(now) {
				d.strip(t, eventv1.StripReason_STRIP_REASON_NOT_RESUMED, "the worker did not come back")
			}
			if now.Sub(renewed) >= d.cfg.CommandTimeout {
				renewed = now
				d.renew()
			}
			if shard == 0 {
				d.guard.sweep(now)
				d.arrears.forget(now)
			}
		}
	}
}

func (s *session) visit(now time.Time) {
	cfg := s.door.cfg
	silent := now.Sub(s.conn.Heard())
	owed := s.awaiting.Load()
	switch {
	case silent > cfg.PingInterval*5/2:
		s.close(wire.Errorf(workerv1.ErrorCode_ERROR_CODE_TIMEOUT, "silent for %s", silent.Round(time.Millisecond)))
	case owed != 0 && now.UnixNano()-owed > int64(cfg.PayloadTimeout):
		s.close(wire.Errorf(workerv1.ErrorCode_ERROR_CODE_PAYLOAD_MISSING, "the announced payload did not come within %s", cfg.PayloadTimeout))
	default:
		s.conn.Ping()
	}
}
