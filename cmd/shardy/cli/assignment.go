package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/shardy-network/orchestrator/actors"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

func (a *app) assignmentCommand() *cobra.Command {
	c := &cobra.Command{Use: "assignment", Short: "Look at the slots of a job: who holds which replica"}
	c.AddCommand(a.assignmentList(), a.assignmentDescribe(), a.assignmentWatch())
	return c
}

func (a *app) assignmentList() *cobra.Command {
	return &cobra.Command{
		Use: "list JOB", Short: "List the slots of a job", Args: cobra.ExactArgs(1), Example: "  shardy assignment list 01k9x2",
		RunE: about(a, (*api).jobID, func(ctx context.Context, api *api, id string) error {
			res, err := api.GetJob(ctx, &operatorv1.GetJobRequest{Id: id})
			if err != nil {
				return err
			}
			return printList(a, "slots", res.Job.Slots, "", "ASSIGNMENT STATE ATTEMPT WORKER DETAIL", func(s *operatorv1.Slot) []any {
				return []any{actors.SlotID(id, s.Slot), s.State, s.Attempt, hexID(s.Worker), printable(s.Detail)}
			})
		}),
	}
}

// slotID completes the job's part of JOB-SLOT.
func (c *api) slotID(ctx context.Context, text string) (string, error) {
	job, slot, ok := strings.Cut(text, "-")
	if !ok {
		return "", usage("assignment %q: want JOB-SLOT, for example 01k9x2-0", text)
	}
	id, err := c.jobID(ctx, job)
	if err != nil {
		return "", err
	}
	if _, _, err := actors.ParseSlotID(id + "-" + slot); err != nil {
		return "", usage("assignment %q: want JOB-SLOT, for example 01k9x2-0", text)
	}
	return id + "-" + slot, nil
}

func (a *app) assignmentEvents(use, short, example string, follow bool) *cobra.Command {
	return &cobra.Command{
		Use: use + " JOB-SLOT", Short: short, Args: cobra.ExactArgs(1), Example: example,
		RunE: about(a, (*api).slotID, func(ctx context.Context, api *api, id string) error {
			return a.printEvents(ctx, api, &operatorv1.ReadEventsRequest{
				Stream: fmt.Sprintf("%s-%s", actors.AssignmentRoom, id), Follow: follow,
			})
		}),
	}
}

func (a *app) assignmentDescribe() *cobra.Command {
	return a.assignmentEvents("describe", "Show what happened to a slot, event by event", "  shardy assignment describe 01k9x2-0", false)
}

func (a *app) assignmentWatch() *cobra.Command {
	return a.assignmentEvents("watch", "Follow a slot", "  shardy assignment watch 01k9x2-0", true)
}
