package mesh

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

func metAt(n int, seen time.Time, score float64) Met {
	id, err := PeerOf(public(keyOf(n)))
	if err != nil {
		panic(err) // a key made here
	}
	return Met{Peer: id.String(), Addresses: []string{fmt.Sprintf("/ip4/127.0.0.1/tcp/%d", n+1)}, Seen: seen.UTC().Truncate(time.Second), Score: score}
}

// TestBookSurvives restarts an orchestrator that knows nobody but by its book.
func TestBookSurvives(t *testing.T) {
	file := filepath.Join(t.TempDir(), "peers.json")
	strangers := func(c *Config) { c.Ports.Validators = nil }
	a := open(t, 0, strangers)
	b := open(t, 1, meets(a), strangers, func(c *Config) { c.Book = file })
	gathered(t, a, b)
	eventually(t, "addresses are known", func() bool { return len(b.host.Peerstore().Addrs(a.self)) > 0 })
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	again := open(t, 1, strangers, func(c *Config) { c.Book = file })
	if n := again.Status().Book; n != 1 {
		t.Fatalf("%d peers in the book", n)
	}
	eventually(t, "connected by the book", func() bool { return again.connected(a.self) })
}

// TestTornBook cuts the file at every length: the book is either as it was, or empty with the torn file set aside.
func TestTornBook(t *testing.T) {
	file := filepath.Join(t.TempDir(), "peers.json")
	b, err := openBook(file)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		b.put(metAt(i, time.Now(), 0))
	}
	if err := b.save(); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for n := range whole {
		if err := os.WriteFile(file, whole[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		b, err := openBook(file)
		if !errors.Is(err, ErrBook) || b.size() != 0 {
			t.Fatalf("cut at %d: %d peers, %v", n, b.size(), err)
		}
		aside, err := os.ReadFile(file + ".broken")
		if err != nil || len(aside) != n {
			t.Fatalf("cut at %d: %d bytes set aside, %v", n, len(aside), err)
		}
		b.put(metAt(9, time.Now(), 0))
		if err := b.save(); err != nil {
			t.Fatal(err)
		}
	}
	if b, err := openBook(file); err != nil || b.size() != 1 {
		t.Fatalf("after all: %d peers, %v", b.size(), err)
	}
	left, err := filepath.Glob(filepath.Join(filepath.Dir(file), "*.part"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// TestBookIsBounded keeps the best: those of good standing that were seen last.
func TestBookIsBounded(t *testing.T) {
	file := filepath.Join(t.TempDir(), "peers.json")
	b, err := openBook(file)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	for i := range maxBookPeers + 100 {
		score := 0.0
		if i < 50 { // seen last, but in bad standing
			score = -5
		}
		b.put(metAt(i, now.Add(-time.Duration(i)*time.Minute), score))
	}
	b.put(metAt(5_000, now.Add(-2*bookAge), 9))
	if err := b.save(); err != nil {
		t.Fatal(err)
	}
	read, err := openBook(file)
	if err != nil || read.size() != maxBookPeers {
		t.Fatalf("%d peers, %v", read.size(), err)
	}
	if best := read.best(3); best[0].Peer != metAt(50, now, 0).Peer || best[0].Score != 0 || len(best) != 3 {
		t.Errorf("best %+v", best)
	}
	for _, p := range read.best(maxBookPeers) {
		if p.Peer == metAt(5_000, now, 0).Peer || p.Score < 0 {
			t.Errorf("kept %+v", p)
		}
	}
}

func TestBookThatCannotBeSaved(t *testing.T) {
	b, err := openBook(filepath.Join(t.TempDir(), "no", "such", "folder", "peers.json"))
	if err != nil {
		t.Fatal(err)
	}
	b.put(metAt(1, time.Now(), 0))
	if err := b.save(); err == nil {
		t.Error("saved nowhere")
	}
	if b.size() != 1 {
		t.Error("a failed save forgets")
	}
}

func FuzzBook(f *testing.F) {
	f.Add([]byte(`{"format":1,"peers":[{"peer":"12D3KooWMm1c4pzeLPGkkCJMAgFbsfQ8xmVDusg272icWsaNHWzN","addresses":["/ip4/127.0.0.1/tcp/1"],"seen":"2026-01-01T00:00:00Z","score":1.5}]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		met, err := parseBook(raw)
		if err != nil {
			if !errors.Is(err, ErrBook) {
				t.Fatalf("untyped: %v", err)
			}
			return
		}
		for _, p := range met {
			if _, err := peer.Decode(p.Peer); err != nil {
				t.Fatal(err)
			}
			if _, err := multiaddrs(p.Addresses); err != nil || len(p.Addresses) > maxAddresses {
				t.Fatal(err)
			}
		}
	})
}
