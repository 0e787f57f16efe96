package mesh

import (
	"context"
	"crypto/ed25519"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/actors/ledger/light"
	"github.com/shardy-network/orchestrator/actors/ledger/seal"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

// patience is for a machine that does other things as well.
const patience = 60 * time.Second

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, lingering...)
}

// lingering are goroutines that libp2p's dependencies keep for the whole process.
var lingering = []goleak.Option{
	goleak.IgnoreAnyFunction("github.com/libp2p/go-flow-metrics.(*sweeper).run"),
	goleak.IgnoreAnyFunction("github.com/libp2p/go-flow-metrics.(*sweeper).start"),
}

func keyOf(n int) ed25519.PrivateKey {
	var seed [32]byte
	binary.BigEndian.PutUint64(seed[:], uint64(n)+1)
	return ed25519.NewKeyFromSeed(seed[:])
}

func public(k ed25519.PrivateKey) ed25519.PublicKey { return k.Public().(ed25519.PublicKey) }

// chain is a ledger as the mesh sees it: a set of validators, a height, and a check of transactions.
type chain struct {
	mu        sync.Mutex
	set       *ledgerv1.ValidatorSet
	txs       [][]byte
	announced []Announcement
	height    uint64
}

func (c *chain) transactions() [][]byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([][]byte(nil), c.txs...)
}

func (c *chain) blocks() []Announcement {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]Announcement(nil), c.announced...)
}

func (c *chain) elect(set *ledgerv1.ValidatorSet) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.set = set
}

func (c *chain) ports() Ports {
	return Ports{
		CheckTransaction: checkSigned,
		Transactions: func(txs [][]byte) {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.txs = append(c.txs, txs...)
		},
		Validators: func() *ledgerv1.ValidatorSet {
			c.mu.Lock()
			defer c.mu.Unlock()
			return c.set
		},
		Announced: func(a Announcement) {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.announced = append(c.announced, a)
		},
		Height: func() uint64 {
			c.mu.Lock()
			defer c.mu.Unlock()
			return c.height
		},
		Capacity: func() Capacity { return Capacity{Idle: [3]uint32{3, 2, 1}, FreeCredits: 7} },
	}
}

// checkSigned is the part of a ledger's check that this package's tests need: the sender has signed.
func checkSigned(tx []byte) error {
	s, body := new(ledgerv1.SignedTransaction), new(ledgerv1.Transaction)
	if err := proto.Unmarshal(tx, s); err != nil {
		return err
	}
	if err := proto.Unmarshal(s.Body, body); err != nil {
		return err
	}
	if !seal.Verify(body.Sender, seal.TransactionText(s.Body), s.Signature) {
		return fmt.Errorf("bad signature")
	}
	return nil
}

func setOf(version uint64, keys ...int) *ledgerv1.ValidatorSet {
	set := &ledgerv1.ValidatorSet{Version: version}
	for _, n := range keys {
		set.Validators = append(set.Validators, &ledgerv1.Validator{Key: public(keyOf(n))})
	}
	return set
}

type node struct {
	*Mesh
	*chain
}

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

func configOf(n int, c *chain) Config {
	return Config{
		Key: keyOf(n), Chain: "test-1", Node: fmt.Sprintf("node-%d", n), Version: "v0", Ports: c.ports(), Logger: quiet(),
		PresenceEvery: 400 * time.Millisecond, PresenceExpiry: patience, RedialEvery: 100 * time.Millisecond,
		RedialCap: 500 * time.Millisecond, PingEvery: time.Second, CheckTimeout: 30 * time.Second,
	}
}

// open starts an orchestrator whose validators are the keys 0 to 3.
func open(t *testing.T, n int, edits ...func(*Config)) *node {
	t.Helper()
	c := &chain{set: setOf(1, 0, 1, 2, 3)}
	cfg := configOf(n, c)
	for _, edit := range edits {
		edit(&cfg)
	}
	m, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return &node{m, c}
}

func meets(others ...*node) func(*Config) {
	return func(c *Config) {
		for _, o := range others {
			c.Bootstrap = append(c.Bootstrap, o.Bootstrap().Addresses...)
		}
	}
}

// eventually waits for something that other goroutines bring about.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", patience, what)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// gathered waits until all see each other in all topics.
func gathered(t *testing.T, nodes ...*node) {
	t.Helper()
	for _, n := range nodes {
		eventually(t, n.cfg.Node+" has its topics' peers", func() bool {
			for _, topic := range n.gossip.topics {
				if len(topic.ListPeers()) < len(nodes)-1 {
					return false
				}
			}
			return true
		})
	}
}

func transaction(t testing.TB, sender, salt int) []byte {
	t.Helper()
	body, err := proto.Marshal(&ledgerv1.Transaction{
		ChainId: "test-1", Sender: public(keyOf(sender)), Salt: binary.BigEndian.AppendUint64(make([]byte, 8), uint64(salt)), ValidUntil: 100,
	})
	if err != nil {
		t.Fatal(err)
	}
	b, err := proto.Marshal(seal.SignTransaction(body, keyOf(sender)))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// certified is a block of a height, signed by validators.
func certified(t testing.TB, height, version uint64, signers ...int) (header, certificate []byte) {
	t.Helper()
	zero := make([]byte, 32)
	header, err := proto.Marshal(&ledgerv1.Header{
		ChainId: "test-1", Height: height, Parent: zero, Transactions: zero, Results: zero, State: zero, ValidatorsVersion: version,
	})
	if err != nil {
		t.Fatal(err)
	}
	hash := seal.HeaderHash(header)
	c := &ledgerv1.Certificate{Height: height, Block: hash[:]}
	vote := seal.VoteOf(c, version)
	for _, n := range signers {
		c.Signatures = append(c.Signatures, &ledgerv1.ValidatorSignature{
			Validator: public(keyOf(n)), Signature: seal.SignVote("test-1", vote, keyOf(n)),
		})
	}
	if certificate, err = proto.Marshal(c); err != nil {
		t.Fatal(err)
	}
	if len(signers) >= light.Quorum(4) && slices.Max(signers) < 4 {
		if err := light.VerifyCertificate(header, setOf(version, 0, 1, 2, 3), c); err != nil {
			t.Fatal(err)
		}
	}
	return header, certificate
}

// TestTwoTellEachOther sends something over every topic in both directions.
func TestTwoTellEachOther(t *testing.T) {
	a := open(t, 0)
	b := open(t, 1, meets(a))
	gathered(t, a, b)
	for i, n := range []*node{a, b} {
		if err := n.Submit(transaction(t, 50+i, 1)); err != nil {
			t.Fatal(err)
		}
		header, cert := certified(t, uint64(i+1), 1, 0, 1, 2)
		if err := n.PublishAnnounce(context.Background(), header, cert); err != nil {
			t.Fatal(err)
		}
	}
	for i, n := range []*node{a, b} {
		other := []*node{b, a}[i]
		eventually(t, "one transaction and one block", func() bool { return len(n.transactions()) == 1 && len(n.blocks()) == 1 })
		if got, want := string(n.transactions()[0]), string(transaction(t, 51-i, 1)); got != want {
			t.Fatalf("transaction %x, want %x", got, want)
		}
		if got := n.blocks()[0]; got.Header.Height != uint64(2-i) || got.From != other.PeerID() {
			t.Fatalf("block %v", got)
		}
		eventually(t, "presence", func() bool { return len(n.Orchestrators()) == 1 })
		o := n.Orchestrators()[0]
		if o.Peer != other.PeerID() || !o.Validator || o.Node != other.cfg.Node || o.Capacity != (Capacity{[3]uint32{3, 2, 1}, 7}) || len(o.Addresses) == 0 {
			t.Fatalf("presence %+v", o)
		}
		sequence := o.Sequence
		eventually(t, "another presence", func() bool { return n.Orchestrators()[0].Sequence > sequence })
	}
	eventually(t, "latency, name, bytes and score of the peer", func() bool { // measured once a second
		s := a.Status()
		return len(s.Peers) == 1 && s.Peers[0].Latency > 0 && s.Peers[0].Node == "node-1" && s.Peers[0].In > 0 && s.Peers[0].Score > 0
	})
	s := a.Status()
	if p := s.Peers[0]; p.Direction != "inbound" || !p.Validator || p.Agent != "shardy/v0" || len(p.Protocols) == 0 {
		t.Errorf("peer %+v", p)
	}
	if s.Validators != 4 || s.Reached != 1 || s.Orchestrators != 1 || s.Bandwidth.In == 0 || len(s.Topics) != 3 || !s.Validator {
		t.Errorf("status %+v", s)
	}
	for _, topic := range s.Topics {
		if topic.Peers != 1 || topic.In == 0 || topic.Out == 0 || topic.Rejected != 0 {
			t.Errorf("topic %+v", topic)
		}
	}
}
