package operator_test

import (
	"context"
	"net/http"
	"net/netip"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/shardy-network/orchestrator/actors/ledger"
	"github.com/shardy-network/orchestrator/gateway/operator"
	"github.com/shardy-network/orchestrator/gateway/operator/operatortest"
	"github.com/shardy-network/orchestrator/mesh/chain/chaintest"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
	op "github.com/shardy-network/orchestrator/proto/shardy/operator/v1/operatorv1connect"
)

func TestTransactionsThatAreRefused(t *testing.T) {
	s := share(t, guarded(), 2)
	s.Ledger.Make(func(m *chaintest.Maker) { m.Grow(3, 0) })
	sign := func(change func(*ledgerv1.Transaction)) []byte {
		tx := &ledgerv1.Transaction{
			ChainId: chaintest.ChainID, Sender: chaintest.Public(chaintest.Key(1000)), Salt: make([]byte, 16), ValidUntil: 50,
			Actions: []*ledgerv1.Action{{Kind: &ledgerv1.Action_Transfer{
				Transfer: &ledgerv1.Transfer{To: chaintest.Public(chaintest.Key(1)), Amount: 1},
			}}},
		}
		change(tx)
		return ledger.Sign(tx, chaintest.Key(1000))
	}
	unsigned := sign(func(*ledgerv1.Transaction) {})
	unsigned[len(unsigned)-1] ^= 1
	for name, c := range map[string]struct {
		tx     []byte
		wait   uint32
		code   connect.Code
		reason string
	}{
		"nothing":     {nil, 0, connect.CodeInvalidArgument, "TRANSACTION_MALFORMED"},
		"junk":        {[]byte("junk"), 0, connect.CodeInvalidArgument, "TRANSACTION_MALFORMED"},
		"large":       {make([]byte, ledger.MaxTransactionBytes+1), 0, connect.CodeInvalidArgument, "TRANSACTION_TOO_LARGE"},
		"other chain": {sign(func(tx *ledgerv1.Transaction) { tx.ChainId = "other" }), 0, connect.CodeInvalidArgument, "TRANSACTION_CHAIN"},
		"forged":      {unsigned, 0, connect.CodeInvalidArgument, "TRANSACTION_SIGNATURE"},
		"no actions":  {sign(func(tx *ledgerv1.Transaction) { tx.Actions = nil }), 0, connect.CodeInvalidArgument, "TRANSACTION_MALFORMED"},
		"too late":    {sign(func(tx *ledgerv1.Transaction) { tx.ValidUntil = 3 }), 0, connect.CodeFailedPrecondition, "TRANSACTION_EXPIRED"},
		"too early":   {sign(func(tx *ledgerv1.Transaction) { tx.ValidUntil = 1 << 40 }), 0, connect.CodeFailedPrecondition, "TRANSACTION_OUT_OF_RANGE"},
		"penniless":   {s.transfer(5000, 1, 1), 0, connect.CodeFailedPrecondition, "TRANSACTION_INSUFFICIENT_BALANCE"},
		"long wait":   {sign(func(*ledgerv1.Transaction) {}), 60_001, connect.CodeInvalidArgument, "INVALID"},
	} {
		_, err := s.SubmitTransaction(t.Context(), &operatorv1.SubmitTransactionRequest{Transaction: c.tx, WaitMs: c.wait})
		wantCode(t, name, err, c.code, c.reason)
	}
	s.Ledger.Fill(true)
	_, err := s.SubmitTransaction(t.Context(), &operatorv1.SubmitTransactionRequest{Transaction: s.transfer(1000, 1, 1)})
	wantCode(t, "full queue", err, connect.CodeResourceExhausted, "LEDGER_FULL")
	if n := s.Ledger.Waiting(); n != 0 {
		t.Errorf("%d transactions of those that were refused wait", n)
	}
}

// TestWaitThatEndsWithoutABlock is no failure: the transaction is on its way.
func TestWaitThatEndsWithoutABlock(t *testing.T) {
	s := share(t, guarded(), 1)
	tx := s.transfer(1000, 2000, 5)
	for range 2 {
		res, err := s.SubmitTransaction(t.Context(), &operatorv1.SubmitTransactionRequest{Transaction: tx, WaitMs: 30})
		if err != nil || res.Height != 0 || res.Receipt != nil || len(res.Id) != 32 || s.Ledger.Waiting() != 1 {
			t.Fatal(res, err)
		}
	}
	s.Ledger.Mine()
	res, err := s.SubmitTransaction(t.Context(), &operatorv1.SubmitTransactionRequest{Transaction: tx})
	if err != nil || res.Height != 1 || res.Receipt.GetCode() != receiptOK {
		t.Fatal(res, err)
	}
}

// fromAddress names where a request comes from, for a server that believes the header.
type fromAddress struct{ ip, token string }

func (f fromAddress) Do(r *http.Request) (*http.Response, error) {
	r.Header.Set("X-Test-Address", f.ip)
	return operatortest.Client(f.token).Do(r)
}

func shareAmong(t *testing.T, limits operator.Visitors) (*shared, func(ip, token string) op.LedgerServiceClient) {
	t.Helper()
	cfg := guarded()
	cfg.Visitors = limits
	l := operatortest.NewLedger(t, 40)
	w := operatortest.StartWith(t, cfg, func(d *operator.Deps) {
		d.Ledger = l
		d.Address = func(r *http.Request) netip.Prefix {
			return netip.PrefixFrom(netip.MustParseAddr(r.Header.Get("X-Test-Address")), 32)
		}
	})
	dial := func(ip, token string) op.LedgerServiceClient {
		return op.NewLedgerServiceClient(fromAddress{ip, token}, w.URL)
	}
	return &shared{w, dial("10.0.0.1", ""), l}, dial
}

// TestFloodOfOneAddress hurts nobody else: not another address, not a token from the same one, not this machine.
func TestFloodOfOneAddress(t *testing.T) {
	_, from := shareAmong(t, operator.Visitors{Rate: 0.001, Burst: 20})
	ask := func(c op.LedgerServiceClient) error {
		_, err := c.GetLedger(t.Context(), &operatorv1.GetLedgerRequest{})
		return err
	}
	flood := from("192.0.2.1", "")
	for i := range 20 {
		if err := ask(flood); err != nil {
			t.Fatalf("request %d: %v", i, err)
		}
	}
	for range 5 {
		wantCode(t, "flood", ask(flood), connect.CodeResourceExhausted, "RATE")
	}
	wantCode(t, "with a wrong token", ask(from("192.0.2.1", "wrong")), connect.CodeResourceExhausted, "RATE")
	for what, c := range map[string]op.LedgerServiceClient{
		"another address": from("192.0.2.2", ""), "a token": from("192.0.2.1", "alice"), "this machine": from("127.0.0.1", ""),
	} {
		for i := range 15 {
			if err := ask(c); err != nil {
				t.Fatalf("%s, request %d: %v", what, i, err)
			}
		}
	}
}

// TestLargeAnswersArePaid after they were given: the next request waits.
func TestLargeAnswersArePaid(t *testing.T) {
	s, from := shareAmong(t, operator.Visitors{Rate: 0.001, Burst: 100})
	s.Ledger.Make(func(m *chaintest.Maker) { m.Grow(1, 2000) })
	c, paid := from("192.0.2.9", ""), 0
	for ; paid < 100; paid++ {
		res, err := c.GetBlock(t.Context(), &operatorv1.GetBlockRequest{Which: &operatorv1.GetBlockRequest_Height{Height: 1}})
		if connect.CodeOf(err) == connect.CodeResourceExhausted {
			break
		}
		if err != nil || len(res.Receipts) != 2000 {
			t.Fatal(err)
		}
	}
	if paid < 2 || paid > 20 {
		t.Errorf("%d blocks of some 400 KiB for 100 units", paid)
	}
}

// TestReadingAChainIsPaid: in runs a visitor comes further than block by block, and to an end.
func TestReadingAChainIsPaid(t *testing.T) {
	s, from := shareAmong(t, operator.Visitors{Rate: 0.001, Burst: 100})
	s.Ledger.Make(func(m *chaintest.Maker) { m.Grow(600, 0) })
	c, blocks := from("192.0.2.9", ""), 0
	for {
		res, err := c.GetBlocks(t.Context(), &operatorv1.GetBlocksRequest{From: 1 + uint64(blocks%300)})
		if err != nil {
			wantCode(t, "after so many", err, connect.CodeResourceExhausted, "RATE")
			break
		}
		blocks += len(res.Blocks)
	}
	if blocks < 1000 || blocks > 1600 {
		t.Errorf("%d blocks for 100 units", blocks)
	}
	if _, err := from("192.0.2.9", "alice").GetBlocks(t.Context(), &operatorv1.GetBlocksRequest{}); err != nil {
		t.Error("a token from the same address:", err)
	}
}

// TestTransactionsArePaidByTheirSize, as their signatures have to be verified.
func TestTransactionsArePaidByTheirSize(t *testing.T) {
	_, from := shareAmong(t, operator.Visitors{Rate: 0.001, Burst: 100})
	c := from("192.0.2.1", "")
	n := 0
	for ; n < 100; n++ {
		_, err := c.SubmitTransaction(t.Context(), &operatorv1.SubmitTransactionRequest{Transaction: make([]byte, 60<<10)})
		if connect.CodeOf(err) == connect.CodeResourceExhausted {
			break
		}
	}
	if n != 2 {
		t.Errorf("%d transactions of 60 KiB for 100 units, want 2", n)
	}
}

// TestWaitsAreBounded, of one address and of all, and end when the waiters go or the server does.
func TestWaitsAreBounded(t *testing.T) {
	s, from := shareAmong(t, operator.Visitors{Rate: -1, Waits: 4, WaitsAddress: 2})
	var wg sync.WaitGroup
	defer wg.Wait()
	wait := func(ctx context.Context, ip string) chan error {
		before, done := s.Ledger.Waiting(), make(chan error, 1)
		tx := s.transfer(1000+before, 1, 1)
		wg.Go(func() {
			_, err := from(ip, "").SubmitTransaction(ctx, &operatorv1.SubmitTransactionRequest{Transaction: tx, WaitMs: 60_000})
			done <- err
		})
		select {
		case <-s.Ledger.Longer(before):
		case err := <-done:
			done <- err
		}
		return done
	}
	leaving, leave := context.WithCancel(t.Context())
	first := wait(leaving, "192.0.2.1")
	stay := []chan error{wait(t.Context(), "192.0.2.1")}
	wantCode(t, "third of an address", <-wait(t.Context(), "192.0.2.1"), connect.CodeResourceExhausted, "WAITS")
	stay = append(stay, wait(t.Context(), "192.0.2.2"), wait(t.Context(), "192.0.2.2"))
	wantCode(t, "fifth of all", <-wait(t.Context(), "192.0.2.3"), connect.CodeResourceExhausted, "WAITS")
	if _, err := from("192.0.2.3", "").GetLedger(t.Context(), &operatorv1.GetLedgerRequest{}); err != nil {
		t.Error("those who wait keep others out:", err)
	}
	leave()
	if err := <-first; connect.CodeOf(err) != connect.CodeCanceled {
		t.Error(err)
	}
	again := func() (c chan error) { // the server sees a moment later that the client is gone
		for range 1000 {
			if c = wait(t.Context(), "192.0.2.3"); len(c) == 0 {
				return c
			}
			<-c
			time.Sleep(time.Millisecond)
		}
		t.Fatal("a waiter that left keeps its place")
		return nil
	}()
	s.API.Close()
	for _, c := range append(stay, again) {
		wantCode(t, "closing", <-c, connect.CodeUnavailable, "CLOSING")
	}
}

// TestRequestsAtOnceAreBounded of one address, before their messages are read: bodies that never come keep nobody out.
func TestRequestsAtOnceAreBounded(t *testing.T) {
	s, from := shareAmong(t, operator.Visitors{Rate: -1, Requests: 6, RequestsAddress: 3})
	hang := func(ip string) (end func()) {
		body, stop := newDrip()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL+"/shardy.operator.v1.LedgerService/SubmitTransaction", body)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/proto")
		var wg sync.WaitGroup
		wg.Go(func() {
			if res, err := (fromAddress{ip, ""}).Do(req); err == nil {
				res.Body.Close()
			}
		})
		<-body.asked
		return func() { stop(); wg.Wait() }
	}
	refused := func(what, ip, reason string) {
		t.Helper()
		var err error
		for range 2000 { // the requests that hang come in when they come in
			if _, err = from(ip, "").GetLedger(t.Context(), &operatorv1.GetLedgerRequest{}); err != nil {
				break
			}
			time.Sleep(time.Millisecond)
		}
		wantCode(t, what, err, connect.CodeResourceExhausted, reason)
	}
	for range 3 {
		defer hang("192.0.2.1")()
	}
	refused("fourth of an address", "192.0.2.1", "RATE")
	if _, err := from("192.0.2.2", "").GetLedger(t.Context(), &operatorv1.GetLedgerRequest{}); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		defer hang("192.0.2.2")()
	}
	refused("seventh of all", "192.0.2.3", "BUSY")
	if _, err := dial(s.World, "alice").GetStatus(t.Context(), &operatorv1.GetStatusRequest{}); err != nil {
		t.Error("visitors keep a token out:", err)
	}
}

// drip is a body that begins and does not end before it is told to.
type drip struct {
	asked chan struct{}
	once  sync.Once
	end   chan struct{}
}

func newDrip() (*drip, func()) {
	d := &drip{asked: make(chan struct{}), end: make(chan struct{})}
	return d, sync.OnceFunc(func() { close(d.end) })
}

func (d *drip) Read(p []byte) (int, error) {
	first := false
	d.once.Do(func() { first = true; close(d.asked) })
	if first {
		p[0] = 10
		return 1, nil
	}
	<-d.end
	return 0, context.Canceled
}
