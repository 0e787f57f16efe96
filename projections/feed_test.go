package projections

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/shardy-network/orchestrator/events"
	"github.com/shardy-network/orchestrator/events/eventstest"
	"github.com/shardy-network/orchestrator/events/memlog"
)

// counted counts the tails that are open.
type counted struct {
	*deaf
	open chan int // of capacity 1
}

func newCounted(l events.Log) *counted {
	c := &counted{&deaf{Log: l}, make(chan int, 1)}
	c.after.Store(1 << 40)
	c.open <- 0
	return c
}

func (c *counted) Tail(ctx context.Context, after events.Position, f events.Filter) iter.Seq2[events.Tick, error] {
	return func(yield func(events.Tick, error) bool) {
		c.open <- <-c.open + 1
		defer func() { c.open <- <-c.open - 1 }()
		c.deaf.Tail(ctx, after, f)(yield)
	}
}

func (c *counted) tailsOpen() int {
	n := <-c.open
	c.open <- n
	return n
}

func TestProjectionsAtTheEndShareOneTail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newCounted(memlog.New())
		want, _ := appendN(t, l.Log, "s", 3000)
		a, b := &diary{name: "a"}, &diary{name: "b", filter: events.Filter{Types: []string{"A"}}}
		none := &diary{name: "none", filter: events.Filter{Types: []string{"B"}}}
		own := &diary{name: "own", filter: events.Filter{Streams: []string{"s"}}} // may want the store's own events
		r := start(t, l, Options{}, a, b, none, own)
		time.Sleep(time.Second)
		if n := l.tailsOpen(); n != 2 {
			t.Errorf("%d tails are open", n)
		}
		for range 50 {
			more, last := appendN(t, l.Log, "s", 37)
			want = append(want, more...)
			for _, name := range []string{"a", "b", "none", "own"} {
				waitFor(t, r, name, last)
			}
		}
		for _, d := range []*diary{a, b, own} {
			if got := d.entries(); !slices.Equal(got, want) {
				t.Errorf("%s has %d entries of %d", d.name, len(got), len(want))
			}
		}
		if n := len(none.entries()); n != 0 {
			t.Errorf("%d entries passed a filter that passes none", n)
		}
		time.Sleep(time.Minute)
		for _, s := range r.Status() {
			if !s.Live || s.Restarts != 0 || s.Behind != 0 {
				t.Errorf("%+v", s)
			}
		}
	})
}

func TestOneThatFallsBehindHoldsNobodyUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newCounted(memlog.New())
		slow, fast := &diary{name: "slow"}, &diary{name: "fast"}
		r := start(t, l, Options{}, slow, fast)
		r.feed.records = 1000
		time.Sleep(time.Second)
		block := make(chan struct{})
		slow.mu.Lock()
		slow.block = block
		slow.mu.Unlock()
		want, last := appendN(t, l.Log, "s", 10_000)
		waitFor(t, r, "fast", last)
		r.feed.mu.Lock()
		seats := len(r.feed.seats)
		r.feed.mu.Unlock()
		if seats != 1 {
			t.Errorf("%d seats", seats)
		}
		slow.mu.Lock()
		slow.block = nil
		slow.mu.Unlock()
		close(block)
		waitFor(t, r, "slow", last)
		time.Sleep(time.Second)
		if n := l.tailsOpen(); n != 1 {
			t.Errorf("%d tails are open", n)
		}
		for _, d := range []*diary{slow, fast} {
			if got := d.entries(); !slices.Equal(got, want) {
				t.Errorf("%s has %d entries", d.name, len(got))
			}
		}
		for _, s := range r.Status() {
			if s.Restarts != 0 {
				t.Errorf("%+v", s)
			}
		}
	})
}

func TestSharedTailThatGoesSilentOrAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		faulty := eventstest.Faulty(memlog.New())
		l := newCounted(faulty)
		a, b := &diary{name: "a"}, &diary{name: "b"}
		r := start(t, l, Options{Watch: time.Second}, a, b)
		want, _ := appendN(t, l.Log, "s", 100)
		time.Sleep(time.Second)
		l.after.Store(0) // deaf
		more, last := appendN(t, l.Log, "s", 100)
		want = append(want, more...)
		time.Sleep(500 * time.Millisecond)
		if n := len(a.entries()); n != 100 {
			t.Fatalf("the tail is not deaf: %d entries", n)
		}
		l.after.Store(1 << 40)
		waitFor(t, r, "a", last)
		waitFor(t, r, "b", last)

		end := faulty.Outage()
		time.Sleep(time.Minute)
		for _, s := range r.Status() {
			if !errors.Is(s.Err, events.ErrUnavailable) || s.Live {
				t.Errorf("in an outage: %+v", s)
			}
		}
		end()
		more, last = appendN(t, l.Log, "s", 100)
		want = append(want, more...)
		waitFor(t, r, "a", last)
		waitFor(t, r, "b", last)
		time.Sleep(time.Minute)
		if n := l.tailsOpen(); n != 1 {
			t.Errorf("%d tails are open", n)
		}
		for _, d := range []*diary{a, b} {
			if got := d.entries(); !slices.Equal(got, want) {
				t.Errorf("%s has %d entries", d.name, len(got))
			}
		}
	})
}

// TestSharingLosesAndRepeatsNothing lets projections fail, stand still and start anew while the log grows.
func TestSharingLosesAndRepeatsNothing(t *testing.T) {
	for range 20 {
		seed := rand.Uint64()
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { turmoil(t, rand.New(rand.NewPCG(seed, 0))) })
		})
	}
}

func turmoil(t *testing.T, dice *rand.Rand) {
	l := newCounted(memlog.New())
	all := []*diary{{name: "0"}, {name: "1"}, {name: "2", filter: events.Filter{Types: []string{"A"}}}}
	r := start(t, l, Options{Watch: time.Second, MaxBatch: 700}, all[0], all[1], all[2])
	r.feed.records = 2000
	var want []string
	var last events.Position
	for range 40 {
		d := all[dice.IntN(len(all))]
		switch dice.IntN(8) {
		case 0:
			d.mu.Lock()
			d.fail = errors.New("no")
			d.mu.Unlock()
		case 1:
			d.mu.Lock()
			if d.block == nil {
				d.block = make(chan struct{})
			}
			d.mu.Unlock()
		case 2:
			d.release()
		case 3:
			d.release()
			if err := r.Rebuild(t.Context(), d.name); err != nil {
				t.Error(err)
			}
		case 4:
			time.Sleep(time.Duration(dice.IntN(1500)) * time.Millisecond)
		default:
			more, at := appendN(t, l.Log, "s", 1+dice.IntN(1000))
			want, last = append(want, more...), at
		}
	}
	for _, d := range all {
		d.release()
		waitFor(t, r, d.name, last)
		if got := d.entries(); !slices.Equal(got, want) {
			t.Errorf("%s has %d entries of %d", d.name, len(got), len(want))
		}
	}
}

func (d *diary) release() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.block != nil {
		close(d.block)
		d.block = nil
	}
}

// BenchmarkFeed reports what passing records on to several projections costs.
func BenchmarkFeed(b *testing.B) {
	for _, seats := range []int{1, 4} {
		b.Run(fmt.Sprintf("seats=%d", seats), func(b *testing.B) {
			f := newFeed(nil, feedRecords, feedBytes)
			var all []*seat
			for range seats {
				all = append(all, f.sit(0, events.Filter{}, 4096, 8<<20))
			}
			tick := events.Tick{Event: &events.Record{Draft: events.Draft{Type: "A", Data: make([]byte, 300)}}}
			for b.Loop() {
				tick.Pos++
				tick.Event.Pos = tick.Pos
				f.put(tick)
				if tick.Pos%4096 == 0 {
					for _, s := range all {
						batch, _, _, err := s.take(b.Context())
						if err != nil {
							b.Fatal(err)
						}
						s.give(batch)
					}
				}
			}
		})
	}
}
