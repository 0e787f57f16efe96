package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

func (a *app) dlqCommand() *cobra.Command {
	c := &cobra.Command{Use: "dlq", Short: "Look at dead letters, requeue and discard them"}
	c.AddCommand(a.dlqList(), a.dlqDescribe(), a.dlqWatch(),
		a.dlqSettle("requeue", "Open a new round for a dead letter's job", "requeued", false,
			func(ctx context.Context, api *api, id, reason string) error {
				_, err := api.RequeueDeadLetters(ctx, &operatorv1.RequeueDeadLettersRequest{Which: &operatorv1.RequeueDeadLettersRequest_Ids{Ids: &operatorv1.DeadLetterIds{Ids: []string{id}}}, Reason: reason})
				return err
			}),
		a.dlqSettle("discard", "Give a dead letter up for good", "discarded", true,
			func(ctx context.Context, api *api, id, reason string) error {
				_, err := api.DiscardDeadLetters(ctx, &operatorv1.DiscardDeadLettersRequest{Which: &operatorv1.DiscardDeadLettersRequest_Ids{Ids: &operatorv1.DeadLetterIds{Ids: []string{id}}}, Reason: reason})
				return err
			}))
	return c
}

func (a *app) dlqList() *cobra.Command {
	var p paging
	var reason, tenant string
	c := &cobra.Command{
		Use: "list", Short: "List dead letters", Args: cobra.NoArgs, Example: "  shardy dlq list --reason no_quorum",
		RunE: a.call(func(ctx context.Context, _ []string) error {
			r, err := parseEnum[eventv1.DeadLetterReason]("reason", reason)
			if err != nil {
				return err
			}
			api, err := a.dial()
			if err != nil {
				return err
			}
			rows, next, err := pages(ctx, p, func(ctx context.Context, size uint32, token string) ([]*operatorv1.DeadLetter, string, error) {
				res, err := api.ListDeadLetters(ctx, &operatorv1.ListDeadLettersRequest{Filter: &operatorv1.DeadLetterFilter{Reasons: []eventv1.DeadLetterReason{r}, Tenant: tenant}, PageSize: size, PageToken: token})
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
	c.Flags().StringVar(&reason, "reason", "", "delivery_exhausted, no_quorum, job_failed or ringer_failed")
	c.Flags().StringVar(&tenant, "tenant", "", "only this tenant's")
	return c
}

func (a *app) dlqDescribe() *cobra.Command {
	return &cobra.Command{
		Use: "describe JOB", Short: "Show a dead letter with the history of its attempts", Args: cobra.ExactArgs(1),
		Example: "  shardy dlq describe 01k9x2",
		RunE: about(a, (*api).deadLetterID, func(ctx context.Context, api *api, id string) error {
			res, err := api.DescribeDeadLetter(ctx, &operatorv1.DescribeDeadLetterRequest{Id: id})
			if err != nil {
				return err
			}
			if a.json {
				return a.printMessage(res)
			}
			if err := a.describeJob(res.Job); err != nil {
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
		}),
	}
}

func (a *app) dlqWatch() *cobra.Command {
	return &cobra.Command{
		Use: "watch", Short: "Print jobs as they are dead-lettered", Args: cobra.NoArgs, Example: "  shardy dlq watch --json",
		RunE: a.call(func(ctx context.Context, _ []string) error {
			api, err := a.dial()
			if err != nil {
				return err
			}
			stream, err := api.WatchJobs(ctx, &operatorv1.WatchJobsRequest{})
			return receive(stream, err, func(res *operatorv1.WatchJobsResponse) (bool, error) {
				for _, u := range res.Updates {
					if u.State != operatorv1.JobState_JOB_STATE_DEAD_LETTERED {
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
}

func (a *app) dlqSettle(verb, short, done string, dangerous bool, do func(ctx context.Context, api *api, id, reason string) error) *cobra.Command {
	var reason string
	c := &cobra.Command{
		Use: verb + " JOB", Short: short, Args: cobra.ExactArgs(1),
		Example: "  shardy dlq " + verb + " 01k9x2 --reason 'workers were too few'",
		RunE: a.call(func(ctx context.Context, args []string) error {
			if reason == "" {
				return usage("--reason is needed")
			}
			api, err := a.dial()
			if err != nil {
				return err
			}
			id, err := api.deadLetterID(ctx, args[0])
			if err != nil {
				return err
			}
			if dangerous {
				if err := a.confirm("%s job %s", verb, id); err != nil {
					return err
				}
			}
			return a.done(do(ctx, api, id, reason), id, done)
		}),
	}
	c.Flags().StringVar(&reason, "reason", "", "why, for the record")
	return c
}
