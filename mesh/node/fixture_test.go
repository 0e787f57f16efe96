package node

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/shardy-network/orchestrator/actors/ledger"
	"github.com/shardy-network/orchestrator/mesh"
	"github.com/shardy-network/orchestrator/mesh/chain"
	"github.com/shardy-network/orchestrator/mesh/chain/chaintest"
	"github.com/shardy-network/orchestrator/mesh/consensus"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

// patience is for a machine that does other things as well.
const patience = 60 * time.Second

const heartbeat = time.Second

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(
		m,
		// What libp2p's dependencies keep for the whole process.
		goleak.IgnoreAnyFunction("github.com/libp2p/go-flow-metrics.(*sweeper).run"),
		goleak.IgnoreAnyFunction("github.com/libp2p/go-flow-metrics.(*sweeper).start"),
	)
}

// world is a chain and those who keep it. Validators have the keys chaintest.Key(0) and on.
type world struct {
	t     *testing.T
	maker *chaintest.Maker
	tune  func(i int, c *Config)

	mu    sync.Mutex
	dirs  map[int]string
	nodes map[int]*Node
}

func newWorld(t *testing.T, validators int) *world {
	t.Helper()
	return &world{
		t: t, maker: chaintest.New(t, validators, 10), tune: func(int, *Config) {}, dirs: map[int]string{}, nodes: map[int]*Node{},
	}
}

func testLog() *slog.Logger {
	if os.Getenv("NODE_TEST_LOG") != "" {
		return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	return slog.New(slog.NewTextHandler(io.Discard, nil))
}

func (w *world) config(i int) Config {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.dirs[i] == "" {
		w.dirs[i] = w.t.TempDir()
	}
	c := Config{
		Key: chaintest.Key(i), Genesis: w.maker.Genesis, Dir: w.dirs[i], Heartbeat: heartbeat, Meet: 2 * time.Second,
		Logger: testLog().With("node", i),
		Mesh: mesh.Config{
			Node: fmt.Sprintf("node-%d", i), NoDHT: true, RedialEvery: 100 * time.Millisecond, RedialCap: 500 * time.Millisecond,
			PresenceEvery: 400 * time.Millisecond, CheckTimeout: 30 * time.Second,
		},
	}
	for _, n := range w.nodes {
		c.Mesh.Bootstrap = append(c.Mesh.Bootstrap, n.Mesh().Bootstrap().Addresses...)
	}
	w.tune(i, &c)
	return c
}

// open opens a node that knows those who are open already.
func (w *world) open(i int) *Node {
	w.t.Helper()
	n, err := Open(w.t.Context(), w.config(i))
	if err != nil {
		w.t.Fatal(err)
	}
	w.mu.Lock()
	w.nodes[i] = n
	w.mu.Unlock()
	w.t.Cleanup(func() {
		if err := n.Close(); err != nil {
			w.t.Error(err)
		}
	})
	return n
}

func (w *world) close(i int) {
	w.t.Helper()
	w.mu.Lock()
	n := w.nodes[i]
	delete(w.nodes, i)
	w.mu.Unlock()
	if err := n.Close(); err != nil {
		w.t.Fatal(err)
	}
}

// begin opens as many and waits until all of them are connected to each other and vote.
func (w *world) begin(count int) []*Node {
	w.t.Helper()
	var nodes []*Node
	for i := range count {
		nodes = append(nodes, w.open(i))
	}
	w.ready(nodes...)
	return nodes
}

func (w *world) ready(nodes ...*Node) {
	w.t.Helper()
	for _, n := range nodes {
		w.await("a validator that votes and has met the others", func() bool {
			s := n.Mesh().Status()
			return n.Status().Role == consensus.Validator && s.Reached == s.Validators-1 && s.Topics[1].Peers >= s.Validators-1
		})
	}
}

// await polls, as it looks at what goes on between hosts.
func (w *world) await(what string, done func() bool) {
	w.t.Helper()
	for end := time.Now().Add(patience); !done(); {
		if time.Now().After(end) {
			w.t.Fatalf("timed out waiting for %s", what)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func (w *world) ctx() context.Context {
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	w.t.Cleanup(cancel)
	return ctx
}

// transaction is of a key, valid for long enough from where a node is.
func transaction(n *Node, sender ed25519.PrivateKey, actions ...*ledgerv1.Action) []byte {
	return ledger.Sign(body(n, sender, n.Chain().Height()+100, actions...), sender)
}

func transfer(n *Node, to int, amount uint64) []byte {
	return transaction(n, chaintest.Key(1000), &ledgerv1.Action{Kind: &ledgerv1.Action_Transfer{
		Transfer: &ledgerv1.Transfer{To: chaintest.Public(chaintest.Key(to)), Amount: amount},
	}})
}

func body(n *Node, sender ed25519.PrivateKey, until uint64, actions ...*ledgerv1.Action) *ledgerv1.Transaction {
	return &ledgerv1.Transaction{
		ChainId: n.Chain().ID(), Sender: chaintest.Public(sender), Salt: salt(), ValidUntil: until, Actions: actions,
	}
}

// submit hands in a transaction and waits until all of these nodes have it in a block with this receipt.
func (w *world) submit(n *Node, tx []byte, code ledgerv1.ReceiptCode, all ...*Node) chain.Outcome {
	w.t.Helper()
	id, err := n.Submit(w.ctx(), tx)
	if err != nil {
		w.t.Fatal(err)
	}
	var o chain.Outcome
	for _, n := range append(all, n) {
		if o, err = n.Chain().Await(w.ctx(), id); err != nil {
			w.t.Fatalf("%s: %v", n.Mesh().PeerID(), err)
		}
		if o.Receipt.Code != code {
			w.t.Fatalf("receipt %v, want %v", o.Receipt, code)
		}
	}
	return o
}

// agree waits until all are at one height and checks that they have the same state.
func (w *world) agree(nodes ...*Node) {
	w.t.Helper()
	w.await("the same height", func() bool {
		for _, n := range nodes {
			if n.Chain().Height() != nodes[0].Chain().Height() {
				return false
			}
		}
		return true
	})
	h := nodes[0].Chain().Height()
	first, err := nodes[0].Chain().At(h)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, n := range nodes[1:] {
		b, err := n.Chain().At(h)
		if err != nil || b.Hash != first.Hash {
			w.t.Fatalf("height %d: %x and %x (%v)", h, first.Hash, b.Hash, err)
		}
	}
}
