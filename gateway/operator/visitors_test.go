package operator

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/genproto/googleapis/rpc/errdetails"

	"github.com/shardy-network/orchestrator/actors/ledger"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

func TestAddressesOfVisitors(t *testing.T) {
	for remote, want := range map[string]string{
		"192.0.2.7:1": "192.0.2.7/32", "[::ffff:192.0.2.7]:1": "192.0.2.7/32", "[2001:db8:1:2:3::4]:1": "2001:db8:1:2::/64",
		"[fe80::1%eth0]:1": "fe80::/64", "[::1]:1": "::/64", "@": "invalid Prefix", "": "invalid Prefix",
	} {
		p := addressOf(&http.Request{RemoteAddr: remote})
		if p.String() != want {
			t.Errorf("%q is %s, want %s", remote, p, want)
		}
	}
	for remote, want := range map[string]bool{"127.0.0.1:1": true, "[::1]:1": true, "10.0.0.1:1": false, "[::2:0:0:0:1]:1": false, "@": false} {
		if got := thisMachine(addressOf(&http.Request{RemoteAddr: remote})); got != want {
			t.Errorf("%s is this machine: %v", remote, got)
		}
	}
}

// TestFullTableOfVisitors: who finds no place shares one allowance, and whoever is idle gives its place up.
func TestFullTableOfVisitors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		vs := newVisitors(Visitors{Rate: 1, Burst: 10, Requests: 1 << 20}.withDefaults())
		address := func(i int) netip.Prefix {
			return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 32)
		}
		use := func(i int) *visitor {
			v, err := vs.enter(address(i))
			if err != nil {
				t.Fatal(err)
			}
			defer v.leave()
			_ = v.from.spend(5)
			return v.from
		}
		for i := range maxVisitors {
			use(i)
		}
		if a, b := use(maxVisitors), use(maxVisitors+1); a != b || a == use(1) || len(vs.known) != maxVisitors {
			t.Errorf("of %d known, those who find no place do not share", len(vs.known))
		}
		time.Sleep(4 * time.Second) // nobody is idle yet
		use(maxVisitors)
		if len(vs.known) != maxVisitors {
			t.Error("somebody who has spent something was forgotten")
		}
		time.Sleep(2 * time.Second) // all are
		v, err := vs.enter(address(3))
		if err != nil {
			t.Fatal(err)
		}
		use(maxVisitors)
		if len(vs.known) != 3 { // who is inside, who has spent twice as much, and the new one
			t.Errorf("%d are known", len(vs.known))
		}
		v.leave()
		if v := vs.known[address(3)]; v.requests.n.Load() != 0 || vs.requests.n.Load() != 0 {
			t.Error("somebody who left is counted")
		}
	})
}

func TestTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := make(turns, 1)
		if err := q.enter(t.Context()); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if err := q.enter(t.Context()); !errors.Is(err, errFull) || time.Since(began) != maxTurn {
			t.Error(err, time.Since(began))
		}
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		if err := q.enter(gone); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		time.AfterFunc(time.Second, q.leave)
		if err := q.enter(t.Context()); err != nil {
			t.Error(err)
		}
		q.leave()
	})
}

// paper is a chain of blocks as large as one likes.
type paper struct {
	Ledger
	state ledger.State
	bytes int
	low   uint64
	reads int
}

func (p *paper) State() ledger.State { return p.state }

func (p *paper) Block(height uint64) (LedgerBlock, error) {
	p.reads++
	if height < p.low {
		return LedgerBlock{}, ErrLedgerPruned
	}
	return LedgerBlock{Hash: paperHash(height), Block: &ledgerv1.CertifiedBlock{Block: &ledgerv1.Block{
		Transactions: [][]byte{make([]byte, p.bytes)},
	}}}, nil
}

func paperHash(height uint64) (h ledger.Hash) {
	copy(h[:], fmt.Sprint("block ", height))
	return h
}

// TestLargeBlocksEndAPage: what a call reads is bounded by bytes, too.
func TestLargeBlocksEndAPage(t *testing.T) {
	p := &paper{bytes: 2 << 20}
	seen := 0
	next, read, err := eachBlock(t.Context(), p, 1001, 128, func(uint64, LedgerBlock) (bool, error) { seen++; return true, nil })
	if err != nil || seen != 8 || next != 993 || read < 16<<20 {
		t.Error(seen, next, read, err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := eachBlock(gone, p, 1001, 128, nil); !errors.Is(err, context.Canceled) {
		t.Error("a client that left is worked for:", err)
	}
}

// TestHashesAreLearnedOnce: however often it is asked for blocks that are not there, each block is read once.
func TestHashesAreLearnedOnce(t *testing.T) {
	p, x := &paper{low: 1}, newHashIndex(50)
	grow := func(n int) {
		for range n {
			p.state = stateAfter(t, p.state)
		}
	}
	find := func(height uint64) bool {
		t.Helper()
		got, err := x.find(t.Context(), p, paperHash(height))
		if err != nil && !errors.Is(err, ErrNotOnLedger) || err == nil && got != height {
			t.Fatal(got, err)
		}
		return err == nil
	}
	grow(30)
	if !find(30) || p.reads != 1 {
		t.Errorf("the last block after %d reads", p.reads)
	}
	if !find(12) || p.reads != 19 || find(31) || find(99) || p.reads != 30 {
		t.Errorf("%d reads", p.reads)
	}
	grow(40)
	if !find(70) || !find(21) || find(19) || p.reads != 70 || len(x.at) != 50 || len(x.hash) != 50 {
		t.Errorf("%d reads, %d and %d blocks kept", p.reads, len(x.at), len(x.hash))
	}
	grow(60) // more than it keeps: begun anew
	if !find(130) || !find(81) || find(80) || p.reads != 120 || len(x.at) != 50 {
		t.Errorf("%d reads, %d blocks kept", p.reads, len(x.at))
	}
	grow(10)
	p.low = 139 // the chain went on from a snapshot
	if !find(140) || !find(139) || find(135) || find(138) {
		t.Error("blocks that were pruned")
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	grow(1)
	if _, err := x.find(gone, p, paperHash(141)); !errors.Is(err, context.Canceled) || !find(141) {
		t.Error("a client that left:", err)
	}
}

// TestHashesOfLargeBlocks are learned a part at a time: whoever asks again comes to the end.
func TestHashesOfLargeBlocks(t *testing.T) {
	p, x := &paper{low: 1, bytes: 2 << 20}, newHashIndex(1000)
	for range 80 {
		p.state = stateAfter(t, p.state)
	}
	for _, want := range []error{errLearning, errLearning, ErrNotOnLedger} {
		before := p.reads
		if _, err := x.find(t.Context(), p, paperHash(99)); !errors.Is(err, want) || p.reads-before > 32 {
			t.Errorf("%v after %d reads, want %v", err, p.reads-before, want)
		}
	}
	if h, err := x.find(t.Context(), p, paperHash(1)); err != nil || h != 1 || p.reads != 80 {
		t.Error(h, err, p.reads)
	}
}

// TestAnswersOnTheirWayAreBounded: whoever reads slowly holds memory, and all of them together hold no more than this.
func TestAnswersOnTheirWayAreBounded(t *testing.T) {
	vs := newVisitors(Visitors{AnswerBytes: 100}.withDefaults())
	var inside []*visit
	for i := range 3 {
		v, err := vs.enter(netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), 32))
		if err != nil {
			t.Fatal(err)
		}
		inside = append(inside, v)
	}
	for i, want := range []error{nil, nil, errFull} {
		if err := inside[i].answer(40); !errors.Is(err, want) {
			t.Errorf("answer %d: %v", i, err)
		}
	}
	inside[0].leave()
	if err := inside[2].answer(40); err != nil {
		t.Error(err)
	}
	inside[1].leave()
	inside[2].leave()
	if n := vs.answers.n.Load(); n != 0 {
		t.Errorf("%d bytes are still counted", n)
	}
}

// TestWhenToComeBack: a refusal says after how long the next request will be let in, whatever was paid since.
func TestWhenToComeBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVisitors(Visitors{Rate: 4, Burst: 10}.withDefaults()).newVisitor(false)
		for range 10 {
			if err := v.spend(1); err != nil {
				t.Fatal(err)
			}
		}
		v.pay(7)
		refused, ok := errors.AsType[*connect.Error](toConnect(v.spend(1)))
		if !ok || refused.Code() != connect.CodeResourceExhausted {
			t.Fatal(refused)
		}
		var wait time.Duration
		for _, d := range refused.Details() {
			m, err := d.Value()
			if err != nil {
				t.Fatal(err)
			}
			if r, ok := m.(*errdetails.RetryInfo); ok {
				wait = r.RetryDelay.AsDuration()
			}
		}
		if wait != 2*time.Second {
			t.Errorf("the client is told to come back after %s, want 2s", wait)
		}
		time.Sleep(wait)
		if err := v.spend(1); err != nil {
			t.Error(err)
		}
	})
}
