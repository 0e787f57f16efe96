package blocksync

import (
	"bytes"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-msgio/pbio"
	"github.com/multiformats/go-varint"
	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/mesh/chain"
	"github.com/shardy-network/orchestrator/mesh/chain/chaintest"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

// replaced makes a chain whose validators were all replaced, in more changes than fit an answer, with a snapshot of its
// last block. Its blocks cannot be had any more.
func replaced(t testing.TB, changes int) (*chaintest.Maker, *node) {
	m := chaintest.New(t, 4, 50)
	for i := range changes {
		m.Swap(chaintest.Key(4 + i%2))
	}
	m.Grow(3, 1)
	cfg := chain.Config{SnapshotBlocks: m.State.Height(), KeepBlocks: 1, SegmentBytes: 100}
	n := serving(t, m, 0, cfg, Allowance{})
	snapshotted(t, n.chain, m.State.Height())
	return m, n
}

// TestJoinAfterChanges joins with nothing but genesis after the validators changed, and then lets another one join, who
// meets nobody else.
func TestJoinAfterChanges(t *testing.T) {
	m, n := replaced(t, chain.MaxChanges+6)
	c, joined := joiner(t, m, Config{Dir: t.TempDir(), SnapshotBehind: 1}, n.host)
	if h, err := c.CatchUp(t.Context()); err != nil || h != m.State.Height() {
		t.Fatal(h, err)
	}
	agree(t, joined, m)
	if joined.Status().Low != h(m)+1 {
		t.Fatalf("%+v: it did not go on from the snapshot", joined.Status())
	}
	server := Serve(c.host, joined, ServerConfig{Patience: quick})
	defer server.Close()
	second := openChain(t, chain.Config{Genesis: m.Genesis})
	host := newHost(t, 5001)
	connect(t, host, c.host)
	if h, err := NewClient(host, second, Config{Dir: t.TempDir(), SnapshotBehind: 1, Patience: quick}).CatchUp(t.Context()); err != nil || h != m.State.Height() {
		t.Fatal(h, err)
	}
	agree(t, second, m)
	m.Grow(2, 1)
	if _, err := second.Accept(t.Context(), m.Blocks[h(m)-2:]); err != nil {
		t.Fatal(err)
	}
}

func h(m *chaintest.Maker) uint64 { return m.State.Height() }

// TestJoinIsResumedAfterChanges has a download of later validators interrupted, and a restart forget the road.
func TestJoinIsResumedAfterChanges(t *testing.T) {
	m, n := replaced(t, 3)
	dir := t.TempDir()
	manifest, err := n.chain.Manifest(h(m))
	if err != nil {
		t.Fatal(err)
	}
	d, err := beginDownload(dir, manifest)
	if err != nil {
		t.Fatal(err)
	}
	b, err := n.chain.Chunk(h(m), 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.put(0, b); err != nil {
		t.Fatal(err)
	}
	source := &counting{Source: n.chain, seen: map[uint32]int{}}
	if err := n.server.Close(); err != nil {
		t.Fatal(err)
	}
	n.server = Serve(n.host, source, ServerConfig{Patience: quick})
	defer n.server.Close()
	c, joined := joiner(t, m, Config{Dir: dir, SnapshotBehind: 1}, n.host)
	if _, err := c.CatchUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	agree(t, joined, m)
	if source.asked.Load() != 0 {
		t.Fatal("the chunk was fetched again")
	}
}

// forgetful has no changes of validators to show.
type forgetful struct{ Source }

func (forgetful) Changes(uint64, int) ([]*ledgerv1.ValidatorsProof, bool, error) {
	return nil, false, chain.ErrPruned
}

// TestNoRoad meets a peer that joined by a trusted block, and cannot say how it got there: that is no lie. A joiner that
// trusts the block as well goes on from it.
func TestNoRoad(t *testing.T) {
	m, n := replaced(t, 3)
	if err := n.server.Close(); err != nil {
		t.Fatal(err)
	}
	n.server = Serve(n.host, forgetful{n.chain}, ServerConfig{Patience: quick})
	defer n.server.Close()
	var seen liars
	c, _ := joiner(t, m, Config{Dir: t.TempDir(), SnapshotBehind: 1, OnLiar: seen.note}, n.host)
	if _, err := c.CatchUp(t.Context()); !errors.Is(err, chain.ErrTrust) {
		t.Fatal(err)
	}
	if err := seen.of(n.host.ID()); err != nil {
		t.Fatal(err)
	}
	head := m.State.Head()
	trusting := openChain(t, chain.Config{Genesis: m.Genesis, Trusted: chain.Trusted{Height: h(m), Hash: head[:]}})
	if h, err := NewClient(c.host, trusting, Config{Dir: t.TempDir(), SnapshotBehind: 1, Patience: quick}).CatchUp(t.Context()); err != nil || h != m.State.Height() {
		t.Fatal(h, err)
	}
}

func changesMessage(more bool, changes ...*ledgerv1.ValidatorsProof) *ledgerv1.BlockResponse {
	return &ledgerv1.BlockResponse{Kind: &ledgerv1.BlockResponse_Changes{Changes: &ledgerv1.ValidatorChanges{Changes: changes, More: more}}}
}

// TestByzantineChanges has a peer offer the right snapshot, and prove its validators in every wrong way. The joiner goes on
// to the honest one.
func TestByzantineChanges(t *testing.T) {
	m, honest := replaced(t, 6)
	manifest, err := honest.chain.Manifest(h(m))
	if err != nil {
		t.Fatal(err)
	}
	all, more, err := honest.chain.Changes(1, 0)
	if err != nil || more || len(all) != 6 {
		t.Fatal(all, more, err)
	}
	say := func(r *ledgerv1.BlockResponse) func(network.Stream, pbio.Writer, uint64) {
		return func(_ network.Stream, w pbio.Writer, _ uint64) { _ = w.WriteMsg(r) }
	}
	forged := proto.CloneOf(all[0])
	forged.Proof.Value[len(forged.Proof.Value)-1] ^= 1
	unsigned := proto.CloneOf(all[0])
	unsigned.Certificate = nil
	stays := &ledgerv1.ValidatorsProof{Header: all[0].Header, Certificate: all[0].Certificate, Proof: all[0].Proof}
	for name, c := range map[string]struct {
		answer func(s network.Stream, w pbio.Writer, after uint64)
		liar   bool // provably
	}{
		"forged":    {say(changesMessage(false, forged)), true},
		"unsigned":  {say(changesMessage(false, unsigned)), true},
		"reordered": {say(changesMessage(false, all[1], all[0])), true},
		"a gap":     {say(changesMessage(false, all[0], all[2], all[3])), true},
		"the same for ever": {func(_ network.Stream, w pbio.Writer, _ uint64) {
			_ = w.WriteMsg(changesMessage(true, stays))
		}, true},
		"nothing, and more": {say(changesMessage(true)), true},
		"too many": {func(_ network.Stream, w pbio.Writer, _ uint64) {
			_ = w.WriteMsg(changesMessage(false, make([]*ledgerv1.ValidatorsProof, chain.MaxChanges+1)...))
		}, true},
		"empty ones": {say(changesMessage(false, &ledgerv1.ValidatorsProof{})), true},
		"oversized": {func(s network.Stream, _ pbio.Writer, _ uint64) {
			_, _ = s.Write(varint.ToUvarint(maxChanges + 1))
			_, _ = s.Write(bytes.Repeat([]byte{0}, 1000))
		}, true},
		"garbage":     {func(s network.Stream, _ pbio.Writer, _ uint64) { _, _ = s.Write([]byte{4, 0x22, 0xff, 0xff, 0xff}) }, true},
		"a status":    {say(statusMessage(m, h(m))), true},
		"too few":     {say(changesMessage(false, all[0])), false},
		"none":        {say(changesMessage(false)), false},
		"has none":    {say(endMessage(ledgerv1.SyncCode_SYNC_CODE_PRUNED)), false},
		"always busy": {say(endMessage(ledgerv1.SyncCode_SYNC_CODE_BUSY)), false},
		"resets":      {func(s network.Stream, _ pbio.Writer, _ uint64) { _ = s.Reset() }, false},
		"drips": {func(s network.Stream, _ pbio.Writer, _ uint64) {
			_, err := s.Write(varint.ToUvarint(1000))
			for range 100 {
				if err != nil {
					return
				}
				time.Sleep(50 * time.Millisecond)
				_, err = s.Write([]byte{0})
			}
		}, false},
		"one at a time": {func(_ network.Stream, w pbio.Writer, after uint64) { // which is no fault
			_ = w.WriteMsg(changesMessage(after < 6, all[after-1]))
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			var asked atomic.Int64
			liar := hostile(t, 1, func(s network.Stream) {
				defer s.Close()
				var q ledgerv1.BlockRequest
				if pbio.NewDelimitedReader(s, maxRequest).ReadMsg(&q) != nil {
					return
				}
				w := pbio.NewDelimitedWriter(s)
				switch k := q.Kind.(type) {
				case *ledgerv1.BlockRequest_Changes:
					asked.Add(1)
					c.answer(s, w, k.Changes.AfterVersion)
				case *ledgerv1.BlockRequest_Status:
					_ = w.WriteMsg(statusMessage(m, h(m)))
				default:
					_ = w.WriteMsg(endMessage(ledgerv1.SyncCode_SYNC_CODE_PRUNED))
				}
			}, func(s network.Stream) {
				defer s.Close()
				var q ledgerv1.SnapshotRequest
				if pbio.NewDelimitedReader(s, maxRequest).ReadMsg(&q) != nil {
					return
				}
				if q.GetList() != nil {
					_ = pbio.NewDelimitedWriter(s).WriteMsg(manifestMessage(manifest)())
					return
				}
				_ = pbio.NewDelimitedWriter(s).WriteMsg(gone())
			})
			var seen liars
			client, joined := joiner(t, m, Config{Dir: t.TempDir(), SnapshotBehind: 1, Patience: impatient, OnLiar: seen.note}, liar, honest.host)
			client.ranks.failed(honest.host.ID(), time.Now()) // the liar is who is asked first
			for range 20 {
				if _, err = client.CatchUp(t.Context()); err == nil && joined.Height() == h(m) {
					break
				}
			}
			if err != nil {
				t.Fatal(err)
			}
			agree(t, joined, m)
			if asked.Load() == 0 || asked.Load() > 10 {
				t.Errorf("the liar was asked %d times", asked.Load())
			}
			if got := seen.of(liar.ID()); (got != nil) != c.liar {
				t.Errorf("liar caught: %v, want %v", got, c.liar)
			}
			if got := seen.of(honest.host.ID()); got != nil {
				t.Errorf("the honest one is a liar: %v", got)
			}
		})
	}
}

// TestContradictsItself offers a snapshot that the validators of its own road have not signed.
func TestContradictsItself(t *testing.T) {
	m, honest := replaced(t, 3)
	lie := &lying{Source: honest.chain}
	h1 := newHost(t, 1)
	server := Serve(h1, lie, ServerConfig{Patience: quick})
	defer server.Close()
	var seen liars
	c, joined := joiner(t, m, Config{Dir: t.TempDir(), SnapshotBehind: 1, OnLiar: seen.note}, h1)
	if _, err := c.CatchUp(t.Context()); err == nil {
		t.Fatal("joined by a snapshot that nobody has signed")
	}
	if seen.of(h1.ID()) == nil || joined.Height() != 0 {
		t.Fatal("not caught")
	}
	connect(t, c.host, honest.host)
	if _, err := c.CatchUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	agree(t, joined, m)
}

type lying struct{ Source }

func (l *lying) Manifest(height uint64) (*ledgerv1.SnapshotManifest, error) {
	m, err := l.Source.Manifest(height)
	if err == nil {
		m = proto.CloneOf(m)
		m.Block.Certificate.Signatures[0].Signature[5] ^= 1
	}
	return m, err
}

// TestChangesAllowance asks for changes more often than is allowed, and for those after versions that never were.
func TestChangesAllowance(t *testing.T) {
	m, n := replaced(t, 2)
	c, _ := joiner(t, m, Config{}, n.host)
	for after, want := range map[uint64]int{0: 2, 1: 2, 2: 1, 3: 0, 1<<64 - 1: 0} {
		got, err := c.changes(t.Context(), n.host.ID(), after)
		if err != nil || len(got.Changes) != want || got.More {
			t.Errorf("after %d: %v %v", after, got, err)
		}
	}
	if err := n.server.Close(); err != nil {
		t.Fatal(err)
	}
	n.server = Serve(n.host, n.chain, ServerConfig{Patience: quick, Allowance: Allowance{Requests: 0.001, Bytes: 1}})
	defer n.server.Close()
	if _, err := c.changes(t.Context(), n.host.ID(), 1); err != nil {
		t.Fatal(err)
	}
	if _, err := c.changes(t.Context(), n.host.ID(), 1); !errors.Is(err, ErrBusy) {
		t.Fatal(err)
	}
}

// FuzzChanges reads answers about changes and follows them. They lead to no validators that nobody agreed on.
func FuzzChanges(f *testing.F) {
	m := chaintest.New(f, 4, 2)
	m.Swap(chaintest.Key(5))
	m.Swap(chaintest.Key(4))
	by := openChain(f, chain.Config{Genesis: m.Genesis})
	if _, err := by.Accept(f.Context(), m.Blocks); err != nil {
		f.Fatal(err)
	}
	all, _, err := by.Changes(1, 0)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(framed(f, changesMessage(false, all...)))
	f.Add(framed(f, changesMessage(true, all[1], all[0])))
	f.Add(framed(f, changesMessage(true)))
	last := m.Grow(1, 1)
	c := openChain(f, chain.Config{Genesis: m.Genesis})
	f.Fuzz(func(t *testing.T, data []byte) {
		var a ledgerv1.BlockResponse
		if readMessage(bytes.NewReader(data), maxChanges, &a) != nil || a.GetChanges() == nil {
			return
		}
		road := c.Road()
		err := follow(road, a.GetChanges(), 3)
		if (err == nil) != (road.Version() == 3 || a.GetChanges().More && err == nil) {
			t.Fatalf("version %d: %v", road.Version(), err)
		}
		if road.Version() == 3 && road.Trusts(last) != nil {
			t.Fatal("to other validators")
		}
	})
}
