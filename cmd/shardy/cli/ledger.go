package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

func (a *app) ledgerCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "ledger", Short: "Look at the ledger that orchestrators share, act on it, and verify it",
		Long: "The ledger says who earned what. An orchestrator's answers need not be believed: with --genesis they are held\n" +
			"against a genesis that you trust, by the signatures of the validators that follow from it.\n" + amountRule,
	}
	c.AddCommand(a.ledgerStatus(), a.ledgerBalance(), a.ledgerAccounts(), a.ledgerTx(), a.ledgerTxs(), a.ledgerBlock(), a.ledgerBlocks(),
		a.ledgerTransfer(), a.ledgerStake(), a.ledgerUnstake(), a.ledgerUnjail(), a.ledgerProof(), a.ledgerVerify(),
		a.ledgerAccuse(), a.ledgerValidators(), a.ledgerVoid())
	return c
}

func (a *app) ledgerStatus() *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "Say how the ledger stands, as the orchestrator has it", Args: cobra.NoArgs, Example: "  shardy ledger status --json",
		RunE: a.call(func(ctx context.Context, _ []string) error {
			api, err := a.dial()
			if err != nil {
				return err
			}
			s, err := api.GetLedger(ctx, &operatorv1.GetLedgerRequest{})
			if err != nil {
				return err
			}
			if a.json {
				return a.printMessage(s)
			}
			return a.facts(ledgerFacts(s)...)
		}),
	}
}

func ledgerFacts(s *operatorv1.GetLedgerResponse) []any {
	c, p := s.GetConsensus(), s.GetSupply()
	role := c.GetRole()
	if len(c.GetLeader()) > 0 {
		role += ", " + shortID(c.Leader) + " leads"
	}
	pairs := []any{
		"chain", s.ChainId, "genesis", hexID(s.Genesis), "height", fmt.Sprintf("%d, %s", s.Height, when(s.TimeUs)),
		"block", hexID(s.Block), "state", hexID(s.State), "kept", keptText(s),
		"validators", fmt.Sprintf("%d, version %d", len(s.GetValidators().GetValidators()), s.GetValidators().GetVersion()),
		"accounts", s.Accounts, "money", moneyText(p.GetTotal()),
		"of it", fmt.Sprintf("%s balances, %s stakes, %s escrows, %s frozen, %s treasury, %s burned", unitsText(p.GetBalances()),
			unitsText(p.GetStakes()), unitsText(p.GetEscrows()), unitsText(p.GetPenalties()), unitsText(p.GetTreasury()), unitsText(p.GetBurned())),
		"fee", moneyText(s.GetParams().GetFee()),
		"this one", role, "key", hexID(c.GetKey()),
		"pending", fmt.Sprintf("%d transactions, %d restarts of the ordering", c.GetPending(), c.GetRestarts()), "failure", c.GetFailure(),
	}
	if t := s.Settlement; t != nil {
		pairs = append(pairs,
			"settlement", fmt.Sprintf("%d of %d events heard, %d jobs paid, %d unpaid, %d refused", t.Position, t.LogHead, t.Paid, t.Unpaid, t.Refused),
			"to settle", fmt.Sprintf("%d open, %d waiting, %d sent, %d in doubt", t.Open, t.Waiting, t.Sent, t.Doubts), "refused last", t.LastRefusal, "trouble", t.Trouble)
	}
	return pairs
}

func keptText(s *operatorv1.GetLedgerResponse) string {
	text := fmt.Sprintf("blocks from %d", s.LowHeight)
	if s.SnapshotHeight > 0 {
		text += fmt.Sprintf(", snapshot of %d", s.SnapshotHeight)
	}
	return text
}

func (a *app) ledgerAccounts() *cobra.Command {
	var p paging
	c := &cobra.Command{
		Use: "accounts", Short: "List accounts, as the orchestrator has them", Args: cobra.NoArgs, Example: "  shardy ledger accounts --limit 20",
		RunE: a.call(func(ctx context.Context, _ []string) error {
			api, err := a.dial()
			if err != nil {
				return err
			}
			rows, next, err := pages(ctx, p, func(ctx context.Context, size uint32, token string) ([]*ledgerv1.Account, string, error) {
				res, err := api.ListAccounts(ctx, &operatorv1.ListAccountsRequest{PageSize: size, PageToken: token})
				return res.GetAccounts(), res.GetNextPageToken(), err
			})
			if err != nil {
				return err
			}
			return printList(a, "accounts", rows, next, "ACCOUNT BALANCE STAKE EARNED REPUTATION SETTLED CONTRADICTED STATE", func(c *ledgerv1.Account) []any {
				return []any{
					shortID(c.Key), unitsText(c.Balance), unitsText(c.Stake), unitsText(c.Earned), partText(c.ReputationPpm), c.Settled, c.Contradicted,
					accountState(c),
				}
			})
		}),
	}
	p.flags(c)
	return c
}

// accountState is what keeps an account from being judged or rewarded like others.
func accountState(c *ledgerv1.Account) string {
	switch {
	case c.GetTombstoned():
		return "tombstoned"
	case c.GetJailedUntil() > 0:
		return fmt.Sprintf("jailed until %d", c.JailedUntil)
	case len(c.GetUnbonding()) > 0:
		return "unbonding " + unitsText(unbondingSum(c))
	}
	return ""
}

func unbondingSum(c *ledgerv1.Account) (sum uint64) {
	for _, u := range c.GetUnbonding() {
		sum += u.Amount
	}
	return sum
}

func (a *app) ledgerBalance() *cobra.Command {
	var genesis string
	c := &cobra.Command{
		Use: "balance KEY", Short: "Show an account, verified when there is a genesis to verify it with", Args: cobra.ExactArgs(1),
		Long: "KEY is a public key (or its first characters), a key file, or the data folder of an orchestrator.\n" +
			"With --genesis the account is verified: by its place in the state of a block, the signatures under that block, and\n" +
			"the changes that led from the validators of genesis to those who signed. Without it, it is what the orchestrator says.",
		Example: "  shardy ledger balance 9f3c8a51 --genesis lab.genesis",
		RunE: a.call(func(ctx context.Context, args []string) error {
			api, err := a.dial()
			if err != nil {
				return err
			}
			key, err := api.accountKey(ctx, args[0])
			if err != nil {
				return err
			}
			return a.showBalance(ctx, api, key, genesis)
		}),
	}
	genesisFlag(c, &genesis)
	return c
}

// balance is what ledger balance prints with --json, beside the account.
type balance struct {
	Key      string        `json:"key"`
	Known    bool          `json:"known"`
	Account  any           `json:"account,omitempty"`
	Height   uint64        `json:"height"`
	Verified *verification `json:"verified,omitempty"`
}

// verification is what an answer was held against.
type verification struct {
	Genesis    string   `json:"genesis"`
	Height     uint64   `json:"height"`
	Block      string   `json:"block"`
	Version    uint64   `json:"validators_version"`
	Signers    []string `json:"signers"`
	Validators int      `json:"validators"`
}

func (v *verification) String() string {
	if v.Height == 0 {
		return "it is the genesis " + v.Genesis
	}
	return fmt.Sprintf("against genesis %s, signed by %d of %d validators", v.Genesis, len(v.Signers), v.Validators)
}

func (a *app) showBalance(ctx context.Context, api *api, key []byte, genesis string) error {
	root, err := a.root(ctx, api, genesis)
	if err != nil {
		return err
	}
	held, err := api.held(ctx, root, accountPlace(key))
	if err != nil {
		return err
	}
	b := balance{Key: hexID(key), Known: held.value != nil, Height: held.header.Height, Verified: held.by}
	account, _ := held.value.(*ledgerv1.Account)
	if a.json {
		if account != nil {
			b.Account = plainMessage(account.ProtoReflect())
		}
		return a.printJSON(b)
	}
	word := "not verified: this is what the orchestrator says (--genesis FILE verifies it)"
	if b.Verified != nil {
		word = b.Verified.String()
	}
	pairs := []any{"account", b.Key}
	if account == nil {
		pairs = append(pairs, "state", "there is no such account")
	} else {
		pairs = append(pairs, accountFacts(account)...)
	}
	return a.facts(append(pairs, "height", b.Height, "verified", word)...)
}

func accountFacts(c *ledgerv1.Account) []any {
	pairs := []any{"balance", moneyText(c.Balance), "stake", moneyText(c.Stake)}
	for _, u := range c.Unbonding {
		pairs = append(pairs, "unbonding", fmt.Sprintf("%s, free at height %d", moneyText(u.Amount), u.Release))
	}
	return append(pairs, "earned", moneyText(c.Earned), "slashed", moneyText(c.Slashed),
		"reputation", fmt.Sprintf("%s, %d settled, %d contradicted", partText(c.ReputationPpm), c.Settled, c.Contradicted), "state", accountState(c))
}
