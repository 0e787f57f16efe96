package chain

import (
	"bytes"
	"crypto/sha256"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/shardy-network/orchestrator/actors/ledger"
	"github.com/shardy-network/orchestrator/mesh/chain/chaintest"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

func hashOf(b []byte) ledgerHash { return sha256.Sum256(b) }

// FuzzScan reads segments that anybody may have written to.
func FuzzScan(f *testing.F) {
	m := chaintest.New(f, 1, 2)
	m.Grow(3, 2)
	genesis := hashOf(m.Genesis)
	whole := append([]byte(segmentMagic), genesis[:]...)
	for i, b := range m.Blocks {
		var err error
		if whole, err = appendRecord(whole, uint64(i)+1, uint64(i), b, ledger.EncodeReceipts(m.Receipts[i])); err != nil {
			f.Fatal(err)
		}
	}
	f.Add(whole)
	f.Add(whole[:len(whole)-5])
	f.Add(append(bytes.Clone(whole[:200]), whole[100:]...))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) < segmentHead {
			return
		}
		at, next := segmentHead, uint64(1)
		end, missing, err := scan(data, 1, func(where int, r record) {
			if where != at || r.height != next {
				t.Fatalf("record %d at %d, want %d at %d", r.height, where, next, at)
			}
			at += r.size
			next++
			if _, _, err := r.decode(); err != nil && len(data) == len(whole) && bytes.Equal(data, whole) {
				t.Fatal(err)
			}
		})
		if err == nil && (end != at || missing != next || end > len(data)) {
			t.Fatalf("ends at %d with %d, want %d with %d", end, missing, at, next)
		}
		decodeIndex(data)
	})
}

func FuzzRecordBody(f *testing.F) {
	m := chaintest.New(f, 1, 2)
	m.Grow(1, 2)
	b, err := appendRecord(nil, 1, 0, m.Blocks[0], ledger.EncodeReceipts(m.Receipts[0]))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b[recordHead:])
	f.Fuzz(func(t *testing.T, body []byte) {
		block, receipts, err := record{height: 1, body: body}.decode()
		if err == nil && len(receipts) != len(block.Block.Transactions) {
			t.Fatal("a block without its receipts")
		}
	})
}

// FuzzAccept offers blocks that strangers made. None of them becomes a part of the chain but the one that does.
func FuzzAccept(f *testing.F) {
	m := chaintest.New(f, 4, 2)
	good := m.Grow(1, 2)
	seed, err := proto.Marshal(good)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Add(seed[:len(seed)/2])
	f.Add([]byte{})
	c := open(f, Config{Dir: f.TempDir(), Genesis: m.Genesis})
	f.Fuzz(func(t *testing.T, data []byte) {
		b := new(ledgerv1.CertifiedBlock)
		if proto.Unmarshal(data, b) != nil {
			return
		}
		n, err := c.Accept(t.Context(), []*ledgerv1.CertifiedBlock{b})
		if n == 1 && c.State().Root() != m.State.Root() {
			t.Fatal("a block that validators have not signed")
		}
		if n == 0 && err == nil {
			t.Fatal("neither accepted nor refused")
		}
		_ = c.Trusts(b)
	})
}

// TestSegmentsModel holds the file of blocks against a list, through openings and crashes.
func TestSegmentsModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dir := tempDir(t)
		limit := rapid.Int64Range(1, 4000).Draw(t, "limit")
		var genesis ledgerHash
		s, err := openSegmentsIn(dir, genesis, limit)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.restart(1); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = s.close() }()
		low, next := uint64(1), uint64(1)
		block := func(h uint64) *ledgerv1.CertifiedBlock {
			return &ledgerv1.CertifiedBlock{Block: &ledgerv1.Block{Header: bytes.Repeat([]byte{byte(h)}, int(h%200))}}
		}
		t.Repeat(map[string]func(*rapid.T){
			"append": func(t *rapid.T) {
				var records [][]byte
				for range rapid.IntRange(1, 6).Draw(t, "blocks") {
					r, err := appendRecord(nil, next, next-1, block(next), nil)
					if err != nil {
						t.Fatal(err)
					}
					records = append(records, r)
					next++
				}
				if err := s.append(records); err != nil {
					t.Fatal(err)
				}
			},
			"prune": func(t *rapid.T) {
				below := rapid.Uint64Range(0, next).Draw(t, "below")
				if err := s.prune(below); err != nil {
					t.Fatal(err)
				}
				if now := s.low(); now > max(below, low) || now < low {
					t.Fatalf("blocks from %d on, after pruning below %d", now, below)
				}
				low = s.low()
			},
			"restart": func(t *rapid.T) {
				next += rapid.Uint64Range(1, 10).Draw(t, "gap")
				low = next
				if err := s.restart(next); err != nil {
					t.Fatal(err)
				}
			},
			"reopen": func(t *rapid.T) {
				if err := s.close(); err != nil {
					t.Fatal(err)
				}
				if s, err = openSegmentsIn(dir, genesis, limit); err != nil {
					t.Fatal(err)
				}
				if len(s.first) == 0 {
					s.next = next // the snapshot says
				}
			},
			"": func(t *rapid.T) {
				if s.next != next || s.low() != low {
					t.Fatalf("blocks %d to %d, want %d to %d", s.low(), s.next, low, next)
				}
				h := rapid.Uint64Range(low, next).Draw(t, "read")
				r, err := s.read(h)
				if h == next {
					if err == nil {
						t.Fatal("a block above the last one")
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				if b, _, err := r.decode(); err != nil || !proto.Equal(b, block(h)) {
					t.Fatalf("block %d: %v", h, err)
				}
			},
		})
	})
}
