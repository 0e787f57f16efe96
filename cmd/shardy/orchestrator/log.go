package orchestrator

import (
	"context"
	"fmt"

	"github.com/shardy-network/orchestrator/events"
	"github.com/shardy-network/orchestrator/events/kurrent"
	"github.com/shardy-network/orchestrator/events/memlog"
	"github.com/shardy-network/orchestrator/events/pebblelog"
)

// openLog opens the event log that the configuration names: one elsewhere, the one in the data folder, or one that
// ends with the process.
func (o *Orchestrator) openLog(ctx context.Context) (events.Log, error) {
	switch {
	case o.cfg.LogURL != "":
		log, err := kurrent.Open(ctx, o.cfg.LogURL, kurrent.Options{Logger: o.cfg.Logger})
		if err != nil {
			return nil, fmt.Errorf("event log: %w", err)
		}
		return log, nil
	case o.cfg.DataDir == "":
		return memlog.New(), nil
	}
	opts := o.cfg.Log
	opts.Logger = o.cfg.Logger
	log, err := pebblelog.Open(LogDir(o.cfg.DataDir), opts)
	if err != nil {
		return nil, fmt.Errorf("event log: %w", err)
	}
	return log, nil
}

// failed is closed when the log has stopped for good: a full or broken disk. Then nothing can be promised any more. A
// log elsewhere never does: it is waited for.
func (o *Orchestrator) failed() <-chan struct{} {
	if l, ok := o.log.(*pebblelog.Log); ok {
		return l.Failed()
	}
	return nil
}

func (o *Orchestrator) cause() error {
	if l, ok := o.log.(*pebblelog.Log); ok {
		return fmt.Errorf("event log stopped: %w", l.Cause())
	}
	return nil
}
