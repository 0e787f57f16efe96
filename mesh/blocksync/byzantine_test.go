package blocksync

import (
	"context"
	"errors"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-msgio/pbio"
	"github.com/multiformats/go-varint"
	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/mesh/chain"
	"github.com/shardy-network/orchestrator/mesh/chain/chaintest"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

func statusMessage(m *chaintest.Maker, height uint64) *ledgerv1.BlockResponse {
	genesis := chaintestGenesis(m)
	return &ledgerv1.BlockResponse{Kind: &ledgerv1.BlockResponse_Status{
		Status: &ledgerv1.ChainStatus{Height: height, LowHeight: 1, SnapshotHeight: height, Genesis: genesis, Hash: genesis},
	}}
}

func statusOf(m *chaintest.Maker, height uint64) network.StreamHandler {
	return liarOf(m, height, nil)
}

// liarOf says a height, and answers a range as a test says.
func liarOf(m *chaintest.Maker, height uint64, blocks func(s network.Stream, w pbio.Writer, r *ledgerv1.RangeRequest)) network.StreamHandler {
	return func(s network.Stream) {
		defer s.Close()
		var q ledgerv1.BlockRequest
		if pbio.NewDelimitedReader(s, maxRequest).ReadMsg(&q) != nil {
			return
		}
		w := pbio.NewDelimitedWriter(s)
		if r := q.GetRange(); r != nil && blocks != nil {
			blocks(s, w, r)
			return
		}
		_ = w.WriteMsg(statusMessage(m, height))
	}
}

func blockMessage(b *ledgerv1.CertifiedBlock) *ledgerv1.BlockResponse {
	return &ledgerv1.BlockResponse{Kind: &ledgerv1.BlockResponse_Block{Block: b}}
}

func endMessage(code ledgerv1.SyncCode) *ledgerv1.BlockResponse {
	return &ledgerv1.BlockResponse{Kind: &ledgerv1.BlockResponse_End{End: code}}
}

// liars collects who was caught.
type liars struct {
	mu     sync.Mutex
	caught map[peer.ID]error
}

func (l *liars) note(id peer.ID, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.caught == nil {
		l.caught = map[peer.ID]error{}
	}
	l.caught[id] = err
}

func (l *liars) of(id peer.ID) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.caught[id]
}

// TestByzantineBlocks has one of four validators answer ranges in every wrong way. The joiner gets all blocks from the
// honest one, and none that is wrong.
func TestByzantineBlocks(t *testing.T) {
	m := chaintest.New(t, 4, 2)
	m.Grow(20, 2)
	forged := func(change func(b *ledgerv1.CertifiedBlock)) func(network.Stream, pbio.Writer, *ledgerv1.RangeRequest) {
		return func(_ network.Stream, w pbio.Writer, r *ledgerv1.RangeRequest) {
			for h := r.From; h <= 20; h++ {
				b := proto.CloneOf(m.Blocks[h-1])
				if h == r.From+3 {
					change(b)
				}
				_ = w.WriteMsg(blockMessage(b))
			}
			_ = w.WriteMsg(endMessage(ledgerv1.SyncCode_SYNC_CODE_OK))
		}
	}
	for name, c := range map[string]struct {
		answer func(network.Stream, pbio.Writer, *ledgerv1.RangeRequest)
		liar   bool // provably
	}{
		"changed transaction": {forged(func(b *ledgerv1.CertifiedBlock) { b.Block.Transactions[0][20] ^= 1 }), true},
		"changed header":      {forged(func(b *ledgerv1.CertifiedBlock) { b.Block.Header[len(b.Block.Header)-1] ^= 1 }), true},
		"no certificate":      {forged(func(b *ledgerv1.CertifiedBlock) { b.Certificate = nil }), true},
		"forged certificate":  {forged(func(b *ledgerv1.CertifiedBlock) { b.Certificate.Signatures[0].Signature[3] ^= 1 }), true},
		"no block":            {forged(func(b *ledgerv1.CertifiedBlock) { b.Block = nil }), true},
		"another height": {func(_ network.Stream, w pbio.Writer, _ *ledgerv1.RangeRequest) {
			_ = w.WriteMsg(blockMessage(m.Blocks[18]))
		}, true},
		"endless": {func(_ network.Stream, w pbio.Writer, r *ledgerv1.RangeRequest) {
			for h := r.From; w.WriteMsg(blockMessage(m.Blocks[min(h, 20)-1])) == nil; h++ {
			}
		}, true},
		"garbage": {func(s network.Stream, _ pbio.Writer, _ *ledgerv1.RangeRequest) {
			_, _ = s.Write([]byte{5, 0xff, 0xff, 0xff, 0xff, 0xff})
		}, true},
		"too long": {func(s network.Stream, _ pbio.Writer, _ *ledgerv1.RangeRequest) {
			_, _ = s.Write(varint.ToUvarint(1 << 40))
		}, true},
		"a status": {func(_ network.Stream, w pbio.Writer, _ *ledgerv1.RangeRequest) { _ = w.WriteMsg(statusMessage(m, 20)) }, true},
		"nothing of it": {func(_ network.Stream, w pbio.Writer, _ *ledgerv1.RangeRequest) {
			_ = w.WriteMsg(&ledgerv1.BlockResponse{})
		}, true},
		"strange code": {func(_ network.Stream, w pbio.Writer, _ *ledgerv1.RangeRequest) { _ = w.WriteMsg(endMessage(77)) }, true},
		"empty":        {func(_ network.Stream, w pbio.Writer, _ *ledgerv1.RangeRequest) { _ = w.WriteMsg(endMessage(1)) }, false},
		"hangs up":     {func(network.Stream, pbio.Writer, *ledgerv1.RangeRequest) {}, false},
		"resets":       {func(s network.Stream, _ pbio.Writer, _ *ledgerv1.RangeRequest) { _ = s.Reset() }, false},
		"never answers": {func(s network.Stream, _ pbio.Writer, _ *ledgerv1.RangeRequest) {
			_, _ = io.Copy(io.Discard, untilReset{s})
		}, false},
		"always busy":    {func(_ network.Stream, w pbio.Writer, _ *ledgerv1.RangeRequest) { _ = w.WriteMsg(endMessage(4)) }, false},
		"drips a prefix": {drip(m), false},
	} {
		t.Run(name, func(t *testing.T) {
			honest := serving(t, m, 0, chain.Config{}, Allowance{})
			liar := hostile(t, 1, liarOf(m, 20, c.answer), nil)
			var seen liars
			client, joined := joiner(t, m, Config{Patience: impatient, OnLiar: seen.note}, liar, honest.host)
			// The liar is who is asked first.
			client.ranks.failed(honest.host.ID(), time.Now())
			if err := untilCaught(t.Context(), client, joined); err != nil {
				t.Fatal(err)
			}
			agree(t, joined, m)
			if got := seen.of(liar.ID()); (got != nil) != c.liar {
				t.Errorf("liar caught: %v, want %v", got, c.liar)
			}
			if got := seen.of(honest.host.ID()); got != nil {
				t.Errorf("the honest one is a liar: %v", got)
			}
		})
	}
}

// untilCaught catches up. On a busy machine an honest peer may be late as well, so a few times.
func untilCaught(ctx context.Context, c *Client, joined *chain.Chain) error {
	var err error
	for range 20 {
		if _, err = c.CatchUp(ctx); err == nil && joined.Height() == 20 {
			return nil
		}
	}
	return errors.Join(errors.New("not caught up"), err)
}

// untilReset reads until the other side gives the stream up.
type untilReset struct{ s network.Stream }

func (u untilReset) Read(b []byte) (int, error) {
	n, err := u.s.Read(b)
	if err == io.EOF { // the asker closed its side, as it should
		<-closed(u.s)
	}
	return n, err
}

// closed waits until the stream can no longer be written.
func closed(s network.Stream) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		defer close(done)
		for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
			if s.Conn().IsClosed() || s.SetWriteDeadline(time.Now().Add(time.Second)) != nil {
				return
			}
			if _, err := s.Write(nil); err != nil {
				return
			}
		}
	}()
	return done
}

// drip sends two blocks, then a byte now and then of a third.
func drip(m *chaintest.Maker) func(network.Stream, pbio.Writer, *ledgerv1.RangeRequest) {
	return func(s network.Stream, w pbio.Writer, r *ledgerv1.RangeRequest) {
		for h := r.From; h < r.From+2 && h <= 20; h++ {
			_ = w.WriteMsg(blockMessage(m.Blocks[h-1]))
		}
		_, err := s.Write(varint.ToUvarint(1000))
		for range 200 {
			if err != nil {
				return
			}
			time.Sleep(100 * time.Millisecond)
			_, err = s.Write([]byte{0})
		}
	}
}

// TestByzantineSnapshots has a validator offer snapshots that are none.
func TestByzantineSnapshots(t *testing.T) {
	m := chaintest.New(t, 4, 3000)
	m.Grow(20, 1)
	honest := serving(t, m, 0, chain.Config{SnapshotBlocks: 20}, Allowance{})
	snapshotted(t, honest.chain, 20)
	manifest, err := honest.chain.Manifest(20)
	if err != nil {
		t.Fatal(err)
	}
	chunk := func(n uint32) *ledgerv1.SnapshotChunk {
		b, err := honest.chain.Chunk(20, n)
		if err != nil {
			t.Error(err)
		}
		c, err := chain.ParseChunk(b, manifest.Chunks[n])
		if err != nil {
			t.Error(err)
		}
		return c
	}
	rich := chunk(0) // of a state where one account has more
	rich.Entries[0].Value = append(rich.Entries[0].Value, 0x48, 0x01)
	other := proto.CloneOf(manifest)
	other.Chunks[0] = hashOf(t, rich)
	for name, c := range map[string]struct {
		list  func() *ledgerv1.SnapshotResponse
		chunk func(n uint32) *ledgerv1.SnapshotResponse
		liar  bool
	}{
		"another state":      {manifestMessage(other), func(n uint32) *ledgerv1.SnapshotResponse { return chunkMessage(pick(n == 0, rich, chunk(n))) }, true},
		"wrong chunk":        {manifestMessage(manifest), func(uint32) *ledgerv1.SnapshotResponse { return chunkMessage(rich) }, true},
		"empty chunk":        {manifestMessage(manifest), func(uint32) *ledgerv1.SnapshotResponse { return chunkMessage(&ledgerv1.SnapshotChunk{}) }, true},
		"no chunk":           {manifestMessage(manifest), func(uint32) *ledgerv1.SnapshotResponse { return &ledgerv1.SnapshotResponse{} }, true},
		"it is gone":         {manifestMessage(manifest), func(uint32) *ledgerv1.SnapshotResponse { return gone() }, false},
		"not certified":      {manifestMessage(changed(manifest, func(m *ledgerv1.SnapshotManifest) { m.Block.Certificate = nil })), nil, true},
		"no block":           {manifestMessage(changed(manifest, func(m *ledgerv1.SnapshotManifest) { m.Block = nil })), nil, true},
		"no chunks":          {manifestMessage(changed(manifest, func(m *ledgerv1.SnapshotManifest) { m.Chunks = nil })), nil, true},
		"larger than can be": {manifestMessage(changed(manifest, func(m *ledgerv1.SnapshotManifest) { m.Chunks = make([][]byte, 70_000) })), nil, true},
		"none":               {func() *ledgerv1.SnapshotResponse { return gone() }, nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			liar := hostile(t, 1, statusOf(m, 20), func(s network.Stream) {
				defer s.Close()
				var q ledgerv1.SnapshotRequest
				if pbio.NewDelimitedReader(s, maxRequest).ReadMsg(&q) != nil {
					return
				}
				answer := gone()
				if q.GetList() != nil {
					answer = c.list()
				} else if c.chunk != nil {
					answer = c.chunk(q.GetChunk().GetChunk())
				}
				_ = pbio.NewDelimitedWriter(s).WriteMsg(answer)
			})
			var seen liars
			client, joined := joiner(t, m, Config{Dir: t.TempDir(), SnapshotBehind: 1, OnLiar: seen.note}, liar, honest.host)
			client.ranks.failed(honest.host.ID(), time.Now()) // the liar is asked first
			if h, err := client.CatchUp(t.Context()); err != nil || h != 20 {
				t.Fatal(h, err)
			}
			agree(t, joined, m)
			if joined.Status().Low != 21 {
				t.Error("it did not go on from the snapshot")
			}
			if got := seen.of(honest.host.ID()); got != nil {
				t.Errorf("the honest one is a liar: %v", got)
			}
			if got := seen.of(liar.ID()); (got != nil) && !c.liar {
				t.Errorf("liar caught: %v", got)
			}
		})
	}
}

func pick[T any](first bool, a, b T) T {
	if first {
		return a
	}
	return b
}

func gone() *ledgerv1.SnapshotResponse {
	return &ledgerv1.SnapshotResponse{Kind: &ledgerv1.SnapshotResponse_End{End: ledgerv1.SyncCode_SYNC_CODE_NOT_FOUND}}
}

func chunkMessage(c *ledgerv1.SnapshotChunk) *ledgerv1.SnapshotResponse {
	return &ledgerv1.SnapshotResponse{Kind: &ledgerv1.SnapshotResponse_Chunk{Chunk: c}}
}

func manifestMessage(m *ledgerv1.SnapshotManifest) func() *ledgerv1.SnapshotResponse {
	return func() *ledgerv1.SnapshotResponse {
		return &ledgerv1.SnapshotResponse{Kind: &ledgerv1.SnapshotResponse_Manifest{Manifest: m}}
	}
}

func changed(m *ledgerv1.SnapshotManifest, change func(*ledgerv1.SnapshotManifest)) *ledgerv1.SnapshotManifest {
	m = proto.CloneOf(m)
	change(m)
	return m
}

// TestSlowReader has a peer that asks for much and reads nothing: the server gives up on it and closes in time.
func TestSlowReader(t *testing.T) {
	m := chaintest.New(t, 1, 2)
	m.Grow(3, 1)
	n := serving(t, m, 0, chain.Config{}, Allowance{Streams: 2})
	if err := n.server.Close(); err != nil {
		t.Fatal(err)
	}
	n.server = Serve(n.host, n.chain, ServerConfig{Patience: impatient, Allowance: Allowance{Streams: 2}})
	defer n.server.Close()
	var slow host.Host = newHost(t, 5005)
	connect(t, slow, n.host)
	for range 10 { // none of them ever sends its request
		s, err := slow.NewStream(t.Context(), n.host.ID(), blocksProtocol)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Write([]byte{100}); err != nil {
			t.Log(err)
		}
	}
	c, joined := joiner(t, m, Config{}, n.host)
	if h, err := c.CatchUp(t.Context()); err != nil || h != 3 {
		t.Fatal(h, err)
	}
	agree(t, joined, m)
}
