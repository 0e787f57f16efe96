package cli

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/shardy-network/orchestrator/events/pebblelog"
)

func (a *app) logCommand() *cobra.Command {
	c := &cobra.Command{Use: "log", Short: "Look after the event log of a data folder (the orchestrator must be stopped)"}
	c.AddCommand(a.logBackup())
	return c
}

// logDir is where a data folder keeps its log.
func logDir(dataDir string) string { return filepath.Join(dataDir, "log") }

// openLog opens the log of a data folder that exists.
func openLog(dataDir string) (*pebblelog.Log, error) {
	if _, err := os.Stat(logDir(dataDir)); err != nil {
		return nil, failed(exitNotFound, "no event log in %s: %w", dataDir, err)
	}
	return pebblelog.Open(logDir(dataDir), pebblelog.Options{Logger: slog.New(slog.DiscardHandler)})
}

func dataDirFlag(c *cobra.Command, to *string) {
	c.Flags().StringVar(to, "data-dir", "", "data folder of the orchestrator")
	if err := c.MarkFlagRequired("data-dir"); err != nil {
		panic(err) // the flag was defined one line above
	}
}

func (a *app) logBackup() *cobra.Command {
	var dir string
	c := &cobra.Command{
		Use: "backup FOLDER", Short: "Copy the event log into a new folder, from which a log can be opened", Args: cobra.ExactArgs(1),
		Example: "  shardy log backup /backup/2026-11-22 --data-dir /var/lib/shardy",
		RunE: a.call(func(ctx context.Context, args []string) (err error) {
			log, err := openLog(dir)
			if err != nil {
				return err
			}
			err = log.Backup(ctx, args[0])
			if cerr := log.Close(); err == nil {
				err = cerr
			}
			return a.done(err, args[0], "written")
		}),
	}
	dataDirFlag(c, &dir)
	return c
}
