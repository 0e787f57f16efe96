package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/shardy-network/orchestrator/events"
	"github.com/shardy-network/orchestrator/events/pebblelog"
)

func (a *app) logCommand() *cobra.Command {
	c := &cobra.Command{Use: "log", Short: "Look after the event log of a data folder (the orchestrator must be stopped)"}
	c.AddCommand(a.logFsck(), a.logBackup(), a.logSweep())
	return c
}

// logDir is where a data folder keeps its log.
func logDir(dataDir string) string { return filepath.Join(dataDir, "log") }

// needLog refuses a data folder without a log: opening it would make one.
func needLog(dataDir string) error {
	if _, err := os.Stat(logDir(dataDir)); err != nil {
		return failed(exitNotFound, "no event log in %s: %w", dataDir, err)
	}
	return nil
}

// openLog opens the log of a data folder.
func openLog(dataDir string) (*pebblelog.Log, error) {
	if err := needLog(dataDir); err != nil {
		return nil, err
	}
	return pebblelog.Open(logDir(dataDir), pebblelog.Options{Logger: slog.New(slog.DiscardHandler)})
}

func dataDirFlag(c *cobra.Command, to *string) {
	c.Flags().StringVar(to, "data-dir", "", "data folder of the orchestrator")
	if err := c.MarkFlagRequired("data-dir"); err != nil {
		panic(err) // the flag was defined one line above
	}
}

// checked is what log fsck prints with --json.
type checked struct {
	Clean    bool   `json:"clean"`
	Events   uint64 `json:"events"` // up to the first damage, like the other figures
	Streams  uint64 `json:"streams"`
	Blobs    uint64 `json:"blobs"`
	Head     uint64 `json:"head"`
	Unsealed uint64 `json:"unsealed"`
	Damage   string `json:"damage,omitempty"`
}

func (a *app) logFsck() *cobra.Command {
	var dir string
	c := &cobra.Command{
		Use: "fsck", Short: "Read the whole log and hold it against its format; changes nothing", Args: cobra.NoArgs,
		Example: "  shardy log fsck --data-dir /var/lib/shardy",
		RunE: a.call(func(context.Context, []string) error {
			if err := needLog(dir); err != nil {
				return err
			}
			r, err := pebblelog.Fsck(logDir(dir))
			if err != nil && !errors.Is(err, events.ErrCorrupt) {
				return err
			}
			res := checked{Clean: err == nil, Events: r.Events, Streams: r.Streams, Blobs: r.Blobs, Head: uint64(r.Head), Unsealed: r.Unsealed}
			if err != nil {
				res.Damage = err.Error()
			}
			if a.json {
				return errors.Join(a.printJSON(res), err)
			}
			perr := a.facts("events", fmt.Sprintf("%d of %d streams, head %d", res.Events, res.Streams, res.Head),
				"blobs", res.Blobs, "unsealed", res.Unsealed)
			return errors.Join(perr, err)
		}),
	}
	dataDirFlag(c, &dir)
	return c
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
