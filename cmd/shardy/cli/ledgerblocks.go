package cli

import (
	"context"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/actors/ledger"
	"github.com/shardy-network/orchestrator/actors/ledger/light"
	"github.com/shardy-network/orchestrator/actors/ledger/seal"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

func (a *app) ledgerTxs() *cobra.Command {
	var p paging
	var account, job string
	c := &cobra.Command{
		Use: "txs", Short: "List transactions, the newest first", Args: cobra.NoArgs, Example: "  shardy ledger txs --account 9f3c8a51 --limit 20",
		RunE: a.call(func(ctx context.Context, _ []string) error {
			api, err := a.dial()
			if err != nil {
				return err
			}
			var key []byte
			if account != "" {
				if key, err = api.accountKey(ctx, account); err != nil {
					return err
				}
			}
			rows, next, err := pages(ctx, p, func(ctx context.Context, size uint32, token string) ([]*operatorv1.TransactionView, string, error) {
				res, err := api.ListTransactions(ctx, &operatorv1.ListTransactionsRequest{Account: key, Job: job, PageSize: min(size, 256), PageToken: token})
				return res.GetTransactions(), res.GetNextPageToken(), err
			})
			if err != nil {
				return err
			}
			return printList(a, "transactions", rows, next, "TRANSACTION BLOCK RESULT SENDER WHAT", func(t *operatorv1.TransactionView) []any {
				return []any{shortID(t.Id), t.Height, name(t.GetReceipt().GetCode()), shortID(t.GetBody().GetSender()), actionsText(t.GetBody())}
			})
		}),
	}
	p.flags(c)
	c.Flags().StringVar(&account, "account", "", "only those that an account sent, or that gave to it or took from it")
	c.Flags().StringVar(&job, "job", "", "only those that speak of a job")
	return c
}

// actionsText says in few words what a transaction does.
func actionsText(t *ledgerv1.Transaction) string {
	actions := t.GetActions()
	if len(actions) == 1 {
		return actionText(actions[0])
	}
	counts, order := map[string]int{}, []string{}
	for _, a := range actions {
		kind, _, _ := strings.Cut(actionText(a), " ")
		if counts[kind]++; counts[kind] == 1 {
			order = append(order, kind)
		}
	}
	for i, kind := range order {
		order[i] = fmt.Sprintf("%d %s", counts[kind], kind)
	}
	return strings.Join(order, ", ")
}

func actionText(a *ledgerv1.Action) string {
	switch k := a.GetKind().(type) {
	case *ledgerv1.Action_Transfer:
		return fmt.Sprintf("transfer %s to %s", unitsText(k.Transfer.GetAmount()), shortID(k.Transfer.GetTo()))
	case *ledgerv1.Action_StakeSet:
		return "stake " + unitsText(k.StakeSet.GetStake())
	case *ledgerv1.Action_Unstake:
		return "unstake " + unitsText(k.Unstake.GetAmount())
	case *ledgerv1.Action_Unjail:
		return "unjail"
	case *ledgerv1.Action_JobEscrow:
		return fmt.Sprintf("lock %s for %s", unitsText(k.JobEscrow.GetAmount()), k.JobEscrow.GetJob())
	case *ledgerv1.Action_TaskVerified:
		return fmt.Sprintf("pay %d for %s", len(k.TaskVerified.GetDecision().GetAgreeing()), k.TaskVerified.GetDecision().GetJob())
	case *ledgerv1.Action_Refund:
		return "refund " + k.Refund.GetJob()
	case *ledgerv1.Action_ConsensusMismatch:
		return fmt.Sprintf("slash %d for %s", len(k.ConsensusMismatch.GetDecision().GetContradicted()), k.ConsensusMismatch.GetDecision().GetJob())
	case *ledgerv1.Action_Equivocation:
		return "accuse of equivocation"
	case *ledgerv1.Action_LogAnchor:
		return "anchor a log"
	case *ledgerv1.Action_ValidatorSet:
		return "change the validators"
	case *ledgerv1.Action_VoidSlash:
		return "void a penalty"
	}
	return "?"
}

// transactionID completes the first characters of a transaction's id.
func (c *api) transactionID(ctx context.Context, text string) ([]byte, error) {
	id, err := complete("transaction", text, isHex32, func(token string) ([]string, string, error) {
		res, err := c.ListTransactions(ctx, &operatorv1.ListTransactionsRequest{PageSize: 256, PageToken: token})
		if err != nil {
			return nil, "", err
		}
		ids := make([]string, len(res.Transactions))
		for i, t := range res.Transactions {
			ids[i] = hexID(t.Id)
		}
		return ids, res.NextPageToken, nil
	})
	if err != nil {
		return nil, err
	}
	return hex.DecodeString(id)
}

func (a *app) ledgerTx() *cobra.Command {
	return &cobra.Command{
		Use: "tx ID", Short: "Show a transaction and what became of it", Args: cobra.ExactArgs(1), Example: "  shardy ledger tx 5a01c3",
		RunE: about(a, (*api).transactionID, func(ctx context.Context, api *api, id []byte) error {
			res, err := api.GetTransaction(ctx, &operatorv1.GetTransactionRequest{Id: id})
			if err != nil {
				return err
			}
			t := res.Transaction
			if a.json {
				return a.printMessage(t)
			}
			result := name(t.GetReceipt().GetCode())
			if d := t.GetReceipt().GetDetail(); d != "" {
				result += fmt.Sprintf(": %s (action %d)", d, t.Receipt.Action)
			}
			pairs := []any{
				"transaction", hexID(t.Id), "sender", hexID(t.GetBody().GetSender()), "result", result,
				"block", fmt.Sprintf("%d, place %d, %s", t.Height, t.Index, when(t.TimeUs)),
				"valid until", fmt.Sprintf("height %d", t.GetBody().GetValidUntil()), "size", bytesText(uint64(len(t.Encoded))),
			}
			for i, action := range t.GetBody().GetActions() {
				pairs = append(pairs, fmt.Sprintf("action %d", i), actionText(action))
			}
			return a.facts(pairs...)
		}),
	}
}

func (a *app) ledgerBlocks() *cobra.Command {
	var p paging
	c := &cobra.Command{
		Use: "blocks", Short: "List blocks, the newest first", Args: cobra.NoArgs, Example: "  shardy ledger blocks --limit 20",
		RunE: a.call(func(ctx context.Context, _ []string) error {
			api, err := a.dial()
			if err != nil {
				return err
			}
			rows, next, err := pages(ctx, p, func(ctx context.Context, size uint32, token string) ([]*operatorv1.BlockSummary, string, error) {
				before := uint64(0)
				if token != "" {
					if before, err = strconv.ParseUint(token, 10, 64); err != nil {
						return nil, "", usage("--page-token %q is a height", token)
					}
				}
				res, err := api.ListBlocks(ctx, &operatorv1.ListBlocksRequest{Before: before, PageSize: min(size, 128)})
				if err != nil || res.NextBefore == 0 {
					return res.GetBlocks(), "", err
				}
				return res.Blocks, strconv.FormatUint(res.NextBefore, 10), nil
			})
			if err != nil {
				return err
			}
			return printList(a, "blocks", rows, next, "BLOCK HASH TXS FAILED SIGNED BYTES PROPOSER TIME", func(b *operatorv1.BlockSummary) []any {
				h := b.GetHeader()
				return []any{h.GetHeight(), shortID(b.Hash), b.Transactions, b.Failed, b.Signatures, b.Bytes, shortID(h.GetProposer()), when(h.GetTimeUs())}
			})
		}),
	}
	p.flags(c)
	return c
}

// parseBlock reads a height or the hash of a header.
func parseBlock(text string) (*operatorv1.GetBlockRequest, error) {
	if isHex32(text) {
		hash, err := hex.DecodeString(text)
		return &operatorv1.GetBlockRequest{Which: &operatorv1.GetBlockRequest_Hash{Hash: hash}}, err
	}
	height, err := strconv.ParseUint(text, 10, 62)
	if err != nil {
		return nil, usage("block %q: want a height, or a whole hash", text)
	}
	return blockAt(height), nil
}

func blockAt(height uint64) *operatorv1.GetBlockRequest {
	return &operatorv1.GetBlockRequest{Which: &operatorv1.GetBlockRequest_Height{Height: height}}
}

// opened is a transaction of a block, taken apart.
type opened struct {
	id   ledger.Hash
	body *ledgerv1.Transaction
}

func openTransaction(encoded []byte) (opened, error) {
	s, t := new(ledgerv1.SignedTransaction), new(ledgerv1.Transaction)
	if proto.Unmarshal(encoded, s) != nil || proto.Unmarshal(s.Body, t) != nil {
		return opened{}, failed(exitRefused, "%w", ledger.ErrMalformed)
	}
	return opened{seal.TransactionID(s.Body), t}, nil
}

func (a *app) ledgerBlock() *cobra.Command {
	return &cobra.Command{
		Use: "block HEIGHT|HASH", Short: "Show a block with its transactions", Args: cobra.ExactArgs(1), Example: "  shardy ledger block 17",
		RunE: a.call(func(ctx context.Context, args []string) error {
			which, err := parseBlock(args[0])
			if err != nil {
				return err
			}
			api, err := a.dial()
			if err != nil {
				return err
			}
			res, err := api.GetBlock(ctx, which)
			if err != nil {
				return err
			}
			return a.showBlock(res)
		}),
	}
}

func (a *app) showBlock(res *operatorv1.GetBlockResponse) error {
	encoded := res.GetBlock().GetBlock()
	h, err := light.ParseHeader("", encoded.GetHeader())
	if err != nil {
		return lightError(err)
	}
	txs := make([]opened, len(encoded.GetTransactions()))
	for i, tx := range encoded.GetTransactions() {
		if txs[i], err = openTransaction(tx); err != nil {
			return err
		}
	}
	receipt := func(i int) *ledgerv1.Receipt {
		if i < len(res.Receipts) {
			return res.Receipts[i]
		}
		return nil // of a block that came with a snapshot
	}
	if a.json {
		rows := make([]any, len(txs))
		for i, t := range txs {
			row := map[string]any{"id": hexID(t.id[:]), "body": plainMessage(t.body.ProtoReflect()), "encoded": hexID(encoded.Transactions[i])}
			if r := receipt(i); r != nil {
				row["receipt"] = plainMessage(r.ProtoReflect())
			}
			rows[i] = row
		}
		doc := map[string]any{
			"hash": hexID(res.Hash), "header": plainMessage(h.ProtoReflect()), "encoded_header": hexID(encoded.GetHeader()), "transactions": rows,
		}
		if c := res.GetBlock().GetCertificate(); c != nil {
			doc["certificate"] = plainMessage(c.ProtoReflect())
		}
		return a.printJSON(doc)
	}
	err = a.facts("block", h.Height, "hash", hexID(res.Hash), "parent", hexID(h.Parent), "state", hexID(h.State), "time", when(h.TimeUs),
		"proposer", hexID(h.Proposer), "validators", fmt.Sprintf("version %d, %s", h.ValidatorsVersion, plural(int64(len(res.GetBlock().GetCertificate().GetSignatures())), "signature")),
		"transactions", len(txs))
	if err != nil || len(txs) == 0 {
		return err
	}
	fmt.Fprintln(a.out)
	return a.table("TRANSACTION RESULT SENDER WHAT", func(row func(...any)) {
		for i, t := range txs {
			row(shortID(t.id[:]), strings.TrimSpace(name(receipt(i).GetCode())+" "+receipt(i).GetDetail()), shortID(t.body.Sender), actionsText(t.body))
		}
	})
}
