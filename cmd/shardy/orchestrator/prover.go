package orchestrator

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"time"

	"github.com/shardy-network/orchestrator/events"
	"github.com/shardy-network/orchestrator/projections/audit"
)

// treePatience is how long a bundle waits for the log's tree to take its records in.
const treePatience = 10 * time.Second

// prover ties the records of bundles to the log's tree.
func (o *Orchestrator) prover() audit.Prover {
	return audit.TreeProver{
		Tree: o.tree, Key: o.key.Public().(ed25519.PublicKey),
		Await: func(ctx context.Context, pos events.Position) error {
			ctx, cancel := context.WithTimeout(ctx, treePatience)
			defer cancel()
			if err := o.runner.WaitFor(ctx, o.tree.Name(), pos); err != nil {
				return fmt.Errorf("%w: the log's tree lags behind: %w", events.ErrUnavailable, err)
			}
			return nil
		},
	}
}
