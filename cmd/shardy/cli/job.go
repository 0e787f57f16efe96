package cli

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

func (a *app) jobCommand() *cobra.Command {
	c := &cobra.Command{Use: "job", Short: "Submit, follow and read single jobs"}
	c.AddCommand(a.jobSubmit(), a.jobList(), a.jobDescribe(), a.jobWatch(), a.jobCancel(), a.jobExplain(), a.jobResult())
	return c
}

// workFlags are the flags that say how work is to be done.
type workFlags struct {
	fuel       uint64
	tier       uint32
	memory     uint64
	priority   int32
	tenant     string
	kind       string
	redundancy uint32
	maxOutput  uint64
	labels     []string
	requestID  string
}

func (w *workFlags) flags(c *cobra.Command) {
	f := c.Flags()
	f.Uint64Var(&w.fuel, "fuel", 1_000_000_000, "fuel that a chunk may use")
	f.Uint32Var(&w.tier, "min-tier", 0, "least tier of the workers, 1 to 3 (0: as deployed)")
	f.Uint64Var(&w.memory, "min-memory", 0, "least memory of the workers, in bytes")
	f.Int32Var(&w.priority, "priority", 0, "-100 to 100, higher first")
	f.StringVar(&w.tenant, "tenant", "", "whose work it is (default: the token's only tenant)")
	f.StringVar(&w.kind, "kind", "", "standard or stress")
	f.Uint32Var(&w.redundancy, "redundancy", 0, "replicas to begin with, at least the deployment's")
	f.Uint64Var(&w.maxOutput, "max-output", 0, "most bytes of an output (0: the deployment's limit)")
	f.StringArrayVar(&w.labels, "label", nil, "KEY=VALUE, may be repeated")
	f.StringVar(&w.requestID, "request-id", "", "idempotency key: a repeat answers with the first id")
}

func (w *workFlags) spec(module []byte) (*eventv1.JobSpec, error) {
	kind, err := parseEnum[eventv1.JobKind]("kind", w.kind)
	if err != nil {
		return nil, err
	}
	spec := &eventv1.JobSpec{
		Module: module, FuelLimit: w.fuel, MinTier: w.tier, MinMemoryBytes: w.memory, Priority: w.priority, Kind: kind,
		Tenant: w.tenant, Output: &eventv1.OutputSpec{MaxBytes: w.maxOutput},
	}
	for _, l := range w.labels {
		key, value, ok := strings.Cut(l, "=")
		if !ok {
			return nil, usage("--label %q: want KEY=VALUE", l)
		}
		spec.Labels = append(spec.Labels, &eventv1.Label{Key: key, Value: value})
	}
	return spec, nil
}

func (w *workFlags) overrides() *operatorv1.PolicyOverrides {
	if w.redundancy == 0 {
		return nil
	}
	return &operatorv1.PolicyOverrides{Redundancy: w.redundancy}
}

func (a *app) jobSubmit() *cobra.Command {
	var w workFlags
	var input string
	var wait bool
	c := &cobra.Command{
		Use: "submit MODULE", Short: "Submit one job: an admitted module and its input", Args: cobra.ExactArgs(1),
		Example: "  shardy job submit 3f9a2c --input chunk.bin --wait",
		RunE: a.call(func(ctx context.Context, args []string) error {
			api, err := a.dial()
			if err != nil {
				return err
			}
			payload, err := a.readInput(input, maxInput)
			if err != nil {
				return err
			}
			module, err := api.moduleName(ctx, args[0])
			if err != nil {
				return err
			}
			spec, err := w.spec(module)
			if err != nil {
				return err
			}
			spec.RequestId = w.requestID
			id, err := submitOne(ctx, api, &operatorv1.NewJob{Spec: spec, Payload: payload, Overrides: w.overrides()})
			if err != nil {
				return err
			}
			if wait {
				return a.watchJobs(ctx, api, []string{id})
			}
			if a.json {
				return a.printJSON(map[string]string{"id": id})
			}
			_, err = fmt.Fprintln(a.out, id)
			return err
		}),
	}
	w.flags(c)
	c.Flags().StringVar(&input, "input", "-", "file with the input, - for stdin")
	c.Flags().BoolVar(&wait, "wait", false, "wait for the verdict")
	return c
}

const maxInput = 16 << 20

func submitOne(ctx context.Context, api *api, job *operatorv1.NewJob) (string, error) {
	res, err := api.SubmitJobs(ctx, &operatorv1.SubmitJobsRequest{Jobs: []*operatorv1.NewJob{job}})
	if err != nil {
		return "", err
	}
	if len(res.Jobs) != 1 {
		return "", failed(exitFailed, "the orchestrator answered for %d jobs, not 1", len(res.Jobs))
	}
	if r := res.Jobs[0]; r.Code != 0 {
		return "", refusedJob(r)
	}
	return res.Jobs[0].Id, nil
}

func (a *app) jobList() *cobra.Command {
	var p paging
	var state, tenant, pipeline, kind string
	c := &cobra.Command{
		Use: "list", Short: "List jobs", Args: cobra.NoArgs, Example: "  shardy job list --state dead_lettered --json",
		RunE: a.call(func(ctx context.Context, _ []string) error {
			s, err := parseEnum[operatorv1.JobState]("state", state)
			if err != nil {
				return err
			}
			k, err := parseEnum[eventv1.JobKind]("kind", kind)
			if err != nil {
				return err
			}
			api, err := a.dial()
			if err != nil {
				return err
			}
			rows, next, err := pages(ctx, p, func(ctx context.Context, size uint32, token string) ([]*operatorv1.JobRow, string, error) {
				res, err := api.ListJobs(ctx, &operatorv1.ListJobsRequest{
					State: s, Tenant: tenant, Pipeline: pipeline, Kind: k, PageSize: size, PageToken: token,
				})
				return res.GetJobs(), res.GetNextPageToken(), err
			})
			if err != nil {
				return err
			}
			return printList(a, "jobs", rows, next, "ID STATE KIND TENANT PIPELINE SUBMITTED BECAUSE", func(j *operatorv1.JobRow) []any {
				because := ""
				switch {
				case j.DeadLetter != 0:
					because = name(j.DeadLetter)
				case j.Basis != 0:
					because = name(j.Basis)
				}
				return []any{j.Id, name(j.State), name(j.Kind), j.Tenant, j.Pipeline, when(j.SubmittedUs), because}
			})
		}),
	}
	p.flags(c)
	c.Flags().StringVar(&state, "state", "", "open, verified, dead_lettered, cancelled or discarded")
	c.Flags().StringVar(&tenant, "tenant", "", "only this tenant's")
	c.Flags().StringVar(&pipeline, "pipeline", "", "only this pipeline's")
	c.Flags().StringVar(&kind, "kind", "", "standard, stress or lite_test")
	return c
}

func (a *app) jobDescribe() *cobra.Command {
	return &cobra.Command{
		Use: "describe JOB", Short: "Show a job with its slots and results", Args: cobra.ExactArgs(1),
		Example: "  shardy job describe 01k9x2",
		RunE: about(a, (*api).jobID, func(ctx context.Context, api *api, id string) error {
			res, err := api.GetJob(ctx, &operatorv1.GetJobRequest{Id: id})
			if err != nil {
				return err
			}
			if a.json {
				return a.printMessage(res.Job)
			}
			return a.describeJob(res.Job)
		}),
	}
}

func (a *app) describeJob(j *operatorv1.Job) error {
	err := a.facts("job", j.Id, "state", name(j.State), "kind", name(j.Spec.GetKind()), "tenant", j.Spec.GetTenant(),
		"pipeline", j.Spec.GetPipeline(), "module", hexID(j.Spec.GetModule()),
		"input", fmt.Sprintf("%s, %x", bytesText(j.Spec.GetInput().GetSize()), j.Spec.GetInput().GetSha256()),
		"fuel limit", j.Spec.GetFuelLimit(), "submitted", when(j.SubmittedUs), "decided", when(j.DecidedUs),
		"round and wave", fmt.Sprintf("%d, %d", j.Round, j.Wave),
		"verdict", verdictText(j.State, j.Verdict, j.DeadLetter), "replaces", j.Spec.GetReplaces(),
		"replaced by", j.ReplacedBy, "ended by", j.EndedBy, "because", j.EndedReason)
	if err != nil {
		return err
	}
	fmt.Fprintln(a.out)
	return a.table("SLOT STATE ATTEMPT WORKER DETAIL", func(row func(...any)) {
		for _, s := range j.Slots {
			row(s.Slot, s.State, s.Attempt, hexID(s.Worker), printable(s.Detail))
		}
	})
}

func verdictText(state operatorv1.JobState, v *eventv1.TaskVerified, d *eventv1.JobDeadLettered) string {
	switch state {
	case operatorv1.JobState_JOB_STATE_VERIFIED:
		return fmt.Sprintf("%s: slots %v agree, %v contradicted; %d fuel, %s", name(v.GetBasis()), v.GetAgreeing(),
			v.GetContradicted(), v.GetFuel(), bytesText(v.GetOutput().GetSize()))
	case operatorv1.JobState_JOB_STATE_DEAD_LETTERED:
		return fmt.Sprintf("%s: %s", name(d.GetReason()), d.GetDetail())
	}
	return ""
}

func (a *app) jobWatch() *cobra.Command {
	return &cobra.Command{
		Use: "watch [JOB...]", Short: "Follow jobs until each has ended; without a name, all jobs for ever",
		Example: "  shardy job watch 01k9x2 01k9x3 --timeout 1m",
		RunE: a.call(func(ctx context.Context, args []string) error {
			api, err := a.dial()
			if err != nil {
				return err
			}
			ids := make([]string, len(args))
			for i, text := range args {
				if ids[i], err = api.jobID(ctx, text); err != nil {
					return err
				}
			}
			return a.watchJobs(ctx, api, ids)
		}),
	}
}

// watchJobs prints updates until every named job has ended. A job that ended without a verdict makes it fail.
func (a *app) watchJobs(ctx context.Context, api *api, ids []string) error {
	open, lost := map[string]bool{}, 0
	for _, id := range ids {
		open[id] = true
	}
	stream, err := api.WatchJobs(ctx, &operatorv1.WatchJobsRequest{Ids: ids})
	err = receive(stream, err, func(res *operatorv1.WatchJobsResponse) (bool, error) {
		for _, u := range res.Updates {
			if len(ids) > 0 && !open[u.Id] {
				continue // told twice
			}
			if err := a.printUpdate(u); err != nil {
				return true, err
			}
			if u.State == operatorv1.JobState_JOB_STATE_OPEN {
				continue
			}
			if u.State != operatorv1.JobState_JOB_STATE_VERIFIED {
				lost++
			}
			delete(open, u.Id)
		}
		return len(ids) > 0 && len(open) == 0, nil
	})
	if err == nil && len(ids) > 0 && lost > 0 {
		err = failed(exitFailed, "%d of %d jobs ended without a verified result", lost, len(ids))
	}
	return err
}

func (a *app) printUpdate(u *operatorv1.JobUpdate) error {
	if a.json {
		return a.printMessage(u)
	}
	line := u.Id + "  " + name(u.State)
	if v := verdictText(u.State, u.Verdict, u.DeadLetter); v != "" {
		line += "  " + v
	}
	_, err := fmt.Fprintln(a.out, printable(line))
	return err
}

func (a *app) jobCancel() *cobra.Command {
	var reason string
	c := &cobra.Command{
		Use: "cancel JOB", Short: "Stop an open job for good", Args: cobra.ExactArgs(1),
		Example: "  shardy job cancel 01k9x2 --reason 'wrong input' --yes",
		RunE: about(a, (*api).jobID, func(ctx context.Context, api *api, id string) error {
			if err := a.confirm("cancel job %s", id); err != nil {
				return err
			}
			_, err := api.CancelJob(ctx, &operatorv1.CancelJobRequest{Id: id, Reason: reason})
			return a.done(err, id, "cancelled")
		}),
	}
	c.Flags().StringVar(&reason, "reason", "", "why, for the record")
	return c
}

// done reports what a command has done to something.
func (a *app) done(err error, id, what string) error {
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(map[string]string{"id": id, "done": what})
	}
	a.say("%s: %s", id, what)
	return nil
}

func (a *app) jobExplain() *cobra.Command {
	return &cobra.Command{
		Use: "explain JOB", Short: "Say why a job is where it is", Args: cobra.ExactArgs(1),
		Example: "  shardy job explain 01k9x2",
		RunE: about(a, (*api).jobID, func(ctx context.Context, api *api, id string) error {
			res, err := api.ExplainJob(ctx, &operatorv1.ExplainJobRequest{Id: id})
			if err != nil {
				return err
			}
			if a.json {
				return a.printMessage(res)
			}
			_, err = fmt.Fprintln(a.out, printable(strings.Join(res.Lines, "\n")))
			return err
		}),
	}
}

func (a *app) jobResult() *cobra.Command {
	var to string
	c := &cobra.Command{
		Use: "result JOB", Short: "Download the output of a verified job", Args: cobra.ExactArgs(1),
		Example: "  shardy job result 01k9x2 --output out.bin",
		RunE: about(a, (*api).jobID, func(ctx context.Context, api *api, id string) error {
			out, err := a.openOutput(to)
			if err != nil {
				return err
			}
			stream, err := api.DownloadResult(ctx, &operatorv1.DownloadResultRequest{Id: id})
			return out.finish(receive(stream, err, func(res *operatorv1.DownloadResultResponse) (bool, error) {
				return false, writeAll(out, res.Data)
			}))
		}),
	}
	c.Flags().StringVarP(&to, "output", "o", "-", "file to write, - for stdout")
	return c
}

func writeAll(w io.Writer, data []byte) error {
	_, err := w.Write(data)
	return err
}
