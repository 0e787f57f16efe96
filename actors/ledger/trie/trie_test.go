package trie

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

// key has few bits that differ, so that tries of a few keys are deep and leaves move up and down.
func key(n uint16) (k Hash) {
	binary.BigEndian.PutUint16(k[:], n&0x0f0f)
	binary.BigEndian.PutUint16(k[30:], n)
	return k
}

func changes(t *rapid.T, label string) []Change {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Change {
		return Change{key(rapid.Uint16Range(0, 200).Draw(t, "key")), rapid.SliceOfN(rapid.Byte(), 0, 3).Draw(t, "value")}
	}), 0, 40).Draw(t, label)
}

// TestModel holds the trie against a map: content, size, order, and a root that depends on the content alone.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		model := map[Hash][]byte{}
		var trie Trie
		for range rapid.IntRange(1, 6).Draw(t, "rounds") {
			before, root := trie, trie.Root()
			batch := changes(t, "batch")
			trie = trie.Update(batch)
			for _, c := range batch {
				if len(c.Value) == 0 {
					delete(model, c.Key)
				} else {
					model[c.Key] = c.Value
				}
			}
			if before.Root() != root {
				t.Fatal("an update changed the version before it")
			}
			agree(t, trie, model)
		}
		var fresh Trie
		for _, k := range shuffled(t, model) {
			fresh = fresh.Update([]Change{{k, model[k]}})
		}
		if fresh.Root() != trie.Root() {
			t.Fatal("the same content has another root when it comes in another order")
		}
	})
}

func agree(t *rapid.T, trie Trie, model map[Hash][]byte) {
	if trie.Len() != len(model) {
		t.Fatalf("%d keys, want %d", trie.Len(), len(model))
	}
	for n := range uint16(201) {
		if k := key(n); !bytes.Equal(trie.Get(k), model[k]) {
			t.Fatalf("key %d is %x, want %x", n, trie.Get(k), model[k])
		}
	}
	from := key(rapid.Uint16Range(0, 200).Draw(t, "from"))
	var got []Hash
	for k, v := range trie.All(from) {
		if !bytes.Equal(v, model[k]) {
			t.Fatalf("%x is %x, want %x", k, v, model[k])
		}
		got = append(got, k)
	}
	want := slices.DeleteFunc(slices.Collect(maps.Keys(model)), func(k Hash) bool { return bytes.Compare(k[:], from[:]) < 0 })
	slices.SortFunc(want, func(a, b Hash) int { return bytes.Compare(a[:], b[:]) })
	if !slices.Equal(got, want) {
		t.Fatalf("walked %d keys from %x, want %d in order", len(got), from, len(want))
	}
}

func shuffled(t *rapid.T, model map[Hash][]byte) []Hash {
	keys := slices.Collect(maps.Keys(model))
	slices.SortFunc(keys, func(a, b Hash) int { return bytes.Compare(a[:], b[:]) })
	return rapid.Permutation(keys).Draw(t, "order")
}

// TestProofs holds that every key's proof shows what the trie holds, and that no other claim passes with it.
func TestProofs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		trie := Trie{}.Update(changes(t, "content"))
		k := key(rapid.Uint16Range(0, 200).Draw(t, "asked"))
		p := trie.Prove(k)
		v, err := Verify(trie.Root(), p)
		if err != nil || !bytes.Equal(v, trie.Get(k)) {
			t.Fatalf("proof of %x: %x, %v; want %x", k, v, err, trie.Get(k))
		}
		forged := forge(t, p)
		if proto.Equal(forged, p) {
			return
		}
		w, err := Verify(trie.Root(), forged)
		if err == nil && !bytes.Equal(w, trie.Get(Hash(forged.Key))) {
			t.Fatalf("a forged proof shows %x under %x, where %x is", w, forged.Key, trie.Get(Hash(forged.Key)))
		}
	})
}

// forge changes one thing of a proof.
func forge(t *rapid.T, p *ledgerv1.TrieProof) *ledgerv1.TrieProof {
	f := proto.CloneOf(p)
	other := key(rapid.Uint16Range(0, 200).Draw(t, "other"))
	sum := sha256.Sum256(rapid.SliceOfN(rapid.Byte(), 0, 3).Draw(t, "forged value"))
	switch rapid.IntRange(0, 6).Draw(t, "forgery") {
	case 0:
		f.Key = other[:]
	case 1:
		f.Value = rapid.SliceOfN(rapid.Byte(), 0, 3).Draw(t, "value")
	case 2:
		f.Value, f.OtherKey, f.OtherValueHash = nil, other[:], sum[:]
	case 3:
		f.Value, f.OtherKey, f.OtherValueHash = nil, nil, nil
	case 4:
		f.OtherKey = other[:]
	case 5:
		if n := len(f.Siblings); n > 0 {
			f.Siblings[rapid.IntRange(0, n-1).Draw(t, "sibling")] = sum[:]
		}
	case 6:
		f.Siblings = f.Siblings[:rapid.IntRange(0, len(f.Siblings)).Draw(t, "length")]
	}
	return f
}

func TestMalformedProofs(t *testing.T) {
	k := key(1)
	for name, p := range map[string]*ledgerv1.TrieProof{
		"nothing":         nil,
		"short key":       {Key: k[:31]},
		"too deep":        {Key: k[:], Siblings: make([][]byte, 257)},
		"odd sibling":     {Key: k[:], Siblings: [][]byte{{1}}},
		"short other key": {Key: k[:], OtherKey: k[:3], OtherValueHash: k[:]},
		"itself as other": {Key: k[:], OtherKey: k[:], OtherValueHash: k[:]},
	} {
		if _, err := Verify(Hash{}, p); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if v, err := Verify(Hash{}, &ledgerv1.TrieProof{Key: k[:]}); err != nil || v != nil {
		t.Errorf("absence from the empty trie: %x, %v", v, err)
	}
}

func FuzzVerify(f *testing.F) {
	trie := Trie{}.Update([]Change{{key(1), []byte("a")}, {key(2), []byte("b")}, {key(0x0f00), []byte("c")}})
	for _, n := range []uint16{1, 2, 3, 0x0f01} {
		b, err := proto.Marshal(trie.Prove(key(n)))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		p := new(ledgerv1.TrieProof)
		if proto.Unmarshal(b, p) != nil {
			return
		}
		if v, err := Verify(trie.Root(), p); err == nil && !bytes.Equal(v, trie.Get(Hash(p.Key))) {
			t.Fatalf("shows %x under %x", v, p.Key)
		}
	})
}

func accounts(n int) []Change {
	dice := rand.New(rand.NewPCG(1, 2))
	all := make([]Change, n)
	for i := range all {
		var name [8]byte
		binary.BigEndian.PutUint64(name[:], uint64(i))
		v := make([]byte, 64)
		binary.BigEndian.PutUint64(v, dice.Uint64())
		all[i] = Change{Key("account", name[:]), v}
	}
	return all
}

func BenchmarkUpdate500Of100k(b *testing.B) {
	all := accounts(100_000)
	trie := Trie{}.Update(all)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		at := i * 500 % len(all)
		trie = trie.Update(all[at : at+500])
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/500, "ns/key")
}

func BenchmarkProveAndVerify(b *testing.B) {
	all := accounts(100_000)
	trie := Trie{}.Update(all)
	root := trie.Root()
	for i := 0; b.Loop(); i++ {
		if v, err := Verify(root, trie.Prove(all[i%len(all)].Key)); err != nil || v == nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkBuild100k(b *testing.B) {
	all := accounts(100_000)
	for b.Loop() {
		Trie{}.Update(all)
	}
}
