package transparency

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"
	"pgregory.net/rapid"

	"github.com/shardy-network/orchestrator/events"
)

var errDisk = errors.New("the disk is gone")

// faulty is a folder whose process dies, or whose disk fails, at some step of writing. What is there afterwards is
// anything that a disk may leave: the dice say.
type faulty struct {
	*memory
	dies bool          // after the fault nothing works; else the next call does
	dice func(int) int // 0 <= n < bound

	mu   sync.Mutex // guards what follows
	left int        // steps until the fault
	dead bool
}

func (f *faulty) isDead() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.dead
}

func (f *faulty) repair() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.dead = false
}

// fails counts a step.
func (f *faulty) fails() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.left--
	if f.left == 0 && f.dies {
		f.dead = true
	}
	return f.left == 0 || f.dead
}

func (f *faulty) create(files []file) error {
	if f.isDead() {
		return errDisk
	}
	for i := range files {
		if !f.fails() {
			continue
		}
		for _, done := range files[:i+1] { // none of them was synced with its name
			switch f.dice(4) {
			case 0: // not there
			case 1:
				f.memory.replace(done.name, done.data[:f.dice(len(done.data))])
			case 2:
				f.memory.replace(done.name, make([]byte, len(done.data)))
			default:
				f.memory.replace(done.name, done.data)
			}
		}
		return errDisk
	}
	return f.memory.create(files)
}

func (f *faulty) replace(name string, data []byte) error {
	if f.isDead() {
		return errDisk
	}
	if !f.fails() {
		return f.memory.replace(name, data)
	}
	if f.dice(2) == 0 {
		f.memory.replace(name, data)
	}
	return errDisk
}

func (f *faulty) extend(name string, at int64, data []byte) error {
	if f.isDead() {
		return errDisk
	}
	if !f.fails() {
		return f.memory.extend(name, at, data)
	}
	switch n := f.dice(len(data) + 1); f.dice(4) {
	case 0: // nothing
	case 1:
		f.memory.extend(name, at, data[:n])
	case 2: // the length grew, the blocks were not written
		f.memory.extend(name, at, append(bytes.Clone(data[:n]), make([]byte, len(data)-n)...))
	default:
		f.memory.extend(name, at, data)
	}
	return errDisk
}

// signatures remembers every root that was ever seen signed.
type signatures map[int64]tlog.Hash

func (s signatures) see(t *rapid.T, tree *Tree) {
	seen := tree.Kept()
	if signed, err := tree.Latest(); err == nil {
		c, err := OpenCheckpoint(signed, public(testKey(1)))
		if err != nil {
			t.Fatal(err)
		}
		seen = append(seen, Kept{Checkpoint: c})
	}
	for _, k := range seen {
		if root, ok := s[k.Checkpoint.Size]; ok && root != k.Checkpoint.Root {
			t.Fatalf("two roots signed for %d leaves", k.Checkpoint.Size)
		}
		s[k.Checkpoint.Size] = k.Checkpoint.Root
	}
}

// manual is a tree that writes and signs only when it is told.
func manual(dir folder, log Log) (*Tree, error) {
	return Open(context.Background(), "", log, testKey(1), Options{folder: dir, SignEvery: 1 << 40, SignAfter: 1 << 60, Logger: quiet})
}

// abandon ends a tree as a crash does: nothing is written any more.
func abandon(tree *Tree) {
	tree.mu.Lock()
	tree.stopped = errDisk
	tree.mu.Unlock()
	tree.Close()
}

// TestCrashes ends the process at every kind of step, many times over one folder: the tree goes on without a gap, what
// was published stays, and in the end it is the tree of the log.
func TestCrashes(t *testing.T) {
	want := new(forest)
	s := newSlate(2600)
	for _, r := range s.records {
		want.add(t, LeafHash(r))
	}
	rapid.Check(t, func(rt *rapid.T) {
		dice := func(n int) int { return rapid.IntRange(0, n-1).Draw(rt, "dice") }
		disk, seen := newMemory(), signatures{}
		lives := rapid.IntRange(1, 5).Draw(rt, "lives")
		for life := range lives + 1 {
			f := &faulty{memory: disk, left: rapid.IntRange(1, 25).Draw(rt, "steps"), dies: rapid.Bool().Draw(rt, "dies"), dice: dice}
			if life == lives {
				f.left = 0 // nothing fails
			}
			tree, err := manual(f, s)
			if err != nil {
				rt.Fatal(err)
			}
			seen.see(rt, tree)
			if n := len(seen); n > 0 {
				if _, err := tree.Latest(); err != nil {
					rt.Fatalf("nothing is published, although %d checkpoints were", n)
				}
			}
			for steps := rapid.IntRange(1, 6).Draw(rt, "batches"); steps > 0 && !f.isDead(); steps-- {
				if err := s.grow(t, tree, min(len(s.records), int(tree.Position())+1+dice(700))); err != nil {
					rt.Fatal(err)
				}
				if dice(3) > 0 {
					_, err = tree.Sign(context.Background())
					if err != nil && !errors.Is(err, errDisk) {
						rt.Fatal(err)
					}
				}
				seen.see(rt, tree)
			}
			if err := tree.Err(); err != nil {
				rt.Fatal(err)
			}
			if life < lives {
				abandon(tree)
				continue
			}
			if err := s.grow(t, tree, len(s.records)); err != nil {
				rt.Fatal(err)
			}
			k, err := tree.Sign(context.Background())
			if err != nil || k.Checkpoint.Size != want.size || k.Checkpoint.Root != want.root(t, want.size) {
				rt.Fatalf("in the end %+v, %v", k.Checkpoint, err)
			}
			seen.see(rt, tree)
			abandon(tree)
		}
		for size, root := range seen {
			if root != want.root(t, size) {
				rt.Fatalf("signed a root of %d leaves that the log does not have", size)
			}
		}
		if r := report(t, s, disk); !r.Clean() {
			rt.Fatalf("%+v", r)
		}
	})
}

// TestNeverSignsAFork: a log that was changed below a checkpoint while the process was away is not signed over, whatever
// of the folder is damaged too. The tiles that name the record stay.
func TestNeverSignsAFork(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := newSlate(rapid.IntRange(1, 1500).Draw(rt, "records"))
		n := len(s.records)
		signed := rapid.IntRange(1, n).Draw(rt, "signed")
		m := signedTree(t, s, signed)
		bad := s.clone()
		// Without damage to the folder, only the last records are read again at the start: change one of those, and
		// with it any other one.
		i := rapid.IntRange(0, signed-1).Draw(rt, "record")
		damage := rapid.SampledFrom([]string{"none", edgeFile, positionsFile, "all tiles"}).Draw(rt, "damage")
		if damage == "none" || damage == positionsFile && n < 256 {
			damage = "none"
			i = rapid.IntRange((n-1)&^255, n-1).Draw(rt, "record at the end")
		}
		bad.records[i].Data[0]++
		switch damage {
		case "none":
		case "all tiles":
			for name := range m.files {
				if strings.HasPrefix(name, "tile/") || name == edgeFile {
					delete(m.files, name)
				}
			}
		default:
			m.files[damage] = m.files[damage][:len(m.files[damage])/2]
		}
		before := map[string][]byte{}
		for k, v := range m.files {
			before[k] = bytes.Clone(v)
		}
		tree, err := manual(m, bad)
		if err != nil {
			rt.Fatal(err)
		}
		defer tree.Close()
		if i >= signed { // changed, but never signed: what the log says now is taken
			if err := tree.Err(); err != nil {
				rt.Fatal(err)
			}
			return
		}
		if err := tree.Err(); !errors.Is(err, ErrHistory) {
			rt.Fatalf("record %d of %d changed, %d signed, damage %s: %v", i, n, signed, damage, err)
		}
		if err := tree.Apply(context.Background(), []events.Record{{Stream: "x", Pos: 9999}}, 9999); !errors.Is(err, ErrHistory) {
			rt.Fatalf("added: %v", err)
		}
		if _, err := tree.Sign(context.Background()); !errors.Is(err, ErrHistory) {
			rt.Fatalf("signed: %v", err)
		}
		if err := tree.Close(); err != nil {
			rt.Fatal(err)
		}
		for k, v := range before {
			if !bytes.Equal(m.files[k], v) {
				rt.Fatalf("%s was written", k)
			}
		}
		// The log is put right: a rebuild goes on.
		again, err := manual(m, s)
		if err != nil {
			rt.Fatal(err)
		}
		if err := again.Reset(context.Background()); err != nil {
			rt.Fatal(err)
		}
		if err := s.grow(t, again, n); err != nil {
			rt.Fatal(err)
		}
		if _, err := again.Sign(context.Background()); err != nil {
			rt.Fatal(err)
		}
		abandon(again)
		if r := report(t, s, m); !r.Clean() || r.Signed != int64(n) {
			rt.Fatalf("%+v", r)
		}
	})
}

func TestForeignLogAndKey(t *testing.T) {
	s := newSlate(600)
	m := signedTree(t, s, 600)
	other := newSlate(900)
	for i := range other.records {
		other.records[i].Stream = "other"
	}
	for name, log := range map[string]Log{"foreign": other, "empty": new(slate), "shorter": &slate{records: s.records[:599]}} {
		tree, err := manual(m, log)
		if err != nil {
			t.Fatal(err)
		}
		if err := tree.Err(); !errors.Is(err, ErrHistory) {
			t.Errorf("%s log: %v", name, err)
		}
		if _, err := tree.Latest(); err != nil {
			t.Errorf("%s log: what was published is gone: %v", name, err)
		}
		tree.Close()
	}
	tree, err := Open(t.Context(), "", s, testKey(2), Options{folder: m, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	defer tree.Close()
	if err := tree.Err(); !errors.Is(err, ErrSignature) {
		t.Errorf("other key: %v", err)
	}
	if _, err := tree.Sign(t.Context()); !errors.Is(err, ErrSignature) {
		t.Errorf("signed with another key: %v", err)
	}
}

// TestDamageIsHealed: damaged tiles are made anew from the log when they are needed, and on disk.
func TestDamageIsHealed(t *testing.T) {
	const n = 256*256 + 300
	s := newSlate(n)
	for name, damage := range map[string]func(m *memory, name string){
		"flipped": func(m *memory, name string) { m.files[name][9] ^= 1 },
		"torn":    func(m *memory, name string) { m.files[name] = m.files[name][:33] },
		"missing": func(m *memory, name string) { delete(m.files, name) },
	} {
		m := signedTree(t, s, n)
		tree, err := manual(m, s)
		if err != nil {
			t.Fatal(err)
		}
		tiles := []string{tileName(0, 0), tileName(0, 255), tileName(1, 0)}
		want := map[string][]byte{}
		for _, tile := range tiles {
			want[tile] = bytes.Clone(m.files[tile])
			damage(m, tile)
		}
		for _, index := range []int64{0, 65535, n - 1} {
			p, signed, err := tree.Prove(t.Context(), index)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if err := VerifyInclusion(signed, public(testKey(1)), s.records[index], p); err != nil {
				t.Errorf("%s: leaf %d: %v", name, index, err)
			}
		}
		for _, tile := range tiles {
			if !bytes.Equal(m.files[tile], want[tile]) {
				t.Errorf("%s: %s is not as it was", name, tile)
			}
		}
		if err := tree.Err(); err != nil {
			t.Error(err)
		}
		// A damaged tile over a changed log cannot be healed.
		damage(m, tiles[0])
		tree.cache.clear()
		s.records[3].Data[0]++
		if _, _, err := tree.Prove(t.Context(), 3); !errors.Is(err, ErrHistory) || !errors.Is(tree.Err(), ErrHistory) {
			t.Errorf("%s: healed from a changed log: %v", name, err)
		}
		s.records[3].Data[0]--
		tree.Close()
	}
}

// TestFullDisk: what cannot be written stays in memory up to a limit, then the projection waits.
func TestFullDisk(t *testing.T) {
	s := newSlate(2000)
	f := &faulty{memory: newMemory(), dead: true}
	tree, err := Open(t.Context(), "", s, testKey(1), Options{folder: f, SignEvery: 64, SignAfter: time.Millisecond, MaxPending: 500, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.grow(t, tree, 2000); !errors.Is(err, errDisk) {
		t.Fatalf("took in more than the limit: %v", err)
	}
	if at := tree.Position(); at < 400 || at > 500 {
		t.Errorf("stopped at %d", at)
	}
	f.repair()
	if err := s.grow(t, tree, 2000); err != nil {
		t.Fatal(err)
	}
	if err := tree.Close(); err != nil {
		t.Fatal(err)
	}
	if r := report(t, s, f.memory); !r.Clean() || r.Signed != 2000 {
		t.Errorf("%+v", r)
	}
}
