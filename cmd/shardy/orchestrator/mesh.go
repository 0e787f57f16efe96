package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/shardy-network/orchestrator/actors/host"
	"github.com/shardy-network/orchestrator/actors/settle"
	"github.com/shardy-network/orchestrator/mesh"
	"github.com/shardy-network/orchestrator/mesh/chain"
	"github.com/shardy-network/orchestrator/mesh/node"
)

// MeshConfig says how an orchestrator meets others, and what it pays on their ledger.
type MeshConfig struct {
	// Genesis is what the chain begins with, encoded. It may be empty when the data folder has the chain.
	Genesis []byte
	// Listen and Announce are multiaddrs, Bootstrap multiaddrs with /p2p or the http addresses of other orchestrators' APIs.
	Listen, Announce, Bootstrap []string
	// MDNS finds orchestrators in the local network; Private refuses peers that are no validators.
	MDNS, Private bool
	// Trusted and FreshLog are the operator's word (package chain, package consensus).
	Trusted  chain.Trusted
	FreshLog bool
	// Heartbeat is how long a silent leader is waited for. Default 3 s.
	Heartbeat time.Duration
	// SnapshotBlocks, KeepBlocks and SegmentBytes: package chain. Zero: its defaults.
	SnapshotBlocks, KeepBlocks uint64
	SegmentBytes               int64
	// Observe follows the ledger without settling anything on it.
	Observe bool
	// Prices are what this orchestrator pays, Ahead locks the money when a job is submitted.
	Prices settle.Schedule
	Ahead  bool
	// AnchorEvery is how often the log's newest checkpoint is anchored. Default 30 s.
	AnchorEvery time.Duration
	// Share is the part of the processors that settlement takes at most while it lags, 0.01 to 1. Default 0.03.
	Share float64
}

// meshDir is where a data folder keeps what belongs to the mesh.
func (o *Orchestrator) meshDir(parts ...string) string {
	return filepath.Join(append([]string{o.cfg.DataDir, "mesh"}, parts...)...)
}

// openMesh opens the ledger and goes on the mesh, if that is configured.
func (o *Orchestrator) openMesh(ctx context.Context) (err error) {
	c := o.cfg.Mesh
	if c == nil {
		return nil
	}
	o.attested = new(attested)
	addresses, urls := splitBootstrap(c.Bootstrap)
	o.node, err = node.Open(ctx, node.Config{
		Key: o.key, Genesis: c.Genesis, Dir: o.meshDir(),
		Mesh: mesh.Config{
			Node: o.cfg.Node, Version: o.cfg.Version, Listen: c.Listen, Announce: c.Announce, Bootstrap: addresses,
			MDNS: c.MDNS, Private: c.Private, Logger: o.cfg.Logger, Ports: mesh.Ports{Capacity: o.toldCapacity},
		},
		Attested: o.attested.Verify, Meet: 500 * time.Millisecond, Heartbeat: c.Heartbeat, FreshLog: c.FreshLog, Trusted: c.Trusted,
		SnapshotBlocks: c.SnapshotBlocks, KeepBlocks: c.KeepBlocks, SegmentBytes: c.SegmentBytes, Logger: o.cfg.Logger,
	})
	if err != nil {
		return fmt.Errorf("mesh: %w", err)
	}
	o.onClose(o.node.Close)
	asking, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for _, url := range urls {
		wg.Go(func() { o.bootstrap(asking, url) })
	}
	o.onClose(func() error { stop(); wg.Wait(); return nil })
	return nil
}

// splitBootstrap tells the addresses of APIs from multiaddrs.
func splitBootstrap(all []string) (addresses, urls []string) {
	for _, a := range all {
		if strings.HasPrefix(a, "http://") || strings.HasPrefix(a, "https://") {
			urls = append(urls, strings.TrimSuffix(a, "/")+mesh.BootstrapPath)
			continue
		}
		addresses = append(addresses, a)
	}
	return addresses, urls
}

// bootstrap asks another orchestrator's API where it can be met, until one connection stands. From then on the mesh
// remembers whom it met.
func (o *Orchestrator) bootstrap(ctx context.Context, url string) {
	client := &http.Client{Timeout: 10 * time.Second}
	for wait := 250 * time.Millisecond; ; wait = min(2*wait, 30*time.Second) {
		err := o.meet(ctx, client, url)
		if err == nil || ctx.Err() != nil {
			return
		}
		if wait > time.Second {
			o.cfg.Logger.Warn("nobody was met through this address yet", "bootstrap", url, "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// meet connects with the first that another orchestrator names and that can be reached.
func (o *Orchestrator) meet(ctx context.Context, client *http.Client, url string) error {
	addresses, err := mesh.AskBootstrap(ctx, client, url, o.node.Chain().ID())
	if err != nil {
		return err
	}
	err = mesh.ErrBootstrap
	for _, a := range addresses {
		dial, cancel := context.WithTimeout(ctx, 10*time.Second)
		cerr := o.node.Mesh().Connect(dial, a)
		cancel()
		if cerr == nil {
			return nil
		}
		err = errors.Join(err, cerr)
	}
	return err
}

// capacityEvery is how often it is counted anew what others hear of this orchestrator's workers.
const capacityEvery = 2 * time.Second

// countCapacity keeps what the mesh is told of the workers, until ctx ends. The mesh must not wait when it asks.
func (o *Orchestrator) countCapacity(ctx context.Context) {
	for tick := time.NewTicker(capacityEvery); ; {
		if stats, err := o.host.Stats(ctx); err == nil {
			o.capacity.Store(new(capacityOf(stats)))
		}
		select {
		case <-ctx.Done():
			tick.Stop()
			return
		case <-tick.C:
		}
	}
}

// toldCapacity is what was counted last.
func (o *Orchestrator) toldCapacity() mesh.Capacity {
	if c := o.capacity.Load(); c != nil {
		return *c
	}
	return mesh.Capacity{}
}

func capacityOf(stats host.Stats) mesh.Capacity {
	var c mesh.Capacity
	for _, t := range stats.Dispatch.Tiers {
		if t.Tier >= 1 && int(t.Tier) <= len(c.Idle) {
			c.Idle[t.Tier-1] = uint32(t.Idle)
		}
	}
	return c
}

// ledgerAPI is the ledger as the API shows it.
func (o *Orchestrator) ledgerAPI() (ledgerAPI, error) {
	first, err := o.node.Chain().At(0)
	if err != nil {
		return ledgerAPI{}, fmt.Errorf("genesis: %w", err)
	}
	l := ledgerAPI{
		chain: o.node.Chain(), first: first.Hash, node: o.node, key: o.node.Key(), genesis: o.meshDir("chain", "genesis"),
	}
	if o.settlement != nil {
		l.settled = o.settled
	}
	return l, nil
}
