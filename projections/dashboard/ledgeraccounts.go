package dashboard

import (
	"context"
	"encoding/hex"
	"errors"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/projections/readmodel"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

func (d *Dashboard) accountPages() []page {
	return []page{
		{name: "accounts", route: "/ledger/accounts", title: "Accounts", nav: "accounts", chain: true, view: d.accounts},
		{name: "account", route: "/ledger/accounts/{key}", title: "Account", nav: "accounts", chain: true, view: d.account},
	}
}

const (
	accountsPage = 50
	// accountsScan bounds the accounts that a search by the beginning of a key looks through, in calls of 500.
	accountsScan = 2_000
	scanPage     = 500
)

type accountsView struct {
	Search   string
	Accounts table
	Pager    pager
	Note     string
}

func (d *Dashboard) accounts(ctx context.Context, q *ask) (any, error) {
	now, err := d.ledgerNow(ctx)
	if err != nil {
		return nil, err
	}
	v := &accountsView{Search: strings.ToLower(strings.TrimSpace(q.Query.Get("key"))), Accounts: table{
		Caption: "Accounts", Compact: true, Columns: columns("Account", "Balance#", "Stake#", "Reputation#~", "Record~", "Earned#~", "Slashed#~"),
		Empty: empty{Title: "No account", Text: "No account of this ledger has a key that begins so."},
	}}
	if len(v.Search) > 64 || strings.Trim(v.Search, "0123456789abcdef") != "" {
		v.Accounts.Empty = empty{Title: "This is no key", Text: "An account's key is 64 hexadecimal digits; its beginning is enough."}
		return v, nil
	}
	var all []*ledgerv1.Account
	switch {
	case len(v.Search) == 64:
		key, err := hex.DecodeString(v.Search)
		if err != nil {
			return nil, err
		}
		a, _, err := d.accountProof(ctx, key, now)
		if err != nil {
			return nil, err
		}
		if a != nil {
			all = append(all, a)
		}
	case v.Search != "":
		if all, v.Note, err = d.findAccounts(ctx, v.Search); err != nil {
			return nil, err
		}
	default:
		res, err := d.deps.Ledger.ListAccounts(ctx, &operatorv1.ListAccountsRequest{PageSize: accountsPage, PageToken: q.Query.Get("after")})
		if err != nil {
			return nil, err
		}
		all, v.Pager = res.GetAccounts(), pagerOf(q, res.GetNextPageToken())
	}
	names := nicknamesOf(now)
	for _, a := range all {
		v.Accounts.add(hex.EncodeToString(a.GetKey()), accountRow(a, now.GetHeight(), names)...)
	}
	return v, nil
}

// findAccounts looks for keys that begin with some digits, within bounds.
func (d *Dashboard) findAccounts(ctx context.Context, begin string) (found []*ledgerv1.Account, note string, err error) {
	token := ""
	for range accountsScan / scanPage {
		res, err := d.deps.Ledger.ListAccounts(ctx, &operatorv1.ListAccountsRequest{PageSize: scanPage, PageToken: token})
		if err != nil {
			return nil, "", err
		}
		for _, a := range res.GetAccounts() {
			if strings.HasPrefix(hex.EncodeToString(a.GetKey()), begin) {
				found = append(found, a)
			}
		}
		if token = res.GetNextPageToken(); token == "" {
			break
		}
	}
	if len(found) > accountsPage {
		return found[:accountsPage], "There are more: type more of the key.", nil
	}
	if token != "" {
		return found, "Looked through " + thousands(accountsScan) + " accounts. A whole key finds any.", nil
	}
	return found, "", nil
}

func accountRow(a *ledgerv1.Account, height uint64, n nicknames) []cell {
	who := accountCell(a.GetKey(), n)
	if who.More == "" {
		who.More = strings.ToLower(standingText(a, height))
	}
	stake := moneyCell(a.GetStake())
	if sum := unbondingSum(a); sum > 0 {
		stake = stake.with(money(sum) + " unbonding")
	}
	rep := cell{Text: reputation(a), Faint: a.GetSettled()+a.GetContradicted() == 0}
	return []cell{
		who, moneyCell(a.GetBalance()), stake, rep, judged(a), moneyCell(a.GetEarned()), moneyCell(a.GetSlashed()),
	}
}

// judged tells what became of an account's results.
func judged(a *ledgerv1.Account) cell {
	switch {
	case a.GetSettled() == 0 && a.GetContradicted() == 0:
		return cell{Text: "–", Faint: true}
	case a.GetContradicted() == 0:
		return cell{Text: thousands(a.GetSettled()) + " paid"}
	}
	return cell{Text: thousands(a.GetSettled()) + " paid"}.with(thousands(a.GetContradicted()) + " contradicted")
}

// reputation is that of an account in percent.
func reputation(a *ledgerv1.Account) string {
	return strconv.FormatFloat(float64(a.GetReputationPpm())/10_000, 'f', 1, 64) + " %"
}

func unbondingSum(a *ledgerv1.Account) (sum uint64) {
	for _, u := range a.GetUnbonding() {
		sum += u.GetAmount()
	}
	return sum
}

// standingText says what an account may not do; "" if nothing is wrong.
func standingText(a *ledgerv1.Account, height uint64) string {
	switch {
	case a.GetTombstoned():
		return "Tombstoned"
	case a.GetJailedUntil() > height:
		return "In jail until " + thousands(a.GetJailedUntil())
	case a.GetJailedUntil() > 0:
		return "In jail until it asks to leave"
	}
	return ""
}

type accountView struct {
	Key          string
	Name         string
	Account      *ledgerv1.Account
	Standing     badge
	Said         saying
	Facts        []fact
	Record       []fact
	Shares       []share
	Unbonding    table
	Transactions table
	More         string // link to all transactions of the account
	Worker       string // link to the worker with this key
	Proof        proofView
}

// PageTitle names the account.
func (v *accountView) PageTitle() string {
	if v.Name != "" {
		return "Account " + v.Name
	}
	return "Account " + shortID(v.Key)
}

func accountKey(q *ask) ([]byte, error) {
	key, err := hex.DecodeString(q.Path["key"])
	if err != nil || len(key) != 32 {
		return nil, errNotFound
	}
	return key, nil
}

// accountTransactions is how many of its transactions an account's page shows.
const accountTransactions = 10

func (d *Dashboard) account(ctx context.Context, q *ask) (any, error) {
	now, err := d.ledgerNow(ctx)
	if err != nil {
		return nil, err
	}
	key, err := accountKey(q)
	if err != nil {
		return nil, err
	}
	a, proved, err := d.accountProof(ctx, key, now)
	if err != nil {
		return nil, err
	}
	last, _, err := d.lookBack(ctx, &operatorv1.ListTransactionsRequest{Account: key, PageSize: accountTransactions})
	if err != nil {
		return nil, err
	}
	names := nicknamesOf(now)
	v := &accountView{Key: hex.EncodeToString(key), Name: names[string(key)], Account: a}
	v.Transactions = transactionTable(last, names, false)
	if len(last) == 0 {
		v.Transactions.Empty = empty{Title: "No transaction lately", Text: "The last blocks hold none by this key or about it."}
	}
	v.More = list(linkTransactions(), "account", v.Key)
	v.Proof = newProofView(proved, now, key)
	if v.Worker, err = d.workerOf(ctx, q, key); err != nil {
		return nil, err
	}
	v.Standing, v.Said = accountSaying(a, now, key)
	if a == nil {
		return v, nil
	}
	v.Facts = []fact{
		{"Balance", moneyCell(a.GetBalance())},
		{"Stake", moneyCell(a.GetStake())},
		{"Unbonding", moneyCell(unbondingSum(a))},
		{"Reputation", text(reputation(a)).with("50 % is where everybody begins")},
		{"Earned", moneyCell(a.GetEarned())},
		{"Slashed", moneyCell(a.GetSlashed())},
	}
	v.Record = []fact{{"Results paid", count(a.GetSettled())}, {"Results contradicted", count(a.GetContradicted())}}
	v.Shares = shares(map[tone]uint64{toneVerified: a.GetSettled(), toneMismatch: a.GetContradicted()}, toneVerified, toneMismatch)
	v.Unbonding = unbondingTable(a, now.GetHeight())
	return v, nil
}

// workerOf leads to the worker with an account's key, for those who may see workers.
func (d *Dashboard) workerOf(ctx context.Context, q *ask, key []byte) (string, error) {
	if !q.Viewer.Staff() {
		return "", nil
	}
	_, err := d.deps.Model.Worker(ctx, key)
	switch {
	case err == nil:
		return linkWorker(key), nil
	case errors.Is(err, readmodel.ErrNotFound), errors.Is(err, readmodel.ErrRebuilding):
		return "", nil
	}
	return "", err
}

func accountSaying(a *ledgerv1.Account, now *operatorv1.GetLedgerResponse, key []byte) (badge, saying) {
	height := now.GetHeight()
	part := ""
	for _, v := range now.GetValidators().GetValidators() {
		if slices.Equal(v.GetKey(), key) {
			part = " It is a validator."
		}
	}
	if slices.Equal(now.GetConsensus().GetKey(), key) {
		part += " It is this orchestrator's."
	}
	switch {
	case a == nil:
		return badge{toneWaiting, "No account"}, saying{say("Nothing was ever sent to this key, and the proof below shows it.")}
	case a.GetTombstoned():
		return badge{toneDead, "Tombstoned"}, saying{say("This key has signed two things that cannot both be meant. It may not stake, settle or validate any more.%s", part)}
	case a.GetJailedUntil() > height:
		return badge{toneMismatch, "In jail"}, saying{say("Its reputation fell too low: no bonus for its stake until block %s, and until it asks to be let out.%s", thousands(a.GetJailedUntil()), part)}
	case a.GetJailedUntil() > 0:
		return badge{toneMismatch, "In jail"}, saying{say("Its time in jail ended at block %s: it may ask to be let out.%s", thousands(a.GetJailedUntil()), part)}
	}
	return badge{toneVerified, "In good standing"}, saying{say("As of block "), {thousands(height), linkBlock(height)}, say(".%s", part)}
}

func unbondingTable(a *ledgerv1.Account, height uint64) table {
	t := table{Caption: "Unbonding", Compact: true, Columns: columns("Amount#", "Released at block#", "Blocks to go#")}
	for _, u := range a.GetUnbonding() {
		t.add("", moneyCell(u.GetAmount()), count(u.GetRelease()), count(u.GetRelease()-min(height, u.GetRelease())))
	}
	return t
}

// accountProof reads an account out of its proof. A nil account: there is none.
func (d *Dashboard) accountProof(ctx context.Context, key []byte, now *operatorv1.GetLedgerResponse) (*ledgerv1.Account, certified, error) {
	c, err := d.certified(ctx, &operatorv1.GetProofRequest{Place: &operatorv1.GetProofRequest_Account{Account: key}}, now)
	if err != nil || len(c.proof.GetValue()) == 0 {
		return nil, c, err
	}
	a := &ledgerv1.Account{}
	if err := proto.Unmarshal(c.proof.GetValue(), a); err != nil {
		return nil, c, err
	}
	return a, c, nil
}
