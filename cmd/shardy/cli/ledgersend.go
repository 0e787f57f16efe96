package cli

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/shardy-network/orchestrator/actors/ledger"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

const (
	mostValid = 100              // blocks that a transaction of this program may wait
	mostWait  = 60 * time.Second // that one call waits for a block
)

// sending is how a transaction is signed and waited for.
type sending struct {
	key     string
	genesis string
	wait    time.Duration
}

func (s *sending) flags(c *cobra.Command) {
	c.Flags().StringVar(&s.key, "key", "", "who signs: key file of a worker or orchestrator, or data folder of an orchestrator")
	s.otherFlags(c)
	need(c, "key")
}

func (s *sending) otherFlags(c *cobra.Command) {
	c.Flags().DurationVar(&s.wait, "wait", 30*time.Second, "how long to wait for the block, 0: not at all")
	genesisFlag(c, &s.genesis)
}

// act makes a command that sends one action. What it is may depend on who signs, and on how the ledger stands.
func (a *app) act(s *sending, do func(ctx context.Context, args []string) (*ledgerv1.Action, error)) func(*cobra.Command, []string) error {
	return a.call(func(ctx context.Context, args []string) error {
		action, err := do(ctx, args)
		if err != nil {
			return err
		}
		return a.send(ctx, s, action)
	})
}

// actAmount completes a command that sends one action, of an AMOUNT.
func (a *app) actAmount(c *cobra.Command, flags func(*sending, *cobra.Command), action func(text string) (*ledgerv1.Action, error)) *cobra.Command {
	var s sending
	c.Args = cobra.ExactArgs(1)
	c.RunE = a.act(&s, func(_ context.Context, args []string) (*ledgerv1.Action, error) { return action(args[0]) })
	flags(&s, c)
	return c
}

// send signs a transaction, hands it to the orchestrator, waits for its block and says what became of it.
func (a *app) send(ctx context.Context, s *sending, actions ...*ledgerv1.Action) error {
	key, err := loadSigner(s.key)
	if err != nil {
		return err
	}
	api, err := a.dial()
	if err != nil {
		return err
	}
	stand, err := a.stand(ctx, api, s.genesis)
	if err != nil {
		return err
	}
	tx, err := signed(stand, key, actions)
	if err != nil {
		return err
	}
	res, err := api.submit(ctx, tx, s.wait)
	if err != nil {
		return err
	}
	return a.showSent(res, s.wait)
}

// stand is how the ledger stands. One with another genesis than the trusted one is refused.
func (a *app) stand(ctx context.Context, api *api, genesis string) (*operatorv1.GetLedgerResponse, error) {
	stand, err := api.GetLedger(ctx, &operatorv1.GetLedgerRequest{})
	if err != nil {
		return nil, err
	}
	root, err := a.root(ctx, api, genesis)
	if err != nil {
		return nil, err
	}
	if root != nil && (!bytes.Equal(stand.Genesis, root.hash[:]) || stand.ChainId != root.state.Chain()) {
		return nil, failed(exitRefused, "the orchestrator's ledger %s begins with %x, not with %x", stand.ChainId, stand.Genesis, root.hash)
	}
	return stand, nil
}

// signed makes a transaction that is good for the next blocks.
func signed(stand *operatorv1.GetLedgerResponse, key ed25519.PrivateKey, actions []*ledgerv1.Action) ([]byte, error) {
	salt := make([]byte, 16)
	rand.Read(salt) // never fails
	tx := ledger.Sign(&ledgerv1.Transaction{
		ChainId: stand.ChainId, Sender: publicHalf(key), Salt: salt,
		ValidUntil: stand.Height + min(max(stand.GetParams().GetWindowBlocks(), 1), mostValid), Actions: actions,
	}, key)
	if _, err := ledger.Check(stand.ChainId, tx); err != nil {
		return nil, usage("%w", err)
	}
	return tx, nil
}

// submit hands a transaction over until it is in a block or the wait is over. Repeating it changes nothing.
func (c *api) submit(ctx context.Context, tx []byte, wait time.Duration) (*operatorv1.SubmitTransactionResponse, error) {
	end := time.Now().Add(wait)
	for {
		left := max(time.Until(end), 0)
		res, err := c.SubmitTransaction(ctx, &operatorv1.SubmitTransactionRequest{
			Transaction: tx, WaitMs: uint32(min(left, mostWait).Milliseconds()),
		})
		if err != nil || res.Height != 0 || left <= mostWait {
			return res, err
		}
	}
}

// receiptError is a transaction that is in a block and has failed.
type receiptError struct{ receipt *ledgerv1.Receipt }

// reason is the typed code, for example INSUFFICIENT_BALANCE.
func (e *receiptError) reason() string { return strings.ToUpper(name(e.receipt.GetCode())) }

func (e *receiptError) Error() string {
	text := "the ledger refuses: " + e.reason()
	if d := e.receipt.GetDetail(); d != "" {
		text += ": " + printable(d)
	}
	if n := e.receipt.GetAction(); n > 0 {
		text += fmt.Sprintf(" (action %d)", n)
	}
	return text
}

// receiptFailure is the error of a receipt; nil for a good one.
func receiptFailure(r *ledgerv1.Receipt) error {
	if r.GetCode() == ledgerv1.ReceiptCode_RECEIPT_CODE_OK {
		return nil
	}
	return &exitError{exitRefused, &receiptError{r}}
}

func (a *app) showSent(res *operatorv1.SubmitTransactionResponse, wait time.Duration) (err error) {
	block := "none yet"
	if res.Height != 0 {
		block = fmt.Sprint(res.Height)
	}
	result := ""
	if res.Receipt != nil {
		result = name(res.Receipt.Code)
	}
	if a.json {
		err = a.printMessage(res)
	} else {
		err = a.facts("transaction", hexID(res.Id), "block", block, "result", result)
	}
	switch {
	case err != nil:
		return err
	case res.Height != 0:
		return receiptFailure(res.Receipt)
	case wait > 0:
		return failed(exitTimeout, "it is in no block after %s, and may still come: shardy ledger tx %s", wait, shortID(res.Id))
	}
	return nil
}

func (a *app) ledgerStake() *cobra.Command {
	return a.actAmount(&cobra.Command{
		Use: "stake AMOUNT", Short: "Bind money of your balance until your stake is this high",
		Long:    "Stake raises the stake of the key to AMOUNT; one that is that high stays as it is, so a repeat does no harm.\n" + amountRule,
		Example: "  shardy ledger stake 20000 --key /var/lib/shardy",
	}, (*sending).flags, stakeAction)
}

func stakeAction(text string) (*ledgerv1.Action, error) {
	n, err := someAmount("stake", text)
	return &ledgerv1.Action{Kind: &ledgerv1.Action_StakeSet{StakeSet: &ledgerv1.StakeSet{Stake: n}}}, err
}

func unstakeAction(text string) (*ledgerv1.Action, error) {
	n, err := someAmount("amount", text)
	return &ledgerv1.Action{Kind: &ledgerv1.Action_Unstake{Unstake: &ledgerv1.Unstake{Amount: n}}}, err
}

func (a *app) ledgerUnstake() *cobra.Command {
	return a.actAmount(&cobra.Command{
		Use: "unstake AMOUNT", Short: "Take money out of your stake; it is free when the unbonding is over",
		Long: amountRule, Example: "  shardy ledger unstake 12.5 --key /var/lib/shardy",
	}, (*sending).flags, unstakeAction)
}

func (a *app) ledgerTransfer() *cobra.Command {
	var s sending
	c := &cobra.Command{
		Use: "transfer TO AMOUNT", Short: "Give money to another key", Args: cobra.ExactArgs(2),
		Long:    "TO is a whole public key (hex or base 64), a key file or a data folder: not the first characters of a key.\n" + amountRule,
		Example: "  shardy ledger transfer 9f3c8a51e07d44b2c6a90b1f5e7d3c28aa41f06be9d25c7780134e5f6a7b8c9d 12.5 --key /var/lib/shardy",
		RunE: a.act(&s, func(_ context.Context, args []string) (*ledgerv1.Action, error) {
			to, err := publicOf("receiver", args[0])
			if err != nil {
				return nil, err
			}
			n, err := someAmount("amount", args[1])
			return &ledgerv1.Action{Kind: &ledgerv1.Action_Transfer{Transfer: &ledgerv1.Transfer{To: to, Amount: n}}}, err
		}),
	}
	s.flags(c)
	return c
}

func (a *app) ledgerUnjail() *cobra.Command {
	var s sending
	c := &cobra.Command{
		Use: "unjail", Short: "End your jail when its time is over", Args: cobra.NoArgs, Example: "  shardy ledger unjail --key worker.key",
		RunE: a.act(&s, func(context.Context, []string) (*ledgerv1.Action, error) {
			return &ledgerv1.Action{Kind: &ledgerv1.Action_Unjail{Unjail: &ledgerv1.Unjail{}}}, nil
		}),
	}
	s.flags(c)
	return c
}
