package orchestrator

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/shardy-network/orchestrator/events"
	"github.com/shardy-network/orchestrator/projections"
	"github.com/shardy-network/orchestrator/projections/metrics"
	"github.com/shardy-network/orchestrator/projections/readmodel"
	"github.com/shardy-network/orchestrator/projections/traces"
	"github.com/shardy-network/orchestrator/projections/transparency"
)

// buildProjections opens what is derived from the log as it ends now, sets it running, and waits for the list of open
// work to reach that head: the start needs it. The others catch up on their own.
func (o *Orchestrator) buildProjections(ctx context.Context) error {
	head, err := o.log.Head(ctx)
	if err != nil {
		return err
	}
	var all []projections.Projection
	for _, open := range []func(context.Context, events.Position) (projections.Projection, error){
		o.openWork, o.openModel, o.openTree, o.openMetrics, o.openTraces, o.openSettlement,
	} {
		p, err := open(ctx, head)
		if err != nil {
			return err
		}
		if p != nil {
			all = append(all, p)
		}
	}
	if o.runner, err = projections.NewRunner(o.log, projections.Options{Logger: o.cfg.Logger}, all...); err != nil {
		return err
	}
	work, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- o.runner.Run(work) }()
	o.onClose(func() error {
		stop()
		return <-ended
	})
	if err := o.runner.WaitFor(ctx, o.open.Name(), head); err != nil {
		return fmt.Errorf("read the log: %w", err)
	}
	return nil
}

// inDataDir is a file of the data folder, or empty when everything is in memory.
func (o *Orchestrator) inDataDir(name string) string {
	if o.cfg.DataDir == "" {
		return ""
	}
	return filepath.Join(o.cfg.DataDir, name)
}

func (o *Orchestrator) openWork(ctx context.Context, _ events.Position) (_ projections.Projection, err error) {
	o.open, err = projections.OpenOpenWork(ctx, o.inDataDir("openwork"), o.log, projections.OpenWorkOptions{Logger: o.cfg.Logger})
	if err != nil {
		return nil, fmt.Errorf("open work: %w", err)
	}
	o.onClose(o.open.Close)
	return o.open, nil
}

// openModel opens what lists and screens are made from. It is rebuilt from the log when it is not of this log.
func (o *Orchestrator) openModel(ctx context.Context, _ events.Position) (_ projections.Projection, err error) {
	o.model, err = readmodel.Open(ctx, o.inDataDir("readmodel.db"), o.log, readmodel.Options{Logger: o.cfg.Logger})
	if err != nil {
		return nil, fmt.Errorf("read model: %w", err)
	}
	o.onClose(o.model.Close)
	return o.model, nil
}

// openTree opens the Merkle tree that makes tampering with the log evident.
func (o *Orchestrator) openTree(ctx context.Context, _ events.Position) (_ projections.Projection, err error) {
	o.tree, err = transparency.Open(ctx, o.inDataDir("tree"), o.log, o.key, transparency.Options{Logger: o.cfg.Logger})
	if err != nil {
		return nil, fmt.Errorf("log tree: %w", err)
	}
	o.onClose(o.tree.Close)
	return o.tree, nil
}

// openMetrics counts from the head on.
func (o *Orchestrator) openMetrics(_ context.Context, head events.Position) (projections.Projection, error) {
	o.metrics = metrics.New(head, metrics.Sources{
		Projections: func() []projections.Status { return o.runner.Status() },
		Figures:     o.figures,
	})
	return o.metrics, nil
}

// openTraces follows the log from the head on, if a collector is configured.
func (o *Orchestrator) openTraces(ctx context.Context, head events.Position) (projections.Projection, error) {
	if o.cfg.Traces.Endpoint == "" {
		return nil, nil
	}
	cfg := o.cfg.Traces
	cfg.Node, cfg.Version, cfg.Logger = o.cfg.Node, o.cfg.Version, o.cfg.Logger
	t, err := traces.Open(ctx, cfg, head)
	if err != nil {
		return nil, err
	}
	o.onClose(func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := t.Close(ctx); err != nil {
			o.cfg.Logger.Warn("the last traces were not sent", "error", err)
		}
		return nil
	})
	return t, nil
}
