package rogue

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"io"
	"log/slog"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/shardy-network/orchestrator/mesh"
	"github.com/shardy-network/orchestrator/mesh/chain/chaintest"
	"github.com/shardy-network/orchestrator/mesh/consensus"
	"github.com/shardy-network/orchestrator/mesh/node"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

const heartbeat = time.Second

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(
		m,
		goleak.IgnoreAnyFunction("github.com/libp2p/go-flow-metrics.(*sweeper).run"),
		goleak.IgnoreAnyFunction("github.com/libp2p/go-flow-metrics.(*sweeper).start"),
	)
}

// scene is three honest validators, and a rogue that leads.
type scene struct {
	*testing.T
	maker  *chaintest.Maker
	rogue  *Rogue
	honest []*node.Node
	who    []int    // their keys
	dirs   []string // and folders
	paid   int
}

func testLog(name string) *slog.Logger {
	if os.Getenv("ROGUE_TEST_LOG") != "" {
		return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug})).With("node", name)
	}
	return slog.New(slog.NewTextHandler(io.Discard, nil))
}

func open(t *testing.T) *scene {
	s := &scene{T: t, maker: chaintest.New(t, 4, 10)}
	var keys []ed25519.PublicKey
	for i := range 4 {
		keys = append(keys, chaintest.Public(chaintest.Key(i)))
	}
	lead := Leads(keys)
	var err error
	s.rogue, err = Open(Config{
		Key: chaintest.Key(lead), Genesis: s.maker.Genesis, Dir: t.TempDir(), Listen: "/ip4/127.0.0.1/tcp/0", Heartbeat: heartbeat,
		Log: testLog("rogue"),
	})
	s.must(err)
	t.Cleanup(func() { s.must(s.rogue.Close()) })
	for i := range 4 {
		if i != lead {
			dir := t.TempDir()
			s.honest, s.who, s.dirs = append(s.honest, s.node(i, dir, s.addresses()...)), append(s.who, i), append(s.dirs, dir)
		}
	}
	s.ready()
	return s
}

func (s *scene) ready() {
	s.Helper()
	s.await("four that vote", func() bool {
		for _, n := range s.honest {
			if st := n.Mesh().Status(); n.Status().Role != consensus.Validator || st.Reached != 3 {
				return false
			}
		}
		return s.rogue.Status().Role == consensus.Validator
	})
}

// leads makes the rogue lead: whoever leads instead goes away for a while, until it is the rogue's turn.
func (s *scene) leads() {
	s.Helper()
	for range 12 {
		leader := s.rogue.Status().Leader
		if string(leader[:]) == string(s.rogue.cfg.Key[32:]) {
			return
		}
		for i, n := range s.honest {
			if string(leader[:]) != string(n.Key()) {
				continue
			}
			s.must(n.Close())
			s.honest[i] = s.honest[(i+1)%3]
			s.pay(1)
			s.honest[i] = s.node(s.who[i], s.dirs[i], s.addresses()...)
			s.ready()
		}
	}
	s.Fatal("the rogue never leads")
}

func (s *scene) addresses() []string {
	all := s.rogue.Mesh().Bootstrap().Addresses
	for _, n := range s.honest {
		all = append(all, n.Mesh().Bootstrap().Addresses...)
	}
	return all
}

func (s *scene) node(i int, dir string, bootstrap ...string) *node.Node {
	return s.shut(i, dir, nil, bootstrap...)
}

// shut opens a node whose door is shut to some.
func (s *scene) shut(i int, dir string, block []string, bootstrap ...string) *node.Node {
	s.Helper()
	n, err := node.Open(s.Context(), node.Config{
		Key: chaintest.Key(i), Genesis: s.maker.Genesis, Dir: dir, Heartbeat: heartbeat, Meet: time.Second,
		SnapshotBlocks: 5, Logger: testLog(fmt.Sprint(i)),
		Mesh: mesh.Config{Bootstrap: bootstrap, Block: block, RedialEvery: 200 * time.Millisecond, RedialCap: time.Second, CheckTimeout: 30 * time.Second},
	})
	s.must(err)
	s.Cleanup(func() { s.must(n.Close()) })
	return n
}

func (s *scene) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

func (s *scene) await(what string, done func() bool) {
	s.Helper()
	for end := time.Now().Add(90 * time.Second); !done(); {
		if time.Now().After(end) {
			s.Fatalf("timed out waiting for %s; rogue %+v %v", what, s.rogue.Status(), s.rogue.Counts())
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// pay has every honest validator take transfers, and waits until all of them have them in blocks.
func (s *scene) pay(times int) {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), 90*time.Second)
	defer cancel()
	for range times {
		n := s.honest[s.paid%len(s.honest)]
		s.maker.State = n.Chain().State()
		id, err := n.Submit(ctx, s.maker.Transfer(chaintest.Key(1000+s.paid%10), chaintest.Key(2000), 1))
		s.must(err)
		s.paid++
		for _, n := range s.honest {
			if o, err := n.Chain().Await(ctx, id); err != nil || o.Receipt.Code != ledgerv1.ReceiptCode_RECEIPT_CODE_OK {
				s.Fatalf("%v %v; rogue %+v %v", o.Receipt, err, s.rogue.Status(), s.rogue.Counts())
			}
		}
	}
}

func (s *scene) agree(all ...*node.Node) {
	s.Helper()
	s.await("one height", func() bool {
		for _, n := range all {
			if n.Chain().Status() != all[0].Chain().Status() && n.Chain().Height() != all[0].Chain().Height() {
				return false
			}
		}
		return true
	})
	for _, n := range all {
		for h := uint64(1); h <= n.Chain().Height(); h++ {
			a, err := all[0].Chain().At(h)
			s.must(err)
			b, err := n.Chain().At(h)
			if err == nil && a.Hash != b.Hash {
				s.Fatalf("fork at %d", h)
			}
		}
	}
}

// did waits until the rogue has done something so often.
func (s *scene) did(what string, times int64) {
	s.Helper()
	s.await(what, func() bool { return s.rogue.Counts()[what] >= times })
}

// TestEveryVice has the leader break the protocol in every way, one after the other. The honest three go on, agree, and
// in the end it is punished by the ledger.
func TestEveryVice(t *testing.T) {
	s := open(t)
	s.pay(3)
	key := s.rogue.cfg.Key[32:]

	s.leads()
	s.must(s.rogue.Set(Propose, true))
	s.pay(3)
	s.did(proposals, 1)
	for _, n := range s.honest {
		if string(n.Status().Leader) == string(key) {
			t.Fatal("it still leads")
		}
	}
	s.must(s.rogue.Set(Propose, false))

	s.must(s.rogue.Set(Repeat, true))
	s.pay(5)
	s.did(newViews, 10)
	s.must(s.rogue.Set(Repeat, false))
	t.Log("repeated", s.rogue.Counts())

	s.must(s.rogue.Set(Flood, true))
	s.pay(20)
	s.did(frames, 20)
	s.did(said, 10)
	s.must(s.rogue.Set(Flood, false))
	t.Log("flooded", s.rogue.Counts())

	s.must(s.rogue.Set(Serve, true))
	dir := t.TempDir()
	var others []string
	for _, n := range s.honest {
		others = append(others, n.Mesh().PeerID())
	}
	alone := s.shut(7, dir, others, s.rogue.Mesh().Bootstrap().Addresses...)
	s.await("a lie that is told", func() bool { c := s.rogue.Counts(); return c[badBlocks]+c[badSnapshots] > 0 })
	first := s.honest[0].Chain()
	if h := alone.Chain().Height(); h > 0 {
		b, err := first.At(h)
		s.must(err)
		if b.Hash != alone.Chain().Status().Hash {
			t.Fatal("a joiner took what is wrong")
		}
	}
	s.must(alone.Close())
	joined := s.node(7, dir, s.addresses()...)
	s.pay(2)
	s.agree(append(s.honest, joined)...)
	t.Log("served", s.rogue.Counts())

	s.must(s.rogue.Set(Vote, true)) // without garbage: nobody listens for a while to who talks that
	s.await("a tombstone", func() bool {
		s.pay(1)
		for _, n := range s.honest {
			if a, _ := n.Chain().State().Account(key); !a.Tombstoned || n.Status().Validators != 3 {
				return false
			}
		}
		return true
	})
	s.must(s.rogue.Set(Flood, true))
	s.pay(5)
	s.agree(append(s.honest, joined)...)
	t.Log("at the end", s.rogue.Counts())
}
