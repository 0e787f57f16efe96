package rogue

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/shardy-network/orchestrator/mesh"
	"github.com/shardy-network/orchestrator/mesh/blocksync"
	"github.com/shardy-network/orchestrator/mesh/chain"
	"github.com/shardy-network/orchestrator/mesh/chain/ordered"
	"github.com/shardy-network/orchestrator/mesh/consensus"
)

// Vice is a way to break the protocol.
type Vice string

// The vices.
const (
	Propose Vice = "propose" // as leader, propose another block to everybody: some of a wrong state, some of another time
	Vote    Vice = "vote"    // vote for a second block with every vote
	Repeat  Vice = "repeat"  // say everything again that was ever said or heard, NewViews first
	Flood   Vice = "flood"   // garbage on streams, streams that are left open, requests without end, gossip that is wrong
	Serve   Vice = "serve"   // claim a great height, and hand out blocks and snapshots that are wrong
)

var vices = []Vice{Propose, Vote, Repeat, Flood, Serve}

// ErrVice says that there is no such vice.
var ErrVice = errors.New("rogue: no such vice")

// Config of a rogue.
type Config struct {
	Key       ed25519.PrivateKey
	Genesis   []byte
	Dir       string
	Listen    string // multiaddr
	Bootstrap []string
	Heartbeat time.Duration
	Log       *slog.Logger `json:"-"`
}

// Rogue is one that runs.
type Rogue struct {
	cfg    Config
	log    *slog.Logger
	chain  *chain.Chain
	mesh   *mesh.Mesh
	server *blocksync.Server
	engine *consensus.Engine
	wire   *wire

	on     map[Vice]*atomic.Bool
	counts map[string]*atomic.Int64 // of what was done; the keys do not change

	cancel context.CancelFunc
	work   sync.WaitGroup
}

// Open starts a validator without vices.
func Open(cfg Config) (_ *Rogue, err error) {
	r := &Rogue{cfg: cfg, log: cfg.Log, on: map[Vice]*atomic.Bool{}, counts: map[string]*atomic.Int64{}, cancel: func() {}}
	if r.log == nil {
		r.log = slog.New(slog.DiscardHandler)
	}
	for _, v := range vices {
		r.on[v] = new(atomic.Bool)
	}
	for _, name := range deeds {
		r.counts[name] = new(atomic.Int64)
	}
	if err := r.open(); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

func (r *Rogue) open() (err error) {
	if r.chain, err = chain.Open(chain.Config{Dir: filepath.Join(r.cfg.Dir, "chain"), Genesis: r.cfg.Genesis, SnapshotBlocks: 5}); err != nil {
		return err
	}
	var engine atomic.Pointer[consensus.Engine]
	r.mesh, err = mesh.New(mesh.Config{
		Key: r.cfg.Key, Chain: r.chain.ID(), Listen: []string{r.cfg.Listen}, Bootstrap: r.cfg.Bootstrap, Logger: r.log,
		RedialEvery: 500 * time.Millisecond, RedialCap: 2 * time.Second,
		Ports: mesh.Ports{
			CheckTransaction: func([]byte) error { return nil }, // it says what it likes
			Validators:       r.chain.Validators, Height: r.chain.Height,
			Transactions: func(txs [][]byte) {
				if e := engine.Load(); e != nil {
					r.pass(e, txs)
				}
			},
			Announced: func(a mesh.Announcement) {
				if e := engine.Load(); e != nil {
					e.Heard(a.Header.Height)
				}
			},
		},
	})
	if err != nil {
		return err
	}
	r.server = blocksync.Serve(r.mesh.Host(), source{r.chain, r}, blocksync.ServerConfig{Log: r.log})
	client := blocksync.NewClient(r.mesh.Host(), r.chain, blocksync.Config{Log: r.log})
	r.wire = newWire(r, consensus.NewStreams(r.mesh.Host(), r.log))
	r.engine, err = consensus.Open(consensus.Config{
		Chain: r.chain.ID(), Key: r.cfg.Key, Dir: filepath.Join(r.cfg.Dir, "votes"), Heartbeat: r.cfg.Heartbeat, FreshLog: true,
		Application: ordered.Application{Chain: r.chain}, Transport: r.wire, Puller: client, Log: r.log,
	})
	if err != nil {
		return err
	}
	engine.Store(r.engine)
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel = cancel
	for _, f := range []func(context.Context){r.repeat, r.garbage, r.streams, r.requests, r.gossip} {
		r.work.Go(func() { f(ctx) })
	}
	return nil
}

// pass takes transactions of others as an honest validator does.
func (r *Rogue) pass(e *consensus.Engine, txs [][]byte) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	for _, tx := range txs {
		if e.Submit(ctx, tx) != nil {
			return
		}
	}
}

// Set switches a vice on or off.
func (r *Rogue) Set(v Vice, on bool) error {
	switch s := r.on[v]; s {
	case nil:
		return fmt.Errorf("%w: %q", ErrVice, v)
	default:
		s.Store(on)
	}
	return nil
}

func (r *Rogue) has(v Vice) bool { return r.on[v].Load() }

// The deeds that are counted.
const (
	proposals     = "proposals"      // changed
	votes         = "votes"          // second ones
	repeated      = "repeated"       // messages
	newViews      = "new_views"      // of these
	frames        = "frames"         // of garbage
	streamsOpened = "streams_opened" // that nothing useful was said on
	asked         = "asked"          // requests
	said          = "said"           // messages of gossip
	boasts        = "boasts"         // statuses
	badBlocks     = "bad_blocks"
	badSnapshots  = "bad_snapshots"
)

var deeds = []string{proposals, votes, repeated, newViews, frames, streamsOpened, asked, said, boasts, badBlocks, badSnapshots}

func (r *Rogue) did(what string) { r.counts[what].Add(1) }

// Counts are of what was done since the start.
func (r *Rogue) Counts() map[string]int64 {
	all := map[string]int64{}
	for name, n := range r.counts {
		all[name] = n.Load()
	}
	return all
}

// Chain is what it knows itself.
func (r *Rogue) Chain() *chain.Chain { return r.chain }

// Mesh is its door.
func (r *Rogue) Mesh() *mesh.Mesh { return r.mesh }

// Status is of its engine.
func (r *Rogue) Status() consensus.Status { return r.engine.Status() }

// Close ends it.
func (r *Rogue) Close() error {
	r.cancel()
	r.work.Wait()
	var errs []error
	if r.engine != nil {
		errs = append(errs, r.engine.Close())
	} else if r.wire != nil {
		errs = append(errs, r.wire.Close())
	}
	if r.server != nil {
		errs = append(errs, r.server.Close())
	}
	if r.mesh != nil {
		errs = append(errs, r.mesh.Close())
	}
	if r.chain != nil {
		errs = append(errs, r.chain.Close())
	}
	return errors.Join(errs...)
}
