package blocksync

import (
	"errors"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/libp2p/go-libp2p/core/host"
	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/mesh/chain"
	"github.com/shardy-network/orchestrator/mesh/chain/chaintest"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

func TestCatchUpByBlocks(t *testing.T) {
	m := chaintest.New(t, 4, 2)
	m.Grow(150, 1)
	m.Swap(chaintest.Key(6))
	m.Grow(20, 2)
	var hosts []host.Host
	for i := range 3 {
		hosts = append(hosts, serving(t, m, i, chain.Config{}, Allowance{}).host)
	}
	c, joined := joiner(t, m, Config{}, hosts...)
	if h, err := c.CatchUp(t.Context()); err != nil || h != 171 {
		t.Fatal(h, err)
	}
	agree(t, joined, m)
	if h, err := c.CatchUp(t.Context()); err != nil || h != 171 {
		t.Fatalf("nothing to do: %d %v", h, err)
	}
}

func TestPull(t *testing.T) {
	m := chaintest.New(t, 4, 2)
	m.Grow(140, 1)
	var hosts []host.Host
	for i := range 3 {
		hosts = append(hosts, serving(t, m, i, chain.Config{}, Allowance{}).host)
	}
	c, joined := joiner(t, m, Config{}, hosts...)
	target, err := c.Target(t.Context())
	if err != nil || target != 140 {
		t.Fatal(target, err)
	}
	// As an engine does it: verify and commit one by one, and stop at will.
	enough := errors.New("enough")
	next := uint64(1)
	take := func(b *ledgerv1.CertifiedBlock) error {
		if next == 100 {
			return enough
		}
		if !proto.Equal(b, m.Blocks[next-1]) {
			t.Errorf("block %d is not the next one", next)
		}
		next++
		return joined.Commit(b.Block, b.Certificate)
	}
	if err := c.Pull(t.Context(), 1, target, take); !errors.Is(err, enough) || joined.Height() != 99 {
		t.Fatal(err, joined.Height())
	}
	next++
	if err := c.Pull(t.Context(), 100, target, func(b *ledgerv1.CertifiedBlock) error { return joined.Commit(b.Block, b.Certificate) }); err != nil {
		t.Fatal(err)
	}
	agree(t, joined, m)
	if err := c.Pull(t.Context(), 141, 150, take); !errors.Is(err, ErrNobody) {
		t.Fatalf("what nobody has: %v", err)
	}
}

// TestTarget reports heights of which f+1 lie.
func TestTarget(t *testing.T) {
	m := chaintest.New(t, 4, 2)
	m.Grow(3, 1)
	low := serving(t, m, 0, chain.Config{}, Allowance{})
	m.Grow(4, 1)
	high := serving(t, m, 1, chain.Config{}, Allowance{})
	boast := hostile(t, 2, statusOf(m, 1<<60), nil)
	c, _ := joiner(t, m, Config{}, low.host, high.host, boast)
	if h, err := c.Target(t.Context()); err != nil || h != 7 {
		t.Fatal(h, err)
	}
	alone, _ := joiner2(t, m, 5001, low.host)
	if h, err := alone.Target(t.Context()); err != nil || h != 0 {
		t.Fatalf("one of four answers: %d %v", h, err)
	}
	other := chaintest.New(t, 1, 1)
	foreign, _ := joiner2(t, other, 5002, low.host)
	if h, err := foreign.Target(t.Context()); err != nil || h != 0 {
		t.Fatalf("of another chain: %d %v", h, err)
	}
	nobody, _ := joiner2(t, m, 5003)
	if _, err := nobody.CatchUp(t.Context()); !errors.Is(err, ErrNoTarget) {
		t.Fatal(err)
	}
}

func joiner2(t testing.TB, m *chaintest.Maker, n int, to ...host.Host) (*Client, *chain.Chain) {
	t.Helper()
	c := openChain(t, chain.Config{Genesis: m.Genesis})
	h := newHost(t, n)
	connect(t, h, to...)
	return NewClient(h, c, Config{Patience: quick}), c
}

func TestJoinBySnapshot(t *testing.T) {
	m := chaintest.New(t, 4, 12_000) // more than a chunk
	m.Grow(20, 2)
	cfg := chain.Config{SnapshotBlocks: 20, KeepBlocks: 1, SegmentBytes: 100}
	nodes := []*node{serving(t, m, 0, cfg, Allowance{}), serving(t, m, 1, cfg, Allowance{})}
	for _, n := range nodes {
		snapshotted(t, n.chain, 20)
	}
	m.Grow(7, 1)
	for _, n := range nodes {
		if _, err := n.chain.Accept(t.Context(), m.Blocks); err != nil {
			t.Fatal(err)
		}
	}
	c, joined := joiner(t, m, Config{Dir: t.TempDir()}, nodes[0].host, nodes[1].host)
	if h, err := c.CatchUp(t.Context()); err != nil || h != 27 {
		t.Fatal(h, err)
	}
	agree(t, joined, m)
	if joined.Status().Low != 21 {
		t.Fatalf("%+v: it did not go on from the snapshot", joined.Status())
	}
	if left, err := os.ReadDir(c.cfg.Dir); err != nil || len(left) != 0 {
		t.Fatal("the download is still there", err)
	}
}

// counting counts the chunks that are asked for and loses all after some.
type counting struct {
	Source
	asked, limit atomic.Int64
	mu           sync.Mutex
	seen         map[uint32]int
}

func (s *counting) Chunk(height uint64, n uint32) ([]byte, error) {
	if s.asked.Add(1) > s.limit.Load() {
		return nil, chain.ErrNotFound
	}
	s.mu.Lock()
	s.seen[n]++
	s.mu.Unlock()
	return s.Source.Chunk(height, n)
}

func TestSnapshotIsResumed(t *testing.T) {
	m := chaintest.New(t, 1, 45_000) // some chunks
	m.Grow(10, 1)
	n := serving(t, m, 0, chain.Config{SnapshotBlocks: 10}, Allowance{})
	snapshotted(t, n.chain, 10)
	source := &counting{Source: n.chain, seen: map[uint32]int{}}
	source.limit.Store(3)
	if err := n.server.Close(); err != nil {
		t.Fatal(err)
	}
	n.server = Serve(n.host, source, ServerConfig{Patience: quick})
	defer n.server.Close()
	dir := t.TempDir()
	c, joined := joiner(t, m, Config{Dir: dir, Parallel: 1, SnapshotBehind: 1}, n.host)
	var errs []error
	offers := c.offers(t.Context(), &errs)
	if len(offers) != 1 || len(offers[0].manifest.Chunks) < 4 {
		t.Fatal(offers, errs)
	}
	if err := c.download(t.Context(), offers[0]); !errors.Is(err, ErrNobody) {
		t.Fatalf("after three chunks: %v", err)
	}
	// A chunk rots while nobody looks.
	rotten, err := filepath.Glob(filepath.Join(dir, "*", chunkFile(1)))
	if err != nil || len(rotten) != 1 {
		t.Fatal(rotten, err)
	}
	if err := os.WriteFile(rotten[0], []byte("rot"), 0o600); err != nil {
		t.Fatal(err)
	}
	source.limit.Store(1 << 30)
	if h, err := c.CatchUp(t.Context()); err != nil || h != 10 {
		t.Fatal(h, err)
	}
	agree(t, joined, m)
	for chunk, times := range source.seen {
		want := 1
		if chunk == 1 {
			want = 2
		}
		if times != want {
			t.Errorf("chunk %d was fetched %d times, want %d", chunk, times, want)
		}
	}
	if joined.Status().Low != 11 {
		t.Fatal("it did not go on from the snapshot")
	}
}

func TestAllowance(t *testing.T) {
	m := chaintest.New(t, 1, 2)
	m.Grow(5, 1)
	n := serving(t, m, 0, chain.Config{}, Allowance{Requests: 0.001, Bytes: 1})
	c, _ := joiner(t, m, Config{}, n.host)
	if _, err := c.status(t.Context(), n.host.ID()); err != nil {
		t.Fatal(err)
	}
	if _, err := c.status(t.Context(), n.host.ID()); !errors.Is(err, ErrBusy) {
		t.Fatalf("a second request within the hour: %v", err)
	}
}

// TestRequests sends what no Client sends.
func TestRequests(t *testing.T) {
	m := chaintest.New(t, 1, 2)
	m.Grow(5, 1)
	n := serving(t, m, 0, chain.Config{SnapshotBlocks: 5}, Allowance{})
	snapshotted(t, n.chain, 5)
	c, _ := joiner(t, m, Config{}, n.host)
	bad, missing := ledgerv1.SyncCode_SYNC_CODE_BAD_REQUEST, ledgerv1.SyncCode_SYNC_CODE_NOT_FOUND
	for _, q := range []struct {
		r    *ledgerv1.RangeRequest
		code ledgerv1.SyncCode
	}{
		{&ledgerv1.RangeRequest{}, bad},
		{&ledgerv1.RangeRequest{From: 1, Count: MaxRange + 1, MaxBytes: 1}, bad},
		{&ledgerv1.RangeRequest{From: 1, Count: 1, MaxBytes: MaxRangeBytes + 1}, bad},
		{&ledgerv1.RangeRequest{From: 1<<64 - 1, Count: 5, MaxBytes: 1}, bad},
		{&ledgerv1.RangeRequest{From: 6, Count: 5, MaxBytes: 1}, missing},
	} {
		request := &ledgerv1.BlockRequest{Kind: &ledgerv1.BlockRequest_Range{Range: q.r}}
		call, hang, err := ask(t.Context(), c.host, n.host.ID(), blocksProtocol, quick, maxResponse, request)
		if err != nil {
			t.Fatal(err)
		}
		var r ledgerv1.BlockResponse
		if err := call.next(&r); err != nil || r.GetEnd() != q.code {
			t.Errorf("%v: %v %v", q.r, r.Kind, err)
		}
		hang()
	}
	for _, q := range []struct {
		r    *ledgerv1.SnapshotChunkRequest
		code ledgerv1.SyncCode
	}{
		{&ledgerv1.SnapshotChunkRequest{Height: 5, Chunk: 1 << 30}, bad},
		{&ledgerv1.SnapshotChunkRequest{Height: 5, Chunk: 40}, missing},
		{&ledgerv1.SnapshotChunkRequest{Height: 4}, missing},
	} {
		request := &ledgerv1.SnapshotRequest{Kind: &ledgerv1.SnapshotRequest_Chunk{Chunk: q.r}}
		call, hang, err := ask(t.Context(), c.host, n.host.ID(), snapshotProtocol, quick, maxChunk, request)
		if err != nil {
			t.Fatal(err)
		}
		var r ledgerv1.SnapshotResponse
		if err := call.next(&r); err != nil || r.GetEnd() != q.code {
			t.Errorf("%v: %v %v", q.r, r.Kind, err)
		}
		hang()
	}
}
