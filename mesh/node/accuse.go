package node

import (
	"context"

	"github.com/shardy-network/orchestrator/mesh/chain"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

// accuser makes transactions of evidence.
type accuser struct {
	n       *Node
	reports chan *ledgerv1.Equivocation
}

func newAccuser(n *Node, _ string) (*accuser, error) {
	return &accuser{n: n, reports: make(chan *ledgerv1.Equivocation, 64)}, nil
}

func (a *accuser) run(ctx context.Context) { <-ctx.Done() }

// witnessed is told by the engine of two votes that contradict each other. It does not wait.
func (a *accuser) witnessed(p *ledgerv1.VotePair) {
	select {
	case a.reports <- &ledgerv1.Equivocation{Kind: &ledgerv1.Equivocation_Votes{Votes: p}}:
	default:
	}
}

func (a *accuser) block(chain.Committed) {}

func (a *accuser) size() int { return 0 }
