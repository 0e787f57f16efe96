package settlement

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/shardy-network/orchestrator/actors/ledger"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

var errKill = errors.New("the process is killed here")

// TestCrashPoints kills the process at each step of the road of a payment.
func TestCrashPoints(t *testing.T) {
	for name, until := range map[string]func(*scene){
		"before anything":               func(*scene) {},
		"after hearing":                 func(sc *scene) { sc.hear(99) },
		"half heard":                    func(sc *scene) { sc.hear(4) },
		"sealed, not stored":            func(sc *scene) { sc.hear(99); sc.shelf.before = errKill; sc.pass() },
		"sealed, stored, said not to":   func(sc *scene) { sc.hear(99); sc.shelf.after = errKill; sc.pass() },
		"stored, not signed":            func(sc *scene) { sc.hear(99); sc.chain.deny = errKill; sc.pass() },
		"submitted, lost":               func(sc *scene) { sc.hear(99); sc.pass(); sc.chain.pool = nil },
		"submitted":                     func(sc *scene) { sc.hear(99); sc.pass() },
		"submitted, answer lost":        func(sc *scene) { sc.hear(99); answerLost(sc); sc.pass(); sc.chain.deny = nil },
		"in a block, not heard":         func(sc *scene) { sc.hear(99); sc.pass(); sc.chain.block() },
		"in a block, heard, not stored": func(sc *scene) { sc.hear(99); sc.step() },
		"heard and stored":              func(sc *scene) { sc.hear(99); sc.step(); must(sc.t, sc.s.Close()) },
	} {
		for _, ahead := range []bool{false, true} {
			t.Run(fmt.Sprint(name, ", ahead ", ahead), func(t *testing.T) {
				sc := newScene(t, 10_000_000, func(c *Config) { c.Ahead = ahead }, nil)
				sc.job("a", quorum, 2, 0)
				sc.job("b", referee, 4, 1)
				until(sc)
				signedUnstored(sc)
				sc.shelf.before, sc.shelf.after, sc.chain.deny = nil, nil, nil
				sc.start()
				sc.finish()
				sc.payments(1)
				if n := sc.chain.slashed[who(pub(0), "b")]; n != 1 {
					t.Errorf("slashed %d times", n)
				}
				if st := sc.s.Status(); st.Refused != 0 || st.Paid != 2 || sc.chain.State().Supply().Escrows != 0 {
					t.Errorf("%+v, locked %d", st, sc.chain.State().Supply().Escrows)
				}
			})
		}
	}
}

// answerLost has the node take a transaction and say that it did not.
func answerLost(sc *scene) {
	sc.chain.onSubmit = func(tx []byte) error {
		c, err := ledger.Check(chainID, tx)
		must(sc.t, err)
		sc.chain.pool = append(sc.chain.pool, c)
		sc.chain.onSubmit = nil
		return errKill
	}
}

// signedUnstored fails if a transaction has left that the file does not hold.
func signedUnstored(sc *scene) {
	sc.t.Helper()
	if st := sc.s.Status(); len(sc.s.road) != st.Sent {
		sc.t.Fatalf("%d transactions on the road, the book has %d", len(sc.s.road), st.Sent)
	}
	for _, c := range sc.chain.pool {
		id := c.ID()
		s, err := open(context.Background(), sc.conf, sc.shelf, sc.now, nil)
		must(sc.t, err)
		if s.find(id[:]) < 0 {
			sc.t.Fatalf("a transaction was signed before it was stored")
		}
	}
}

// TestExactlyOnce has everything happen in any order: facts, passes, failing disks and nodes, lost transactions and
// answers, blocks, blocks that are not kept, kills, and transfers. In the end each verified job was paid once.
func TestExactlyOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sc := newScene(t, rapid.SampledFrom([]uint64{10_000, 10_000_000}).Draw(t, "money"), func(c *Config) {
			c.Ahead = rapid.Bool().Draw(t, "ahead")
			c.Referee = func(context.Context, string) ([32]byte, error) { return checksum(honest), nil }
		}, nil)
		liars := map[string]bool{}
		for n := range rapid.IntRange(1, 8).Draw(t, "jobs") {
			id := fmt.Sprint("j", n)
			good, bad := rapid.IntRange(2, 4).Draw(t, "good"), rapid.IntRange(0, 1).Draw(t, "bad")
			sc.job(id, quorum, good, bad)
			liars[id] = bad > 0 && good > 2
		}
		for range rapid.IntRange(0, 40).Draw(t, "steps") {
			switch rapid.IntRange(0, 11).Draw(t, "step") {
			case 0, 1, 2:
				sc.hear(rapid.IntRange(1, 12).Draw(t, "facts"))
			case 3, 4:
				sc.pass()
			case 5, 6:
				sc.chain.block()
				sc.follow()
			case 7: // the disk or the node fails
				switch rapid.IntRange(0, 3).Draw(t, "what") {
				case 0:
					sc.shelf.before = errKill
				case 1:
					sc.shelf.after = errKill
				case 2:
					sc.chain.deny = errKill
				case 3:
					answerLost(sc)
				}
				sc.pass()
				sc.shelf.before, sc.shelf.after, sc.chain.deny, sc.chain.onSubmit = nil, nil, nil, nil
			case 8:
				sc.chain.pool = nil
			case 9:
				sc.start()
			case 10: // a snapshot: what was in these blocks is never heard
				sc.chain.block()
				sc.chain.low = sc.chain.State().Height()
				sc.chain.blocks[sc.chain.low-1].Receipts = nil
			case 11:
				sc.s.inquire(context.Background(), map[string]int{})
			}
			signedUnstored(sc)
		}
		sc.give(0, 100_000_000)
		sc.chain.block()
		sc.finish()
		for sc.s.inquire(context.Background(), map[string]int{}) != idleNow {
		}
		sc.finish()
		sc.payments(1)
		for id, lied := range liars {
			want := 0
			if lied {
				want = 1
			}
			if n := sc.chain.slashed[who(pub(0), id)]; n != want {
				t.Fatalf("job %s: slashed %d times, want %d", id, n, want)
			}
		}
		for range 5 {
			sc.chain.block()
		}
		if st := sc.s.Status(); st.Refused != 0 || sc.chain.State().Supply().Escrows != 0 {
			t.Fatalf("%+v, %+v, locked %d", st, st.LastRefusal, sc.chain.State().Supply().Escrows)
		}
	})
}

// TestAllLost has the folder with the book and the chain be lost: what was paid long ago is not paid again while the chain
// is fetched, although it looks like a young one.
func TestAllLost(t *testing.T) {
	few := func(p *ledgerv1.Params) { p.EvidenceBlocks, p.UnbondingBlocks, p.CorrelationBlocks = 30, 60, 30 }
	sc := newScene(t, 10_000_000, nil, few)
	old := newScene(t, 10_000_000, nil, few) // the others' chain, on which the job was paid
	old.log, old.conf.Log = sc.log, sc.log
	old.clock = old.clock.Add(-10 * time.Minute)
	sc.job("j", quorum, 2, 0)
	old.finish()
	for range 40 {
		old.chain.block()
	}
	sc.shelf.file, sc.clock = nil, time.Now().Add(time.Second)
	sc.start()
	applied := make(chan error, 1)
	go func() { applied <- sc.apply(99) }()
	for !sc.s.Status().Stale {
		time.Sleep(time.Millisecond)
	}
	sc.chain.mu.Lock()
	sc.chain.state, sc.chain.blocks = old.chain.state, old.chain.blocks // fetched
	sc.chain.mu.Unlock()
	select {
	case err := <-applied:
		t.Fatalf("heard before the chain had a block of today: %v", err)
	case <-time.After(2 * freshLook):
	}
	sc.chain.block() // an anchor, or somebody else's
	must(t, <-applied)
	if err := sc.tryFollow(); err != nil {
		t.Fatal(err)
	}
	if st := sc.s.Status(); st.Passed != 6 || st.Waiting != 0 || st.Stale || st.Behind != 0 {
		t.Errorf("%+v", st)
	}
}

// TestTorn cuts the file at each byte and flips one at each: it is refused, never taken for a new book.
func TestTorn(t *testing.T) {
	sc := newScene(t, 10_000_000, nil, nil)
	sc.job("j", quorum, 2, 0)
	sc.hear(99)
	sc.pass()
	whole := bytes.Clone(sc.shelf.file)
	for i := range whole {
		for _, bad := range [][]byte{whole[:i], append(append(bytes.Clone(whole[:i]), whole[i]^0x10), whole[i+1:]...)} {
			sc.shelf.file = bytes.Clone(bad)
			if sc.shelf.file == nil {
				sc.shelf.file = []byte{}
			}
			if _, err := open(t.Context(), sc.conf, sc.shelf, sc.now, nil); !errors.Is(err, ErrDamaged) {
				t.Fatalf("at byte %d of %d: %v", i, len(whole), err)
			}
			if bytes.Equal(sc.shelf.file, whole) {
				t.Fatal("it was written over")
			}
		}
	}
}

func TestForeign(t *testing.T) {
	sc := newScene(t, 10_000_000, nil, nil)
	sc.job("j", quorum, 2, 0)
	sc.hear(99)
	sc.pass()
	for name, spoil := range map[string]func(*scene){
		"key":   func(o *scene) { o.conf.Key = keys[1] },
		"chain": func(o *scene) { o.chain = newToy(t, genesis(t, 5, nil), o.now); o.conf.Ledger = o.chain },
		"log":   func(o *scene) { o.conf.Log = newScene(t, 5, nil, nil).log },
	} {
		other := *sc
		spoil(&other)
		if _, err := open(t.Context(), other.conf, sc.shelf, sc.now, nil); !errors.Is(err, ErrForeign) {
			t.Errorf("another %s: %v", name, err)
		}
	}
	shorter := newScene(t, 5, nil, nil)
	shorter.job("k", quorum, 2, 0)
	sc.conf.Log = shorter.log
	if _, err := open(t.Context(), sc.conf, sc.shelf, sc.now, nil); !errors.Is(err, ErrForeign) {
		t.Errorf("another log of the same length: %v", err)
	}
}

func TestDisk(t *testing.T) {
	dir := t.TempDir()
	d := disk{filepath.Join(dir, "book")}
	if _, err := d.read(); !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	must(t, os.WriteFile(d.path+".new", []byte("left by a kill, and longer than the book"), 0o600))
	for _, b := range []string{"first", "second one", "3"} {
		must(t, d.write([]byte(b)))
		if got, err := d.read(); err != nil || string(got) != b {
			t.Fatalf("%q, %v", got, err)
		}
	}
	if all, _ := os.ReadDir(dir); len(all) != 1 {
		t.Errorf("left over: %v", all)
	}
	must(t, os.Mkdir(d.path+".new", 0o700))
	if err := d.write([]byte("4")); err == nil {
		t.Fatal("written to a folder")
	}
	if got, err := d.read(); err != nil || string(got) != "3" {
		t.Fatalf("%q, %v", got, err)
	}
}

func FuzzFile(f *testing.F) {
	sc := newScene(f, 10_000_000, func(c *Config) { c.Ahead = true }, func(p *ledgerv1.Params) { p.SlashOnQuorum = true })
	sc.job("j", quorum, 4, 1)
	sc.hear(10)
	sc.pass()
	t, book, err := decodeFile(sc.shelf.file)
	must(f, err)
	f.Add(book)
	f.Fuzz(func(ft *testing.T, b []byte) {
		decodeFile(b)
		sc.shelf.file = t.encode(b)
		s, err := open(ft.Context(), sc.conf, sc.shelf, sc.now, nil)
		if err != nil {
			if !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrForgotten) {
				ft.Fatal(err)
			}
			return
		}
		s.pass(ft.Context())
		s.Status()
	})
}
