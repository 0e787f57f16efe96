package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/shardy-network/orchestrator/events/blobs"
	"github.com/shardy-network/orchestrator/projections"
)

// swept is what log sweep prints with --json.
type swept struct {
	Kept         int   `json:"kept"`
	Removed      int   `json:"removed"`
	RemovedBytes int64 `json:"removed_bytes"`
	Leftovers    int   `json:"leftovers"`
	Named        int   `json:"named"`
	DryRun       bool  `json:"dry_run"`
}

func (a *app) logSweep() *cobra.Command {
	var dir, content string
	var age time.Duration
	var dry bool
	c := &cobra.Command{
		Use: "sweep", Short: "Remove content that no fact names", Args: cobra.NoArgs,
		Long: "Sweep reads the whole log for the names of content, and removes all other content that is old enough: what was\n" +
			"uploaded and never used, results of those who came too late. The orchestrator must be stopped. A log with\n" +
			"records of a newer version, or with a manifest that is not there, is refused, and nothing is removed.",
		Example: "  shardy log sweep --data-dir /var/lib/shardy --older-than 24h --dry-run",
		RunE: a.call(func(ctx context.Context, _ []string) error {
			if age <= 0 {
				return usage("--older-than %s: must be positive", age)
			}
			s, err := sweep(ctx, dir, content, age, dry)
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(s)
			}
			verb := "removed"
			if dry {
				verb = "would be removed"
			}
			return a.facts("kept", fmt.Sprintf("%d blobs", s.Kept), verb, fmt.Sprintf("%d blobs, %d bytes", s.Removed, s.RemovedBytes),
				"leftovers of uploads", s.Leftovers)
		}),
	}
	dataDirFlag(c, &dir)
	c.Flags().StringVar(&content, "blobs", "", "where the content is (default: the data folder's)")
	c.Flags().DurationVar(&age, "older-than", 24*time.Hour, "leave what was put within this time alone")
	c.Flags().BoolVar(&dry, "dry-run", false, "count, and remove nothing")
	return c
}

// sweep holds the log open all the while, so that no orchestrator can start.
func sweep(ctx context.Context, dir, content string, age time.Duration, dry bool) (res swept, err error) {
	log, err := openLog(dir)
	if err != nil {
		return res, err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	if content == "" {
		content = filepath.Join(dir, "blobs")
		if _, serr := os.Stat(content); errors.Is(serr, fs.ErrNotExist) {
			content = "mem://" // all content is in the log
		}
	}
	store, err := blobs.Open(ctx, content, blobs.Options{Log: log})
	if err != nil {
		return res, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	named, err := projections.References(ctx, log, store)
	if err != nil {
		return res, err
	}
	do := store.Sweep
	if dry {
		do = store.Orphans
	}
	done, err := do(ctx, named.Has, age)
	return swept{
		Kept: done.Kept, Removed: done.Removed, RemovedBytes: done.Bytes, Leftovers: done.Leftovers, Named: len(named), DryRun: dry,
	}, err
}
