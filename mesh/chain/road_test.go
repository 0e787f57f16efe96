package chain

import (
	"bytes"
	"errors"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/mesh/chain/chaintest"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

// accepted is a chain that has all blocks, with a snapshot of the last one.
func accepted(t testing.TB, m *chaintest.Maker) (*Chain, *ledgerv1.SnapshotManifest, func(uint32) ([]byte, error)) {
	t.Helper()
	height := m.State.Height()
	c := open(t, Config{Dir: t.TempDir(), Genesis: m.Genesis, SnapshotBlocks: height})
	if _, err := c.Accept(t.Context(), m.Blocks); err != nil {
		t.Fatal(err)
	}
	wait(t, c, height)
	manifest, err := c.Manifest(height)
	if err != nil {
		t.Fatal(err)
	}
	return c, manifest, func(n uint32) ([]byte, error) { return c.Chunk(height, n) }
}

// road leads as far as a chain proves, or to a version.
func road(t testing.TB, from, by *Chain, version uint64) *Road {
	t.Helper()
	r := from.Road()
	changes, more, err := by.Changes(r.Version(), 0)
	if err != nil || more {
		t.Fatal(more, err)
	}
	for _, p := range changes {
		if r.Version() == version {
			break
		}
		if err := r.Add(p); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

// TestRoad installs a snapshot of validators whom nobody of genesis is among, and hands on what led there, also after a
// restart and to a third chain. The snapshot's own block changes the validators, or does not.
func TestRoad(t *testing.T) {
	for name, last := range map[string]func(m *chaintest.Maker){
		"change in the last block": func(m *chaintest.Maker) { m.Expel(m.Validators[1]) },
		"change before":            func(m *chaintest.Maker) { m.Grow(1, 1) },
	} {
		t.Run(name, func(t *testing.T) {
			m := chaintest.New(t, 4, 10)
			m.Grow(2, 1)
			for i := range 5 {
				m.Swap(chaintest.Key([]int{5, 6, 7, 3, 5}[i]))
			}
			m.Expel(m.Validators[0], m.Validators[3])
			last(m)
			by, manifest, chunk := accepted(t, m)
			dir := t.TempDir()
			c := open(t, Config{Dir: dir, Genesis: m.Genesis})
			if _, err := c.Accept(t.Context(), m.Blocks[:3]); err != nil {
				t.Fatal(err)
			}
			if err := c.Install(manifest, nil, chunk); !errors.Is(err, ErrTrust) {
				t.Fatalf("without a road: %v", err)
			}
			r := road(t, c, by, 8)
			if _, err := c.Accept(t.Context(), m.Blocks[3:4]); err != nil {
				t.Fatal(err)
			}
			if err := c.Install(manifest, r, chunk); !errors.Is(err, ErrTrust) {
				t.Fatalf("a road that is no longer good: %v", err)
			}
			if err := c.Install(manifest, road(t, c, by, 8), chunk); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				current(t, m, c)
				shut(t, c)
				c = open(t, Config{Dir: dir})
			}
			third := open(t, Config{Dir: t.TempDir(), Genesis: m.Genesis})
			if err := third.Install(manifest, road(t, third, c, 8), chunk); err != nil {
				t.Fatal(err)
			}
			m.Grow(1, 1)
			if _, err := third.Accept(t.Context(), m.Blocks[len(m.Blocks)-1:]); err != nil {
				t.Fatal(err)
			}
			current(t, m, third)
		})
	}
}

// TestRoadRefuses spoils proofs. The road stays where it was, and a good change still leads on.
func TestRoadRefuses(t *testing.T) {
	m := chaintest.New(t, 4, 2)
	m.Swap(chaintest.Key(5))
	m.Swap(chaintest.Key(6))
	by, _, _ := accepted(t, m)
	changes, _, err := by.Changes(1, 0)
	if err != nil || len(changes) != 2 {
		t.Fatal(changes, err)
	}
	r := open(t, Config{Dir: t.TempDir(), Genesis: m.Genesis}).Road()
	edit := func(f func(p *ledgerv1.ValidatorsProof)) *ledgerv1.ValidatorsProof {
		p := proto.CloneOf(changes[0])
		f(p)
		return p
	}
	for name, p := range map[string]*ledgerv1.ValidatorsProof{
		"nothing":         nil,
		"the second one":  changes[1],
		"no certificate":  edit(func(p *ledgerv1.ValidatorsProof) { p.Certificate = nil }),
		"other header":    edit(func(p *ledgerv1.ValidatorsProof) { p.Header = m.Blocks[1].Block.Header }),
		"other state":     edit(func(p *ledgerv1.ValidatorsProof) { p.Proof = changes[1].Proof }),
		"no proof":        edit(func(p *ledgerv1.ValidatorsProof) { p.Proof = nil }),
		"other set":       edit(func(p *ledgerv1.ValidatorsProof) { p.Proof.Value[len(p.Proof.Value)-1] ^= 1 }),
		"half the proof":  edit(func(p *ledgerv1.ValidatorsProof) { p.Proof.Siblings = p.Proof.Siblings[:1] }),
		"torn signatures": edit(func(p *ledgerv1.ValidatorsProof) { p.Certificate = p.Certificate[:len(p.Certificate)-9] }),
	} {
		if err := r.Add(p); !errors.Is(err, ErrRefused) || r.Version() != 1 {
			t.Errorf("%s: %v, version %d", name, err, r.Version())
		}
	}
	for i, p := range changes {
		if err := r.Add(p); err != nil || r.Version() != uint64(i+2) {
			t.Fatal(err)
		}
		if err := r.Add(p); !errors.Is(err, ErrRefused) {
			t.Fatalf("once more: %v", err)
		}
	}
}

// TestRoadIsBounded follows changes that never end.
func TestRoadIsBounded(t *testing.T) {
	m := chaintest.New(t, 4, 2)
	m.Swap(chaintest.Key(5))
	by, _, _ := accepted(t, m)
	changes, _, err := by.Changes(1, 0)
	if err != nil {
		t.Fatal(err)
	}
	r := open(t, Config{Dir: t.TempDir(), Genesis: m.Genesis}).Road()
	r.changes = make([]made, maxRoadChanges)
	if err := r.Add(changes[0]); !errors.Is(err, ErrTrust) {
		t.Fatal(err)
	}
	r.changes, r.size = nil, maxRoadBytes
	if err := r.Add(changes[0]); !errors.Is(err, ErrTrust) {
		t.Fatal(err)
	}
	r.size = 0
	if err := r.Add(changes[0]); err != nil {
		t.Fatal(err)
	}
}

// TestOldKeys has those who left sign another history from genesis on. Without a trusted block it cannot be told from the
// right one; with one, neither its snapshots nor its blocks are taken, and the right ones are.
func TestOldKeys(t *testing.T) {
	right := chaintest.New(t, 4, 2)
	right.Grow(1, 1)
	right.Swap(chaintest.Key(5))
	right.Grow(3, 1)
	wrong := chaintest.New(t, 4, 2)
	wrong.Swap(chaintest.Key(6))
	wrong.Grow(5, 2)
	byRight, good, goodChunk := accepted(t, right)
	byWrong, bad, badChunk := accepted(t, wrong)

	dir := t.TempDir()
	misled := open(t, Config{Dir: dir, Genesis: right.Genesis})
	if err := misled.Install(bad, road(t, misled, byWrong, 2), badChunk); err != nil {
		t.Fatalf("what cannot be told apart: %v", err)
	}
	if err := misled.Install(good, road(t, misled, byRight, 2), goodChunk); err == nil {
		t.Fatal("a chain goes from one history to another")
	}
	head := right.State.Head()
	trusted := Trusted{Height: right.State.Height(), Hash: head[:]}
	shut(t, misled)
	if c, err := Open(Config{Dir: dir, Trusted: Trusted{Height: bad.Block.Certificate.Height, Hash: head[:]}}); !errors.Is(err, ErrFork) {
		shut(t, c)
		t.Fatalf("a folder that has another block than the trusted one: %v", err)
	}
	c := open(t, Config{Dir: t.TempDir(), Genesis: right.Genesis, Trusted: trusted})
	if err := c.Install(bad, road(t, c, byWrong, 2), badChunk); !errors.Is(err, ErrTrust) {
		t.Fatalf("the wrong history, by snapshot: %v", err)
	}
	if n, err := c.Accept(t.Context(), wrong.Blocks[:5]); n != 4 || !errors.Is(err, ErrRefused) {
		t.Fatalf("the wrong history, by blocks: %d %v", n, err)
	}
	c = open(t, Config{Dir: t.TempDir(), Genesis: right.Genesis, Trusted: trusted})
	// A road of the wrong history does not come with the right snapshot.
	if err := c.Install(good, road(t, c, byWrong, 2), goodChunk); err != nil {
		t.Fatal(err)
	}
	agree(t, c, right)
	if _, _, err := c.Changes(1, 0); !errors.Is(err, ErrPruned) {
		t.Fatalf("a history that is not this chain's: %v", err)
	}
	right.Swap(chaintest.Key(7))
	if _, err := c.Accept(t.Context(), right.Blocks); err != nil {
		t.Fatal(err)
	}
	if changes, _, err := c.Changes(2, 0); err != nil || len(changes) != 1 || !bytes.Equal(changes[0].Header, right.Blocks[5].Block.Header) {
		t.Fatalf("changes after the gap: %v %v", changes, err)
	}
	c = open(t, Config{Dir: t.TempDir(), Genesis: right.Genesis, Trusted: trusted})
	if err := c.Install(good, road(t, c, byRight, 2), goodChunk); err != nil {
		t.Fatal(err)
	}
	if changes, _, err := c.Changes(1, 0); err != nil || len(changes) != 1 {
		t.Fatalf("the road with the trusted snapshot: %v %v", changes, err)
	}
}
