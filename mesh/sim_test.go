package mesh

import (
	"crypto/ed25519"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/net/connmgr"
	"github.com/libp2p/go-libp2p/x/simlibp2p"
	"github.com/marcopolo/simnet"
)

// world is a network of orchestrators under virtual time. The hosts are simulated (QUIC over a simulated wire, since the
// simulation has no TCP); everything above them is the product's own.
type world struct {
	t     *testing.T
	net   *simnet.Simnet
	nodes []*node
	cut   atomic.Bool // packets between the two halves are lost
}

const latency = 25 * time.Millisecond

func newWorld(t *testing.T, n int, edit func(i int, c *Config, hosts []host.Host)) *world {
	t.Helper()
	w := &world{t: t}
	half := map[string]int{}
	nowhere := &net.UDPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 9}
	link := simnet.LinkSettings{BitsPerSecond: 100 * simlibp2p.OneMbps}
	nw, meta, err := simlibp2p.SimpleLibp2pNetwork(
		[]simlibp2p.NodeLinkSettingsAndCount{{LinkSettings: simnet.NodeBiDiLinkSettings{Downlink: link, Uplink: link}, Count: n}},
		func(p *simnet.Packet) time.Duration {
			if w.cut.Load() && half[p.From.String()] != half[p.To.String()] {
				p.To = nowhere
			}
			return latency
		},
		simlibp2p.NetworkSettings{UseBlankHost: true, BlankHostOptsForHostIdx: func(int) simlibp2p.BlankHostOpts {
			c, err := connmgr.NewConnManager(100, 200)
			if err != nil {
				t.Fatal(err)
			}
			return simlibp2p.BlankHostOpts{ConnMgr: c}
		}},
	)
	if err != nil {
		t.Fatal(err)
	}
	nw.Logger = slog.New(slog.DiscardHandler)
	w.net = nw
	for i := range n {
		half[fmt.Sprintf("%v:8000", simnet.IntToPublicIPv4(i))] = i % 2
	}
	nw.Start()
	for i, h := range meta.Nodes {
		raw, err := h.Peerstore().PrivKey(h.ID()).Raw()
		if err != nil {
			t.Fatal(err)
		}
		c := &chain{set: setOf(1, 0, 1, 2, 3)} // who are not among the hosts
		cfg := configOf(i, c)
		cfg.Key, cfg.NoDHT = ed25519.PrivateKey(raw), true
		cfg.PresenceEvery, cfg.PresenceExpiry, cfg.PingEvery = time.Minute, 10*time.Minute, time.Hour
		cfg.RedialEvery, cfg.RedialCap = 5*time.Second, 5*time.Second
		edit(i, &cfg, meta.Nodes)
		if cfg, err = cfg.withDefaults(); err != nil {
			t.Fatal(err)
		}
		m, err := prepare(cfg)
		if err != nil {
			t.Fatal(err)
		}
		m.host = h
		if err := m.start(); err != nil {
			t.Fatal(err)
		}
		w.nodes = append(w.nodes, &node{m, c})
	}
	return w
}

func (w *world) close() {
	for _, n := range w.nodes {
		if err := n.Close(); err != nil {
			w.t.Errorf("close: %v", err)
		}
	}
	w.net.Close()
	time.Sleep(time.Minute) // what QUIC still waits for
}

func address(h host.Host) string { return h.Addrs()[0].String() + "/p2p/" + h.ID().String() }

// sparse has every orchestrator know a few of those that were there before it.
func sparse(degree int) func(int, *Config, []host.Host) {
	r := rand.New(rand.NewPCG(1, 2))
	return func(i int, c *Config, hosts []host.Host) {
		for range min(i, degree) {
			c.Bootstrap = append(c.Bootstrap, address(hosts[r.IntN(i)]))
		}
	}
}

// TestManyUnderVirtualTime lets 100 orchestrators, each connected to a few, gossip over links of 25 ms. Everything arrives
// everywhere, once; counts are exact, and times are the network's, not the machine's.
func TestManyUnderVirtualTime(t *testing.T) {
	n, blocks := 100, 5
	if testing.Short() {
		n = 30
	}
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, n, sparse(4))
		defer w.close()
		time.Sleep(20 * time.Second)
		synctest.Wait()
		for i := range blocks { // several announce each block
			header, cert := certified(t, uint64(i+1), 1, 0, 1, 2)
			_, another := certified(t, uint64(i+1), 1, 1, 2, 3)
			if err := w.nodes[i].PublishAnnounce(t.Context(), header, cert); err != nil {
				t.Fatal(err)
			}
			if err := w.nodes[n-1-i].PublishAnnounce(t.Context(), header, another); err != nil {
				t.Fatal(err)
			}
		}
		for i := range 20 { // from five orchestrators, in batches
			if err := w.nodes[(i%5)*n/5].Submit(transaction(t, 50, i)); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Second) // five hops are 125 ms; a lost message comes back with the next heartbeat
		synctest.Wait()
		missing := 0
		for i, x := range w.nodes {
			own := 0
			if i%(n/5) == 0 {
				own = 4
			}
			if got := len(x.transactions()); got != 20-own {
				t.Errorf("node %d has %d transactions, want %d", i, got, 20-own)
			}
			published := 0
			if i < blocks || i >= n-blocks {
				published = 1
			}
			if got := len(x.blocks()); got < blocks-published || got > blocks {
				t.Errorf("node %d has %d blocks, want %d", i, got, blocks)
			}
			if got := len(x.Orchestrators()); got != n-1 {
				missing += n - 1 - got
			}
			for _, s := range x.Status().Topics {
				if s.Rejected+s.Throttled+s.Overflowed > 0 {
					t.Errorf("node %d: %+v", i, s)
				}
			}
		}
		if missing > 0 {
			t.Errorf("%d of %d presences missing", missing, n*(n-1))
		}
	})
}

// TestPartitionAndHeal cuts the network in two halves for a minute. Each goes on by itself, says who of the other is
// gone, and after the cut all hear each other again.
func TestPartitionAndHeal(t *testing.T) {
	const n = 12
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, n, func(i int, c *Config, hosts []host.Host) {
			c.PresenceEvery, c.PresenceExpiry = 5*time.Second, 30*time.Second
			for j := range i {
				c.Bootstrap = append(c.Bootstrap, address(hosts[j]))
			}
		})
		defer w.close()
		time.Sleep(15 * time.Second)
		w.alive(n - 1)
		w.cut.Store(true)
		if err := w.nodes[0].Submit(transaction(t, 50, 1)); err != nil {
			t.Fatal(err)
		}
		if err := w.nodes[1].Submit(transaction(t, 50, 2)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		w.alive(n/2 - 1)
		for i, x := range w.nodes {
			if got, want := len(x.transactions()), min(i/2, 1); got != want {
				t.Errorf("cut: node %d has %d transactions, want %d", i, got, want)
			}
			for _, p := range x.host.Network().Peers() {
				if w.index(p)%2 != i%2 {
					t.Errorf("cut: node %d believes it is connected to node %d", i, w.index(p))
				}
			}
		}
		w.cut.Store(false)
		time.Sleep(time.Minute)
		w.alive(n - 1)
		if err := w.nodes[0].Submit(transaction(t, 50, 3)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		for i, x := range w.nodes[1:] {
			txs := x.transactions()
			if len(txs) == 0 || string(txs[len(txs)-1]) != string(transaction(t, 50, 3)) {
				t.Errorf("healed: node %d has not heard", i+1)
			}
		}
	})
}

func (w *world) alive(want int) {
	w.t.Helper()
	synctest.Wait()
	for i, x := range w.nodes {
		if got := len(x.Orchestrators()); got != want {
			w.t.Errorf("node %d sees %d others alive, want %d", i, got, want)
		}
	}
}

func (w *world) index(id peer.ID) int {
	for i, x := range w.nodes {
		if x.self == id {
			return i
		}
	}
	return -1
}
