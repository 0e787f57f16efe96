package operator_test

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"connectrpc.com/connect"
	"pgregory.net/rapid"

	"github.com/shardy-network/orchestrator/gateway/operator"
	"github.com/shardy-network/orchestrator/mesh/chain/chaintest"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

// TestTransactionsOnPages holds every page size and filter against all transactions of a chain.
func TestTransactionsOnPages(t *testing.T) {
	s, ctx := share(t, operator.Config{}, 6), t.Context()
	type entry struct {
		place string
		from  int
		to    int
		job   string
	}
	var all []entry // the newest last
	s.Ledger.Make(func(m *chaintest.Maker) {
		for h := range 40 {
			var txs [][]byte
			for i := range h % 5 {
				e := entry{fmt.Sprintf("%d.%d", h+1, i), 1000 + (h+i)%6, 1000 + (h*i)%6, ""}
				if (h+i)%3 == 0 {
					e.to, e.job = 0, fmt.Sprintf("job-%d", h%4)
					txs = append(txs, m.Transaction(chaintest.Key(e.from), &ledgerv1.Action{Kind: &ledgerv1.Action_JobEscrow{
						JobEscrow: &ledgerv1.JobEscrow{Job: e.job, Amount: 1},
					}}))
				} else {
					txs = append(txs, m.Transfer(chaintest.Key(e.from), chaintest.Key(e.to), 1))
				}
				all = append(all, e)
			}
			m.Next(txs...)
		}
	})
	rapid.Check(t, func(t *rapid.T) {
		req := &operatorv1.ListTransactionsRequest{
			PageSize: uint32(rapid.IntRange(1, 30).Draw(t, "size")), Job: rapid.SampledFrom([]string{"", "", "job-1", "job-3", "job-9"}).Draw(t, "job"),
		}
		who := rapid.SampledFrom([]int{0, 1000, 1001, 1005, 3000}).Draw(t, "who")
		if who != 0 {
			req.Account = chaintest.Public(chaintest.Key(who))
		}
		var want, got []string
		for _, e := range slices.Backward(all) {
			if (who == 0 || e.from == who || e.to == who) && (req.Job == "" || e.job == req.Job) {
				want = append(want, e.place)
			}
		}
		for {
			res, err := s.ListTransactions(ctx, req)
			if err != nil || len(res.Transactions) > int(req.PageSize) {
				t.Fatal(res, err)
			}
			for _, v := range res.Transactions {
				got = append(got, fmt.Sprintf("%d.%d", v.Height, v.Index))
				if !bytes.Equal(v.Receipt.Transaction, v.Id) {
					t.Fatal("the receipt of another transaction")
				}
			}
			if req.PageToken = res.NextPageToken; req.PageToken == "" {
				break
			}
		}
		if !slices.Equal(got, want) {
			t.Fatalf("got %v, want %v", got, want)
		}
	})
}

// TestListsLookAtFewBlocks: a call whose answer would lie far back comes back with a token instead.
func TestListsLookAtFewBlocks(t *testing.T) {
	s := share(t, operator.Config{}, 2)
	s.Ledger.Make(func(m *chaintest.Maker) {
		m.Next(m.Transfer(chaintest.Key(1000), chaintest.Key(7777), 1))
		m.Grow(600, 0)
	})
	req := &operatorv1.ListTransactionsRequest{Account: chaintest.Public(chaintest.Key(7777))}
	calls, found := 0, 0
	for {
		before := s.Ledger.Reads()
		res, err := s.ListTransactions(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		if n := s.Ledger.Reads() - before; n > 256 {
			t.Fatalf("a call has read %d blocks", n)
		}
		calls++
		found += len(res.Transactions)
		if req.PageToken = res.NextPageToken; req.PageToken == "" {
			break
		}
	}
	if calls != 3 || found != 1 {
		t.Errorf("%d calls have found %d transactions, want 3 and 1", calls, found)
	}
}

func TestQuestionsThatAreRefused(t *testing.T) {
	s := share(t, guarded(), 1)
	short, long := []byte{1, 2}, string(bytes.Repeat([]byte{'j'}, 129))
	place := func(p *operatorv1.GetProofRequest) func() error {
		return func() error { _, err := s.GetProof(t.Context(), p); return err }
	}
	key := chaintest.Public(chaintest.Key(0))
	for name, ask := range map[string]func() error{
		"no place":   place(&operatorv1.GetProofRequest{}),
		"short key":  place(&operatorv1.GetProofRequest{Place: &operatorv1.GetProofRequest_Account{Account: short}}),
		"no anchor":  place(&operatorv1.GetProofRequest{Place: &operatorv1.GetProofRequest_Anchor{}}),
		"no escrow":  place(&operatorv1.GetProofRequest{Place: &operatorv1.GetProofRequest_Escrow{}}),
		"no job":     place(&operatorv1.GetProofRequest{Place: &operatorv1.GetProofRequest_Settled{Settled: &operatorv1.JobPlace{Orchestrator: key}}}),
		"long job":   place(&operatorv1.GetProofRequest{Place: &operatorv1.GetProofRequest_Settled{Settled: &operatorv1.JobPlace{Orchestrator: key, Job: long}}}),
		"no worker":  place(&operatorv1.GetProofRequest{Place: &operatorv1.GetProofRequest_Penalty{Penalty: &operatorv1.PenaltyPlace{Orchestrator: key, Job: "j"}}}),
		"no penalty": place(&operatorv1.GetProofRequest{Place: &operatorv1.GetProofRequest_Penalty{}}),
		"no block":   func() error { _, err := s.GetBlock(t.Context(), &operatorv1.GetBlockRequest{}); return err },
		"short hash": func() error {
			_, err := s.GetBlock(t.Context(), &operatorv1.GetBlockRequest{Which: &operatorv1.GetBlockRequest_Hash{Hash: short}})
			return err
		},
		"short id": func() error {
			_, err := s.GetTransaction(t.Context(), &operatorv1.GetTransactionRequest{Id: short})
			return err
		},
		"short account": func() error {
			_, err := s.ListTransactions(t.Context(), &operatorv1.ListTransactionsRequest{Account: short})
			return err
		},
		"job's name": func() error {
			_, err := s.ListTransactions(t.Context(), &operatorv1.ListTransactionsRequest{Job: long})
			return err
		},
		"future set": func() error {
			_, err := s.ListValidatorChanges(t.Context(), &operatorv1.ListValidatorChangesRequest{AfterVersion: 2})
			return err
		},
	} {
		wantCode(t, name, ask(), connect.CodeInvalidArgument, "INVALID")
	}
	for _, token := range []string{"x", "####", "AAAAAAAAAAAAAAAA"} {
		_, err := s.ListAccounts(t.Context(), &operatorv1.ListAccountsRequest{PageToken: token})
		wantCode(t, "accounts after "+token, err, connect.CodeInvalidArgument, "PAGE_TOKEN")
		_, err = s.ListTransactions(t.Context(), &operatorv1.ListTransactionsRequest{PageToken: token})
		wantCode(t, "transactions after "+token, err, connect.CodeInvalidArgument, "PAGE_TOKEN")
	}
}
