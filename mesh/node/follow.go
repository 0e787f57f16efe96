package node

import (
	"context"
	"errors"

	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/actors/ledger"
	"github.com/shardy-network/orchestrator/mesh/chain"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

// announceDepth is how far behind the last block one is still worth announcing: others who need older ones ask for them.
const announceDepth = 4

// follow does what a committed block sets going, until ctx ends.
func (n *Node) follow(ctx context.Context, f *chain.Follower) {
	voted := n.votes()
	for {
		b, err := f.Next(ctx)
		switch {
		case err == nil:
		case ctx.Err() != nil || errors.Is(err, chain.ErrClosed):
			return
		case errors.Is(err, chain.ErrPruned): // the chain went on from a snapshot
			f.Skip()
			continue
		default:
			n.fail(err)
			return
		}
		ids := make([]ledger.Hash, 0, len(b.Receipts))
		for _, r := range b.Receipts {
			if r.Code != ledgerv1.ReceiptCode_RECEIPT_CODE_OUT_OF_RANGE { // that one may come again
				ids = append(ids, ledger.Hash(r.Transaction))
			}
		}
		n.waiting.drop(ids...)
		if votes := n.votes(); votes != voted {
			voted = votes
			n.waiting.nudge()
		}
		n.announce(ctx, b)
		n.accuser.block(b)
	}
}

// announce tells others of a block, unless it is old or one of them was first.
func (n *Node) announce(ctx context.Context, b chain.Committed) {
	if n.heard.Load() >= b.Height || n.chain.Height() > b.Height+announceDepth || b.Block.GetCertificate() == nil {
		return
	}
	n.hear(b.Height)
	if len(n.mesh.Host().Network().Peers()) == 0 {
		return
	}
	certificate, err := proto.Marshal(b.Block.Certificate)
	if err == nil {
		err = n.mesh.PublishAnnounce(ctx, b.Block.Block.Header, certificate)
	}
	if err != nil && ctx.Err() == nil { // as that of the block which changed the validators: the next one tells
		n.log.Debug("block not announced", "height", b.Height, "error", err)
	}
}
