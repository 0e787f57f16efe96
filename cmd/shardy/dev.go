package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/shardy-network/orchestrator/cmd/shardy/cli"
	"github.com/shardy-network/orchestrator/cmd/shardy/orchestrator"
	"github.com/shardy-network/orchestrator/cmd/shardy/process"
)

// devCommand is serve with workers beside it, for a first look and for writing modules.
func devCommand() *cobra.Command {
	var f serveFlags
	var workers, liars int
	cmd := &cobra.Command{
		Use:     "dev",
		Short:   "Run an orchestrator and workers on this machine, until interrupted",
		Example: "  shardy dev --workers 3 --liars 1\n  shardy run module.wasm --input data.bin --chunk-size 65536 --output result.bin",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, ok, err := f.load(cmd)
			if !ok {
				return err
			}
			if workers < 0 || liars < 0 || workers+liars > 64 {
				return cli.Usage(fmt.Errorf("--workers %d --liars %d: at most 64 together", workers, liars))
			}
			return dev(cmd.Context(), cfg, workers, liars)
		},
	}
	f.register(cmd)
	cmd.Flags().IntVar(&workers, "workers", 3, "honest workers")
	cmd.Flags().IntVar(&liars, "liars", 0, "workers that sign wrong results")
	return cmd
}

func dev(ctx context.Context, cfg orchestrator.Config, workers, liars int) error {
	o, err := orchestrator.New(ctx, cfg)
	if err != nil {
		return err
	}
	dir := filepath.Join(cfg.DataDir, "processes")
	if cfg.DataDir == "" {
		if dir, err = os.MkdirTemp("", "shardy-dev-"); err != nil {
			return errors.Join(err, o.Close())
		}
		defer os.RemoveAll(dir)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return errors.Join(err, o.Close())
	}
	cfg.Logger.Info("in a browser", "open", "http://"+o.Addr())
	cfg.Logger.Info("in another terminal, try", "command", "shardy --address http://"+o.Addr()+" worker list")
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return o.Run(ctx) })
	procs := &process.Group{LogDir: dir}
	group.Go(func() error {
		defer procs.Stop(5 * time.Second)
		for i := range workers + liars {
			args := []string{
				"worker", "--server", "http://" + o.Addr(), "--sandboxes", "1",
				"--key-file", filepath.Join(dir, fmt.Sprintf("worker-%d.key", i+1)),
			}
			if i >= workers {
				args = append(args, "--dishonest", "lie")
			}
			if _, err := procs.Start(fmt.Sprintf("worker-%d", i+1), args...); err != nil {
				return err
			}
		}
		<-ctx.Done()
		return nil
	})
	return group.Wait()
}
