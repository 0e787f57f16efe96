package node

import (
	"context"
	"errors"
	"path/filepath"
	"time"

	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/p2p/host/eventbus"

	"github.com/shardy-network/orchestrator/mesh/blocksync"
	"github.com/shardy-network/orchestrator/mesh/chain"
	"github.com/shardy-network/orchestrator/mesh/chain/ordered"
	"github.com/shardy-network/orchestrator/mesh/consensus"
)

// stuckLooks is how many looks in a row see others ahead and this node standing still before it begins anew. A look is two
// heartbeats, and within one the engine has tried by itself.
const (
	stuckLooks    = 5
	maxStuckLooks = 80
	metBehind     = 64 // blocks; an engine fetches fewer by itself as fast
)

// keep catches up and keeps an engine running until ctx ends. An engine goes on by blocks alone: when nobody has the next
// one any more, it is closed, and the chain goes on from a snapshot before another engine is opened.
func (n *Node) keep(ctx context.Context) {
	looks := stuckLooks
	for ctx.Err() == nil {
		n.catchUp(ctx)
		if ctx.Err() != nil {
			return
		}
		e, err := n.openEngine()
		if err != nil {
			n.fail(err)
			n.open()
			return
		}
		n.engine.Store(e)
		n.open()
		e.Heard(n.heard.Load())
		n.waiting.nudge()
		began := n.chain.Height()
		n.watch(ctx, looks)
		n.engine.Store(nil)
		if err := e.Close(); err != nil {
			n.log.Warn("engine not closed well", "error", err)
		}
		if looks = min(2*looks, maxStuckLooks); n.chain.Height() > began {
			looks = stuckLooks
		}
	}
}

// open tells Open that the engine runs, or never will.
func (n *Node) open() {
	select {
	case <-n.opened:
	default:
		close(n.opened)
	}
}

func (n *Node) openEngine() (*consensus.Engine, error) {
	return consensus.Open(consensus.Config{
		Chain: n.chain.ID(), Key: n.cfg.Key, Dir: filepath.Join(n.cfg.Dir, "votes"),
		Application: ordered.Application{Chain: n.chain}, Transport: consensus.NewStreams(n.mesh.Host(), n.log), Puller: n.client,
		Heartbeat: n.cfg.Heartbeat, FreshLog: n.cfg.FreshLog, OnEquivocation: n.accuser.witnessed, OnFailure: n.fail, Log: n.log,
	})
}

// catchUp brings the chain to where the others are. Those may have to be met first; a first node meets nobody.
func (n *Node) catchUp(ctx context.Context) {
	met, err := n.mesh.Host().EventBus().Subscribe(new(event.EvtPeerIdentificationCompleted), eventbus.Name("shardy/node"))
	if err != nil {
		n.fail(err)
		return
	}
	defer met.Close()
	patience := time.NewTimer(n.cfg.Meet)
	defer patience.Stop()
	for {
		n.sync.Store(&Sync{Phase: Asking})
		h, err := n.client.CatchUp(ctx)
		n.hear(h)
		if !errors.Is(err, blocksync.ErrNoTarget) {
			n.caughtUp(err)
			return
		}
		if !n.others() {
			n.caughtUp(nil)
			return
		}
		select {
		case <-met.Out():
		case <-patience.C:
			n.caughtUp(err)
			return
		case <-ctx.Done():
			return
		}
	}
}

// caughtUp notes how catching up ended. The engine goes on by itself from there, as far as blocks lead; a disk that fails
// does not.
func (n *Node) caughtUp(err error) {
	switch {
	case err == nil:
		n.sync.Store(&Sync{Phase: Current})
		return
	case errors.Is(err, chain.ErrFailed) || errors.Is(err, chain.ErrDamaged):
		n.fail(err)
	case n.ctx.Err() == nil:
		n.log.Warn("not caught up with the others", "height", n.chain.Height(), "error", err)
	}
	n.sync.Store(&Sync{Phase: Behind, Err: err})
}

// others reports whether there may be somebody to ask. The validators of a chain that begins have nothing to tell each other.
func (n *Node) others() bool {
	set := n.chain.Validators().GetValidators()
	if n.votes() && (len(set) == 1 || n.chain.Height() == 0) {
		return false
	}
	return true
}

// watch returns when ctx ends, or when this node has stood still for so many looks while others were ahead. When nobody
// could be asked before the engine was opened, the first one to be met is asked at once: a chain that is far behind does
// not wait for the engine to find out that blocks do not lead there.
func (n *Node) watch(ctx context.Context, looks int) {
	var met <-chan any
	if errors.Is(n.sync.Load().Err, blocksync.ErrNoTarget) {
		if sub, err := n.mesh.Host().EventBus().Subscribe(new(event.EvtPeerIdentificationCompleted), eventbus.Name("shardy/node")); err == nil {
			defer sub.Close()
			met = sub.Out()
		}
	}
	tick := time.NewTicker(2 * n.cfg.Heartbeat)
	defer tick.Stop()
	last, behind := n.chain.Height(), 0
	for {
		select {
		case <-ctx.Done():
			return
		case <-met:
			if h := n.chain.Height(); n.ahead(ctx) > h+metBehind && n.failure.Load() == nil {
				return
			}
			continue
		case <-tick.C:
		}
		if n.failure.Load() != nil {
			continue // the owner decides
		}
		h := n.chain.Height()
		if h != last {
			last, behind = h, 0
			n.sync.Store(&Sync{Phase: Current})
			continue
		}
		if n.ahead(ctx) <= h {
			behind = 0
			continue
		}
		if behind++; behind >= looks {
			n.log.Warn("left behind, beginning anew", "height", h, "others", n.heard.Load())
			return
		}
	}
}

// ahead is how far the chain is known to be.
func (n *Node) ahead(ctx context.Context) uint64 {
	if n.heard.Load() > n.chain.Height() {
		return n.heard.Load()
	}
	ctx, cancel := context.WithTimeout(ctx, n.cfg.Heartbeat)
	defer cancel()
	target, err := n.client.Target(ctx)
	if err != nil {
		return 0
	}
	n.hear(target)
	return target
}
