package cli

import (
	"context"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
)

// WorkerKeyFile is where a worker keeps its key unless it is told otherwise.
func WorkerKeyFile() string {
	dir, err := os.UserConfigDir()
	if err != nil {
		return "shardy-worker.key"
	}
	return filepath.Join(dir, "shardy", "worker.key")
}

func workerKeyFlag(c *cobra.Command, to *string) {
	c.Flags().StringVar(to, "key-file", WorkerKeyFile(), "the worker's identity")
}

// workerFlags are those of a transaction that the worker signs.
func (s *sending) workerFlags(c *cobra.Command) {
	workerKeyFlag(c, &s.key)
	s.otherFlags(c)
}

func (a *app) workerStake() *cobra.Command {
	return a.actAmount(&cobra.Command{
		Use: "stake AMOUNT", Short: "Bind money of this worker's balance until its stake is this high",
		Long:    "Stake raises what the worker earns and what a wrong result costs it. One that is that high stays as it is.\n" + amountRule,
		Example: "  shardy worker stake 50",
	}, (*sending).workerFlags, stakeAction)
}

func (a *app) workerUnstake() *cobra.Command {
	return a.actAmount(&cobra.Command{
		Use: "unstake AMOUNT", Short: "Take money out of this worker's stake; it is free when the unbonding is over",
		Long: amountRule, Example: "  shardy worker unstake 12.5",
	}, (*sending).workerFlags, unstakeAction)
}

func (a *app) workerBalance() *cobra.Command {
	var file, genesis string
	c := &cobra.Command{
		Use: "balance", Short: "Show this worker's account on the ledger", Args: cobra.NoArgs, Example: "  shardy worker balance --genesis lab.genesis",
		RunE: a.call(func(ctx context.Context, _ []string) error {
			key, err := loadSigner(file)
			if err != nil {
				return err
			}
			api, err := a.dial()
			if err != nil {
				return err
			}
			return a.showBalance(ctx, api, publicHalf(key), genesis)
		}),
	}
	workerKeyFlag(c, &file)
	genesisFlag(c, &genesis)
	return c
}
