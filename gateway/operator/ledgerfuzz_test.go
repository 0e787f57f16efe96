package operator

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"testing"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/actors/ledger"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

var fuzzKey = ed25519.NewKeyFromSeed(make([]byte, 32))

func fuzzGenesis() []byte {
	p := ledger.DefaultParams()
	key := fuzzKey.Public().(ed25519.PublicKey)
	b, err := proto.Marshal(&ledgerv1.Genesis{
		ChainId: "fuzz", Params: p, Validators: []*ledgerv1.Validator{{Key: key}},
		Endowments: []*ledgerv1.Endowment{{Key: key, Balance: 1 << 40, Stake: p.MinValidatorStake}},
	})
	if err != nil {
		panic(err)
	}
	return b
}

// stateAfter is the state after an empty block; of the zero state, that of block 1.
func stateAfter(t testing.TB, s ledger.State) ledger.State {
	t.Helper()
	var err error
	if s.Chain() == "" {
		if s, _, err = ledger.Genesis(fuzzGenesis()); err != nil {
			t.Fatal(err)
		}
	}
	next, err := s.Propose(s.TimeUs()+1, s.Validators().Validators[0].Key, nil)
	if err != nil {
		t.Fatal(err)
	}
	return next.State
}

// queue is a paper chain that takes transactions.
type queue struct {
	*paper
	taken [][]byte
}

func (q *queue) Check(encoded []byte) (ledger.Checked, error) { return ledger.Check("fuzz", encoded) }

func (q *queue) Submit(_ context.Context, encoded []byte) error {
	q.taken = append(q.taken, encoded)
	return nil
}
func (q *queue) Find(ledger.Hash) (LedgerOutcome, error) { return LedgerOutcome{}, ErrNotOnLedger }

// FuzzSubmitTransaction: whatever comes, either it is refused with a reason of its own or the next block can hold it.
func FuzzSubmitTransaction(f *testing.F) {
	sign := func(t *ledgerv1.Transaction) []byte {
		t.ChainId, t.Sender, t.Salt, t.ValidUntil = "fuzz", fuzzKey.Public().(ed25519.PublicKey), make([]byte, 16), 10
		return ledger.Sign(t, fuzzKey)
	}
	f.Add(sign(&ledgerv1.Transaction{Actions: []*ledgerv1.Action{{Kind: &ledgerv1.Action_StakeSet{StakeSet: &ledgerv1.StakeSet{Stake: 9}}}}}), uint32(0))
	f.Add(sign(&ledgerv1.Transaction{Actions: []*ledgerv1.Action{{Kind: &ledgerv1.Action_Transfer{Transfer: &ledgerv1.Transfer{Amount: 9}}}}}), uint32(1))
	f.Add([]byte{}, uint32(1<<31))
	state := stateAfter(f, ledger.State{})
	f.Fuzz(func(t *testing.T, tx []byte, wait uint32) {
		q := &queue{paper: &paper{state: state}}
		a := &API{deps: Deps{Ledger: q}, ctx: t.Context(), checks: make(turns, 1), visitors: newVisitors(Visitors{}.withDefaults())}
		if wait <= 60_000 {
			wait = 0
		}
		res, err := a.SubmitTransaction(t.Context(), &operatorv1.SubmitTransactionRequest{Transaction: tx, WaitMs: wait})
		if err != nil {
			if code := connect.CodeOf(toConnect(err)); code != connect.CodeInvalidArgument && code != connect.CodeFailedPrecondition || len(q.taken) > 0 {
				t.Fatal(code, err)
			}
			return
		}
		c, err := ledger.Check("fuzz", q.taken[0])
		if id := c.ID(); err != nil || string(res.Id) != string(id[:]) {
			t.Fatal(err)
		}
		if _, err := state.Propose(state.TimeUs(), fuzzKey.Public().(ed25519.PublicKey), []ledger.Checked{c}); err != nil {
			t.Fatal(err)
		}
	})
}

// FuzzPlaces has page tokens come back as anything, behind the right mark: a list goes on somewhere, or refuses them.
func FuzzPlaces(f *testing.F) {
	f.Add([]byte{}, uint32(0))
	f.Add([]byte(transactionPlace{3, 2}.token()), uint32(3))
	f.Add([]byte(transactionPlace{1 << 60, 2047}.token()), uint32(1<<31))
	f.Add(make([]byte, 32), uint32(9))
	p := &paper{low: 1, state: stateAfter(f, ledger.State{})}
	a := &API{deps: Deps{Ledger: p}, scans: make(turns, 1)}
	token := func(place []byte, list string, filters ...any) string {
		c, _, _ := openPage(1, "", append([]any{list}, filters...)...)
		return c.token(string(place))
	}
	f.Fuzz(func(t *testing.T, place []byte, size uint32) {
		accounts, err := a.ListAccounts(t.Context(), &operatorv1.ListAccountsRequest{PageSize: size, PageToken: token(place, "accounts")})
		if len(place) > 0 && len(place) != sha256.Size && connect.CodeOf(toConnect(err)) != connect.CodeInvalidArgument ||
			err == nil && len(accounts.Accounts) > 500 {
			t.Fatal(accounts, err)
		}
		txs, err := a.ListTransactions(t.Context(), &operatorv1.ListTransactionsRequest{
			PageSize: size, PageToken: token(place, "transactions", []byte(nil), ""),
		})
		if err != nil && connect.CodeOf(toConnect(err)) != connect.CodeInvalidArgument || err == nil && len(txs.Transactions) > 256 {
			t.Fatal(txs, err)
		}
		raw := base64.RawURLEncoding.EncodeToString(place)
		if _, err := a.ListAccounts(t.Context(), &operatorv1.ListAccountsRequest{PageToken: raw}); raw != "" && err == nil {
			t.Fatal("a token that no list has given out")
		}
	})
}
