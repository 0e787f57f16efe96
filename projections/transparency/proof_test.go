package transparency

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"testing"

	"golang.org/x/mod/sumdb/tlog"
	"pgregory.net/rapid"

	"github.com/shardy-network/orchestrator/events"
)

// forest is a tree that keeps everything, as tlog itself builds it: what the edge is held against.
type forest struct {
	stored []tlog.Hash
	size   int64
}

func (f *forest) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, x := range indexes {
		if x >= int64(len(f.stored)) {
			return nil, fmt.Errorf("hash %d of %d", x, len(f.stored))
		}
		out[i] = f.stored[x]
	}
	return out, nil
}

func (f *forest) add(t testing.TB, leaf tlog.Hash) {
	t.Helper()
	more, err := tlog.StoredHashesForRecordHash(f.size, leaf, f)
	if err != nil {
		t.Fatal(err)
	}
	f.stored = append(f.stored, more...)
	f.size++
}

func (f *forest) root(t testing.TB, size int64) tlog.Hash {
	t.Helper()
	h, err := tlog.TreeHash(size, f)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func leafOf(i int) tlog.Hash {
	return tlog.RecordHash(binary.BigEndian.AppendUint64(nil, uint64(i)))
}

// TestEdgeIsTheTree grows an edge and a whole tree side by side.
func TestEdgeIsTheTree(t *testing.T) {
	var e edge
	f := new(forest)
	tiles := map[tlog.Tile][]byte{}
	const sizes = 256*256 + 600
	for i := range sizes {
		if i < 1100 || i%4099 == 0 || i > sizes-300 {
			if got, want := e.root(), f.root(t, int64(i)); got != want {
				t.Fatalf("root of %d leaves: %v, want %v", i, got, want)
			}
			for l := range e.levels {
				if len(e.levels[l]) != width(int64(i), l) {
					t.Fatalf("size %d: level %d has %d hashes", i, l, len(e.levels[l]))
				}
			}
			if len(e.levels) != levelsOf(int64(i)) {
				t.Fatalf("size %d: %d levels, want %d", i, len(e.levels), levelsOf(int64(i)))
			}
		}
		e.add(leafOf(i), func(level int, n int64, hashes []tlog.Hash) {
			tiles[tlog.Tile{H: tileHeight, L: level, N: n, W: tileWidth}] = joined(hashes)
		})
		f.add(t, leafOf(i))
	}
	want := 0
	for _, tile := range tlog.NewTiles(tileHeight, 0, sizes) {
		if tile.W < tileWidth {
			continue
		}
		want++
		data, err := tlog.ReadTileData(tile, f)
		if err != nil || !bytes.Equal(data, tiles[tile]) {
			t.Fatalf("tile %s differs: %v", tile.Path(), err)
		}
	}
	if len(tiles) != want {
		t.Errorf("%d full tiles, want %d", len(tiles), want)
	}
}

// TestProofsOfSmallTrees goes through all pairs of small sizes.
func TestProofsOfSmallTrees(t *testing.T) {
	const sizes = 70
	f := new(forest)
	at := func(size int) Checkpoint { return Checkpoint{Size: int64(size), Root: f.root(t, int64(size))} }
	for i := range sizes {
		f.add(t, leafOf(i))
	}
	for n := range sizes + 1 {
		for i := range n {
			p, err := InclusionProof(int64(n), int64(i), f)
			if err != nil {
				t.Fatal(err)
			}
			if err := CheckInclusion(at(n), leafOf(i), p); err != nil {
				t.Fatalf("leaf %d of %d: %v", i, n, err)
			}
			if err := CheckInclusion(at(n), leafOf(i+1), p); !errors.Is(err, ErrProof) {
				t.Fatalf("other leaf than %d of %d: %v", i, n, err)
			}
		}
		for m := range n + 1 {
			c, err := ConsistencyProof(int64(m), int64(n), f)
			if err != nil {
				t.Fatal(err)
			}
			if err := CheckConsistency(at(m), at(n), c); err != nil {
				t.Fatalf("from %d to %d: %v", m, n, err)
			}
			forged := at(m)
			forged.Root[3] ^= 1
			if err := CheckConsistency(forged, at(n), c); !errors.Is(err, ErrProof) {
				t.Fatalf("forged root at %d of %d: %v", m, n, err)
			}
		}
	}
	for _, bad := range [][2]int64{{0, 0}, {5, 5}, {5, -1}, {MaxSize + 1, 3}} {
		if _, err := InclusionProof(bad[0], bad[1], f); !errors.Is(err, ErrBeyond) {
			t.Errorf("proof of %v: %v", bad, err)
		}
	}
	if _, err := ConsistencyProof(6, 5, f); !errors.Is(err, ErrBeyond) {
		t.Errorf("backwards: %v", err)
	}
}

// TestForgedProofs: no proof holds after any change of any of its parts.
func TestForgedProofs(t *testing.T) {
	f := new(forest)
	for i := range 300 {
		f.add(t, leafOf(i))
	}
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Int64Range(2, 300).Draw(t, "size")
		i := rapid.Int64Range(0, n-1).Draw(t, "index")
		root, err := tlog.TreeHash(n, f)
		if err != nil {
			t.Fatal(err)
		}
		c := Checkpoint{Size: n, Root: root}
		p, err := InclusionProof(n, i, f)
		if err != nil {
			t.Fatal(err)
		}
		leaf := leafOf(int(i))
		switch what := rapid.IntRange(0, 4).Draw(t, "what"); {
		case what == 0:
			p.Index = rapid.Int64().Filter(func(j int64) bool { return j != i }).Draw(t, "other index")
		case what == 1:
			p.Hashes[rapid.IntRange(0, len(p.Hashes)-1).Draw(t, "hash")][rapid.IntRange(0, 31).Draw(t, "byte")] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
		case what == 2:
			p.Hashes = p.Hashes[:len(p.Hashes)-1]
		case what == 3:
			p.Hashes = append(p.Hashes, make([]tlog.Hash, rapid.IntRange(1, 100).Draw(t, "more"))...)
		default:
			p.Size, c.Size = rapid.Int64().Filter(func(j int64) bool { return j != n }).Draw(t, "other size"), n
		}
		if err := CheckInclusion(c, leaf, p); !errors.Is(err, ErrProof) {
			t.Fatalf("forged: %v", err)
		}
	})
}

// evidenceOf makes evidence for one of some records.
func evidenceOf(t testing.TB, records []events.Record, index int) Evidence {
	t.Helper()
	f := new(forest)
	for _, r := range records {
		f.add(t, LeafHash(r))
	}
	p, err := InclusionProof(f.size, int64(index), f)
	if err != nil {
		t.Fatal(err)
	}
	key := testKey(1)
	signed, err := SignCheckpoint(Checkpoint{Origin: Origin(public(key)), Size: f.size, Root: f.root(t, f.size)}, key)
	if err != nil {
		t.Fatal(err)
	}
	return Evidence{Leaf: AppendLeaf(nil, &records[index]), Proof: p, Checkpoint: signed}
}

func TestEvidence(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		records := rapid.SliceOfN(rapid.Custom(genRecord), 1, 20).Draw(rt, "records")
		i := rapid.IntRange(0, len(records)-1).Draw(rt, "index")
		e := evidenceOf(t, records, i)
		back, err := ParseEvidence(e.Text())
		if err != nil || !bytes.Equal(back.Text(), e.Text()) || back.Proof.Size != e.Proof.Size {
			rt.Fatalf("%+v, %v; want %+v", back, err, e)
		}
		r, c, err := back.Verify(public(testKey(1)))
		if err != nil || c.Size != int64(len(records)) || r.Stream != records[i].Stream || r.Rev != records[i].Rev {
			rt.Fatalf("%v of %v: %v", r, c, err)
		}
		if err := VerifyInclusion(e.Checkpoint, public(testKey(1)), records[i], e.Proof); err != nil {
			rt.Fatal(err)
		}
		if _, _, err := back.Verify(public(testKey(2))); !errors.Is(err, ErrSignature) {
			rt.Fatalf("other key: %v", err)
		}
		// No single changed bit of the leaf passes.
		bad := bytes.Clone(e.Leaf)
		bad[rapid.IntRange(0, len(bad)-1).Draw(rt, "byte")] ^= 1 << rapid.IntRange(0, 7).Draw(rt, "bit")
		back.Leaf = bad
		if _, _, err := back.Verify(public(testKey(1))); !errors.Is(err, ErrProof) {
			rt.Fatalf("changed leaf: %v", err)
		}
	})
}

func FuzzParseEvidence(f *testing.F) {
	records := []events.Record{{Stream: "a"}, {Stream: "b"}, {Stream: "c"}}
	f.Add(evidenceOf(f, records, 1).Text())
	f.Add([]byte(proofTag + "\nindex 0\n\no\n1\n" + tlog.Hash{}.String() + "\n\nx"))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := ParseEvidence(b)
		if err != nil {
			return
		}
		if !bytes.Equal(e.Text(), b) {
			t.Errorf("second form of the same evidence: %q", b)
		}
		e.Verify(public(testKey(1))) // must not panic
	})
}
