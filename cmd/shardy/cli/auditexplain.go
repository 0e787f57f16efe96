package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/shardy-network/orchestrator/projections/audit"
	auditv1 "github.com/shardy-network/orchestrator/proto/shardy/audit/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

func (a *app) auditExplain() *cobra.Command {
	var from logFlags
	c := &cobra.Command{
		Use: "explain JOB", Short: "Tell the story of a verdict in words", Args: cobra.ExactArgs(1),
		Long: "Explain tells who submitted a job, who got it and what became of each attempt, how the votes stood, which rule\n" +
			"decided, who was contradicted, what was verified of it, and what is not proven. It reads the log that the flags\n" +
			"name, or asks the orchestrator.",
		Example: "  shardy audit explain 01k9x2\n  shardy audit explain 01k9x2 --data-dir /var/lib/shardy --json",
		RunE: a.call(func(ctx context.Context, args []string) error {
			story, err := a.explain(ctx, from, args[0])
			if err != nil {
				return err
			}
			if a.json {
				err = a.printMessage(story)
			} else {
				_, err = fmt.Fprintln(a.out, printable(strings.Join(audit.Tell(story), "\n")))
			}
			if n := story.GetEvidence().GetFaultCount(); err == nil && n > 0 {
				err = failed(exitFailed, "the records are wrong in %d places", n)
			}
			return err
		}),
	}
	from.flags(c)
	return c
}

// explain tells a story from the log that is named.
func (a *app) explain(ctx context.Context, from logFlags, text string) (story *auditv1.Story, err error) {
	if !from.named() {
		return a.explainThere(ctx, text)
	}
	log, err := from.open(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	id, err := log.jobID(ctx, text)
	if err != nil {
		return nil, err
	}
	return audit.Explain(ctx, log, id)
}

// explainThere asks the orchestrator.
func (a *app) explainThere(ctx context.Context, text string) (*auditv1.Story, error) {
	api, err := a.dial()
	if err != nil {
		return nil, err
	}
	id, err := api.jobID(ctx, text)
	if err != nil {
		return nil, err
	}
	res, err := api.ExplainVerdict(ctx, &operatorv1.ExplainVerdictRequest{Id: id})
	if err != nil {
		return nil, err
	}
	return res.Story, nil
}
