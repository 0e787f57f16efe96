package host

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/events"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// reopen loads what was open, at most RecoverInFlight at a time: loading a job makes it and its slots repeat every
// effect that a crash may have cost.
func (h *Host) reopen(ctx context.Context, open Open) {
	limit := make(chan struct{}, h.cfg.RecoverInFlight)
	var pending sync.WaitGroup
	defer pending.Wait()
	one := func(to actors.Address, cmd *eventv1.Command) bool {
		select {
		case limit <- struct{}{}:
		case <-ctx.Done():
			return false
		case <-h.ctx.Done():
			return false
		}
		pending.Add(1)
		h.reopenOne(to, cmd, func() {
			h.counters.recovering.Add(-1)
			<-limit
			pending.Done()
		})
		return true
	}
	for _, id := range open.Jobs {
		if !one(actors.JobAddress(id), &eventv1.Command{Kind: &eventv1.Command_ReopenJob{ReopenJob: &eventv1.ReopenJob{}}}) {
			return
		}
	}
	for _, id := range open.Pipelines {
		if !one(actors.PipelineAddress(id), &eventv1.Command{Kind: &eventv1.Command_ReopenPipeline{ReopenPipeline: &eventv1.ReopenPipeline{}}}) {
			return
		}
	}
}

// reopenOne tries until the entity has been loaded; done is called once.
func (h *Host) reopenOne(to actors.Address, cmd *eventv1.Command, done func()) {
	h.Tell(to, cmd, func(_ any, err error) {
		if (errors.Is(err, ErrBusy) || errors.Is(err, events.ErrUnavailable)) && h.ctx.Err() == nil {
			time.AfterFunc(submitRetry, func() { h.reopenOne(to, cmd, done) })
			return
		}
		if err != nil {
			h.cfg.Logger.Error("cannot reopen", "stream", to.Stream(), "error", err)
		}
		done()
	})
}
