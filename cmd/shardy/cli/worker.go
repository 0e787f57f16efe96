package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

// workerCommand manages workers. A command from outside that runs one takes over its verbs, see graft.
func (a *app) workerCommand() *cobra.Command {
	c := &cobra.Command{Use: "worker", Short: "Look at workers, drain, ban and reinstate them"}
	c.AddCommand(a.workerStake(), a.workerUnstake(), a.workerBalance(), a.workerReceipts())
	c.AddCommand(a.workerList(), a.workerDescribe(), a.workerWatch(),
		a.workerRule("drain", "Let a worker finish what it has and give it nothing new", "drained", false,
			func(ctx context.Context, api *api, key []byte, reason string) error {
				_, err := api.DrainWorker(ctx, &operatorv1.DrainWorkerRequest{Key: key, Reason: reason})
				return err
			}),
		a.workerRule("ban", "Take a worker's work away and refuse it from now on", "banned", true,
			func(ctx context.Context, api *api, key []byte, reason string) error {
				_, err := api.BanWorker(ctx, &operatorv1.BanWorkerRequest{Key: key, Reason: reason})
				return err
			}),
		a.workerRule("reinstate", "End a drain or a ban", "reinstated", false,
			func(ctx context.Context, api *api, key []byte, reason string) error {
				_, err := api.ReinstateWorker(ctx, &operatorv1.ReinstateWorkerRequest{Key: key, Reason: reason})
				return err
			}))
	return c
}

func (a *app) workerList() *cobra.Command {
	var p paging
	var state string
	var tier uint32
	c := &cobra.Command{
		Use: "list", Short: "List workers", Args: cobra.NoArgs, Example: "  shardy worker list --state connected --tier 2",
		RunE: a.call(func(ctx context.Context, _ []string) error {
			api, err := a.dial()
			if err != nil {
				return err
			}
			rows, next, err := pages(ctx, p, func(ctx context.Context, size uint32, token string) ([]*operatorv1.Worker, string, error) {
				res, err := api.ListWorkers(ctx, &operatorv1.ListWorkersRequest{Tier: tier, State: state, PageSize: size, PageToken: token})
				return res.GetWorkers(), res.GetNextPageToken(), err
			})
			if err != nil {
				return err
			}
			return printList(a, "workers", rows, next, "KEY STATE TIER PROVEN CREDITS HOLDS AGREED CONTRADICTED SEEN", func(w *operatorv1.Worker) []any {
				return []any{
					hexID(w.Key), w.State, w.Tier, gflops(w.Proven), w.Credits, w.InFlight, w.Record.GetAgreed(),
					w.Record.GetContradicted(), when(w.LastSeenUs),
				}
			})
		}),
	}
	p.flags(c)
	c.Flags().StringVar(&state, "state", "", "connected, disconnected, rejected, draining or banned")
	c.Flags().Uint32Var(&tier, "tier", 0, "only this tier, 1 to 3")
	return c
}

func gflops(p *eventv1.Proven) string {
	if p == nil {
		return ""
	}
	return fmt.Sprintf("%.2f GFLOPS", float64(p.Mflops)/1000)
}

func (a *app) workerDescribe() *cobra.Command {
	return &cobra.Command{
		Use: "describe KEY", Short: "Show a worker: claim, proof and record", Args: cobra.ExactArgs(1),
		Example: "  shardy worker describe 9f3c",
		RunE: about(a, (*api).workerKey, func(ctx context.Context, api *api, key []byte) error {
			res, err := api.GetWorker(ctx, &operatorv1.GetWorkerRequest{Key: key})
			if err != nil {
				return err
			}
			w := res.Worker
			if a.json {
				return a.printMessage(w)
			}
			claim, r := w.GetClaim(), w.GetRecord()
			return a.facts("worker", hexID(w.Key), "state", w.State, "detail", w.Detail, "tier", w.Tier, "group", w.Group,
				"claims", fmt.Sprintf("%.2f GFLOPS, %s, %d cores, %s/%s, %s", float64(claim.GetMflops())/1000,
					bytesText(claim.GetMaxAllocationBytes()), claim.GetCores(), claim.GetOs(), claim.GetArch(), claim.GetAgent()),
				"proved", gflops(w.Proven)+", "+bytesText(w.Proven.GetMemoryBytes()),
				"holds", fmt.Sprintf("%d, %d credits", w.InFlight, w.Credits),
				"record", fmt.Sprintf("%d agreed, %d contradicted, %d rejected, %d timed out, %d dropped, %d failed",
					r.GetAgreed(), r.GetContradicted(), r.GetRejected(), r.GetTimedOut(), r.GetDropped(), r.GetFailed()),
				"seen", when(w.LastSeenUs))
		}),
	}
}

func (a *app) workerWatch() *cobra.Command {
	return &cobra.Command{
		Use: "watch [KEY]", Short: "Follow the events of a worker, or of all", Args: cobra.MaximumNArgs(1),
		Example: "  shardy worker watch 9f3c",
		RunE: a.call(func(ctx context.Context, args []string) error {
			api, err := a.dial()
			if err != nil {
				return err
			}
			req := &operatorv1.ReadEventsRequest{Follow: true}
			if len(args) == 0 {
				req.Types = []string{"Worker", "Profile", "Challenge", "Admission", "Tier", "Reliability"}
				return a.printEvents(ctx, api, req)
			}
			key, err := api.workerKey(ctx, args[0])
			if err != nil {
				return err
			}
			req.Stream = fmt.Sprintf("worker-%x", key)
			return a.printEvents(ctx, api, req)
		}),
	}
}

type rule func(ctx context.Context, api *api, key []byte, reason string) error

func (a *app) workerRule(verb, short, done string, dangerous bool, do rule) *cobra.Command {
	var reason string
	c := &cobra.Command{
		Use: verb + " KEY", Short: short, Args: cobra.ExactArgs(1),
		Example: "  shardy worker " + verb + " 9f3c --reason 'maintenance'",
		RunE: about(a, (*api).workerKey, func(ctx context.Context, api *api, key []byte) error {
			if dangerous {
				if reason == "" {
					return usage("--reason is needed")
				}
				if err := a.confirm("%s worker %x", verb, key); err != nil {
					return err
				}
			}
			return a.done(do(ctx, api, key, reason), hexID(key), done)
		}),
	}
	c.Flags().StringVar(&reason, "reason", "", "why, for the record")
	return c
}
