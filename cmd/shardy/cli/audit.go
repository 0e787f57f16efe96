package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/shardy-network/orchestrator/projections/audit"
)

func (a *app) auditCommand() *cobra.Command {
	c := &cobra.Command{Use: "audit", Short: "Check an orchestrator's log against the rules it was decided by"}
	c.AddCommand(a.auditReplay(), a.auditExplain(), a.auditBundle(), a.auditCheck(), a.auditWhatIf())
	c.AddCommand(a.auditTree()...)
	return c
}

func (a *app) auditReplay() *cobra.Command {
	var from logFlags
	var skip bool
	c := &cobra.Command{
		Use: "replay", Short: "Decide every recorded command again and compare", Args: cobra.NoArgs,
		Long: "Replay folds every stream of a log, decides every recorded command again with the rules that decided it,\n" +
			"compares the facts, and verifies the stored evidence.",
		Example: "  shardy audit replay --data-dir /var/lib/shardy --json",
		RunE: a.call(func(ctx context.Context, _ []string) error {
			r, err := replay(ctx, from, skip)
			if err != nil {
				return err
			}
			if a.json {
				err = a.printJSON(r)
			} else {
				err = a.showReport(r)
			}
			if err == nil && !r.Clean() {
				err = failed(exitFailed, "%d divergences, %d commands undecidable", r.Divergences, r.Undecidable)
			}
			return err
		}),
	}
	from.flags(c)
	c.Flags().BoolVar(&skip, "skip-evidence", false, "do not verify signatures and content")
	return c
}

// replay audits a whole log. Content is looked at where it is.
func replay(ctx context.Context, from logFlags, skip bool) (r audit.Report, err error) {
	log, err := from.open(ctx)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	opts := audit.Options{SkipEvidence: skip}
	if !skip {
		opts.Blobs = log.Blobs
	}
	return audit.Replay(ctx, log, opts)
}

func (a *app) showReport(r audit.Report) error {
	verdict := "clean: every fact follows from its command"
	if !r.Clean() {
		verdict = fmt.Sprintf("%d divergences, %d commands undecidable", r.Divergences, r.Undecidable)
	}
	e := r.Evidence
	err := a.facts("verdict", verdict, "read", fmt.Sprintf("%d events of %d streams, %d commands", r.Events, r.Streams, r.Commands),
		"speed", fmt.Sprintf("%.0f events/s, %.2f s", r.EventsPerS, r.Seconds),
		"evidence", fmt.Sprintf("%d signatures, %d results without one, %d checksums, %d placements, %d blobs",
			e.Attestations, e.Unattested, e.Checksums, e.Placements, e.Blobs))
	for _, d := range r.Found {
		if err == nil {
			_, err = fmt.Fprintln(a.out, printable(d.String()))
		}
	}
	return err
}
