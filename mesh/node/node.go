package node

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/shardy-network/orchestrator/events/durable"
	"github.com/shardy-network/orchestrator/mesh"
	"github.com/shardy-network/orchestrator/mesh/blocksync"
	"github.com/shardy-network/orchestrator/mesh/chain"
	"github.com/shardy-network/orchestrator/mesh/consensus"
)

// Node is an open node. All methods are safe for concurrent use.
type Node struct {
	cfg    Config
	key    ed25519.PublicKey
	log    *slog.Logger
	chain  *chain.Chain
	mesh   *mesh.Mesh
	server *blocksync.Server
	client *blocksync.Client

	engine  atomic.Pointer[consensus.Engine] // nil: not yet, or just being started anew
	heard   atomic.Uint64                    // the highest block known to be there
	sync    atomic.Pointer[Sync]
	waiting *waiting
	purses  purses
	accuser *accuser
	liars   chan liar

	failed  chan error
	failure atomic.Pointer[error]
	opened  chan struct{} // closed when the first engine runs

	ctx    context.Context // ends with Close
	cancel context.CancelCauseFunc
	work   sync.WaitGroup
	once   sync.Once
	err    error // of Close
}

// Open opens the chain, meets others, catches up and begins to vote or to follow. It returns when all of this runs; when
// catching up takes longer than Config.Meet, that goes on behind it.
func Open(ctx context.Context, cfg Config) (*Node, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	n := &Node{
		cfg: cfg, key: cfg.Key.Public().(ed25519.PublicKey), log: cfg.Logger, liars: make(chan liar, 64),
		failed: make(chan error, 1), opened: make(chan struct{}),
	}
	n.ctx, n.cancel = context.WithCancelCause(context.Background())
	n.sync.Store(&Sync{Phase: Asking})
	if err := n.start(); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	if err := n.settle(ctx); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	return n, nil
}

// start opens one room after the other: each needs those before it.
func (n *Node) start() (err error) {
	n.chain, err = chain.Open(chain.Config{
		Dir: filepath.Join(n.cfg.Dir, "chain"), Genesis: n.cfg.Genesis, Trusted: n.cfg.Trusted,
		SnapshotBlocks: n.cfg.SnapshotBlocks, KeepBlocks: n.cfg.KeepBlocks, SegmentBytes: n.cfg.SegmentBytes, Attested: n.cfg.Attested, Log: n.log,
	})
	if err != nil {
		return err
	}
	if err := durable.Sweep(n.cfg.Dir); err != nil { // the chain keeps other processes out
		return err
	}
	n.heard.Store(n.chain.Height())
	n.waiting = newWaiting(n.cfg.Waiting, string(n.key))
	if n.accuser, err = newAccuser(n, filepath.Join(n.cfg.Dir, "accusations")); err != nil {
		return err
	}
	if n.mesh, err = mesh.New(n.meshConfig()); err != nil {
		return err
	}
	n.server = blocksync.Serve(n.mesh.Host(), n.chain, blocksync.ServerConfig{Log: n.log})
	n.client = blocksync.NewClient(n.mesh.Host(), n.chain, blocksync.Config{
		Dir: filepath.Join(n.cfg.Dir, "download"), SnapshotBehind: n.cfg.SnapshotBehind, OnLiar: n.lied, Log: n.log,
	})
	h := n.chain.Height()
	from := n.chain.Follow(h - min(h, searchedBlocks) + 1) // the last ones may not have been looked at when the process ended
	for _, f := range []func(context.Context){n.keep, n.spread, n.punish, n.accuser.run, func(ctx context.Context) { n.follow(ctx, from) }} {
		n.work.Go(func() { f(n.ctx) })
	}
	return nil
}

// settle waits until the engine runs, or for as long as Open may take.
func (n *Node) settle(ctx context.Context) error {
	patience, cancel := context.WithTimeout(ctx, 2*n.cfg.Meet)
	defer cancel()
	select {
	case <-n.opened:
	case <-patience.Done():
	}
	if err := n.failure.Load(); err != nil {
		return *err
	}
	return context.Cause(ctx)
}

// Chain is the node's chain; it is closed with the node.
func (n *Node) Chain() *chain.Chain { return n.chain }

// Mesh is the node's door to the others; it is closed with the node.
func (n *Node) Mesh() *mesh.Mesh { return n.mesh }

// Key is the orchestrator's public key: its account.
func (n *Node) Key() ed25519.PublicKey { return n.key }

// Failed gives the error with which the node has given up: it neither votes nor follows any more, and the process should
// end. It gives one at most.
func (n *Node) Failed() <-chan error { return n.failed }

// fail is called by whatever cannot go on.
func (n *Node) fail(err error) {
	if !n.failure.CompareAndSwap(nil, &err) {
		return
	}
	n.log.Error("the node has given up", "error", err)
	n.failed <- err // there is room for the only one
}

// Close stops voting, leaves the others and closes the chain, in this order. It may be called twice.
func (n *Node) Close() error {
	n.once.Do(func() {
		n.cancel(ErrClosed)
		n.work.Wait() // the engine ends with its keeper
		var errs []error
		if n.server != nil {
			errs = append(errs, n.server.Close())
		}
		if n.mesh != nil {
			errs = append(errs, n.mesh.Close())
		}
		if n.chain != nil {
			errs = append(errs, n.chain.Close())
		}
		if err := errors.Join(errs...); err != nil {
			n.err = fmt.Errorf("close node: %w", err)
		}
	})
	return n.err
}
