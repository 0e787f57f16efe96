package chain

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/actors/ledger"
	"github.com/shardy-network/orchestrator/actors/ledger/light"
	"github.com/shardy-network/orchestrator/mesh/chain/chaintest"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

func TestReopen(t *testing.T) {
	m := chaintest.New(t, 4, 2)
	dir := t.TempDir()
	c := open(t, Config{Dir: dir, Genesis: m.Genesis})
	agree(t, c, m)
	m.Grow(10, 3)
	m.Swap(chaintest.Key(5))
	m.Grow(10, 1)
	if n, err := c.Accept(t.Context(), m.Blocks); n != 21 || err != nil {
		t.Fatal(n, err)
	}
	agree(t, c, m)
	if _, err := Open(Config{Dir: dir}); !errors.Is(err, ErrLocked) {
		t.Fatalf("a second process: %v", err)
	}
	shut(t, c)
	if _, err := Open(Config{Dir: dir, Genesis: chaintest.New(t, 1, 1).Genesis}); !errors.Is(err, ErrGenesis) {
		t.Fatalf("another genesis: %v", err)
	}
	c = open(t, Config{Dir: dir})
	agree(t, c, m)
	for i, want := range m.Blocks {
		got, err := c.At(uint64(i) + 1)
		if err != nil || !proto.Equal(got.Block, want) || len(got.Receipts) != len(m.Receipts[i]) {
			t.Fatalf("block %d: %v", i+1, err)
		}
	}
	if b, err := c.Block(0); err != nil || b.Certificate != nil || c.Status().Low != 1 {
		t.Fatal(b, err)
	}
	if _, err := c.Block(22); !errors.Is(err, ErrNotFound) {
		t.Fatal(err)
	}
}

// TestReopenAtASnapshot ends a chain right behind the block that its snapshot is of. Who follows it from there still
// learns what became of the transactions in that block.
func TestReopenAtASnapshot(t *testing.T) {
	m := chaintest.New(t, 1, 20)
	cfg := Config{Dir: t.TempDir(), Genesis: m.Genesis, SnapshotBlocks: 10}
	c := open(t, cfg)
	m.Grow(10, 3)
	if _, err := c.Accept(t.Context(), m.Blocks); err != nil {
		t.Fatal(err)
	}
	wait(t, c, 10)
	shut(t, c)
	c = open(t, cfg)
	defer shut(t, c)
	b, err := c.Follow(10).Next(t.Context())
	if err != nil || !slices.EqualFunc(b.Receipts, m.Receipts[9], func(a, b *ledgerv1.Receipt) bool { return proto.Equal(a, b) }) {
		t.Fatalf("%d receipts of %d: %v", len(b.Receipts), len(m.Receipts[9]), err)
	}
}

func TestCommitIsIdempotent(t *testing.T) {
	m := chaintest.New(t, 1, 2)
	c := open(t, Config{Dir: t.TempDir(), Genesis: m.Genesis})
	m.Grow(3, 2)
	for range 2 {
		for _, b := range m.Blocks {
			if err := c.Commit(b.Block, b.Certificate); err != nil {
				t.Fatal(err)
			}
		}
	}
	agree(t, c, m)
	other := chaintest.New(t, 1, 2)
	other.Grow(1, 1)
	if err := c.Commit(other.Blocks[0].Block, other.Blocks[0].Certificate); !errors.Is(err, ErrFork) {
		t.Fatalf("a fork: %v", err)
	}
	m.Grow(2, 1)
	if err := c.Commit(m.Blocks[4].Block, m.Blocks[4].Certificate); !errors.Is(err, ErrGap) {
		t.Fatalf("a gap: %v", err)
	}
}

// TestRefusals spoils one thing of a block at a time. Blocks before the bad one are kept.
func TestRefusals(t *testing.T) {
	for name, spoil := range map[string]func(m *chaintest.Maker, b *ledgerv1.CertifiedBlock){
		"no block":       func(_ *chaintest.Maker, b *ledgerv1.CertifiedBlock) { b.Block = nil },
		"no certificate": func(_ *chaintest.Maker, b *ledgerv1.CertifiedBlock) { b.Certificate = nil },
		"too few signatures": func(_ *chaintest.Maker, b *ledgerv1.CertifiedBlock) {
			b.Certificate.Signatures = b.Certificate.Signatures[1:]
		},
		"one twice": func(_ *chaintest.Maker, b *ledgerv1.CertifiedBlock) {
			b.Certificate.Signatures[1] = b.Certificate.Signatures[0]
		},
		"transaction missing": func(_ *chaintest.Maker, b *ledgerv1.CertifiedBlock) {
			b.Block.Transactions = b.Block.Transactions[1:]
		},
		"transaction of a liar": func(m *chaintest.Maker, b *ledgerv1.CertifiedBlock) {
			tx := bytes.Clone(b.Block.Transactions[0])
			tx[len(tx)-1] ^= 1
			b.Block.Transactions[0] = tx
		},
		"wrong state": func(m *chaintest.Maker, b *ledgerv1.CertifiedBlock) {
			again(m, b, func(h *ledgerv1.Header) { h.State[0] ^= 1 })
		},
		"wrong results": func(m *chaintest.Maker, b *ledgerv1.CertifiedBlock) {
			again(m, b, func(h *ledgerv1.Header) { h.Results[0] ^= 1 })
		},
		"wrong parent": func(m *chaintest.Maker, b *ledgerv1.CertifiedBlock) {
			again(m, b, func(h *ledgerv1.Header) { h.Parent[0] ^= 1 })
		},
		"wrong validators": func(m *chaintest.Maker, b *ledgerv1.CertifiedBlock) {
			again(m, b, func(h *ledgerv1.Header) { h.ValidatorsVersion++ })
		},
		"wrong height": func(m *chaintest.Maker, b *ledgerv1.CertifiedBlock) {
			again(m, b, func(h *ledgerv1.Header) { h.Height++ })
		},
		"another chain": func(m *chaintest.Maker, b *ledgerv1.CertifiedBlock) {
			again(m, b, func(h *ledgerv1.Header) { h.ChainId = "test-2" })
		},
		"no proposer": func(m *chaintest.Maker, b *ledgerv1.CertifiedBlock) {
			again(m, b, func(h *ledgerv1.Header) { h.Proposer = nil })
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := chaintest.New(t, 4, 1)
			c := open(t, Config{Dir: t.TempDir(), Genesis: m.Genesis})
			m.Grow(6, 2)
			blocks := make([]*ledgerv1.CertifiedBlock, len(m.Blocks))
			for i, b := range m.Blocks {
				blocks[i] = proto.CloneOf(b)
			}
			spoil(m, blocks[3])
			n, err := c.Accept(t.Context(), blocks)
			if n != 3 || !errors.Is(err, ErrRefused) && !errors.Is(err, ErrGap) {
				t.Fatalf("%d blocks accepted, %v", n, err)
			}
			if n, err := c.Accept(t.Context(), m.Blocks); n != 6 || err != nil {
				t.Fatalf("after the refusal: %d, %v", n, err)
			}
			agree(t, c, m)
		})
	}
}

// again makes a header anew, with a certificate as liars beyond the fault model would make it.
func again(m *chaintest.Maker, b *ledgerv1.CertifiedBlock, change func(h *ledgerv1.Header)) {
	h, err := light.ParseHeader("", b.Block.Header)
	if err != nil {
		m.T.Fatal(err)
	}
	change(h)
	if b.Block.Header, err = stable.Marshal(h); err != nil {
		m.T.Fatal(err)
	}
	b.Certificate = m.Certify(b.Block.Header)
}

func TestProposeVerifyCommit(t *testing.T) {
	m := chaintest.New(t, 4, 2)
	at := time.UnixMicro(5_000_000)
	leader := open(t, Config{Dir: t.TempDir(), Genesis: m.Genesis})
	follower := open(t, Config{Dir: t.TempDir(), Genesis: m.Genesis, Now: func() time.Time { return at }})
	place := Place{Height: 1, Proposer: chaintest.Public(m.Validators[0]), ValidatorsVersion: 1}
	txs := [][]byte{m.Transfer(chaintest.Key(1000), chaintest.Key(1001), 5), m.Transfer(chaintest.Key(3000), chaintest.Key(1001), 5)}
	header, err := leader.Propose(place, txs, at)
	if err != nil {
		t.Fatal(err)
	}
	block := &ledgerv1.Block{Header: header, Transactions: txs}
	if err := follower.Verify(place, block); err != nil {
		t.Fatal(err)
	}
	if follower.Height() != 0 {
		t.Fatal("verifying committed")
	}
	for name, c := range map[string]struct {
		at     Place
		change func(h *ledgerv1.Header)
		extra  []byte
	}{
		"height":      {at: Place{2, place.Proposer, 1}},
		"proposer":    {at: Place{1, chaintest.Public(m.Validators[1]), 1}},
		"version":     {at: Place{1, place.Proposer, 2}},
		"state":       {at: place, change: func(h *ledgerv1.Header) { h.State[3] ^= 4 }},
		"future":      {at: place, change: func(h *ledgerv1.Header) { h.TimeUs += 6_000_000 }},
		"past":        {at: place, change: func(h *ledgerv1.Header) { h.TimeUs = 1 }},
		"extra bytes": {at: place, extra: []byte{0x98, 0x06, 0x01}},
	} {
		h, err := light.ParseHeader("", header)
		if err != nil {
			t.Fatal(err)
		}
		if c.change != nil {
			c.change(h)
		}
		b, err := stable.Marshal(h)
		if err != nil {
			t.Fatal(err)
		}
		err = follower.Verify(c.at, &ledgerv1.Block{Header: append(b, c.extra...), Transactions: txs})
		if !errors.Is(err, ErrRefused) && !errors.Is(err, ErrGap) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := follower.Verify(place, &ledgerv1.Block{Header: header, Transactions: txs[:1]}); !errors.Is(err, ErrRefused) {
		t.Errorf("verified header with other transactions: %v", err)
	}
	if err := follower.Commit(&ledgerv1.Block{Header: header, Transactions: txs[:1]}, m.Certify(header)); !errors.Is(err, ErrRefused) {
		t.Errorf("verified header committed with other transactions: %v", err)
	}
	for _, c := range []*Chain{leader, follower} {
		if err := c.Commit(block, m.Certify(header)); err != nil {
			t.Fatal(err)
		}
	}
	if leader.State().Root() != follower.State().Root() || follower.Height() != 1 {
		t.Fatal("leader and follower disagree")
	}
}

func TestAwaitAndFollow(t *testing.T) {
	m := chaintest.New(t, 1, 2)
	c := open(t, Config{Dir: t.TempDir(), Genesis: m.Genesis})
	tx := m.Transfer(chaintest.Key(1000), chaintest.Key(1001), 5)
	checked, err := c.Check(tx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Find(checked.ID()); !errors.Is(err, ErrNotFound) {
		t.Fatal(err)
	}
	type answer struct {
		Outcome
		err error
	}
	got := make(chan answer, 1)
	go func() {
		o, err := c.Await(context.Background(), checked.ID())
		got <- answer{o, err}
	}()
	m.Grow(1, 1)
	m.Next(tx)
	m.Next(tx) // again: it does not hide the first one
	if _, err := c.Accept(t.Context(), m.Blocks); err != nil {
		t.Fatal(err)
	}
	a := <-got
	if a.err != nil || a.Height != 2 || a.Receipt.Code != ledgerv1.ReceiptCode_RECEIPT_CODE_OK || !bytes.Equal(a.Transaction, tx) {
		t.Fatal(a)
	}
	if again, err := c.Await(t.Context(), checked.ID()); err != nil || again.Height != 2 {
		t.Fatal(again, err)
	}
	f := c.Follow(1)
	for i := range uint64(3) {
		if b, err := f.Next(t.Context()); err != nil || b.Height != i+1 {
			t.Fatal(b, err)
		}
	}
	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	if _, err := f.Next(ctx); !errors.Is(err, cause) {
		t.Fatal(err)
	}
	go func() {
		_, err := f.Next(context.Background())
		got <- answer{err: err}
	}()
	shut(t, c)
	if a := <-got; !errors.Is(a.err, ErrClosed) {
		t.Fatal(a.err)
	}
	if err := c.Commit(m.Blocks[0].Block, m.Blocks[0].Certificate); !errors.Is(err, ErrClosed) {
		t.Fatal(err)
	}
}

func TestAccountProof(t *testing.T) {
	m := chaintest.New(t, 4, 2)
	c := open(t, Config{Dir: t.TempDir(), Genesis: m.Genesis})
	client := &light.Client{Chain: chaintest.ChainID, Validators: m.State.Validators()}
	m.Grow(3, 2)
	if _, err := c.Accept(t.Context(), m.Blocks); err != nil {
		t.Fatal(err)
	}
	for key, known := range map[int]bool{1000: true, 2000: true, 9999: false} {
		p, err := c.AccountProof(chaintest.Public(chaintest.Key(key)))
		if err != nil {
			t.Fatal(err)
		}
		a, h, err := client.Account(p)
		if err != nil || (a != nil) != known || h.Height != 3 {
			t.Fatalf("account %d: %v %v", key, a, err)
		}
	}
}

// wait waits until a snapshot is on disk.
func wait(t testing.TB, c *Chain, height uint64) {
	t.Helper()
	for end := time.Now().Add(time.Minute); c.Status().Snapshot < height; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("no snapshot of %d", height)
		}
	}
}

func TestSnapshotsAndPruning(t *testing.T) {
	m := chaintest.New(t, 4, 500)
	dir := t.TempDir()
	cfg := Config{Dir: dir, Genesis: m.Genesis, SnapshotBlocks: 10, KeepBlocks: 5, SegmentBytes: 2000}
	c := open(t, cfg)
	for range 5 {
		m.Grow(10, 2)
		if _, err := c.Accept(t.Context(), m.Blocks[len(m.Blocks)-10:]); err != nil {
			t.Fatal(err)
		}
		wait(t, c, m.State.Height())
	}
	m.Grow(3, 1)
	if _, err := c.Accept(t.Context(), m.Blocks); err != nil {
		t.Fatal(err)
	}
	shut(t, c)
	c = open(t, cfg)
	agree(t, c, m)
	s := c.Status()
	if s.Low <= 30 || s.Low > 41 || s.Snapshot != 50 {
		t.Fatalf("%+v", s)
	}
	if _, err := c.Block(s.Low - 1); !errors.Is(err, ErrPruned) {
		t.Fatal(err)
	}
	for h := s.Low; h <= s.Height; h++ {
		if b, err := c.Block(h); err != nil || !proto.Equal(b, m.Blocks[h-1]) {
			t.Fatalf("block %d: %v", h, err)
		}
	}
	for h := s.Low; h <= s.Height; h++ { // before the snapshot, too
		for _, r := range m.Receipts[h-1] {
			if o, err := c.Find(ledgerHash(r.Transaction)); err != nil || o.Height != h || !proto.Equal(o.Receipt, r) {
				t.Fatalf("transaction of block %d: %v %v", h, o, err)
			}
		}
	}
	if f := c.Follow(1); f.Skip() != s.Low {
		t.Fatal("a follower that is late does not go on with what is kept")
	}
	shut(t, c)

	// A snapshot that rots is passed over; without any, nothing leads to the blocks that are left.
	for _, h := range []string{"50", "40"} {
		path := filepath.Join(dir, "snapshots", "000000000000000000"+h, "chunk-00000")
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		b[len(b)/2] ^= 1
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if h == "50" {
			c = open(t, cfg)
			agree(t, c, m)
			shut(t, c)
		}
	}
	if _, err := Open(cfg); !errors.Is(err, ErrDamaged) {
		t.Fatal(err)
	}
}

func TestInstall(t *testing.T) {
	m := chaintest.New(t, 4, 3000)
	source := open(t, Config{Dir: t.TempDir(), Genesis: m.Genesis, SnapshotBlocks: 10})
	m.Grow(12, 2)
	if _, err := source.Accept(t.Context(), m.Blocks); err != nil {
		t.Fatal(err)
	}
	wait(t, source, 10)
	manifest, err := source.Manifest(10)
	if err != nil {
		t.Fatal(err)
	}
	chunk := func(n uint32) ([]byte, error) { return source.Chunk(10, n) }
	dir := t.TempDir()
	c := open(t, Config{Dir: dir, Genesis: m.Genesis})
	if _, err := c.Accept(t.Context(), m.Blocks[:4]); err != nil {
		t.Fatal(err)
	}
	late := c.Follow(5)
	lie := proto.CloneOf(manifest)
	lie.Entries++
	uncertified := proto.CloneOf(manifest)
	uncertified.Block.Certificate.Signatures = nil
	for _, bad := range []*ledgerv1.SnapshotManifest{lie, uncertified, {}} {
		if err := c.Install(bad, nil, chunk); !errors.Is(err, ErrRefused) {
			t.Fatalf("a bad snapshot: %v", err)
		}
	}
	if err := c.Install(manifest, nil, func(uint32) ([]byte, error) { return []byte{1}, nil }); !errors.Is(err, ledger.ErrSnapshot) {
		t.Fatalf("a bad chunk: %v", err)
	}
	if c.Height() != 4 {
		t.Fatal("a refused snapshot changed the chain")
	}
	if err := c.Install(manifest, nil, chunk); err != nil {
		t.Fatal(err)
	}
	if err := c.Install(manifest, nil, chunk); !errors.Is(err, ErrGap) {
		t.Fatalf("twice: %v", err)
	}
	if _, err := late.Next(t.Context()); !errors.Is(err, ErrPruned) || late.Skip() != 10 {
		t.Fatal(err)
	}
	if b, err := late.Next(t.Context()); err != nil || b.Height != 10 || b.Receipts != nil {
		t.Fatal(b, err)
	}
	for range 2 {
		if c.Height() != 10 {
			t.Fatal(c.Height())
		}
		if b, err := c.Block(10); err != nil || !proto.Equal(b, m.Blocks[9]) {
			t.Fatal(err)
		}
		shut(t, c)
		c = open(t, Config{Dir: dir})
	}
	if _, err := c.Accept(t.Context(), m.Blocks); err != nil {
		t.Fatal(err)
	}
	agree(t, c, m)
	shut(t, c)
	c = open(t, Config{Dir: dir})
	agree(t, c, m)
}

// TestTrust installs a snapshot of validators that only the trusted hash vouches for.
func TestTrust(t *testing.T) {
	m := chaintest.New(t, 4, 10)
	source := open(t, Config{Dir: t.TempDir(), Genesis: m.Genesis, SnapshotBlocks: 10})
	m.Swap(chaintest.Key(5))
	m.Grow(9, 1)
	if _, err := source.Accept(t.Context(), m.Blocks); err != nil {
		t.Fatal(err)
	}
	wait(t, source, 10)
	manifest, err := source.Manifest(10)
	if err != nil {
		t.Fatal(err)
	}
	chunk := func(n uint32) ([]byte, error) { return source.Chunk(10, n) }
	hash := m.State.Head()
	wrong := bytes.Repeat([]byte{7}, 32)
	for _, c := range []struct {
		trusted Trusted
		want    error
	}{{Trusted{}, ErrTrust}, {Trusted{10, wrong}, ErrRefused}, {Trusted{11, hash[:]}, ErrTrust}, {Trusted{10, hash[:]}, nil}} {
		joiner := open(t, Config{Dir: t.TempDir(), Genesis: m.Genesis, Trusted: c.trusted})
		if err := joiner.Install(manifest, nil, chunk); !errors.Is(err, c.want) {
			t.Fatalf("trusting %d %x: %v", c.trusted.Height, c.trusted.Hash, err)
		}
	}
}
