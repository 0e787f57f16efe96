package blocksync

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/libp2p/go-msgio/pbio"
	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/actors/ledger"
	"github.com/shardy-network/orchestrator/mesh/chain"
	"github.com/shardy-network/orchestrator/mesh/chain/chaintest"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

func framed(t testing.TB, m proto.Message) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := pbio.NewDelimitedWriter(&b).WriteMsg(m); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestLimitBeforeAllocation declares messages that are too long; hardly anything is allocated for them.
func TestLimitBeforeAllocation(t *testing.T) {
	long := []byte{0xff, 0xff, 0xff, 0xff, 0x0f}
	var q ledgerv1.BlockRequest
	if err := readMessage(bytes.NewReader(long), maxRequest, &q); !errors.Is(err, errMalformed) {
		t.Fatal(err)
	}
	got := testing.Benchmark(func(b *testing.B) {
		for b.Loop() {
			_ = readMessage(bytes.NewReader(long), maxRequest, &q)
		}
	})
	if got.AllocedBytesPerOp() > 16<<10 {
		t.Fatalf("%d bytes are allocated for a message that is refused", got.AllocedBytesPerOp())
	}
}

// FuzzRequests reads what askers send.
func FuzzRequests(f *testing.F) {
	f.Add(framed(f, &ledgerv1.BlockRequest{Kind: &ledgerv1.BlockRequest_Range{Range: &ledgerv1.RangeRequest{From: 1, Count: 2, MaxBytes: 3}}}))
	f.Add(framed(f, &ledgerv1.SnapshotRequest{Kind: &ledgerv1.SnapshotRequest_Chunk{Chunk: &ledgerv1.SnapshotChunkRequest{Height: 9}}}))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, q := range []proto.Message{new(ledgerv1.BlockRequest), new(ledgerv1.SnapshotRequest)} {
			r := bytes.NewReader(data)
			if err := readMessage(r, maxRequest, q); err == nil && proto.Size(q) > maxRequest {
				t.Fatalf("%d bytes were taken", proto.Size(q))
			}
		}
	})
}

// FuzzBlocks reads answers to a range and holds the blocks against a chain.
func FuzzBlocks(f *testing.F) {
	m := chaintest.New(f, 1, 2)
	m.Grow(1, 1)
	f.Add(append(framed(f, blockMessage(m.Blocks[0])), framed(f, endMessage(ledgerv1.SyncCode_SYNC_CODE_OK))...))
	f.Add(framed(f, statusMessage(m, 1)))
	c := openChain(f, chain.Config{Genesis: m.Genesis})
	client := &Client{chain: c, cfg: Config{}.withDefaults(), ranks: newRanking()}
	f.Fuzz(func(t *testing.T, data []byte) {
		r := pbio.NewDelimitedReader(bytes.NewReader(data), maxResponse)
		l := &link{c: client, next: 1}
		for {
			var a ledgerv1.BlockResponse
			if err := r.ReadMsg(&a); err != nil {
				if errors.Is(err, io.EOF) && len(data) == 0 {
					return
				}
				return
			}
			if b := a.GetBlock(); b != nil {
				if l.check(b) == nil && !bytes.Equal(b.Block.Header, m.Blocks[0].Block.Header) {
					t.Fatal("a block that nobody has made")
				}
				continue
			}
			_ = refusal(a.Kind, a.GetEnd())
		}
	})
}

// FuzzSnapshots reads what is answered about snapshots.
func FuzzSnapshots(f *testing.F) {
	m := chaintest.New(f, 1, 2)
	m.Grow(1, 1)
	f.Add(framed(f, chunkMessage(&ledgerv1.SnapshotChunk{Chunk: 1, Entries: []*ledgerv1.SnapshotEntry{{Key: make([]byte, 32), Value: []byte{1}}}})))
	f.Add(framed(f, &ledgerv1.SnapshotResponse{Kind: &ledgerv1.SnapshotResponse_Manifest{
		Manifest: &ledgerv1.SnapshotManifest{Block: m.Blocks[0], Chunks: [][]byte{make([]byte, 32)}, Entries: 3},
	}}))
	c := openChain(f, chain.Config{Genesis: m.Genesis})
	client := &Client{chain: c, cfg: Config{}.withDefaults(), ranks: newRanking()}
	f.Fuzz(func(t *testing.T, data []byte) {
		var a ledgerv1.SnapshotResponse
		if readMessage(bytes.NewReader(data), maxManifest, &a) != nil {
			return
		}
		if mf := a.GetManifest(); mf != nil && wellFormed(mf, 1<<30) == nil {
			if h, err := client.usable(mf, c.Road()); err == nil && h != 1 {
				t.Fatal("a snapshot that nobody has signed")
			}
			digestOf(mf)
		}
		if chunk := a.GetChunk(); chunk != nil {
			in, err := ledger.NewImport(chaintest.ChainID, m.Blocks[0].Block.Header)
			if err != nil {
				t.Fatal(err)
			}
			if in.Add(chunk) == nil {
				if _, err := in.Finish(); err == nil {
					t.Fatal("a state of one made-up chunk")
				}
			}
		}
	})
}
