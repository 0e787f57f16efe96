package consensus

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/actors/ledger/light"
	"github.com/shardy-network/orchestrator/actors/ledger/seal"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

// patience is how long a test waits for what must come: the machine may be busy with much else.
const patience = 90 * time.Second

func testKey(i int) ed25519.PrivateKey {
	seed := make([]byte, ed25519.SeedSize)
	copy(seed, fmt.Sprintf("validator %d", i))
	return ed25519.NewKeyFromSeed(seed)
}

func testID(i int) Key { return Key(testKey(i).Public().(ed25519.PublicKey)) }

func testSet(version uint64, nodes ...int) *ledgerv1.ValidatorSet {
	s := &ledgerv1.ValidatorSet{Version: version}
	for _, i := range nodes {
		k := testID(i)
		s.Validators = append(s.Validators, &ledgerv1.Validator{Key: k[:], Name: fmt.Sprintf("v%d", i)})
	}
	slices.SortFunc(s.Validators, func(a, b *ledgerv1.Validator) int { return slices.Compare(a.Key, b.Key) })
	return s
}

// node is one validator of a test, with its folder.
type node struct {
	index  int
	key    Key
	dir    string
	ledger *toy
	engine *Engine
	lies   func(*ledgerv1.CertifiedBlock) *ledgerv1.CertifiedBlock // as a server of blocks
}

// testNet is a chain with its nodes, in memory.
type testNet struct {
	t       testing.TB
	genesis *ledgerv1.ValidatorSet
	x       *Exchange
	tune    func(*Config)
	dir     string

	mu       sync.Mutex
	nodes    map[int]*node
	severed  map[Key]bool // cannot pull
	evidence []*ledgerv1.VotePair
}

func newNetwork(t *testing.T, n int, tune func(*Config)) *testNet {
	t.Helper()
	net := newNetworkIn(t, t.TempDir(), n, tune)
	t.Cleanup(net.close)
	return net
}

func newNetworkIn(t testing.TB, dir string, n int, tune func(*Config)) *testNet {
	var all []int
	for i := range n {
		all = append(all, i)
	}
	return &testNet{
		t: t, genesis: testSet(1, all...), x: NewExchange(), tune: tune, dir: dir, nodes: map[int]*node{}, severed: map[Key]bool{},
	}
}

func testLog(i int) *slog.Logger {
	if os.Getenv("CONSENSUS_LOG") == "" {
		return slog.New(slog.DiscardHandler)
	}
	level := slog.LevelInfo
	if os.Getenv("CONSENSUS_LOG") == "debug" {
		level = slog.LevelDebug
	}
	return slog.New(slog.NewTextHandler(io.Writer(os.Stderr), &slog.HandlerOptions{Level: level})).With("node", i)
}

func (net *testNet) start(i int) *node {
	net.t.Helper()
	n := &node{index: i, key: testID(i), dir: filepath.Join(net.dir, fmt.Sprint(i))}
	var err error
	if n.ledger, err = openToy(n.dir, n.key, net.genesis); err != nil {
		net.t.Fatal(err)
	}
	net.open(n)
	return n
}

// open runs an engine over the ledger of a node.
func (net *testNet) open(n *node) {
	net.t.Helper()
	cfg := Config{
		Chain: toyChain, Key: testKey(n.index), Dir: n.dir, Application: n.ledger, Transport: net.x.Join(n.key),
		Puller: &toyPuller{net, n.key}, Heartbeat: 2 * time.Second, Tick: 50 * time.Millisecond, BatchInterval: 20 * time.Millisecond,
		Log: testLog(n.index),
		OnEquivocation: func(p *ledgerv1.VotePair) {
			net.mu.Lock()
			defer net.mu.Unlock()
			net.evidence = append(net.evidence, p)
		},
	}
	if net.tune != nil {
		net.tune(&cfg)
	}
	var err error
	if n.engine, err = Open(cfg); err != nil {
		net.t.Fatal(err)
	}
	net.mu.Lock()
	defer net.mu.Unlock()
	net.nodes[n.index] = n
}

func (net *testNet) startAll() []*node {
	net.t.Helper()
	var out []*node
	for i := range net.genesis.Validators {
		out = append(out, net.start(i))
	}
	for _, n := range out {
		net.awaitRole(n, Validator)
	}
	return out
}

// stop ends a node and forgets it.
func (net *testNet) stop(n *node) {
	net.t.Helper()
	net.mu.Lock()
	delete(net.nodes, n.index)
	net.mu.Unlock()
	if err := n.engine.Close(); err != nil {
		net.t.Error(err)
	}
	if err := n.ledger.file.Close(); err != nil {
		net.t.Error(err)
	}
}

func (net *testNet) close() {
	for _, n := range net.all() {
		net.stop(n)
	}
}

func (net *testNet) all() []*node {
	net.mu.Lock()
	defer net.mu.Unlock()
	var out []*node
	for _, n := range net.nodes {
		out = append(out, n)
	}
	slices.SortFunc(out, func(a, b *node) int { return a.index - b.index })
	return out
}

func (net *testNet) reachable(self Key) []*node {
	net.mu.Lock()
	cut := net.severed[self]
	net.mu.Unlock()
	if cut {
		return nil
	}
	return slices.DeleteFunc(net.all(), func(n *node) bool { return n.key == self })
}

func (net *testNet) faults() int { return light.Faults(len(net.genesis.Validators)) }

func nthHighest(heights []uint64, n int) uint64 {
	slices.SortFunc(heights, func(a, b uint64) int { return int(b) - int(a) })
	if len(heights) <= n {
		return 0
	}
	return heights[n]
}

// isolate cuts a node off from all others, or connects it again.
func (net *testNet) isolate(n *node, cut bool) {
	for i := range 8 {
		net.x.Cut(n.key, testID(i), cut)
		net.x.Cut(testID(i), n.key, cut)
	}
	net.mu.Lock()
	defer net.mu.Unlock()
	net.severed[n.key] = cut
}

// submit gives transactions to some nodes, as gossip would.
func (net *testNet) submit(nodes []*node, txs ...[]byte) {
	net.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for _, tx := range txs {
		for _, n := range nodes {
			if err := n.engine.Submit(ctx, tx); err != nil {
				net.t.Fatalf("submit to node %d: %v", n.index, err)
			}
		}
	}
}

func toyTxs(from, n int) [][]byte {
	var txs [][]byte
	for i := range n {
		txs = append(txs, toyTx(from+i))
	}
	return txs
}

// awaitTxs waits until all nodes have committed all transactions.
func (net *testNet) awaitTxs(nodes []*node, txs [][]byte) {
	net.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for _, n := range nodes {
		next := 0
		if err := n.ledger.await(ctx, func() bool {
			for next < len(txs) && n.ledger.count[string(txs[next])] > 0 {
				next++
			}
			return next == len(txs)
		}); err != nil {
			for _, o := range nodes {
				net.t.Logf("node %d: %+v", o.index, o.engine.Status())
			}
			net.t.Fatalf("node %d has %d of %d transactions: %v", n.index, next, len(txs), err)
		}
	}
}

func (net *testNet) awaitHeight(n *node, h uint64) {
	net.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := n.ledger.await(ctx, func() bool { return uint64(len(n.ledger.blocks)) >= h }); err != nil {
		net.t.Fatalf("node %d (%+v) does not reach height %d: %v", n.index, n.engine.Status(), h, err)
	}
}

// await polls what has no event.
func (net *testNet) await(what string, ok func() bool) {
	net.t.Helper()
	deadline := time.After(patience)
	poll := time.NewTicker(5 * time.Millisecond)
	defer poll.Stop()
	for !ok() {
		select {
		case <-poll.C:
		case <-deadline:
			for _, o := range net.all() {
				net.t.Logf("node %d: %+v", o.index, o.engine.Status())
			}
			net.t.Fatalf("did not come: %s", what)
		}
	}
}

func (net *testNet) awaitRole(n *node, r Role) {
	net.t.Helper()
	net.await(fmt.Sprintf("node %d is %s", n.index, r), func() bool { return n.engine.Status().Role == r })
}

// leader is the node that leads by the word of the others.
func (net *testNet) leader() *node {
	net.t.Helper()
	var found *node
	net.await("a leader", func() bool {
		for _, n := range net.all() {
			if s := n.engine.Status(); s.Role == Validator && s.Leader == n.key {
				found = n
				return true
			}
		}
		return false
	})
	return found
}

func without(nodes []*node, n *node) []*node {
	return slices.DeleteFunc(slices.Clone(nodes), func(o *node) bool { return o == n })
}

// agree holds that all nodes have the same blocks as far as they have any, each with a certificate that a light client
// takes, and that no transaction was executed twice.
func (net *testNet) agree(nodes []*node) {
	net.t.Helper()
	for _, n := range nodes {
		for h := uint64(1); h <= n.ledger.Height(); h++ {
			b, err := n.ledger.Block(h)
			if err != nil {
				net.t.Fatal(err)
			}
			if err := light.VerifyCertificate(b.Block.Header, n.ledger.setBefore(h), b.Certificate); err != nil {
				net.t.Fatalf("node %d: certificate of block %d: %v", n.index, h, err)
			}
			if o, err := nodes[0].ledger.Block(h); err == nil && seal.HeaderHash(o.Block.Header) != seal.HeaderHash(b.Block.Header) {
				net.t.Fatalf("nodes %d and %d fork at height %d", nodes[0].index, n.index, h)
			}
		}
		n.ledger.mu.Lock()
		for tx, times := range n.ledger.count {
			if times != 1 && tx[0] != 'v' {
				net.t.Errorf("node %d: %q was committed %d times", n.index, tx, times)
			}
		}
		n.ledger.mu.Unlock()
		if r := n.engine.Status(); r.Err != nil {
			net.t.Errorf("node %d: %v", n.index, r.Err)
		}
	}
}

func marshal(m proto.Message) []byte {
	b, err := proto.Marshal(m)
	if err != nil {
		panic(err)
	}
	return b
}

func mustUnmarshal(b []byte, m proto.Message) {
	if err := proto.Unmarshal(b, m); err != nil {
		panic(err)
	}
}
