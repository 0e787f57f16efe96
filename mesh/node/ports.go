package node

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/shardy-network/orchestrator/mesh"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

const (
	// banned is how long the door is closed to whoever sent blocks or snapshots that are provably wrong.
	banned = 10 * time.Minute
	// poolPatience is how long the transactions of one message wait for room in the engine.
	poolPatience = 200 * time.Millisecond
)

// meshConfig plugs the mesh. Its ports are called from the moment it listens: the chain is there then, the engine not yet.
func (n *Node) meshConfig() mesh.Config {
	c := n.cfg.Mesh
	c.Key, c.Chain = n.cfg.Key, n.chain.ID()
	if c.Book == "" {
		c.Book = filepath.Join(n.cfg.Dir, "book")
	}
	if c.Logger == nil {
		c.Logger = n.log
	}
	c.Ports = mesh.Ports{
		CheckTransaction: n.wanted, Transactions: n.take, Validators: n.chain.Validators, Announced: n.announced,
		Height: n.chain.Height, Capacity: c.Ports.Capacity,
	}
	return c
}

// wanted is the check of transactions that come by gossip. What a block would refuse without executing it is not wanted
// now; honest orchestrators may be a few blocks apart, so that is nobody's fault.
func (n *Node) wanted(tx []byte) error {
	c, err := n.chain.Check(tx)
	if err != nil {
		return err
	}
	s := n.chain.State()
	if code := s.Screen(c); code != ledgerv1.ReceiptCode_RECEIPT_CODE_OK {
		return fmt.Errorf("%w: %w", mesh.ErrNotNow, &Refusal{Code: code})
	}
	if !n.purses.take(s, c) {
		return fmt.Errorf("%w: %w", mesh.ErrNotNow, errPoor)
	}
	return nil
}

// take hands over what came by gossip. An observer keeps none of it: the mesh has passed it on, and it will see what
// becomes of it in the blocks.
func (n *Node) take(txs [][]byte) {
	e := n.engine.Load()
	if e == nil || !n.votes() {
		return
	}
	ctx, cancel := context.WithTimeout(n.ctx, poolPatience)
	defer cancel()
	for i, tx := range txs {
		if err := e.Submit(ctx, tx); err != nil {
			n.log.Debug("transactions from others not taken", "count", len(txs)-i, "error", err)
			return
		}
	}
}

// announced learns of a block. The mesh has verified its certificate.
func (n *Node) announced(a mesh.Announcement) { n.hear(a.Header.Height) }

// hear notes that there is a block of this height.
func (n *Node) hear(height uint64) {
	for {
		h := n.heard.Load()
		if height <= h {
			return
		}
		if n.heard.CompareAndSwap(h, height) {
			break
		}
	}
	if e := n.engine.Load(); e != nil {
		e.Heard(height)
	}
}

// liar is a peer that sent what is provably wrong.
type liar struct {
	id  peer.ID
	err error
}

// lied is told by the client of blocks, which must not wait.
func (n *Node) lied(id peer.ID, err error) {
	select {
	case n.liars <- liar{id, err}:
	default: // it is not asked again, and others are being shown out already
	}
}

// punish closes the door to liars. A validator keeps its connection: its votes are still counted, and they are evidence.
func (n *Node) punish(ctx context.Context) {
	for {
		select {
		case l := <-n.liars:
			if n.mesh.IsValidator(l.id) {
				n.log.Warn("a validator sends blocks that are wrong", "peer", l.id, "error", l.err)
				continue
			}
			if err := n.mesh.Block(l.id, banned); err != nil {
				n.log.Debug("connection not closed", "peer", l.id, "error", err)
			}
		case <-ctx.Done():
			return
		}
	}
}
