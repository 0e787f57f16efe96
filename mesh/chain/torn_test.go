package chain

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/shardy-network/orchestrator/events/durable"
	"github.com/shardy-network/orchestrator/mesh/chain/chaintest"
)

func copyDir(t testing.TB, from string) string {
	t.Helper()
	to := t.TempDir()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	return to
}

func onlySegment(t testing.TB, dir string) string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "blocks", "*"+segmentEnd))
	if err != nil || len(names) != 1 {
		t.Fatal(names, err)
	}
	return names[0]
}

// TestTornAtAnyByte cuts the last write at every byte, with nothing, zeros or rubbish after it: all that was acknowledged
// before is there, nothing else is, and the chain goes on.
func TestTornAtAnyByte(t *testing.T) {
	m := chaintest.New(t, 1, 2)
	dir := t.TempDir()
	c := open(t, Config{Dir: dir, Genesis: m.Genesis})
	m.Grow(3, 1)
	if _, err := c.Accept(t.Context(), m.Blocks); err != nil {
		t.Fatal(err)
	}
	path := onlySegment(t, dir)
	acknowledged, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	m.Grow(2, 1)
	if _, err := c.Accept(t.Context(), m.Blocks); err != nil { // one write of two blocks
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	shut(t, c)
	fourth, err := cutRecord(whole[len(acknowledged):])
	if err != nil {
		t.Fatal(err)
	}
	stride := 1
	if testing.Short() {
		stride = 41
	}
	for cut := len(acknowledged); cut < len(whole); cut += stride {
		want := uint64(3)
		if cut >= len(acknowledged)+fourth.size {
			want = 4
		}
		torn := whole[:cut:cut]
		switch cut % 3 {
		case 1:
			torn = append(torn, make([]byte, len(whole)-cut)...)
		case 2:
			torn = append(torn, bytes.Repeat([]byte{0xa5}, 100)...)
		}
		if err := os.WriteFile(path, torn, 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := Open(Config{Dir: dir})
		if err != nil {
			t.Fatalf("cut at %d: %v", cut, err)
		}
		if c.Height() != want && !bytes.Equal(torn, whole) {
			t.Fatalf("cut at %d: height %d, want %d", cut, c.Height(), want)
		}
		if _, err := c.Accept(t.Context(), m.Blocks); err != nil {
			t.Fatalf("cut at %d: %v", cut, err)
		}
		agree(t, c, m)
		shut(t, c)
	}
}

// TestDamageIsNotATornTail spoils what later blocks show to have been acknowledged.
func TestDamageIsNotATornTail(t *testing.T) {
	m := chaintest.New(t, 1, 2)
	dir := t.TempDir()
	c := open(t, Config{Dir: dir, Genesis: m.Genesis})
	for range 6 {
		if err := c.Commit(m.Grow(1, 1).Block, m.Blocks[len(m.Blocks)-1].Certificate); err != nil {
			t.Fatal(err)
		}
	}
	shut(t, c)
	path := onlySegment(t, dir)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	last := 0
	_, _, err = scan(whole, 1, func(at int, _ record) { last = at })
	if err != nil {
		t.Fatal(err)
	}
	for at := 0; at < last; at += 7 {
		spoilt := bytes.Clone(whole)
		spoilt[at] ^= 0x10
		if err := os.WriteFile(path, spoilt, 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := Open(Config{Dir: dir})
		if err == nil {
			h := c.Height()
			shut(t, c)
			t.Fatalf("byte %d changed: opened at height %d", at, h)
		}
		if !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrGenesis) {
			t.Fatalf("byte %d changed: %v", at, err)
		}
		if now, err := os.ReadFile(path); err != nil || !bytes.Equal(now, spoilt) {
			t.Fatal("what is damaged was changed further", err)
		}
	}
}

// TestLeftovers opens folders as a crash leaves them between two steps.
func TestLeftovers(t *testing.T) {
	m := chaintest.New(t, 1, 50)
	dir := t.TempDir()
	cfg := Config{Dir: dir, Genesis: m.Genesis, SnapshotBlocks: 4, SegmentBytes: 1000}
	c := open(t, cfg)
	for range 10 {
		if err := c.Commit(m.Grow(1, 1).Block, m.Blocks[len(m.Blocks)-1].Certificate); err != nil {
			t.Fatal(err)
		}
	}
	wait(t, c, 8)
	shut(t, c)
	first := func(h uint64) string { return filepath.Join("blocks", pad(h)+segmentEnd) }
	segments, err := listHeights(filepath.Join(dir, "blocks"), segmentEnd)
	if err != nil || len(segments) < 4 {
		t.Fatal(segments, err)
	}
	for name, c := range map[string]struct {
		leave func(dir string) error
		low   uint64
	}{
		"a segment that was begun": {func(d string) error {
			return os.WriteFile(filepath.Join(d, first(11))+durable.Ending, []byte("sh"), 0o600)
		}, 1},
		"a snapshot that was begun": {func(d string) error {
			return os.MkdirAll(filepath.Join(d, "snapshots", pad(12)+durable.Ending, "x"), 0o700)
		}, 1},
		"no index": {func(d string) error { return removeAll(filepath.Join(d, "blocks", "*"+indexEnd)) }, 1},
		"a torn index": {func(d string) error {
			return os.WriteFile(filepath.Join(d, "blocks", pad(1)+indexEnd), []byte{1}, 0o600)
		}, 1},
		"pruning that was begun":            {func(d string) error { return os.Remove(filepath.Join(d, first(1))) }, segments[1]},
		"no snapshot":                       {func(d string) error { return os.RemoveAll(filepath.Join(d, "snapshots")) }, 1},
		"a snapshot without its manifest":   {func(d string) error { return os.Remove(filepath.Join(d, "snapshots", pad(8), manifestName)) }, 1},
		"a snapshot that lost a chunk":      {func(d string) error { return os.Remove(filepath.Join(d, "snapshots", pad(8), chunkName(0))) }, 1},
		"a file that belongs to nobody":     {func(d string) error { return os.WriteFile(filepath.Join(d, "blocks", "notes.txt"), nil, 0o600) }, 1},
		"an empty segment at the end":       {func(d string) error { return emptySegment(d, first(11), m) }, 1},
		"an index of a segment that is not": {func(d string) error { return os.WriteFile(filepath.Join(d, "blocks", pad(99)+indexEnd), nil, 0o600) }, 1},
	} {
		t.Run(name, func(t *testing.T) {
			at := copyDir(t, dir)
			if err := c.leave(at); err != nil {
				t.Fatal(err)
			}
			cfg := cfg
			cfg.Dir = at
			again := open(t, cfg)
			agree(t, again, m)
			if low := again.Status().Low; low != c.low {
				t.Errorf("blocks from %d on, want %d", low, c.low)
			}
			for h := c.low; h <= 10; h++ {
				if _, err := again.Block(h); err != nil {
					t.Error(err)
				}
			}
			more := chaintest.New(t, 1, 50)
			more.Grow(10, 1)
			if err := again.Commit(more.Grow(1, 2).Block, more.Blocks[10].Certificate); err != nil {
				t.Error(err)
			}
		})
	}
}

func pad(h uint64) string {
	s := strconv.FormatUint(h, 10)
	return "00000000000000000000"[len(s):] + s
}

func removeAll(pattern string) error {
	names, err := filepath.Glob(pattern)
	for _, n := range names {
		err = errors.Join(err, os.Remove(n))
	}
	return err
}

func emptySegment(dir, name string, m *chaintest.Maker) error {
	genesis := hashOf(m.Genesis)
	return os.WriteFile(filepath.Join(dir, name), append([]byte(segmentMagic), genesis[:]...), 0o600)
}
