package dashboard

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

// transactionPages: the list follows the chain; what is in a block stays as it is.
func (d *Dashboard) transactionPages() []page {
	return []page{
		{name: "transactions", route: "/ledger/transactions", title: "Transactions", nav: "transactions", chain: true, view: d.transactions},
		{name: "transaction", route: "/ledger/transactions/{id}", title: "Transaction", nav: "transactions", view: d.transaction},
	}
}

const transactionsPage = 50

type transactionsView struct {
	Filter       filterForm
	Transactions table
	Pager        pager
	Note         string
}

func (d *Dashboard) transactions(ctx context.Context, q *ask) (any, error) {
	now, err := d.ledgerNow(ctx)
	if err != nil {
		return nil, err
	}
	account, job := strings.ToLower(strings.TrimSpace(q.Query.Get("account"))), strings.TrimSpace(q.Query.Get("job"))
	names := nicknamesOf(now)
	v := &transactionsView{Filter: filterForm{
		Path: q.URL.Path, Hidden: map[string]string{},
		Fields: []field{{Name: "account", Label: "Account", Value: account, Max: 64}, {Name: "job", Label: "Job", Value: job, Max: 128}},
	}}
	v.Transactions = transactionTable(nil, names, false)
	key, err := hex.DecodeString(account)
	if err != nil || len(key) != 0 && len(key) != 32 {
		v.Filter.Wrong = "An account's key is 64 hexadecimal digits."
		return v, nil
	}
	all, next, err := d.lookBack(ctx, &operatorv1.ListTransactionsRequest{
		Account: key, Job: job, PageSize: transactionsPage, PageToken: q.Query.Get("after"),
	})
	if err != nil {
		return nil, err
	}
	v.Transactions = transactionTable(all, names, false)
	v.Transactions.Empty = empty{Title: "No transaction", Text: "No block here holds one yet."}
	v.Pager = pagerOf(q, next)
	switch {
	case next != "" && len(all) == 0:
		v.Transactions.Empty = empty{Title: "None in these blocks", Text: "Older blocks may hold some."}
	case account != "" || job != "":
		v.Transactions.Empty = empty{Title: "No transaction matches", Text: "None of the blocks that are kept here holds one."}
	}
	return v, nil
}

// lookBacks is how often a list asks on for transactions: each answer looks at some 256 blocks, and most of those of a
// quiet chain are empty.
const lookBacks = 4

// lookBack collects a page of transactions, the newest first, and says where the list goes on.
func (d *Dashboard) lookBack(ctx context.Context, req *operatorv1.ListTransactionsRequest) (all []*operatorv1.TransactionView, next string, err error) {
	size := int(req.GetPageSize())
	for range lookBacks {
		res, err := d.deps.Ledger.ListTransactions(ctx, req)
		if err != nil {
			return nil, "", err
		}
		all, next = append(all, res.GetTransactions()...), res.GetNextPageToken()
		if next == "" || len(all) >= size {
			break
		}
		req.PageToken, req.PageSize = next, uint32(size-len(all))
	}
	return all, next, nil
}

// transactionTable lists transactions. Within the list of one block their place in it stands for the block.
func transactionTable(all []*operatorv1.TransactionView, n nicknames, within bool) table {
	t := table{Caption: "Transactions", Compact: true, Columns: columns("What", "Transaction~", "Sender~", "Block#~", "Result", "When~")}
	if within {
		t.Columns = columns("No.#~", "What", "Transaction~", "Sender~", "Result")
	}
	for _, v := range all {
		at := linkTransaction(v.GetId(), v.GetHeight())
		what, id, sender := actionsCell(v.GetBody().GetActions(), n), hexCell(v.GetId(), at), whose(v.GetBody().GetSender(), n)
		what.Href = at
		if within {
			t.add(hex.EncodeToString(v.GetId()), count(v.GetIndex()+1), what, id, sender, receiptCell(v.GetReceipt()))
			continue
		}
		t.add(hex.EncodeToString(v.GetId()), what, id, sender, cell{Text: thousands(v.GetHeight()), Href: linkBlock(v.GetHeight())},
			receiptCell(v.GetReceipt()), microsCell(v.GetTimeUs()))
	}
	return t
}

// actionsCell says what a transaction does, in short.
func actionsCell(actions []*ledgerv1.Action, n nicknames) cell {
	switch len(actions) {
	case 0:
		return none()
	case 1:
		return text(tellAction(actions[0], n).String())
	case 2:
		return text(tellAction(actions[0], n).String()).with(tellAction(actions[1], n).String())
	}
	return batchCell(actions)
}

// batchCell says what many actions do together. Orchestrators settle many jobs in one transaction, most of them with
// the escrow that pays for them.
func batchCell(actions []*ledgerv1.Action) cell {
	paid, punished, refunded, locked, others := 0, 0, 0, 0, 0
	for _, a := range actions {
		switch a.GetKind().(type) {
		case *ledgerv1.Action_TaskVerified:
			paid++
		case *ledgerv1.Action_ConsensusMismatch:
			punished++
		case *ledgerv1.Action_Refund:
			refunded++
		case *ledgerv1.Action_JobEscrow:
			locked++
		default:
			others++
		}
	}
	var parts []string
	add := func(n int, format string) {
		if n > 0 {
			parts = append(parts, fmt.Sprintf(format, plural(n, "job")))
		}
	}
	add(paid, "pays for %s")
	add(punished, "punishes for %s")
	add(refunded, "takes escrows of %s back")
	if locked > paid {
		add(locked-paid, "locks money for %s")
	}
	if len(parts) == 0 {
		return text(sentenceCase(kindsOf(actions)))
	}
	if others > 0 {
		parts = append(parts, "and more")
	}
	return text(capital(strings.Join(parts, ", "))).with(kindsOf(actions))
}

// receiptCell is what became of a transaction.
func receiptCell(r *ledgerv1.Receipt) cell {
	switch r.GetCode() {
	case ledgerv1.ReceiptCode_RECEIPT_CODE_OK:
		return state(toneVerified, "Done")
	case ledgerv1.ReceiptCode_RECEIPT_CODE_UNSPECIFIED:
		c := state(toneQuiet, "Not known")
		c.Title = "The block came with a snapshot: its receipts are not kept here"
		return c
	}
	return state(toneDead, sentenceCase(enumText(r.GetCode()))).with(r.GetDetail())
}

// openActions is how many actions a page shows with all they rest on. More of them are folded.
const openActions = 4

type transactionView struct {
	ID      string
	Tone    tone
	State   badge
	Said    saying
	Facts   []fact
	Actions []actionView
	JSON    string
}

// Many reports whether the actions are folded.
func (v *transactionView) Many() bool { return len(v.Actions) > openActions }

// PageTitle names the transaction.
func (v *transactionView) PageTitle() string { return "Transaction " + shortID(v.ID) }

func (d *Dashboard) transaction(ctx context.Context, q *ask) (any, error) {
	now, err := d.ledgerNow(ctx)
	if err != nil {
		return nil, err
	}
	id, err := hex.DecodeString(q.Path["id"])
	if err != nil || len(id) != 32 {
		return nil, errNotFound
	}
	t, err := d.findTransaction(ctx, id, q.Query.Get("block"), now)
	if err != nil {
		return nil, err
	}
	names := nicknamesOf(now)
	v := &transactionView{ID: hex.EncodeToString(id), Facts: transactionFacts(t, names), JSON: transactionJSON(t)}
	v.State, v.Said = receiptSaying(t)
	v.Tone = v.State.Tone
	known := teller{names: names, job: func(id string) word { return d.knownJob(ctx, q, id) }}
	for i, a := range t.GetBody().GetActions() {
		action := known.view(i, a, t, now.GetParams())
		if slash := a.GetConsensusMismatch(); slash != nil && t.GetReceipt().GetCode() == ledgerv1.ReceiptCode_RECEIPT_CODE_OK {
			if action.Penalties, err = d.penalties(ctx, t, slash.GetDecision(), now, names); err != nil {
				return nil, err
			}
		}
		action.Folded = len(t.GetBody().GetActions()) > openActions
		v.Actions = append(v.Actions, action)
	}
	return v, nil
}

// findTransaction looks in the block that a link names, or among the last ones.
func (d *Dashboard) findTransaction(ctx context.Context, id []byte, block string, now *operatorv1.GetLedgerResponse) (*operatorv1.TransactionView, error) {
	if block == "" {
		res, err := d.deps.Ledger.GetTransaction(ctx, &operatorv1.GetTransactionRequest{Id: id})
		if err != nil {
			return nil, err
		}
		t := res.GetTransaction()
		if t.GetBody() == nil {
			read, err := viewOf(t.GetEncoded())
			if err != nil {
				return nil, err
			}
			read.Height, read.Index, read.TimeUs, read.Receipt = t.GetHeight(), t.GetIndex(), t.GetTimeUs(), t.GetReceipt()
			t = read
		}
		return t, nil
	}
	height, err := strconv.ParseUint(block, 10, 64)
	if err != nil {
		return nil, badRequest("the address names a block that is no number")
	}
	b, err := d.readBlock(ctx, &operatorv1.GetBlockRequest{Which: &operatorv1.GetBlockRequest_Height{Height: height}}, now)
	if err != nil {
		return nil, err
	}
	for _, t := range b.txs {
		if bytes.Equal(t.GetId(), id) {
			return t, nil
		}
	}
	return nil, errNotFound
}

func receiptSaying(t *operatorv1.TransactionView) (badge, saying) {
	r, block := t.GetReceipt(), word{"block " + thousands(t.GetHeight()), linkBlock(t.GetHeight())}
	how := "."
	if n := len(t.GetBody().GetActions()); n > 1 {
		how = fmt.Sprintf(", all %d actions or none.", n)
	}
	switch r.GetCode() {
	case ledgerv1.ReceiptCode_RECEIPT_CODE_OK:
		return badge{toneVerified, "Done"}, saying{say("Executed in "), block, say("%s", how)}
	case ledgerv1.ReceiptCode_RECEIPT_CODE_UNSPECIFIED:
		return badge{toneQuiet, "Not known"}, saying{say("It is in "), block, say(", whose receipts are not kept here.")}
	case ledgerv1.ReceiptCode_RECEIPT_CODE_REPLAYED, ledgerv1.ReceiptCode_RECEIPT_CODE_EXPIRED, ledgerv1.ReceiptCode_RECEIPT_CODE_OUT_OF_RANGE:
		return refusedBadge(r), saying{say("Refused in "), block, say("%s. ", after(": ", clip(plain(r.GetDetail()), 300))), say("It changed nothing.")}
	}
	return refusedBadge(r), saying{
		say("Refused in "), block, say(" at action %d of %d%s. ", r.GetAction()+1, len(t.GetBody().GetActions()), after(": ", clip(plain(r.GetDetail()), 300))),
		say("It changed nothing but the fee."),
	}
}

func refusedBadge(r *ledgerv1.Receipt) badge {
	return badge{toneDead, sentenceCase(enumText(r.GetCode()))}
}

func transactionFacts(t *operatorv1.TransactionView, n nicknames) []fact {
	body := t.GetBody()
	return []fact{
		{"Sender", accountCell(body.GetSender(), n)},
		{"Block", linked(thousands(t.GetHeight()), linkBlock(t.GetHeight())).with(fmt.Sprintf("number %d in it", t.GetIndex()+1))},
		{"Block time", exactly(t.GetTimeUs())},
		{"Valid until", text("block " + thousands(body.GetValidUntil()))},
		{"Size", bytesCell(uint64(len(t.GetEncoded())))},
		{"Salt", hexCell(body.GetSalt(), "")},
	}
}
