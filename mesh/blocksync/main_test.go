package blocksync

import (
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/muxer/yamux"
	"github.com/libp2p/go-libp2p/p2p/security/noise"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
	"go.uber.org/goleak"

	"github.com/shardy-network/orchestrator/mesh/chain"
	"github.com/shardy-network/orchestrator/mesh/chain/chaintest"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(
		m,
		goleak.IgnoreAnyFunction("github.com/libp2p/go-flow-metrics.(*sweeper).run"),
		goleak.IgnoreAnyFunction("github.com/libp2p/go-flow-metrics.(*sweeper).start"),
	)
}

// newHost makes a host whose peer id is that of the n-th key.
func newHost(t testing.TB, n int) host.Host {
	t.Helper()
	key, err := crypto.UnmarshalEd25519PrivateKey(chaintest.Key(n))
	if err != nil {
		t.Fatal(err)
	}
	h, err := libp2p.New(libp2p.Identity(key), libp2p.ListenAddrStrings("/ip4/127.0.0.1/tcp/0"),
		libp2p.Transport(tcp.NewTCPTransport), libp2p.Security(noise.ID, noise.New), libp2p.Muxer(yamux.ID, yamux.DefaultTransport),
		libp2p.DisableRelay(), libp2p.DisableMetrics(), libp2p.DisableIdentifyAddressDiscovery())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	return h
}

func connect(t testing.TB, from host.Host, to ...host.Host) {
	t.Helper()
	for _, h := range to {
		if err := from.Connect(t.Context(), peer.AddrInfo{ID: h.ID(), Addrs: h.Addrs()}); err != nil {
			t.Fatal(err)
		}
	}
}

func openChain(t testing.TB, cfg chain.Config) *chain.Chain {
	t.Helper()
	if cfg.Dir == "" {
		cfg.Dir = t.TempDir()
	}
	c, err := chain.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// node is the n-th validator, with the blocks that were made so far.
type node struct {
	host   host.Host
	chain  *chain.Chain
	server *Server
}

func serving(t testing.TB, m *chaintest.Maker, n int, cfg chain.Config, allow Allowance) *node {
	t.Helper()
	cfg.Genesis = m.Genesis
	c := openChain(t, cfg)
	for i := range m.Blocks { // each a write of its own, so that segments can be short
		if _, err := c.Accept(t.Context(), m.Blocks[i:i+1]); err != nil {
			t.Fatal(err)
		}
	}
	h := newHost(t, n)
	s := Serve(h, c, ServerConfig{Allowance: allow, Patience: quick})
	t.Cleanup(func() { _ = s.Close() })
	return &node{h, c, s}
}

// quick is enough for a machine that does other things too, and ends tests of those who stall.
var quick = Patience{Open: 20 * time.Second, Message: 20 * time.Second, Total: time.Minute, Status: 20 * time.Second}

// impatient is for peers that never answer.
var impatient = Patience{Open: 5 * time.Second, Message: 700 * time.Millisecond, Total: 2 * time.Second, Status: 700 * time.Millisecond}

// joiner has nothing but the genesis.
func joiner(t testing.TB, m *chaintest.Maker, cfg Config, to ...host.Host) (*Client, *chain.Chain) {
	t.Helper()
	c := openChain(t, chain.Config{Genesis: m.Genesis})
	h := newHost(t, 5000)
	connect(t, h, to...)
	if cfg.Patience == (Patience{}) {
		cfg.Patience = quick
	}
	return NewClient(h, c, cfg), c
}

func agree(t testing.TB, c *chain.Chain, m *chaintest.Maker) {
	t.Helper()
	if c.Height() != m.State.Height() || c.State().Root() != m.State.Root() {
		t.Fatalf("height %d root %x, want %d %x", c.Height(), c.State().Root(), m.State.Height(), m.State.Root())
	}
}

// snapshotted waits until a chain has a snapshot.
func snapshotted(t testing.TB, c *chain.Chain, height uint64) {
	t.Helper()
	for end := time.Now().Add(time.Minute); c.Status().Snapshot < height; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("no snapshot of %d", height)
		}
	}
}

// hostile answers a protocol as a test says.
func hostile(t testing.TB, n int, blocks, snapshots network.StreamHandler) host.Host {
	t.Helper()
	h := newHost(t, n)
	if blocks != nil {
		h.SetStreamHandler(blocksProtocol, blocks)
	}
	if snapshots != nil {
		h.SetStreamHandler(snapshotProtocol, snapshots)
	}
	return h
}
