package mesh

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

// TestJoinByBootstrap asks an orchestrator's HTTP door where it is, and joins by the answer.
func TestJoinByBootstrap(t *testing.T) {
	ctx := context.Background()
	a := open(t, 0)
	b := open(t, 1, meets(a))
	eventually(t, "a knows where b is", func() bool { return len(a.Bootstrap().Peers) == 1 })
	door := httptest.NewServer(a.BootstrapHandler())
	t.Cleanup(door.Close)
	list, err := AskBootstrap(ctx, door.Client(), door.URL+BootstrapPath, "test-1")
	if err != nil {
		t.Fatal(err)
	}
	c := open(t, 2, func(c *Config) { c.Bootstrap = list })
	gathered(t, a, b, c)
	for _, id := range []peer.ID{a.self, b.self} {
		if !c.connected(id) {
			t.Errorf("not connected to %s by %v", id, list)
		}
	}
	if _, err := AskBootstrap(ctx, door.Client(), door.URL, "other"); !errors.Is(err, ErrBootstrap) {
		t.Errorf("another chain: %v", err)
	}
	answer, err := door.Client().Post(door.URL, "text/plain", strings.NewReader("x"))
	if err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close()
	if answer.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST: %s", answer.Status)
	}
	long := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(make([]byte, 2*maxBootstrapBytes))
	}))
	t.Cleanup(long.Close)
	if _, err := AskBootstrap(ctx, long.Client(), long.URL, "test-1"); !errors.Is(err, ErrBootstrap) {
		t.Errorf("an endless answer: %v", err)
	}
}

// TestTable lets a dozen orchestrators know one of them only. By the Kademlia table each finds all.
func TestTable(t *testing.T) {
	strangers := func(c *Config) { c.Ports, c.PresenceEvery, c.LowPeers = Ports{}, time.Minute, 1 }
	first := open(t, 200, strangers)
	all := []*node{first}
	for i := range 11 {
		all = append(all, open(t, 201+i, strangers, meets(first)))
	}
	for _, n := range all {
		eventually(t, "the first one knows everybody", func() bool { return len(first.host.Network().Peers()) == 11 })
		for _, other := range all {
			if n == other {
				continue
			}
			eventually(t, fmt.Sprintf("%s finds %s", n.cfg.Node, other.cfg.Node), func() bool {
				ctx, cancel := context.WithTimeout(context.Background(), patience)
				defer cancel()
				info, err := n.routes.FindPeer(ctx, other.self)
				return err == nil && len(info.Addrs) > 0
			})
		}
	}
	if n := first.Status().Routes; n != 11 {
		t.Errorf("%d peers in the first one's table", n)
	}
}

// TestValidatorsFindEachOther: they know one of them, and end up connected to all.
func TestValidatorsFindEachOther(t *testing.T) {
	all := []*node{open(t, 0)}
	for i := 1; i < 4; i++ {
		all = append(all, open(t, i, meets(all[0])))
	}
	for _, n := range all {
		eventually(t, n.cfg.Node+" reaches all validators", func() bool { return n.Status().Reached == 3 })
	}
}

// TestCalledAgain restarts an orchestrator at its old address: who knew it comes back by itself.
func TestCalledAgain(t *testing.T) {
	a := open(t, 0)
	where := a.host.Addrs()[0].String()
	b := open(t, 1, meets(a), func(c *Config) { c.NoDHT = true })
	gathered(t, a, b)
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "lost", func() bool { return !b.connected(a.self) })
	again := open(t, 0, func(c *Config) { c.Listen = []string{where} })
	gathered(t, again, b)
	if err := again.Submit(transaction(t, 50, 1)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "heard again", func() bool { return len(b.transactions()) == 1 })
	eventually(t, "presence of the second life", func() bool {
		return len(b.Orchestrators()) == 1 && b.Orchestrators()[0].At.After(again.started)
	})
}

func TestConnect(t *testing.T) {
	a, b := open(t, 0), open(t, 60)
	if err := b.Connect(context.Background(), a.Bootstrap().Addresses[0]); err != nil {
		t.Fatal(err)
	}
	eventually(t, "connected", func() bool { return a.connected(b.self) })
	other := strings.Replace(a.Bootstrap().Addresses[0], a.PeerID(), open(t, 61).PeerID(), 1)
	if err := b.Connect(context.Background(), other); err == nil {
		t.Error("another orchestrator was taken for the one that was meant")
	}
}

// TestLocalPeers is what mDNS does with those it finds.
func TestLocalPeers(t *testing.T) {
	a, b := open(t, 0), open(t, 60)
	for range 200 { // more than are queued
		b.HandlePeerFound(infoOf(b.Mesh))
	}
	eventually(t, "connected", func() bool {
		b.HandlePeerFound(infoOf(a.Mesh))
		return a.connected(b.self)
	})
}

// TestWaits: the wait for the next dial doubles up to its cap, and is gone after a success.
func TestWaits(t *testing.T) {
	c := newCalls(nil)
	failed := errors.New("no answer")
	last := time.Duration(0)
	for i := range 12 {
		c.tried("p", failed, time.Second, time.Minute)
		d := time.Until(c.waits["p"].until)
		want := min(time.Minute, time.Second<<i)
		if d < want*8/10 || d > want*12/10 {
			t.Errorf("failure %d: wait %v, want about %v", i, d, want)
		}
		last = d
	}
	if c.due("p", time.Now()) || !c.due("p", time.Now().Add(last+time.Second)) || !c.due("q", time.Now()) {
		t.Error("due too early or never")
	}
	c.tried("p", nil, time.Second, time.Minute)
	if !c.due("p", time.Now()) {
		t.Error("a success does not end the wait")
	}
	for i := range 2 * maxLearned {
		id := peer.ID(fmt.Sprint(i))
		c.learn(id, []string{"/ip4/127.0.0.1/tcp/1"})
		c.learn(id, []string{"nowhere"})
	}
	if n := len(c.learned); n > maxLearned {
		t.Errorf("%d orchestrators' addresses are remembered", n)
	}
	if n := len(c.addresses(peer.ID(fmt.Sprint(2*maxLearned - 1)))); n != 1 {
		t.Errorf("%d addresses of the last one", n)
	}
}
