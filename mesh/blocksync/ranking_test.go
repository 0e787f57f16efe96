package blocksync

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

func TestRanking(t *testing.T) {
	now := time.Unix(1000, 0)
	r := newRanking()
	r.answered("slow", 1000, time.Second, now)
	r.answered("fast", 9000, time.Second, now)
	r.failed("failing", now)
	r.ban("liar", now.Add(time.Minute))
	ids := []peer.ID{"liar", "failing", "slow", "fast", "new"}
	if got, want := r.sort(ids, now), []peer.ID{"new", "fast", "slow", "failing"}; !slices.Equal(got, want) {
		t.Fatalf("%q, want %q", got, want)
	}
	if got := r.sort(ids, now.Add(time.Minute)); len(got) != 5 {
		t.Fatalf("after the ban: %q", got)
	}
	for range 4 {
		r.answered("failing", 1e6, time.Second, now)
	}
	if got := r.sort([]peer.ID{"fast", "failing"}, now); got[0] != "failing" {
		t.Fatal("a failure is never forgiven")
	}
	for i := range 2 * maxPeers {
		r.failed(peer.ID(fmt.Sprint(i)), now)
	}
	if len(r.peers) > maxPeers {
		t.Fatalf("%d peers are remembered", len(r.peers))
	}
	if slices.Contains(r.sort([]peer.ID{"liar"}, now), "liar") {
		t.Fatal("a crowd has made the ban of a liar forgotten")
	}
}

func TestAllowances(t *testing.T) {
	now := time.Unix(1000, 0)
	a := newAllowances(Allowance{Requests: 1, Bytes: 1000, Streams: 2, Total: 3}.withDefaults())
	first, second := a.enter("a", now), a.enter("a", now)
	if first == nil || second == nil || a.enter("a", now.Add(time.Hour)) != nil {
		t.Fatal("two streams at once are allowed")
	}
	if a.enter("b", now) == nil || a.enter("c", now) != nil {
		t.Fatal("three streams of all peers are allowed")
	}
	a.leave(first)
	if a.enter("a", now) != nil {
		t.Fatal("more requests than are allowed")
	}
	now = now.Add(time.Minute)
	next := a.enter("a", now)
	if next == nil {
		t.Fatal("the allowance does not come back")
	}
	next.spend(100<<20, now)
	a.leave(next)
	if a.enter("a", now) != nil {
		t.Fatal("more bytes than are allowed")
	}
	a.leave(second)
	for i := range 2 * maxPeers {
		if p := a.enter(peer.ID(fmt.Sprint(i)), now); p != nil {
			a.leave(p)
		}
	}
	if len(a.peers) > maxPeers {
		t.Fatalf("%d peers are remembered", len(a.peers))
	}
}
