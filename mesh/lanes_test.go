package mesh

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"pgregory.net/rapid"

	"github.com/shardy-network/orchestrator/actors/ledger/seal"
)

// TestTurns: a peer with much to do waits behind its own messages, another goes next.
func TestTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLanes(1, 50)
		if !l.enter(t.Context(), "first") {
			t.Fatal("no lane at the start")
		}
		var mu sync.Mutex
		var order []peer.ID
		var wg sync.WaitGroup
		wait := func(p peer.ID) {
			wg.Go(func() {
				if !l.enter(t.Context(), p) {
					t.Errorf("%s has no turn", p)
					return
				}
				mu.Lock()
				order = append(order, p)
				mu.Unlock()
				l.leave()
			})
			synctest.Wait()
		}
		for range 50 {
			wait("greedy")
		}
		if l.enter(t.Context(), "greedy") {
			t.Error("one more than allowed waits")
		}
		wait("modest")
		wait("shy")
		l.leave()
		wg.Wait()
		if len(order) != 52 || !slices.Equal(order[:4], []peer.ID{"greedy", "modest", "shy", "greedy"}) {
			t.Errorf("order %v", order)
		}
		if l.free != 1 || len(l.waiting) != 0 || len(l.round) != 0 {
			t.Errorf("left behind: %d free, %v, %v", l.free, l.waiting, l.round)
		}
	})
}

// TestLanes holds for any mix of peers, times of work and impatience: never more at work than there are lanes, all
// lanes free at the end, and nothing remembered.
func TestLanes(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		width := rapid.IntRange(1, 4).Draw(r, "width")
		type visit struct{ peer, at, work, patience int }
		visits := rapid.SliceOfN(rapid.Custom(func(r *rapid.T) visit {
			return visit{
				rapid.IntRange(0, 4).Draw(r, "peer"), rapid.IntRange(0, 30).Draw(r, "at"), rapid.IntRange(0, 9).Draw(r, "work"),
				rapid.IntRange(0, 40).Draw(r, "patience"),
			}
		}), 0, 40).Draw(r, "visits")
		synctest.Test(t, func(t *testing.T) {
			l := newLanes(width, 3)
			var mu sync.Mutex
			busy, most := 0, 0
			var wg sync.WaitGroup
			for _, v := range visits {
				wg.Go(func() {
					time.Sleep(time.Duration(v.at) * time.Millisecond)
					ctx, cancel := context.WithTimeout(t.Context(), time.Duration(v.patience)*time.Millisecond)
					defer cancel()
					if !l.enter(ctx, peer.ID(fmt.Sprint(v.peer))) {
						return
					}
					defer l.leave()
					mu.Lock()
					busy++
					most = max(most, busy)
					mu.Unlock()
					time.Sleep(time.Duration(v.work) * time.Millisecond)
					mu.Lock()
					busy--
					mu.Unlock()
				})
			}
			wg.Wait()
			if most > width || l.free != width || len(l.waiting) != 0 || len(l.round) != 0 {
				r.Errorf("%d at work in %d lanes; %d free, %v, %v", most, width, l.free, l.waiting, l.round)
			}
		})
	})
}

// TestRecent remembers at least half of the limit for half of the time, and never more than the limit.
func TestRecent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRecent(100, time.Minute)
		id := func(n int) seal.Hash { return seal.Hash{byte(n), byte(n >> 8)} }
		for i := range 1_000 {
			if !r.add(id(i)) || r.add(id(i)) {
				t.Fatalf("%d is not new, or new twice", i)
			}
			if i >= 49 && !r.has(id(i-49)) {
				t.Fatalf("%d is forgotten after 49 others", i-49)
			}
			if n := len(r.now) + len(r.old); n > 100 {
				t.Fatalf("%d remembered", n)
			}
		}
		r.forget(id(999))
		if r.has(id(999)) || !r.add(id(999)) {
			t.Error("not forgotten")
		}
		time.Sleep(29 * time.Second)
		if !r.has(id(999)) {
			t.Error("forgotten within half of the time")
		}
		time.Sleep(32 * time.Second)
		r.has(id(0))
		time.Sleep(31 * time.Second)
		if r.has(id(999)) {
			t.Error("remembered after the time")
		}
	})
}
