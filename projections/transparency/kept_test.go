package transparency

import (
	"bytes"
	"errors"
	"reflect"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"
	"pgregory.net/rapid"

	"github.com/shardy-network/orchestrator/events"
)

func keptAt(t testing.TB, size int64, at time.Time) Kept {
	t.Helper()
	c := Checkpoint{Origin: Origin(public(testKey(1))), Size: size, Root: tlog.Hash{byte(size)}}
	signed, err := SignCheckpoint(c, testKey(1))
	if err != nil {
		t.Fatal(err)
	}
	return Kept{At: at.UTC().Truncate(time.Second), Checkpoint: c, Signed: signed}
}

var epoch = time.Date(2026, 11, 22, 18, 0, 0, 0, time.UTC)

// TestTornCheckpoints: what a crash leaves of the last entry is passed over; any other damage is an error.
func TestTornCheckpoints(t *testing.T) {
	var b []byte
	var want []Kept
	for i := range 3 {
		want = append(want, keptAt(t, int64(i+1), epoch))
		b = append(b, want[i].entry()...)
	}
	two := len(b) - len(want[2].entry())
	for n := two; n < len(b); n++ {
		kept, good, err := parseKept(b[:n], public(testKey(1)))
		if err != nil || len(kept) != 2 || good != two {
			t.Fatalf("cut after %d of %d bytes: %d kept, %v", n-two, len(b)-two, len(kept), err)
		}
		zeros := append(bytes.Clone(b[:n]), make([]byte, len(b)-n)...)
		if kept, good, err := parseKept(zeros, public(testKey(1))); err != nil || len(kept) != 2 || good != two {
			t.Fatalf("zeros after %d of %d bytes: %d kept, %v", n-two, len(b)-two, len(kept), err)
		}
	}
	kept, good, err := parseKept(b, public(testKey(1)))
	if err != nil || good != len(b) || !reflect.DeepEqual(kept, want) {
		t.Fatalf("%+v, %v", kept, err)
	}
	for i := range b {
		bad := bytes.Clone(b)
		bad[i] ^= 0x10
		kept, _, err := parseKept(bad, public(testKey(1)))
		if err == nil && len(kept) == 3 && reflect.DeepEqual(kept, want) {
			t.Fatalf("byte %d changed and nothing said", i)
		}
		if err != nil && !errors.Is(err, ErrCheckpoint) && !errors.Is(err, ErrSignature) {
			t.Fatalf("byte %d: %v", i, err)
		}
		for j, k := range kept { // times are not signed
			if k.Checkpoint != want[j].Checkpoint {
				t.Fatalf("byte %d: another checkpoint: %v", i, k.Checkpoint)
			}
		}
	}
	if _, _, err := parseKept(append(bytes.Clone(b), want[0].entry()...), public(testKey(1))); !errors.Is(err, ErrCheckpoint) {
		t.Errorf("sizes do not ascend: %v", err)
	}
}

// TestThin: the newest stay, and of every older hour and day the last.
func TestThin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		at := epoch
		var kept []Kept
		for range rapid.IntRange(1, 1500).Draw(t, "checkpoints") {
			at = at.Add(time.Duration(rapid.IntRange(1, 6*3600).Draw(t, "seconds")) * time.Second)
			kept = append(kept, Kept{At: at, Checkpoint: Checkpoint{Size: int64(len(kept) + 1)}})
		}
		out := thin(kept)
		if again := thin(out); len(again) != len(out) {
			t.Fatalf("thinned twice: %d, then %d", len(out), len(again))
		}
		if n := min(len(kept), keepNewest); !reflect.DeepEqual(out[len(out)-n:], kept[len(kept)-n:]) {
			t.Fatal("the newest did not stay")
		}
		days := map[time.Time]int64{}
		hours := map[time.Time]int64{}
		for _, k := range kept {
			days[k.At.Truncate(24*time.Hour)] = k.Checkpoint.Size
			if at.Sub(k.At) < keepHourly {
				hours[k.At.Truncate(time.Hour)] = k.Checkpoint.Size
			}
		}
		stays := map[int64]bool{}
		for _, k := range out {
			stays[k.Checkpoint.Size] = true
		}
		for when, size := range days {
			if !stays[size] {
				t.Fatalf("the last of %s is gone", when)
			}
		}
		for when, size := range hours {
			if !stays[size] {
				t.Fatalf("the last of %s is gone", when)
			}
		}
		if len(out) > keepNewest+len(days)+len(hours) {
			t.Fatalf("%d stay", len(out))
		}
	})
}

// TestManyCheckpoints: the file stays bounded, and the tree over it whole.
func TestManyCheckpoints(t *testing.T) {
	s := newSlate(3 * thinAt)
	m := newMemory()
	tree, err := manual(m, s)
	if err != nil {
		t.Fatal(err)
	}
	for n := range len(s.records) {
		if err := s.grow(t, tree, n+1); err != nil {
			t.Fatal(err)
		}
		if _, err := tree.Sign(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(tree.Kept()); n > keepNewest+thinAt {
		t.Errorf("%d checkpoints are kept", n)
	}
	if err := tree.Close(); err != nil {
		t.Fatal(err)
	}
	if r := report(t, s, m); !r.Clean() || r.Matched != r.Checkpoints || r.Signed != int64(len(s.records)) {
		t.Errorf("%+v", r)
	}
}

func FuzzParseKept(f *testing.F) {
	b := append(keptAt(f, 1, epoch).entry(), keptAt(f, 2, epoch).entry()...)
	f.Add(b)
	f.Add(b[:len(b)-10])
	f.Fuzz(func(t *testing.T, b []byte) {
		kept, good, _ := parseKept(b, nil)
		if good > len(b) || len(kept) > 0 && good == 0 {
			t.Errorf("%d of %d bytes are good, %d entries", good, len(b), len(kept))
		}
		parseKept(b, public(testKey(1)))
	})
}

func FuzzDecodeEdge(f *testing.F) {
	var e edge
	for i := range 300 {
		e.add(leafOf(i), nil)
	}
	f.Add(encodeEdge(&e, 300))
	f.Add(encodeEdge(new(edge), 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, at, err := decodeEdge(b)
		if err != nil {
			if !errors.Is(err, ErrDamaged) {
				t.Error(err)
			}
			return
		}
		e.root() // must not panic
		if !bytes.Equal(encodeEdge(e, at), b) {
			t.Error("second form of the same size record")
		}
	})
}

func TestDecodePositions(t *testing.T) {
	good := []byte{0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 9}
	if ps, err := decodePositions(good, 2); err != nil || !reflect.DeepEqual(ps, []events.Position{256, 512}) {
		t.Errorf("%v, %v", ps, err)
	}
	for name, bad := range map[string][]byte{"short": good[:15], "level": append(good[:8:8], good[:8]...)} {
		if _, err := decodePositions(bad, 2); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
