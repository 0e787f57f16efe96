package operator_test

import (
	"bytes"
	"context"
	"testing"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/actors/ledger/light"
	"github.com/shardy-network/orchestrator/actors/ledger/seal"
	"github.com/shardy-network/orchestrator/gateway/operator"
	"github.com/shardy-network/orchestrator/gateway/operator/operatortest"
	"github.com/shardy-network/orchestrator/mesh/chain/chaintest"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
	op "github.com/shardy-network/orchestrator/proto/shardy/operator/v1/operatorv1connect"
)

const receiptOK = ledgerv1.ReceiptCode_RECEIPT_CODE_OK

// shared is a world with a ledger.
type shared struct {
	*operatortest.World
	op.LedgerServiceClient // without a token
	Ledger                 *operatortest.Ledger
}

func share(t testing.TB, cfg operator.Config, accounts int) *shared {
	t.Helper()
	l := operatortest.NewLedger(t, accounts)
	w := operatortest.StartWith(t, cfg, func(d *operator.Deps) { d.Ledger = l })
	return &shared{w, op.NewLedgerServiceClient(operatortest.Client(""), w.URL), l}
}

// transfer makes a transaction that waits for nothing.
func (s *shared) transfer(from, to int, amount uint64) (tx []byte) {
	s.Ledger.Make(func(m *chaintest.Maker) { tx = m.Transfer(chaintest.Key(from), chaintest.Key(to), amount) })
	return tx
}

// mineNext makes a block as soon as something waits.
func (s *shared) mineNext(ctx context.Context) {
	select {
	case <-s.Ledger.Longer(0):
		s.Ledger.Mine()
	case <-ctx.Done():
	}
}

// TestTransactionOfAStranger is the whole way of somebody who has a key and no token: submit, see it in a block, and prove
// to oneself what it did, believing nothing but genesis.
func TestTransactionOfAStranger(t *testing.T) {
	s := share(t, guarded(), 3)
	ctx := t.Context()
	tx := s.transfer(1000, 2000, 7)
	go s.mineNext(ctx)
	sent, err := s.SubmitTransaction(ctx, &operatorv1.SubmitTransactionRequest{Transaction: tx, WaitMs: 60_000})
	if err != nil || sent.Height != 1 || sent.Receipt.GetCode() != receiptOK {
		t.Fatal(sent, err)
	}
	again, err := s.SubmitTransaction(ctx, &operatorv1.SubmitTransactionRequest{Transaction: tx})
	if err != nil || !proto.Equal(again, sent) || s.Ledger.Waiting() != 0 {
		t.Fatal("sent twice:", again, err)
	}
	got, err := s.GetTransaction(ctx, &operatorv1.GetTransactionRequest{Id: sent.Id})
	if err != nil || got.Transaction.Height != 1 || !bytes.Equal(got.Transaction.Encoded, tx) ||
		got.Transaction.Body.Actions[0].GetTransfer().GetAmount() != 7 || got.Transaction.TimeUs == 0 {
		t.Fatal(got, err)
	}

	s.Ledger.Swap(4)
	s.Ledger.Swap(5)
	s.Ledger.Mine()
	client := trusting(t, s)
	changes, err := s.ListValidatorChanges(ctx, &operatorv1.ListValidatorChangesRequest{})
	if err != nil || len(changes.Changes) != 2 || changes.More {
		t.Fatal(changes, err)
	}
	for _, c := range changes.Changes {
		if err := client.Follow(c); err != nil {
			t.Fatal(err)
		}
	}
	prove := func(req *operatorv1.GetProofRequest, place [32]byte) []byte {
		t.Helper()
		res, err := s.GetProof(ctx, req)
		if err != nil {
			t.Fatal(err)
		}
		value, h, err := client.Held(res.Header, res.Certificate, res.Proof, place)
		if err != nil || h.Height != 4 {
			t.Fatal(h, err)
		}
		return value
	}
	key := chaintest.Public(chaintest.Key(2000))
	a := new(ledgerv1.Account)
	value := prove(&operatorv1.GetProofRequest{Place: &operatorv1.GetProofRequest_Account{Account: key}}, seal.AccountKey(key))
	if err := proto.Unmarshal(value, a); err != nil || a.Balance != 7 {
		t.Fatal(a, err)
	}
	nobody := bytes.Repeat([]byte{9}, 32)
	at := &operatorv1.JobPlace{Orchestrator: nobody, Job: "j"}
	for name, c := range map[string]struct {
		req   *operatorv1.GetProofRequest
		place [32]byte
		there bool
	}{
		"nobody":     {&operatorv1.GetProofRequest{Place: &operatorv1.GetProofRequest_Account{Account: nobody}}, seal.AccountKey(nobody), false},
		"validators": {&operatorv1.GetProofRequest{Place: &operatorv1.GetProofRequest_Validators{Validators: true}}, seal.ValidatorsKey(), true},
		"supply":     {&operatorv1.GetProofRequest{Place: &operatorv1.GetProofRequest_Supply{Supply: true}}, seal.SupplyKey(), true},
		"params":     {&operatorv1.GetProofRequest{Place: &operatorv1.GetProofRequest_Params{Params: true}}, seal.ParamsKey(), true},
		"anchor":     {&operatorv1.GetProofRequest{Place: &operatorv1.GetProofRequest_Anchor{Anchor: nobody}}, seal.AnchorKey(nobody), false},
		"settled":    {&operatorv1.GetProofRequest{Place: &operatorv1.GetProofRequest_Settled{Settled: at}}, seal.SettledKey(nobody, "j"), false},
		"escrow":     {&operatorv1.GetProofRequest{Place: &operatorv1.GetProofRequest_Escrow{Escrow: at}}, seal.EscrowKey(nobody, "j"), false},
		"penalty": {&operatorv1.GetProofRequest{Place: &operatorv1.GetProofRequest_Penalty{
			Penalty: &operatorv1.PenaltyPlace{Orchestrator: nobody, Worker: key, Job: "j"},
		}}, seal.PenaltyKey(nobody, key, "j"), false},
	} {
		if value := prove(c.req, c.place); (len(value) > 0) != c.there {
			t.Errorf("%s: %x", name, value)
		}
	}
}

// trusting is a client that knows the genesis that the server gave out.
func trusting(t *testing.T, s *shared) *light.Client {
	t.Helper()
	res, err := s.GetGenesis(t.Context(), &operatorv1.GetGenesisRequest{})
	if err != nil {
		t.Fatal(err)
	}
	g := new(ledgerv1.Genesis)
	if err := proto.Unmarshal(res.Genesis, g); err != nil {
		t.Fatal(err)
	}
	return &light.Client{Chain: g.ChainId, Validators: &ledgerv1.ValidatorSet{Version: 1, Validators: g.Validators}}
}

func TestLedgerAtAGlance(t *testing.T) {
	s := share(t, operator.Config{}, 3)
	s.Ledger.Make(func(m *chaintest.Maker) { m.Grow(5, 2) })
	res, err := s.GetLedger(t.Context(), &operatorv1.GetLedgerRequest{})
	if err != nil {
		t.Fatal(err)
	}
	state := s.Ledger.State()
	head := state.Head()
	if res.ChainId != chaintest.ChainID || res.Height != 5 || !bytes.Equal(res.Block, head[:]) || res.Accounts != state.CountAccounts() ||
		len(res.Validators.Validators) != 4 || res.Supply.Total != state.Supply().Total || res.Consensus.Role != "validator" || res.Settlement != nil {
		t.Error(res)
	}
	first, err := s.GetBlock(t.Context(), &operatorv1.GetBlockRequest{Which: &operatorv1.GetBlockRequest_Hash{Hash: res.Genesis}})
	if err != nil || first.Block.Certificate != nil || first.Block.Block.Header == nil {
		t.Error(first, err)
	}
}

// TestBlocksAreFound by height and by hash, from genesis to the last.
func TestBlocksAreFound(t *testing.T) {
	s := share(t, guarded(), 3)
	s.Ledger.Make(func(m *chaintest.Maker) { m.Grow(45, 1) })
	var rows []*operatorv1.BlockSummary
	req := &operatorv1.ListBlocksRequest{PageSize: 7}
	for {
		res, err := s.ListBlocks(t.Context(), req)
		if err != nil || len(res.Blocks) > 7 {
			t.Fatal(res, err)
		}
		rows = append(rows, res.Blocks...)
		if req.Before = res.NextBefore; req.Before == 0 {
			break
		}
	}
	if len(rows) != 46 {
		t.Fatalf("%d blocks, want 45 and genesis", len(rows))
	}
	for i, row := range rows {
		h := uint64(45 - i)
		if row.Header.Height != h || h > 0 && (row.Transactions != 1 || row.Signatures != 3 || row.Failed != 0) {
			t.Errorf("block %d: %v", h, row)
		}
		for _, which := range []*operatorv1.GetBlockRequest{
			{Which: &operatorv1.GetBlockRequest_Height{Height: h}}, {Which: &operatorv1.GetBlockRequest_Hash{Hash: row.Hash}},
		} {
			b, err := s.GetBlock(t.Context(), which)
			if err != nil || !bytes.Equal(b.Hash, row.Hash) || len(b.Receipts) != int(row.Transactions) {
				t.Errorf("block %d: %v %v", h, b, err)
			}
		}
	}
	cached := op.NewLedgerServiceClient(operatortest.Client(""), s.URL, connect.WithHTTPGet())
	if b, err := cached.GetBlock(t.Context(), &operatorv1.GetBlockRequest{Which: &operatorv1.GetBlockRequest_Hash{Hash: rows[9].Hash}}); err != nil || b.Block == nil {
		t.Error("by GET:", b, err)
	}
	s.Ledger.Prune(40)
	kept, err := s.ListBlocks(t.Context(), &operatorv1.ListBlocksRequest{PageSize: 100})
	if err != nil || len(kept.Blocks) != 6 || kept.NextBefore != 0 {
		t.Error(kept, err)
	}
	_, err = s.GetBlock(t.Context(), &operatorv1.GetBlockRequest{Which: &operatorv1.GetBlockRequest_Height{Height: 39}})
	wantCode(t, "pruned", err, connect.CodeNotFound, "PRUNED")
	_, err = s.GetBlock(t.Context(), &operatorv1.GetBlockRequest{Which: &operatorv1.GetBlockRequest_Height{Height: 1 << 63}})
	wantCode(t, "height", err, connect.CodeNotFound, "NOT_FOUND")
	_, err = s.GetBlock(t.Context(), &operatorv1.GetBlockRequest{Which: &operatorv1.GetBlockRequest_Hash{Hash: bytes.Repeat([]byte{1}, 32)}})
	wantCode(t, "hash", err, connect.CodeNotFound, "NOT_FOUND")
	_, err = s.GetTransaction(t.Context(), &operatorv1.GetTransactionRequest{Id: bytes.Repeat([]byte{1}, 32)})
	wantCode(t, "transaction", err, connect.CodeNotFound, "NOT_FOUND")
}

// TestBlocksInARow are those that are found one by one; what is not there is refused as it is there.
func TestBlocksInARow(t *testing.T) {
	s := share(t, guarded(), 3)
	s.Ledger.Make(func(m *chaintest.Maker) { m.Grow(300, 1) })
	ask := func(from uint64, limit uint32) (*operatorv1.GetBlocksResponse, error) {
		return s.GetBlocks(t.Context(), &operatorv1.GetBlocksRequest{From: from, Limit: limit})
	}
	for _, c := range []struct {
		from  uint64
		limit uint32
		want  int
	}{{0, 0, 256}, {1, 1000, 256}, {7, 5, 5}, {290, 0, 11}, {300, 3, 1}} {
		res, err := ask(c.from, c.limit)
		if err != nil || len(res.Blocks) != c.want {
			t.Fatalf("%d blocks from %d on, want %d: %v", len(res.GetBlocks()), c.from, c.want, err)
		}
		for i, got := range res.Blocks {
			want, err := s.GetBlock(t.Context(), &operatorv1.GetBlockRequest{Which: &operatorv1.GetBlockRequest_Height{Height: c.from + uint64(i)}})
			if err != nil || !proto.Equal(got, want) {
				t.Fatalf("block %d: %v, alone it is %v, %v", c.from+uint64(i), got, want, err)
			}
		}
	}
	cached := op.NewLedgerServiceClient(operatortest.Client(""), s.URL, connect.WithHTTPGet())
	if res, err := cached.GetBlocks(t.Context(), &operatorv1.GetBlocksRequest{From: 4, Limit: 2}); err != nil || len(res.Blocks) != 2 {
		t.Error("by GET:", res, err)
	}
	for _, above := range []uint64{301, 1 << 63, 1<<64 - 1} {
		_, err := ask(above, 0)
		wantCode(t, "above", err, connect.CodeNotFound, "NOT_FOUND")
	}
	s.Ledger.Prune(40)
	_, err := ask(39, 10)
	wantCode(t, "pruned", err, connect.CodeNotFound, "PRUNED")
	if res, err := ask(0, 10); err != nil || len(res.Blocks) != 1 || res.Blocks[0].Block.Block.Header == nil {
		t.Error("genesis is always there:", res, err)
	}
	if res, err := ask(40, 10); err != nil || len(res.Blocks) != 10 {
		t.Error(res, err)
	}
}

// TestAccountsOnPages also takes a token to another list, where it means nothing.
func TestAccountsOnPages(t *testing.T) {
	s := share(t, guarded(), 30)
	seen := map[string]uint64{}
	req := &operatorv1.ListAccountsRequest{PageSize: 7}
	for {
		res, err := s.ListAccounts(t.Context(), req)
		if err != nil || len(res.Accounts) > 7 {
			t.Fatal(res, err)
		}
		for _, a := range res.Accounts {
			seen[string(a.Key)] += a.Balance
		}
		if req.PageToken = res.NextPageToken; req.PageToken == "" {
			break
		}
		_, err = s.ListTransactions(t.Context(), &operatorv1.ListTransactionsRequest{PageToken: req.PageToken})
		wantCode(t, "token of another list", err, connect.CodeInvalidArgument, "PAGE_TOKEN")
	}
	if len(seen) != 38 {
		t.Errorf("%d accounts, want 38", len(seen))
	}
	for a := range s.Ledger.State().Accounts() {
		if seen[string(a.Key)] != a.Balance {
			t.Errorf("account %x has %d on the pages, want %d", a.Key, seen[string(a.Key)], a.Balance)
		}
	}
}

// TestWithoutAMesh has every method say so, and none for another reason.
func TestWithoutAMesh(t *testing.T) {
	w := operatortest.Start(t, operator.Config{})
	for _, method := range []string{
		"LedgerService/GetLedger", "LedgerService/GetGenesis", "LedgerService/GetProof", "LedgerService/ListAccounts",
		"LedgerService/GetBlock", "LedgerService/GetBlocks", "LedgerService/ListBlocks", "LedgerService/GetTransaction", "LedgerService/ListTransactions",
		"LedgerService/SubmitTransaction", "LedgerService/ListValidatorChanges", "MeshService/GetMesh",
	} {
		if got := call(t, w.URL+"/shardy.operator.v1."+method, "", false); got != "unimplemented" {
			t.Errorf("%s: %s", method, got)
		}
	}
	_, err := op.NewLedgerServiceClient(operatortest.Client(""), w.URL).GetLedger(t.Context(), &operatorv1.GetLedgerRequest{})
	wantCode(t, "ledger", err, connect.CodeUnimplemented, "NO_MESH")
}

func TestMeshIsForViewers(t *testing.T) {
	w := operatortest.StartWith(t, guarded(), func(d *operator.Deps) {
		d.Mesh = func(context.Context) (*operatorv1.GetMeshResponse, error) {
			return &operatorv1.GetMeshResponse{Peer: "me", Routes: 3}, nil
		}
	})
	for token, code := range map[string]connect.Code{
		"": connect.CodeUnauthenticated, "wrong": connect.CodeUnauthenticated, "alice": connect.CodePermissionDenied, "eye": 0, "root": 0,
	} {
		res, err := op.NewMeshServiceClient(operatortest.Client(token), w.URL).GetMesh(t.Context(), &operatorv1.GetMeshRequest{})
		if err == nil && (code != 0 || res.Peer != "me" || res.Routes != 3) || err != nil && connect.CodeOf(err) != code {
			t.Errorf("token %q: %v, %v", token, res, err)
		}
	}
}
