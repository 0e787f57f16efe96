package cli

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/shardy-network/orchestrator/projections/audit"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

func (a *app) auditWhatIf() *cobra.Command {
	var from logFlags
	var files []string
	var listed int
	c := &cobra.Command{
		Use: "what-if", Short: "Run recorded results under other policies and compare", Args: cobra.NoArgs,
		Long: "What-if takes the recorded results of all decided jobs to the rules again, under other policies: what it would\n" +
			"have cost, which verdicts would be others, which would be wrong where the truth is known, and who would have been\n" +
			"rewarded or contradicted. A policy file is what policy show prints; a job keeps what the file leaves out, so that\n" +
			"{\"standard\":{\"margin\":3}} tries a larger lead and nothing else. Several files make a table.",
		Example: "  shardy audit what-if --policy strict.json --policy cheap.json --data-dir /var/lib/shardy",
		RunE: a.call(func(ctx context.Context, _ []string) error {
			o := audit.WhatIfOptions{MaxListed: listed}
			for _, file := range files {
				p, err := a.readPolicy(file)
				if err != nil {
					return err
				}
				o.Alternatives = append(o.Alternatives, audit.Alternative{Name: strings.TrimSuffix(filepath.Base(file), ".json"), Policy: p})
			}
			r, err := whatIf(ctx, from, o)
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(r)
			}
			return a.showWhatIf(r)
		}),
	}
	from.flags(c)
	c.Flags().StringArrayVar(&files, "policy", nil, "file with a policy to try, - for stdin (may be repeated)")
	c.Flags().IntVar(&listed, "list", 20, "how many changed jobs and workers to list for each policy")
	if err := c.MarkFlagRequired("policy"); err != nil {
		panic(err) // the flag was defined above
	}
	return c
}

// readPolicy reads a policy, whole or in part.
func (a *app) readPolicy(file string) (*eventv1.Policy, error) {
	data, err := a.readInput(file, 1<<20)
	if err != nil {
		return nil, err
	}
	p := new(eventv1.Policy)
	if err := protojson.Unmarshal(data, p); err != nil {
		return nil, usage("%s: %w", file, err)
	}
	if err := audit.CheckAlternative(p); err != nil {
		return nil, usage("%s: %w", file, err)
	}
	return p, nil
}

func whatIf(ctx context.Context, from logFlags, o audit.WhatIfOptions) (r audit.Comparison, err error) {
	log, err := from.open(ctx)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	r, err = audit.WhatIf(ctx, log, o)
	if errors.Is(err, audit.ErrAlternatives) {
		err = Usage(err)
	}
	return r, err
}

func (a *app) showWhatIf(r audit.Comparison) error {
	columns := []audit.AltAccount{{Name: "RECORDED", Account: r.Recorded}}
	heading := []string{"OUTCOME", "RECORDED"}
	for _, p := range r.Policies {
		columns = append(columns, p)
		heading = append(heading, strings.ReplaceAll(printable(p.Name), " ", "_"))
	}
	err := a.table(strings.Join(heading, " "), func(row func(...any)) {
		for _, line := range whatIfRows {
			cells := []any{line.name}
			for i := range columns {
				cells = append(cells, line.value(&columns[i], r.Jobs))
			}
			row(cells...)
		}
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(a.out, "\n%d jobs compared; left out: %d open, %d cancelled, %d unreadable\n", r.Jobs, r.Open, r.Cancelled, r.Unreadable)
	fmt.Fprintf(a.out, "truth known by referee %d, by ringers %d, by a lead of 2 or more %d; not known %d\n", r.Truth.Referee, r.Truth.Known, r.Truth.Margin, r.Truth.Unknown)
	for _, p := range r.Policies {
		a.showAlternative(p)
	}
	for _, l := range r.Limits {
		fmt.Fprintln(a.out, "limit:", l)
	}
	_, err = fmt.Fprintf(a.out, "%d events read, %.0f events/s\n", r.Events, r.EventsPerS)
	return err
}

// showAlternative lists what would be others under one policy.
func (a *app) showAlternative(p audit.AltAccount) {
	if p.Refused > 0 {
		fmt.Fprintf(a.out, "%s: does not fit %d jobs: %s\n", printable(p.Name), p.Refused, printable(p.Why))
	}
	for _, j := range p.Jobs {
		fmt.Fprintf(a.out, "%s: job %s: %s -> %s\n", printable(p.Name), printable(j.Job), printable(j.Recorded), printable(j.Then))
	}
	if n := int(p.Changed) - len(p.Jobs); n > 0 {
		fmt.Fprintf(a.out, "%s: and %d more jobs\n", printable(p.Name), n)
	}
	for _, w := range p.Workers {
		fmt.Fprintf(a.out, "%s: worker %s: rewarded %d -> %d, contradicted %d -> %d\n", printable(p.Name), w.Worker,
			w.Rewarded[0], w.Rewarded[1], w.Contradicted[0], w.Contradicted[1])
	}
}

// whatIfRows are the rows of the table.
var whatIfRows = []struct {
	name  string
	value func(p *audit.AltAccount, jobs uint64) any
}{
	{"executions", func(p *audit.AltAccount, _ uint64) any { return p.Executions }},
	{"executions a job", func(p *audit.AltAccount, jobs uint64) any {
		return fmt.Sprintf("%.3f", float64(p.Executions)/float64(max(jobs, 1)))
	}},
	{"fuel", func(p *audit.AltAccount, _ uint64) any { return p.Fuel }},
	{"referee runs", func(p *audit.AltAccount, _ uint64) any { return p.Referee }},
	{"verified", func(p *audit.AltAccount, _ uint64) any { return p.Verified }},
	{"module fails", func(p *audit.AltAccount, _ uint64) any { return p.Failed }},
	{"ringers failed", func(p *audit.AltAccount, _ uint64) any { return p.Ringers }},
	{"no verdict", func(p *audit.AltAccount, _ uint64) any { return p.NoVerdict }},
	{"wrong accepts", func(p *audit.AltAccount, _ uint64) any { return p.WrongAccepts }},
	{"rewarded", func(p *audit.AltAccount, _ uint64) any { return p.Rewarded }},
	{"rewarded wrongly", func(p *audit.AltAccount, _ uint64) any { return p.WronglyRewarded }},
	{"contradicted", func(p *audit.AltAccount, _ uint64) any { return p.Contradicted }},
	{"contradicted wrongly", func(p *audit.AltAccount, _ uint64) any { return p.WronglyContradicted }},
	{"other verdicts", func(p *audit.AltAccount, _ uint64) any { return p.Changed }},
	{"same, otherwise based", func(p *audit.AltAccount, _ uint64) any { return p.Resting }},
	{"undecidable", func(p *audit.AltAccount, _ uint64) any { return p.Wanting }},
	{"results missing", func(p *audit.AltAccount, _ uint64) any { return p.Missing }},
	{"policy does not fit", func(p *audit.AltAccount, _ uint64) any { return p.Refused }},
}
