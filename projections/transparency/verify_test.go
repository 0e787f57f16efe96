package transparency

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/shardy-network/orchestrator/events"
)

// slate is a log whose records anyone can change: what a competent tamperer leaves behind, with dense positions.
type slate struct {
	records []events.Record
	broken  error // at the end
}

func (s *slate) ReadAll(ctx context.Context, after events.Position, f events.Filter) iter.Seq2[events.Record, error] {
	return func(yield func(events.Record, error) bool) {
		for _, r := range s.records[min(uint64(after), uint64(len(s.records))):] {
			if ctx.Err() != nil {
				yield(events.Record{}, ctx.Err())
				return
			}
			if f.Match(r.Stream, r.Type) && !yield(r, nil) {
				return
			}
		}
		if s.broken != nil {
			yield(events.Record{}, s.broken)
		}
	}
}

func (s *slate) Read(_ context.Context, stream string, span events.Span) iter.Seq2[events.Record, error] {
	return func(yield func(events.Record, error) bool) {
		n := 0
		for _, r := range s.records {
			if r.Stream == stream && r.Rev >= span.From && (span.Limit == 0 || n < span.Limit) {
				if n++; !yield(r, nil) {
					return
				}
			}
		}
	}
}

func (s *slate) Head(context.Context) (events.Position, error) {
	return events.Position(len(s.records)), nil
}

func (s *slate) number() {
	for i := range s.records {
		s.records[i].Pos = events.Position(i + 1)
	}
}

func newSlate(n int) *slate {
	s := &slate{records: make([]events.Record, n)}
	for i := range s.records {
		s.records[i] = events.Record{Draft: draft(i), Stream: fmt.Sprintf("job-%d", i%5), Rev: uint64(i / 5)}
	}
	s.number()
	return s
}

func (s *slate) clone() *slate {
	c := &slate{records: slices.Clone(s.records)}
	for i := range c.records {
		c.records[i].Data, c.records[i].Meta = bytes.Clone(c.records[i].Data), bytes.Clone(c.records[i].Meta)
	}
	return c
}

// grow feeds the records after a tree's place to it, without a runner.
func (s *slate) grow(t testing.TB, tree *Tree, upTo int) error {
	t.Helper()
	for from := int(tree.Position()); from < upTo; from = int(tree.Position()) {
		next := min(from+64, upTo)
		if err := tree.Apply(context.Background(), s.records[from:next], events.Position(next)); err != nil {
			return err
		}
	}
	return nil
}

// signedTree is the folder of a tree over a slate, with checkpoints at some sizes, and perhaps unsigned leaves behind.
func signedTree(t testing.TB, s *slate, sizes ...int) *memory {
	t.Helper()
	m := newMemory()
	tree := open(t, "", new(slate), Options{folder: m, SignEvery: 1 << 40, SignAfter: 1 << 60})
	tree.log = s
	for _, n := range sizes {
		if err := s.grow(t, tree, n); err != nil {
			t.Fatal(err)
		}
		if _, err := tree.Sign(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.grow(t, tree, len(s.records)); err != nil {
		t.Fatal(err)
	}
	tree.mu.Lock()
	defer tree.mu.Unlock()
	if err := tree.write(); err != nil {
		t.Fatal(err)
	}
	tree.stopped = events.ErrClosed // so that the folder stays as it is
	return m
}

func report(t testing.TB, log Log, m folder, outside ...[]byte) Report {
	t.Helper()
	r, err := verify(t.Context(), log, m, VerifyOptions{Key: public(testKey(1)), Outside: outside})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// changes are what a tamperer does to one record.
var changes = map[string]func(r *events.Record, dice func(int) int){
	"data": func(r *events.Record, dice func(int) int) { r.Data[dice(len(r.Data))] ^= 1 << dice(8) },
	"meta": func(r *events.Record, dice func(int) int) { r.Meta[dice(len(r.Meta))] ^= 1 << dice(8) },
	"id":   func(r *events.Record, dice func(int) int) { r.ID[dice(16)] ^= 1 << dice(8) },
	"type": func(r *events.Record, dice func(int) int) {
		i := dice(len(r.Type))
		r.Type = r.Type[:i] + "x" + r.Type[i+1:]
	},
	"stream's name": func(r *events.Record, dice func(int) int) {
		i := dice(len(r.Stream))
		r.Stream = r.Stream[:i] + "X" + r.Stream[i+1:]
	},
	"revision": func(r *events.Record, dice func(int) int) { r.Rev += uint64(1 + dice(1000)) },
	"JSON":     func(r *events.Record, _ func(int) int) { r.JSON = !r.JSON },
}

// TestAnyChangedByteIsNamed: whatever is changed of whichever record, signed or not yet signed, Verify names the record
// and says what was changed.
func TestAnyChangedByteIsNamed(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.IntRange(1, 1200).Draw(rt, "records")
		s := newSlate(n)
		m := signedTree(t, s, rapid.IntRange(1, n).Draw(rt, "signed"))
		if r := report(t, s, m); !r.Clean() || r.Events != int64(n) || r.Matched != 1 {
			rt.Fatalf("untouched: %+v", r)
		}
		i := rapid.IntRange(0, n-1).Draw(rt, "record")
		what := rapid.SampledFrom(keys(changes)).Draw(rt, "what")
		bad := s.clone()
		changes[what](&bad.records[i], func(n int) int { return rapid.IntRange(0, n-1).Draw(rt, "dice") })
		got := report(t, bad, m)
		first, ok := got.First()
		rec := bad.records[i]
		if !ok || got.Findings != 1 || first.Kind != Changed || first.Index != int64(i) || first.Position != rec.Pos || first.Stream != rec.Stream ||
			first.Revision != rec.Rev || first.Type != rec.Type || !strings.Contains(first.Detail, what) {
			rt.Fatalf("%s of %d: %+v", what, i, got.Found)
		}
	})
}

func keys(m map[string]func(*events.Record, func(int) int)) []string {
	var out []string
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

// TestOtherOrderIsNamed: records that were removed, inserted, exchanged or cut off at the end.
func TestOtherOrderIsNamed(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.IntRange(2, 1200).Draw(rt, "records")
		s := newSlate(n)
		m := signedTree(t, s, n)
		bad := s.clone()
		i := rapid.IntRange(0, n-2).Draw(rt, "place")
		k := rapid.IntRange(1, min(n-1-i, 300)).Draw(rt, "how many")
		var kind Kind
		var size int64
		what := rapid.SampledFrom([]string{"remove", "insert", "exchange", "rotate", "truncate"}).Draw(rt, "what")
		switch what {
		case "remove":
			kind, size = Removed, int64(k)
			bad.records = slices.Delete(bad.records, i, i+k)
		case "insert":
			kind, size = Inserted, int64(k)
			var more []events.Record
			for j := range k {
				more = append(more, events.Record{Draft: draft(1_000_000 + j), Stream: "new"})
			}
			bad.records = slices.Insert(bad.records, i, more...)
		case "exchange":
			kind, size = Reordered, int64(k+1)
			bad.records[i], bad.records[i+k] = bad.records[i+k], bad.records[i]
		case "rotate":
			kind, size = Reordered, int64(k+1)
			r := bad.records[i]
			bad.records = slices.Insert(slices.Delete(bad.records, i, i+1), i+k, r)
		case "truncate":
			kind, size = Truncated, int64(n-i)
			bad.records = bad.records[:i]
		}
		bad.number()
		got := report(t, bad, m)
		first, ok := got.First()
		if !ok || first.Kind != kind || first.Index != int64(i) || got.Findings != 1 || got.Matched != 0 {
			rt.Fatalf("%s %d at %d of %d: %+v", what, k, i, n, got)
		}
		if first.Count != size && kind != Reordered {
			rt.Fatalf("%s %d at %d of %d: %+v", what, k, i, n, first)
		}
		if kind != Truncated && (first.Stream != bad.records[i].Stream || first.Position != events.Position(i+1)) {
			rt.Fatalf("%s: names %+v", what, first)
		}
	})
}

// TestManyChanges: each is named, and they are counted beyond those that are listed.
func TestManyChanges(t *testing.T) {
	s := newSlate(3000)
	m := signedTree(t, s, 1000, 3000)
	bad := s.clone()
	for i := 5; i < 3000; i += 100 {
		bad.records[i].Data[0]++
	}
	got := report(t, bad, m)
	if got.Findings != 30 || len(got.Found) != defaultMaxFound || got.Found[3].Index != 305 {
		t.Errorf("%d findings, %d listed: %+v", got.Findings, len(got.Found), got.Found)
	}
	if got.Matched != 0 || got.Checkpoints != 2 {
		t.Errorf("%+v", got)
	}
}

// TestRewrittenTree: who changes log, tiles and size record alike is caught by the checkpoint that cannot be signed anew.
func TestRewrittenTree(t *testing.T) {
	s := newSlate(2000)
	good := signedTree(t, s, 500, 1200, 2000)
	bad := s.clone()
	bad.records[700].Data[3]++
	forged := signedTree(t, bad, 500, 1200, 2000)
	forged.files[checkpointsFile] = good.files[checkpointsFile]
	got := report(t, bad, forged)
	first, ok := got.First()
	if !ok || first.Kind != History || first.Index != 500 || first.Count != 700 || got.Matched != 1 {
		t.Errorf("%+v", got)
	}
	// Signed anew with another key.
	kept, _, err := parseKept(good.files[checkpointsFile], public(testKey(1)))
	if err != nil {
		t.Fatal(err)
	}
	var b []byte
	for _, k := range kept {
		if k.Signed, err = SignCheckpoint(k.Checkpoint, testKey(2)); err != nil {
			t.Fatal(err)
		}
		b = append(b, k.entry()...)
	}
	forged.files[checkpointsFile] = b
	if got := report(t, bad, forged); got.Clean() || got.Found[0].Kind != Signature {
		t.Errorf("other key: %+v", got)
	}
	// Everything forged, with the server's own key: only what lies outside tells.
	whole := signedTree(t, bad, 500, 1200, 2000)
	if got := report(t, bad, whole); !got.Clean() {
		t.Errorf("wholly forged: %+v", got)
	}
	got = report(t, bad, whole, kept[0].Signed, kept[1].Signed)
	if got.Clean() || got.Found[0].Kind != Outside || !got.Outside[0].Matches || got.Outside[1].Matches || got.Found[0].Index != 500 {
		t.Errorf("outside: %+v", got)
	}
	if got := report(t, newSlate(1100), newMemory(), kept[0].Signed, kept[1].Signed); got.Findings != 1 || got.Found[0].Kind != Outside ||
		got.Found[0].Index != 1100 || got.Found[0].Count != 100 {
		t.Errorf("shorter than a checkpoint from outside: %+v", got)
	}
	if _, err := verify(t.Context(), bad, whole, VerifyOptions{Key: public(testKey(2)), Outside: [][]byte{kept[0].Signed}}); err == nil {
		t.Error("checkpoint from outside of another key was taken")
	}
}

// TestDamagedTiles: any damage of any file is told apart from a changed log, and both together are found.
func TestDamagedTiles(t *testing.T) {
	const n = 256*256 + 900
	s := newSlate(n)
	m := signedTree(t, s, 300, n-10)
	clone := func() *memory {
		c := newMemory()
		for k, v := range m.files {
			c.files[k] = bytes.Clone(v)
		}
		return c
	}
	for name := range m.files {
		if !strings.HasPrefix(name, "tile/") && name != edgeFile || strings.HasSuffix(name, "7") {
			continue // a tenth of all tiles is enough
		}
		if len(name) > 12 && !strings.HasSuffix(name, "3") {
			continue
		}
		if strings.HasPrefix(name, "tile/0/") && !strings.HasSuffix(name, "13") {
			continue
		}
		for what, damage := range map[string]func(c *memory){
			"flipped": func(c *memory) { c.files[name][77] ^= 4 },
			"torn":    func(c *memory) { c.files[name] = c.files[name][:100] },
			"zeroed":  func(c *memory) { clear(c.files[name][64:]) },
			"missing": func(c *memory) { delete(c.files, name) },
		} {
			c := clone()
			damage(c)
			got := report(t, s, c)
			if name == edgeFile && what == "missing" {
				if !got.Clean() || got.TreeSize != 0 { // an empty tree; the checkpoints still match
					t.Errorf("%s %s: %+v", name, what, got)
				}
				continue
			}
			if got.Clean() || got.Found[0].Kind != Tile || got.Matched != 2 {
				t.Errorf("%s %s: %+v", name, what, got)
			}
		}
	}
	// A changed record below a damaged tile is narrowed down to that tile.
	c := clone()
	c.files[tileName(0, 13)][77] ^= 4
	bad := s.clone()
	bad.records[13*256+5].Data[1]++
	got := report(t, bad, c)
	if !slices.ContainsFunc(got.Found, func(f Finding) bool { return f.Kind == History && f.Index == 13*256 && f.Count == 256 }) {
		t.Errorf("damaged tile over a changed record: %+v", got.Found)
	}
}

func TestUnreadableLog(t *testing.T) {
	s := newSlate(700)
	m := signedTree(t, s, 700)
	bad := &slate{records: s.records[:333], broken: fmt.Errorf("%w: record at position 334 does not match its checksum", events.ErrCorrupt)}
	got := report(t, bad, m)
	if f, _ := got.First(); got.Findings != 1 || f.Kind != Unreadable || f.Index != 333 || !strings.Contains(f.Detail, "position 334") {
		t.Errorf("%+v", got)
	}
	if _, err := verify(t.Context(), &slate{broken: events.ErrUnavailable}, m, VerifyOptions{}); err == nil {
		t.Error("a log that is away was judged")
	}
}
