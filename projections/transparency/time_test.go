package transparency

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestWhenItIsSigned: after so many leaves at once, after so long at the latest, and not at all while nothing changes.
func TestWhenItIsSigned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSlate(2000)
		m := newMemory()
		tree, err := Open(t.Context(), "", s, testKey(1), Options{folder: m, SignEvery: 1000, SignAfter: 5 * time.Second, Logger: quiet})
		if err != nil {
			t.Fatal(err)
		}
		signed := func() (sizes []int64) {
			synctest.Wait()
			for _, k := range tree.Kept() {
				sizes = append(sizes, k.Checkpoint.Size)
			}
			return sizes
		}
		grow := func(n int) {
			if err := s.grow(t, tree, n); err != nil {
				t.Fatal(err)
			}
		}
		grow(1)
		time.Sleep(4900 * time.Millisecond)
		grow(3)
		if got := signed(); len(got) != 0 {
			t.Errorf("too early: %v", got)
		}
		time.Sleep(100 * time.Millisecond)
		if got := signed(); len(got) != 1 || got[0] != 3 {
			t.Errorf("after 5 s: %v", got)
		}
		time.Sleep(24 * time.Hour)
		if got := signed(); len(got) != 1 {
			t.Errorf("nothing changed: %v", got)
		}
		grow(1100)
		if got := signed(); len(got) != 2 || got[1] < 1003 {
			t.Errorf("many at once: %v", got)
		}
		grow(1200)
		time.Sleep(time.Second)
		if err := tree.Close(); err != nil {
			t.Fatal(err)
		}
		if got := signed(); len(got) != 3 || got[2] != 2000 { // the log has more than the runner handed over
			t.Errorf("at the end: %v", got)
		}
	})
}

// TestTriesAgain: a folder that cannot be written to is tried again without anyone asking.
func TestTriesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSlate(300)
		f := &faulty{memory: newMemory(), dead: true}
		tree, err := Open(t.Context(), "", s, testKey(1), Options{folder: f, Logger: quiet})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.grow(t, tree, 300); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if _, err := tree.Latest(); err == nil {
			t.Error("published what is not on disk")
		}
		f.repair()
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if _, err := tree.Latest(); err != nil {
			t.Errorf("not tried again: %v", err)
		}
		if err := tree.Close(); err != nil {
			t.Fatal(err)
		}
	})
}
