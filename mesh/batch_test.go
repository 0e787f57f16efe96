package mesh

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/shardy-network/orchestrator/actors/ledger/seal"
)

// TestBatches submits many transactions at once: few messages carry all of them, each once.
func TestBatches(t *testing.T) {
	const n = 500
	a := open(t, 0, func(c *Config) { c.Linger = 200 * time.Millisecond })
	b := open(t, 1, meets(a))
	gathered(t, a, b)
	want := map[string]bool{}
	for i := range n {
		tx := transaction(t, 50, i)
		want[string(tx)] = true
		for range 2 { // the second time it is on its way already
			if err := a.Submit(tx); err != nil {
				t.Fatal(err)
			}
		}
	}
	eventually(t, "all transactions", func() bool { return len(b.transactions()) >= n })
	for _, tx := range b.transactions() {
		if !want[string(tx)] {
			t.Fatal("a transaction twice, or one that nobody sent")
		}
		delete(want, string(tx))
	}
	if s := a.Status().Topics[1]; s.Out < n/MaxBatch || s.Out > 4*n/MaxBatch {
		t.Errorf("%d transactions in %d messages", n, s.Out)
	}
	if len(a.transactions()) != 0 {
		t.Error("own transactions came back")
	}
}

// TestBigTransactions do not fit into one message together.
func TestBigTransactions(t *testing.T) {
	accept := func(c *Config) {
		c.MaxMessage = 256 << 10
		c.Ports.CheckTransaction = func([]byte) error { return nil }
	}
	a := open(t, 0, accept)
	b := open(t, 1, meets(a), accept)
	gathered(t, a, b)
	var txs [][]byte
	for i := range 20 {
		s := seal.SignTransaction(slices.Repeat([]byte{byte(i)}, 60_000), keyOf(50))
		txs = append(txs, encoded(t, s))
	}
	if err := a.PublishTransactions(context.Background(), txs); err != nil {
		t.Fatal(err)
	}
	eventually(t, "all transactions", func() bool { return len(b.transactions()) == len(txs) })
	if s := a.Status().Topics[1]; s.Out != 10 {
		t.Errorf("20 transactions of 60 KB in %d messages of at most 256 KiB", s.Out)
	}
}

// TestQueueIsBounded fills the queue of a mesh that does not run.
func TestQueueIsBounded(t *testing.T) {
	c, err := configOf(0, &chain{}).withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	c.QueueTransactions = 5
	m, err := prepare(c)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		if err := m.Submit(transaction(t, 50, i)); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 { // a transaction that found no place is not taken for sent
		if err := m.Submit(transaction(t, 50, 9)); !errors.Is(err, ErrBusy) {
			t.Fatalf("sixth: %v", err)
		}
	}
	<-m.outgoing
	if err := m.Submit(transaction(t, 50, 9)); err != nil {
		t.Fatal(err)
	}
}

// TestSlowReader: what came while a port did not return is counted as lost, and may come again.
func TestSlowReader(t *testing.T) {
	hold := make(chan struct{})
	release := sync.OnceFunc(func() { close(hold) })
	var mu sync.Mutex
	var got [][]byte
	b := open(t, 1, func(c *Config) {
		c.Ports.Transactions = func(txs [][]byte) {
			<-hold
			mu.Lock()
			defer mu.Unlock()
			got = append(got, txs...)
		}
	})
	t.Cleanup(release) // before Close, which waits for the port
	r := newRogue(t, 101, b.Mesh)
	const n = readerQueue + 100
	for i := range n {
		r.say(TransactionsTopic, encoded(t, batchOf(transaction(t, 50, i))))
		if i%50 == 49 || i == n-1 { // one peer may not have too many wait
			eventually(t, "they are checked", func() bool { return b.Status().Topics[1].In == int64(i+1) })
		}
	}
	eventually(t, "some have no reader", func() bool { return b.Status().Topics[1].Overflowed > 0 })
	r.say(PresenceTopic, encoded(t, presenceOf(101, time.Now())))
	eventually(t, "another topic goes on", func() bool { return len(b.Orchestrators()) == 1 })
	release()
	count := func() int {
		mu.Lock()
		defer mu.Unlock()
		return len(got)
	}
	eventually(t, "the others are read", func() bool { return count() == n-int(b.Status().Topics[1].Overflowed) })
	for i := range n { // in messages that pubsub has not seen
		r.say(TransactionsTopic, encoded(t, batchOf(transaction(t, 50, i), transaction(t, 51, i))))
		if i%50 == 49 || i == n-1 {
			eventually(t, "they are read", func() bool { return b.Status().Topics[1].In == int64(n+i+1) })
		}
	}
	eventually(t, "the lost ones came again, the others did not", func() bool { return count() == 2*n })
}

// TestCloseUnderLoad closes an orchestrator while others use it. Nothing hangs, and nothing is left (TestMain).
func TestCloseUnderLoad(t *testing.T) {
	a := open(t, 0)
	b := open(t, 1, meets(a))
	gathered(t, a, b)
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := 0; ; i++ {
				err := b.Submit(transaction(t, 50+g, i))
				b.Status()
				if errors.Is(err, ErrClosed) {
					return
				}
				if err != nil && !errors.Is(err, ErrBusy) {
					t.Errorf("submit: %v", err)
				}
			}
		})
	}
	eventually(t, "some arrive", func() bool { return len(a.transactions()) > 10 })
	for range 2 {
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
	}
	wg.Wait()
	if err := b.PublishPresence(context.Background()); err == nil {
		t.Error("a closed mesh says that it lives")
	}
}

func TestPortTaken(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c := configOf(0, &chain{})
	c.Listen = []string{"/ip4/127.0.0.1/tcp/" + port}
	if m, err := New(c); err == nil {
		t.Errorf("two listen on one port: %v", m.Close())
	}
}

// TestWhoLives is the table by itself: order, rate, bounds and expiry.
func TestWhoLives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, err := Config{
			Key: keyOf(0), Chain: "test-1", MaxOrchestrators: 3, PresenceEvery: time.Second, PresenceExpiry: 5 * time.Second,
		}.withDefaults()
		if err != nil {
			t.Fatal(err)
		}
		tab := newTable(c, func(id peer.ID) bool { return string(id) == mustPeer(t, 1) })
		see := func(n int, sequence uint64, at time.Duration) error {
			p := presenceOf(n, time.Now().Add(at))
			p.Sequence = sequence
			id, err := PeerOf(p.Key)
			if err != nil {
				t.Fatal(err)
			}
			return tab.see(id, p)
		}
		for n := 10; n < 13; n++ {
			if err := see(n, 5, 0); err != nil {
				t.Fatal(err)
			}
		}
		for name, err := range map[string]error{
			"one too many": see(13, 1, 0), "the same again": see(10, 5, 0), "an older one": see(10, 4, 0),
			"from the past": see(10, 6, -2*time.Minute), "from the future": see(10, 6, 2*time.Minute),
		} {
			if !errors.Is(err, ErrNotNow) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if err := see(1, 1, 0); err != nil {
			t.Errorf("a validator finds no place: %v", err)
		}
		if n := len(tab.living()); n != 4 {
			t.Errorf("%d live", n)
		}
		taken := 0
		for i := range 100 {
			if see(10, uint64(10+i), 0) == nil {
				taken++
			}
		}
		if taken != 8 {
			t.Errorf("%d presences of one moment taken", taken)
		}
		time.Sleep(4 * time.Second)
		if err := see(11, 9, 0); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		living := tab.living()
		if len(living) != 1 || living[0].Peer != metAt(11, time.Now(), 0).Peer {
			t.Errorf("alive after all but one were silent: %v", living)
		}
		if err := see(13, 1, 0); err != nil {
			t.Errorf("no place where others have gone: %v", err)
		}
	})
}
