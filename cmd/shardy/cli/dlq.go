package cli

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

func (a *app) dlqCommand() *cobra.Command {
	c := &cobra.Command{Use: "dlq", Short: "Look into dead letters; requeue, edit and discard them"}
	c.AddCommand(a.dlqList(), a.dlqDescribe(), a.dlqPayload(), a.dlqWatch(), a.dlqRequeue(), a.dlqDiscard(), a.dlqEdit())
	return c
}

// letterFlags are the flags that narrow dead letters.
type letterFlags struct {
	reasons                []string
	tenant, pipeline, kind string
	module, since, until   string
}

var letterFlagNames = []string{"reason-code", "tenant", "pipeline", "kind", "module", "since", "until"}

func (l *letterFlags) flags(c *cobra.Command) {
	f := c.Flags()
	f.StringSliceVar(&l.reasons, "reason-code", nil, "why they died: delivery_exhausted, no_quorum, job_failed, ringer_failed; several with commas")
	f.StringVar(&l.tenant, "tenant", "", "only this tenant's")
	f.StringVar(&l.pipeline, "pipeline", "", "only this pipeline's")
	f.StringVar(&l.kind, "kind", "", "standard, stress or lite_test")
	f.StringVar(&l.module, "module", "", "only jobs of this module")
	f.StringVar(&l.since, "since", "", "dead-lettered then or later: 90m, 7d (ago), or a time like 2026-01-31T18:00:00Z")
	f.StringVar(&l.until, "until", "", "dead-lettered before")
}

// filter makes a request's filter of the flags. Short names of modules and pipelines are completed.
func (l *letterFlags) filter(ctx context.Context, api *api) (*operatorv1.DeadLetterFilter, error) {
	f := &operatorv1.DeadLetterFilter{Tenant: l.tenant}
	for _, text := range l.reasons {
		r, err := parseEnum[eventv1.DeadLetterReason]("reason-code", text)
		if err != nil {
			return nil, err
		}
		if r == 0 {
			return nil, usage("--reason-code is empty")
		}
		f.Reasons = append(f.Reasons, r)
	}
	var err error
	if f.Kind, err = parseEnum[eventv1.JobKind]("kind", l.kind); err != nil {
		return nil, err
	}
	now := time.Now()
	if f.FromUs, err = parseTime("since", l.since, now); err != nil {
		return nil, err
	}
	if f.UntilUs, err = parseTime("until", l.until, now); err != nil {
		return nil, err
	}
	if l.module != "" {
		if f.Module, err = api.moduleName(ctx, l.module); err != nil {
			return nil, err
		}
	}
	if l.pipeline != "" {
		f.Pipeline, err = api.pipelineID(ctx, l.pipeline)
	}
	return f, err
}

// parseTime reads a point in time, or how long ago it was, in microseconds; empty text is 0.
func parseTime(flag, text string, now time.Time) (int64, error) {
	if text == "" {
		return 0, nil
	}
	if at, err := time.Parse(time.RFC3339, text); err == nil && at.UnixMicro() > 0 {
		return at.UnixMicro(), nil
	}
	ago, err := time.ParseDuration(text)
	if days, ok := strings.CutSuffix(text, "d"); ok {
		var n uint64
		n, err = strconv.ParseUint(days, 10, 15)
		ago = time.Duration(n) * 24 * time.Hour
	}
	if err != nil || ago < 0 || now.Add(-ago).UnixMicro() <= 0 {
		return 0, usage("--%s %q: want how long ago (90m, 7d) or a time like 2026-01-31T18:00:00Z", flag, text)
	}
	return now.Add(-ago).UnixMicro(), nil
}

func (a *app) dlqList() *cobra.Command {
	var p paging
	var l letterFlags
	c := &cobra.Command{
		Use: "list", Short: "List dead letters", Args: cobra.NoArgs,
		Example: "  shardy dlq list --reason-code no_quorum,job_failed --since 24h",
		RunE: a.call(func(ctx context.Context, _ []string) error {
			api, err := a.dial()
			if err != nil {
				return err
			}
			filter, err := l.filter(ctx, api)
			if err != nil {
				return err
			}
			rows, next, err := pages(ctx, p, func(ctx context.Context, size uint32, token string) ([]*operatorv1.DeadLetter, string, error) {
				res, err := api.ListDeadLetters(ctx, &operatorv1.ListDeadLettersRequest{Filter: filter, PageSize: size, PageToken: token})
				return res.GetDeadLetters(), res.GetNextPageToken(), err
			})
			if err != nil {
				return err
			}
			return printList(a, "dead_letters", rows, next, "JOB REASON TENANT PIPELINE AT DETAIL", func(d *operatorv1.DeadLetter) []any {
				return []any{d.Id, name(d.Reason), d.Tenant, d.Pipeline, when(d.AtUs), printable(d.Detail)}
			})
		}),
	}
	p.flags(c)
	l.flags(c)
	return c
}

func (a *app) dlqDescribe() *cobra.Command {
	return &cobra.Command{
		Use: "describe JOB", Short: "Show a dead letter with its rounds, payloads and the history of its attempts", Args: cobra.ExactArgs(1),
		Example: "  shardy dlq describe 01k9x2",
		RunE: about(a, (*api).deadLetterID, func(ctx context.Context, api *api, id string) error {
			res, err := api.DescribeDeadLetter(ctx, &operatorv1.DescribeDeadLetterRequest{Id: id})
			if err != nil {
				return err
			}
			if a.json {
				return a.printMessage(res)
			}
			return a.describeLetter(res)
		}),
	}
}

func (a *app) describeLetter(res *operatorv1.DescribeDeadLetterResponse) error {
	if err := a.describeJob(res.Job); err != nil {
		return err
	}
	fmt.Fprintln(a.out)
	err := a.table("ROUND OPENED BY WAVES SLOTS ENDED DETAIL WHY", func(row func(...any)) {
		for _, r := range res.Rounds {
			row(r.Round, when(r.OpenedUs), printable(r.By), r.Waves, r.Slots, name(r.End.GetReason()), printable(r.End.GetDetail()), printable(r.Reason))
		}
	})
	if err != nil {
		return err
	}
	fmt.Fprintln(a.out)
	err = a.table("PAYLOAD SIZE SHA256", func(row func(...any)) {
		for _, p := range res.Payloads {
			what := "input"
			if !p.Input {
				what = fmt.Sprintf("output of slot %d", p.Slot)
			}
			if p.Readable {
				row(what, bytesText(p.Ref.GetSize()), hexID(p.Ref.GetSha256()))
			} else {
				row(what, "hidden", "")
			}
		}
	})
	if err != nil {
		return err
	}
	fmt.Fprintln(a.out)
	return a.table("SLOT ATTEMPT WORKER DISPATCHED ENDED OUTCOME", func(row func(...any)) {
		for _, t := range res.Attempts {
			outcome := t.Outcome
			if t.Rejected != 0 {
				outcome += " (" + name(t.Rejected) + ")"
			}
			row(t.Slot, t.Attempt, hexID(t.Worker), when(t.DispatchedUs), when(t.EndedUs), printable(outcome))
		}
	})
}

func (a *app) dlqPayload() *cobra.Command {
	var to string
	var slot uint32
	c := &cobra.Command{
		Use: "payload JOB", Short: "Download the input of a dead letter, or what one of its slots returned", Args: cobra.ExactArgs(1),
		Example: "  shardy dlq payload 01k9x2 --out input.bin\n  shardy dlq payload 01k9x2 --output 1 --out slot1.bin",
	}
	c.RunE = about(a, (*api).deadLetterID, func(ctx context.Context, api *api, id string) error {
		req := &operatorv1.DownloadPayloadRequest{Id: id}
		if c.Flags().Changed("output") {
			req.Slot = &slot
		}
		out, err := a.openOutput(to)
		if err != nil {
			return err
		}
		stream, err := api.DownloadPayload(ctx, req)
		return out.finish(receive(stream, err, func(res *operatorv1.DownloadPayloadResponse) (bool, error) {
			return false, writeAll(out, res.Data)
		}))
	})
	c.Flags().StringVarP(&to, "out", "o", "-", "file to write, - for stdout")
	c.Flags().Uint32Var(&slot, "output", 0, "what this slot returned, instead of the input")
	return c
}

func (a *app) dlqWatch() *cobra.Command {
	var reasons []string
	c := &cobra.Command{
		Use: "watch", Short: "Print jobs as they are dead-lettered", Args: cobra.NoArgs,
		Example: "  shardy dlq watch --reason-code no_quorum --json",
		RunE: a.call(func(ctx context.Context, _ []string) error {
			for _, text := range reasons {
				if _, err := parseEnum[eventv1.DeadLetterReason]("reason-code", text); err != nil {
					return err
				}
			}
			api, err := a.dial()
			if err != nil {
				return err
			}
			stream, err := api.WatchJobs(ctx, &operatorv1.WatchJobsRequest{})
			return receive(stream, err, func(res *operatorv1.WatchJobsResponse) (bool, error) {
				for _, u := range res.Updates {
					wanted := len(reasons) == 0 || slices.Contains(reasons, name(u.DeadLetter.GetReason()))
					if u.State != operatorv1.JobState_JOB_STATE_DEAD_LETTERED || !wanted {
						continue
					}
					if err := a.printUpdate(u); err != nil {
						return true, err
					}
				}
				return false, nil
			})
		}),
	}
	c.Flags().StringSliceVar(&reasons, "reason-code", nil, "only these: delivery_exhausted, no_quorum, job_failed, ringer_failed")
	return c
}
