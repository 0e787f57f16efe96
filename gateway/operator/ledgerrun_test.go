package operator

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

// shelf is a chain of blocks of any sizes, from block 1 on.
type shelf struct {
	Ledger
	sizes []int
	low   uint64
	read  func() // what happens after a block was read
	reads int
}

var zeros = make([]byte, 6<<20)

func (s *shelf) Block(height uint64) (LedgerBlock, error) {
	s.reads++
	if s.read != nil {
		s.read()
	}
	b := LedgerBlock{Hash: paperHash(height), Block: &ledgerv1.CertifiedBlock{Block: &ledgerv1.Block{}}}
	switch {
	case height == 0:
		return b, nil
	case height > uint64(len(s.sizes)):
		return LedgerBlock{}, ErrNotOnLedger
	case height < s.low:
		return LedgerBlock{}, ErrLedgerPruned
	}
	b.Block.Block.Transactions = [][]byte{zeros[:s.sizes[height-1]]}
	return b, nil
}

func apiOf(l Ledger) *API { return &API{deps: Deps{Ledger: l}, scans: make(turns, 1)} }

// TestRunsOfBlocks: whoever goes on where an answer has ended has every block once, whatever the blocks weigh; no answer is
// too large, and hardly a block is read in vain.
func TestRunsOfBlocks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.OneOf(rapid.IntRange(0, 2000), rapid.SampledFrom([]int{1 << 20, 2<<20 - 99, 2 << 20, 3 << 20, 4<<20 - 80, 4 << 20, len(zeros)}))
		sizes := rapid.SliceOfN(size, 0, 30).Draw(t, "sizes")
		sizes = slices.Concat(sizes, make([]int, rapid.SampledFrom([]int{0, 255, 600}).Draw(t, "light")))
		l := &shelf{sizes: sizes, low: uint64(rapid.IntRange(0, len(sizes)+1).Draw(t, "low"))}
		limit := rapid.OneOf(rapid.Just(uint32(0)), rapid.Uint32Range(1, 20), rapid.Uint32()).Draw(t, "limit")
		first := uint64(rapid.IntRange(0, len(sizes)+2).Draw(t, "from"))
		a, next, answers := apiOf(l), first, 0
		for {
			res, err := a.GetBlocks(t.Context(), &operatorv1.GetBlocksRequest{From: next, Limit: limit})
			_, want := (&shelf{sizes: sizes, low: l.low}).Block(next)
			if !errors.Is(err, want) || err != nil && res != nil {
				t.Fatalf("block %d: %v, want %v", next, err, want)
			}
			if err != nil {
				break
			}
			answers++
			if n := len(res.Blocks); n < 1 || n > 256 || limit > 0 && n > int(limit) || n > 1 && proto.Size(res) > 4<<20 {
				t.Fatalf("%d blocks of %d bytes in an answer", n, proto.Size(res))
			}
			for _, b := range res.Blocks {
				if want := paperHash(next); string(b.Hash) != string(want[:]) {
					t.Fatalf("%s where block %d belongs", b.Hash, next)
				}
				next++
			}
		}
		if at := uint64(len(sizes)) + 1; answers > 0 && next != at && (first > 0 || next != 1 || l.low < 2) {
			t.Fatalf("it ends before block %d of %d", next, at)
		}
		if most := int(next-first) + answers + 1; l.reads > most {
			t.Fatalf("%d reads, at most %d would do", l.reads, most)
		}
	})
}

// TestFullBlocksAreReadOnce: of blocks as large as they can be only one fits, and the next one is not read in vain.
func TestFullBlocksAreReadOnce(t *testing.T) {
	l := &shelf{sizes: []int{2 << 20, 2 << 20, 2 << 20}}
	res, err := apiOf(l).GetBlocks(t.Context(), &operatorv1.GetBlocksRequest{From: 1})
	if err != nil || len(res.Blocks) != 1 || l.reads != 1 {
		t.Errorf("%d blocks after %d reads, %v", len(res.GetBlocks()), l.reads, err)
	}
}

// TestAnswersAreWeighedAsTheyAreSent: four blocks of a MiB each are more than 4 MiB.
func TestAnswersAreWeighedAsTheyAreSent(t *testing.T) {
	l := &shelf{sizes: make([]int, 4)}
	for size := 1 << 20; ; size-- {
		l.sizes[0] = size
		if b, err := l.Block(1); err != nil || proto.Size(answerOf(b)) == 1<<20 {
			break
		}
	}
	for i := range l.sizes {
		l.sizes[i] = l.sizes[0]
	}
	res, err := apiOf(l).GetBlocks(t.Context(), &operatorv1.GetBlocksRequest{From: 1})
	if err != nil || len(res.Blocks) != 3 || proto.Size(res.Blocks[0]) != 1<<20 {
		t.Errorf("%d blocks in %d bytes, %v", len(res.GetBlocks()), proto.Size(res), err)
	}
}

// TestRunsArePaid for their number and for their weight, also when nobody waits for them any more.
func TestRunsArePaid(t *testing.T) {
	for name, c := range map[string]struct {
		blocks, size int
		limit        uint32
		leave        int // after so many
		units        float64
		code         connect.Code
	}{
		"one":         {300, 0, 1, 0, 1, 0},
		"sixteen":     {300, 0, 16, 0, 1, 0},
		"seventeen":   {300, 0, 17, 0, 2, 0},
		"all":         {300, 0, 0, 0, 16, 0},
		"heavy":       {300, 1 << 20, 0, 0, 1 + 12, 0},
		"not there":   {0, 0, 0, 0, 0, connect.CodeNotFound},
		"not awaited": {300, 0, 0, 100, 7, connect.CodeCanceled},
	} {
		synctest.Test(t, func(t *testing.T) { // nothing comes back in the meantime
			l := &shelf{sizes: make([]int, c.blocks)}
			for i := range l.sizes {
				l.sizes[i] = c.size
			}
			v, err := newVisitors(Visitors{}.withDefaults()).enter(netip.MustParsePrefix("192.0.2.1/32"))
			if err != nil {
				t.Fatal(err)
			}
			defer v.leave()
			ctx, leave := context.WithCancel(withVisit(t.Context(), v))
			defer leave()
			l.read = func() {
				if l.reads == c.leave {
					leave()
				}
			}
			_, err = apiOf(l).GetBlocks(ctx, &operatorv1.GetBlocksRequest{From: 1, Limit: c.limit})
			if err == nil && c.code != 0 || err != nil && connect.CodeOf(toConnect(err)) != c.code {
				t.Errorf("%s: %v", name, err)
			}
			if paid := float64(v.from.burst) - v.from.limit.Tokens(); paid != c.units {
				t.Errorf("%s: %v units, want %v", name, paid, c.units)
			}
			if c.leave > 0 && l.reads != c.leave {
				t.Errorf("%s: %d blocks are read for somebody who left after %d", name, l.reads, c.leave)
			}
		})
	}
}

// FuzzGetBlocks: whatever is asked for, it is a few blocks in order or there are none.
func FuzzGetBlocks(f *testing.F) {
	f.Add(uint64(0), uint32(0), uint64(3))
	f.Add(uint64(1)<<63, uint32(1)<<31, uint64(0))
	f.Add(^uint64(0), ^uint32(0), ^uint64(0))
	f.Fuzz(func(t *testing.T, from uint64, limit uint32, low uint64) {
		a := apiOf(&shelf{sizes: make([]int, 500), low: low})
		res, err := a.GetBlocks(t.Context(), &operatorv1.GetBlocksRequest{From: from, Limit: limit})
		if err != nil {
			if connect.CodeOf(toConnect(err)) != connect.CodeNotFound || from >= low && from <= 500 || from == 0 {
				t.Fatal(err)
			}
			return
		}
		if n := len(res.Blocks); n == 0 || n > 256 || limit > 0 && n > int(limit) || from+uint64(n) > 501 {
			t.Fatalf("%d blocks", n)
		}
		for i, b := range res.Blocks {
			if want := paperHash(from + uint64(i)); string(b.Hash) != string(want[:]) {
				t.Fatalf("%s", b.Hash)
			}
		}
	})
}
