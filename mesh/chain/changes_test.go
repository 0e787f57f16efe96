package chain

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/shardy-network/orchestrator/actors/ledger"
	"github.com/shardy-network/orchestrator/actors/ledger/light"
	"github.com/shardy-network/orchestrator/mesh/chain/chaintest"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

// changing makes 23 blocks: 20 replace a validator, one expels two at once, and two change nothing.
func changing(t testing.TB) *chaintest.Maker {
	m := chaintest.New(t, 7, 2)
	m.Grow(1, 1)
	for i := range 20 {
		m.Swap(chaintest.Key([]int{7, 6}[i%2]))
	}
	m.Expel(m.Validators[1], m.Validators[3])
	m.Grow(1, 1)
	return m
}

// followed is a light client that knew only genesis, after all that a chain proves to it.
func followed(t testing.TB, m *chaintest.Maker, c *Chain, limit int) *light.Client {
	t.Helper()
	first, _, err := ledger.Genesis(m.Genesis)
	if err != nil {
		t.Fatal(err)
	}
	client := &light.Client{Chain: chaintest.ChainID, Validators: first.Validators()}
	for more := true; more; {
		var changes []*ledgerv1.ValidatorsProof
		if changes, more, err = c.Changes(client.Validators.Version, limit); err != nil {
			t.Fatal(err)
		}
		if len(changes) > limit || more && len(changes) == 0 {
			t.Fatalf("%d changes, more: %v", len(changes), more)
		}
		for _, p := range changes {
			if err := client.Follow(p); err != nil {
				t.Fatal(err)
			}
		}
	}
	return client
}

func current(t testing.TB, m *chaintest.Maker, c *Chain) {
	t.Helper()
	agree(t, c, m)
	if got, want := followed(t, m, c, 7).Validators, m.State.Validators(); got.Version != want.Version || len(got.Validators) != len(want.Validators) {
		t.Fatalf("changes lead to version %d, want %d", got.Version, want.Version)
	}
}

// TestChanges follows the validators from genesis on: through two changes in one block, behind pruned blocks, after a
// restart, and when a folder has lost, or never had, what it knew of them.
func TestChanges(t *testing.T) {
	m := changing(t)
	dir := t.TempDir()
	cfg := Config{Dir: dir, Genesis: m.Genesis, SnapshotBlocks: 10, KeepBlocks: 2, SegmentBytes: 100}
	c := open(t, cfg)
	for i := range m.Blocks {
		if _, err := c.Accept(t.Context(), m.Blocks[i:i+1]); err != nil {
			t.Fatal(err)
		}
	}
	wait(t, c, 20)
	if v := m.State.Validators().Version; v != 23 {
		t.Fatalf("version %d", v)
	}
	current(t, m, c)
	for version, want := range map[uint64]int{0: 21, 1: 21, 20: 2, 21: 1, 23: 0, 99: 0} {
		if changes, more, err := c.Changes(version, 0); err != nil || more || len(changes) != want {
			t.Errorf("after version %d: %d changes, %v %v, want %d", version, len(changes), more, err, want)
		}
	}
	if _, _, err := c.Changes(22, 0); !errors.Is(err, ErrPruned) {
		t.Errorf("a set that no block ended with: %v", err)
	}
	shut(t, c)
	c = open(t, cfg)
	current(t, m, c)
	if c.Status().Low == 1 {
		t.Fatal("nothing was pruned")
	}
	shut(t, c)
	if err := os.Remove(filepath.Join(dir, "validators")); err != nil {
		t.Fatal(err)
	}
	c = open(t, cfg) // from the snapshot of 20 on they are known again
	if _, _, err := c.Changes(1, 0); !errors.Is(err, ErrPruned) {
		t.Fatalf("what nobody can know: %v", err)
	}
	if changes, more, err := c.Changes(20, 0); err != nil || more || len(changes) != 2 {
		t.Fatal(changes, more, err)
	}
	shut(t, c)

	cfg.Dir, cfg.KeepBlocks = t.TempDir(), 0
	c = open(t, cfg)
	if _, err := c.Accept(t.Context(), m.Blocks); err != nil {
		t.Fatal(err)
	}
	shut(t, c)
	if err := os.Remove(filepath.Join(cfg.Dir, "validators")); err != nil {
		t.Fatal(err)
	}
	current(t, m, open(t, cfg)) // all blocks are there
}

// TestTornChanges cuts and spoils the last write of changes at every byte, with their block on disk and without it.
func TestTornChanges(t *testing.T) {
	m := chaintest.New(t, 4, 2)
	m.Grow(1, 1)
	m.Swap(chaintest.Key(5))
	dir := t.TempDir()
	c := open(t, Config{Dir: dir, Genesis: m.Genesis})
	if _, err := c.Accept(t.Context(), m.Blocks); err != nil {
		t.Fatal(err)
	}
	path, blocks := filepath.Join(dir, "validators"), onlySegment(t, dir)
	read := func(path string) []byte {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	before, blocksBefore := read(path), read(blocks)
	m.Grow(1, 1)
	m.Swap(chaintest.Key(4))
	m.Swap(chaintest.Key(5))
	if _, err := c.Accept(t.Context(), m.Blocks); err != nil { // one write of two changes
		t.Fatal(err)
	}
	whole, blocksWhole := read(path), read(blocks)
	shut(t, c)
	stride := 7
	if testing.Short() {
		stride = 97
	}
	for cut := len(before); cut <= len(whole); cut += stride {
		torn := whole[:cut:cut]
		switch cut % 3 {
		case 1:
			torn = append(torn, make([]byte, len(whole)-cut)...)
		case 2:
			torn = append(torn, bytes.Repeat([]byte{0xa5}, 100)...)
		}
		for _, there := range [][]byte{blocksBefore, blocksWhole} {
			if err := errors.Join(os.WriteFile(path, torn, 0o600), os.WriteFile(blocks, there, 0o600)); err != nil {
				t.Fatal(err)
			}
			c, err := Open(Config{Dir: dir})
			if err != nil {
				t.Fatalf("cut at %d: %v", cut, err)
			}
			want := uint64(2)
			if len(there) > len(blocksBefore) {
				want = 4
			}
			if got := followed(t, m, c, 1).Validators.Version; got != want || c.Validators().Version != want {
				t.Fatalf("cut at %d: version %d, want %d", cut, got, want)
			}
			if _, err := c.Accept(t.Context(), m.Blocks); err != nil {
				t.Fatalf("cut at %d: %v", cut, err)
			}
			current(t, m, c)
			shut(t, c)
		}
	}
	for at := range changesHead {
		spoilt := bytes.Clone(whole)
		spoilt[at] ^= 4
		if err := os.WriteFile(path, spoilt, 0o600); err != nil {
			t.Fatal(err)
		}
		if c, err := Open(Config{Dir: dir}); err == nil {
			shut(t, c)
			t.Fatalf("byte %d changed, and opened", at)
		}
	}
}

// FuzzScanChanges reads files of changes that anybody may have written to.
func FuzzScanChanges(f *testing.F) {
	m := changing(f)
	dir := f.TempDir()
	c := open(f, Config{Dir: dir, Genesis: m.Genesis})
	if _, err := c.Accept(f.Context(), m.Blocks[:5]); err != nil {
		f.Fatal(err)
	}
	whole, err := os.ReadFile(filepath.Join(dir, "validators"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole[changesHead:])
	f.Add(whole[changesHead : len(whole)-3])
	f.Fuzz(func(t *testing.T, data []byte) {
		all, end, err := scanChanges(bytes.NewReader(data), 0, int64(len(data)))
		if err != nil || end > int64(len(data)) {
			t.Fatalf("ends at %d of %d: %v", end, len(data), err)
		}
		at, last := int64(0), change{to: 1}
		for _, c := range all {
			if c.at != at || c.height <= last.height || c.from < last.to || c.to <= c.from {
				t.Fatalf("%+v after %+v", c, last)
			}
			at, last = at+int64(c.size), c
		}
		if at != end {
			t.Fatalf("ends at %d, want %d", end, at)
		}
	})
}
