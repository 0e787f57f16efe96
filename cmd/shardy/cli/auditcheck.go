package cli

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/shardy-network/orchestrator/gateway/agent/sandbox"
	"github.com/shardy-network/orchestrator/projections/audit"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

func (a *app) auditCheck() *cobra.Command {
	var key string
	var rerun, story bool
	var limit time.Duration
	c := &cobra.Command{
		Use: "check BUNDLE", Short: "Verify a bundle offline, with nothing but the bundle", Args: cobra.ExactArgs(1),
		Long: "Check verifies that a bundle is whole, that its records are in a log that the key has signed, that every fact\n" +
			"follows from its command, and every signature, placement, checksum and content. With --rerun it runs the module\n" +
			"on the input in a sandbox and compares: that is the strongest proof.",
		Example: "  shardy audit check verdict.bundle --key server.pub --rerun",
		RunE: a.call(func(ctx context.Context, args []string) error {
			file, err := a.readInput(args[0], audit.MaxBundleBytes)
			if err != nil {
				return err
			}
			opts := audit.CheckOptions{}
			if key != "" {
				if opts.Key, err = parseServerKey(key); err != nil {
					return err
				}
			}
			if rerun {
				box, err := sandbox.New(sandbox.Config{RunTimeout: limit})
				if err != nil {
					return err
				}
				defer box.Close()
				opts.Runner = sandboxRunner{box, limit}
			}
			r, err := audit.Check(ctx, file, opts)
			if errors.Is(err, audit.ErrNoBundle) || errors.Is(err, audit.ErrDamaged) || errors.Is(err, audit.ErrFormat) {
				return failed(exitRefused, "%s: %w", args[0], err)
			}
			if err != nil {
				return err
			}
			return a.showChecked(r, story)
		}),
	}
	c.Flags().StringVar(&key, "key", "", "the orchestrator's public key: hex, a verifier key, or a file with one (default: the bundle's own)")
	c.Flags().BoolVar(&rerun, "rerun", false, "run the module on the input and compare")
	c.Flags().DurationVar(&limit, "run-timeout", 5*time.Minute, "kill the sandbox after this time")
	c.Flags().BoolVar(&story, "story", false, "tell the story of the verdict, too")
	return c
}

// sandboxRunner runs modules for a check.
type sandboxRunner struct {
	box   *sandbox.Sandbox
	limit time.Duration
}

func (s sandboxRunner) Run(ctx context.Context, module, input []byte, spec *eventv1.JobSpec) (audit.Run, error) {
	name := sha256.Sum256(module)
	if err := s.box.Load(ctx, name, module); err != nil {
		return audit.Run{}, err
	}
	res, err := s.box.Run(ctx, sandbox.Task{
		Module: name, Input: input, FuelLimit: spec.GetFuelLimit(), MaxOutput: spec.GetOutput().GetMaxBytes(), Timeout: s.limit,
	})
	if err != nil {
		return audit.Run{}, err
	}
	return audit.Run{Status: eventv1.ResultStatus(res.Status), Fuel: res.FuelUsed, Output: sha256.Sum256(res.Output)}, nil
}

func (a *app) showChecked(r audit.Checked, story bool) error {
	var err error
	if a.json {
		err = a.printJSON(r)
	} else {
		err = a.tellChecked(r, story)
	}
	switch {
	case err != nil:
		return err
	case r.Faults > 0:
		return failed(exitFailed, "the bundle is wrong in %s", plural(int64(r.Faults), "place"))
	case r.Undecidable > 0:
		return failed(exitFailed, "%s undecidable: the rules of that time are gone", plural(int64(r.Undecidable), "command"))
	case r.Rerun != nil && !r.Rerun.Ran:
		return failed(exitFailed, "the module was not run: %s", r.Rerun.Why)
	}
	return nil
}

func (a *app) tellChecked(r audit.Checked, story bool) error {
	verdict := "sound: nothing in it is wrong"
	if !r.Sound {
		verdict = "NOT SOUND"
	}
	e := r.Evidence
	pairs := []any{
		"bundle", verdict, "job", fmt.Sprintf("%s, %s", r.Job, r.Phase),
		"read", fmt.Sprintf("%d records of %d streams, %d commands decided again", r.Records, r.Streams, r.Commands),
		"evidence", fmt.Sprintf("%d signatures, %d placements, %d checksums", e.Attestations, e.Placements, e.Checksums),
		"contents", fmt.Sprintf("%d verified, %d not in the bundle", r.Contents, len(r.Missing)),
	}
	if at := r.Anchor; at != nil {
		whose := "the bundle's own key, which I trust for want of --key"
		if at.Trusted {
			whose = "the key that you gave"
		}
		pairs = append(pairs, "log", fmt.Sprintf("%d records proven in %s, %d leaves", at.Proofs, at.Origin, at.Size),
			"signed by", fmt.Sprintf("%s, fingerprint %s", whose, at.Fingerprint))
	}
	if v := r.Verdict; v != nil {
		pairs = append(pairs, "verdict", rulingText(v))
	}
	if x := r.Rerun; x != nil && x.Ran {
		pairs = append(pairs, "run again", fmt.Sprintf("%s, %d fuel, value %s: %s", x.Status, x.Fuel, x.Checksum, agreement(x.Agrees)))
	}
	for _, x := range r.Contradicted {
		pairs = append(pairs, "contradicted", against(x))
	}
	if err := a.facts(pairs...); err != nil {
		return err
	}
	var lines []string
	for _, d := range r.Found {
		lines = append(lines, "wrong: "+d.String())
	}
	for _, u := range r.Unproven {
		lines = append(lines, "not proven: "+u)
	}
	if story {
		lines = append(append(lines, ""), audit.Tell(r.Story)...)
	}
	_, err := fmt.Fprintln(a.out, printable(strings.Join(lines, "\n")))
	return err
}

func rulingText(v *audit.Ruling) string {
	text := "verified"
	if v.DeadLetter != "" {
		text = v.DeadLetter
	}
	if v.Basis != "" {
		text += " by " + v.Basis
	}
	if v.Checksum != "" {
		text += ", value " + v.Checksum
	}
	return text
}

func agreement(agrees bool) string {
	if agrees {
		return "as decided"
	}
	return "NOT as decided"
}

// against says what is proven against a worker.
func against(x audit.Contradiction) string {
	verb := "returned"
	if x.Signed {
		verb = "signed"
	}
	text := fmt.Sprintf("worker %s %s %s for slot %d", x.Worker, verb, x.Said, x.Slot)
	if x.Refuted {
		text += "; the module gives something else"
	}
	return text
}
