package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/shardy-network/orchestrator/cmd/shardy/cli"
	"github.com/shardy-network/orchestrator/cmd/shardy/demo"
)

func demoCommand() *cobra.Command {
	var cfg demo.FederationConfig
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Watch real work being verified while workers lie, vanish and die",
		Long: "Start an orchestrator and workers as processes of their own, render a picture and classify 2,000 images with a\n" +
			"neural network, each chunk computed by two workers; kill one worker, expose the liars, and hold every output against\n" +
			"a reference. Exits with 0 only if every output is right.\n\n" +
			"With --orchestrators 4: four operators who do not trust each other. Each has an orchestrator, workers and work of its\n" +
			"own; verdicts become payments and punishments on a ledger that all four agree on, and every balance is proven.",
		Example: "  shardy demo --quick\n  shardy demo --workers 6 --liars 2 --json\n  shardy demo --orchestrators 4",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg.Out, cfg.Err, cfg.Terminal = cmd.OutOrStdout(), cmd.ErrOrStderr(), isTerminal(cmd.ErrOrStderr())
			var err error
			if cfg.JSON, err = cmd.Flags().GetBool("json"); err != nil {
				return err
			}
			for _, name := range []string{"workers", "liars", "droppers"} {
				if cfg.Orchestrators != 1 && cmd.Flags().Changed(name) {
					return cli.Usage(fmt.Errorf("--%s: with --orchestrators the demo plans its workers itself", name))
				}
			}
			if cfg.Orchestrators == 1 {
				_, err = demo.Run(cmd.Context(), cfg.Config)
			} else {
				_, err = demo.RunFederation(cmd.Context(), cfg)
			}
			if errors.Is(err, demo.ErrFlags) {
				return cli.Usage(err)
			}
			return err
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&cfg.DataDir, "data-dir", "", "keep log, blobs and picture here, in a folder without a log; default: a new temporary folder")
	flags.StringVar((*string)(&cfg.Log), "log", string(demo.Embedded), "where the event log is: embedded, memory, or server (a log server of its own, over EventStoreDB's protocol)")
	flags.IntVar(&cfg.Orchestrators, "orchestrators", 1, "operators: 1 alone, or 4 to 7 on one ledger, whose workers are planned for them")
	flags.IntVar(&cfg.Workers, "workers", 4, "honest workers")
	flags.IntVar(&cfg.Liars, "liars", 1, "workers that sign wrong results")
	flags.IntVar(&cfg.Droppers, "droppers", 1, "workers that cut their connection in mid-task")
	flags.BoolVar(&cfg.Quick, "quick", false, "a rougher picture: ends within 30 s on two cores")
	return cmd
}
