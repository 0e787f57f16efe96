package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/encoding/protojson"

	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

func (a *app) pipelineCommand() *cobra.Command {
	c := &cobra.Command{Use: "pipeline", Short: "Submit, follow and read pipelines"}
	c.AddCommand(a.pipelineSubmit(), a.pipelineList(), a.pipelineDescribe(), a.pipelineWatch(), a.pipelineCancel(), a.pipelineOutput())
	return c
}

func (a *app) pipelineSubmit() *cobra.Command {
	return &cobra.Command{
		Use: "submit FILE", Short: "Submit a pipeline from a JSON SubmitPipelineRequest (see the schema)", Args: cobra.ExactArgs(1),
		Long: "Submit a pipeline from a file with a SubmitPipelineRequest in protobuf's JSON form (bytes are base64).\n" +
			"For one module over one file, shardy run does all of it.",
		Example: "  shardy pipeline submit pipeline.json",
		RunE: a.call(func(ctx context.Context, args []string) error {
			data, err := a.readInput(args[0], maxInput)
			if err != nil {
				return err
			}
			req := new(operatorv1.SubmitPipelineRequest)
			if err := protojson.Unmarshal(data, req); err != nil {
				return usage("%s: %w", args[0], err)
			}
			api, err := a.dial()
			if err != nil {
				return err
			}
			res, err := api.SubmitPipeline(ctx, req)
			if err != nil {
				return err
			}
			if a.json {
				return a.printMessage(res)
			}
			_, err = fmt.Fprintln(a.out, res.Id)
			return err
		}),
	}
}

func (a *app) pipelineList() *cobra.Command {
	var p paging
	var state, tenant string
	c := &cobra.Command{
		Use: "list", Short: "List pipelines", Args: cobra.NoArgs, Example: "  shardy pipeline list --state running",
		RunE: a.call(func(ctx context.Context, _ []string) error {
			s, err := parseEnum[operatorv1.PipelineState]("state", state)
			if err != nil {
				return err
			}
			api, err := a.dial()
			if err != nil {
				return err
			}
			rows, next, err := pages(ctx, p, func(ctx context.Context, size uint32, token string) ([]*operatorv1.Pipeline, string, error) {
				res, err := api.ListPipelines(ctx, &operatorv1.ListPipelinesRequest{State: s, Tenant: tenant, PageSize: size, PageToken: token})
				return res.GetPipelines(), res.GetNextPageToken(), err
			})
			if err != nil {
				return err
			}
			return printList(a, "pipelines", rows, next, "ID STATE NAME TENANT STAGE DONE FAILED SUBMITTED", func(p *operatorv1.Pipeline) []any {
				return []any{
					p.Id, name(p.State), printable(p.Name), p.Tenant, fmt.Sprintf("%d/%d", p.Stage+1, p.Stages),
					fmt.Sprintf("%d/%d", p.Settled, p.Chunks), p.Failed, when(p.SubmittedUs),
				}
			})
		}),
	}
	p.flags(c)
	c.Flags().StringVar(&state, "state", "", "running, completed, failed or cancelled")
	c.Flags().StringVar(&tenant, "tenant", "", "only this tenant's")
	return c
}

func (a *app) pipelineDescribe() *cobra.Command {
	return &cobra.Command{
		Use: "describe PIPELINE", Short: "Show a pipeline", Args: cobra.ExactArgs(1), Example: "  shardy pipeline describe 01k9x2",
		RunE: about(a, (*api).pipelineID, func(ctx context.Context, api *api, id string) error {
			res, err := api.GetPipeline(ctx, &operatorv1.GetPipelineRequest{Id: id})
			if err != nil {
				return err
			}
			p := res.Pipeline
			if a.json {
				return a.printMessage(p)
			}
			return a.facts("pipeline", p.Id, "name", p.Name, "state", name(p.State), "tenant", p.Tenant,
				"stage", fmt.Sprintf("%d of %d", p.Stage+1, p.Stages), "chunks", fmt.Sprintf("%d of %d settled, %d failed", p.Settled, p.Chunks, p.Failed),
				"submitted", when(p.SubmittedUs), "ended", when(p.EndedUs), "output", bytesText(p.OutputBytes), "detail", p.Detail)
		}),
	}
}

func (a *app) pipelineWatch() *cobra.Command {
	return &cobra.Command{
		Use: "watch PIPELINE", Short: "Follow a pipeline until it has ended", Args: cobra.ExactArgs(1),
		Example: "  shardy pipeline watch 01k9x2 --timeout 10m",
		RunE: about(a, (*api).pipelineID, func(ctx context.Context, api *api, id string) error {
			return a.followPipeline(ctx, api, id, func(p *operatorv1.Pipeline) error {
				if a.json {
					return a.printMessage(p)
				}
				_, err := fmt.Fprintf(a.out, "%s  stage %d/%d  chunk %d/%d  %d failed\n", name(p.State), p.Stage+1, p.Stages, p.Settled, p.Chunks, p.Failed)
				return err
			})
		}),
	}
}

// followPipeline shows every state of a pipeline until it has ended. Every end but completion is an error.
func (a *app) followPipeline(ctx context.Context, api *api, id string, show func(*operatorv1.Pipeline) error) error {
	var last *operatorv1.Pipeline
	stream, err := api.WatchPipeline(ctx, &operatorv1.WatchPipelineRequest{Id: id})
	err = receive(stream, err, func(res *operatorv1.WatchPipelineResponse) (bool, error) {
		last = res.Pipeline
		return false, show(last)
	})
	if err == nil && last.GetState() != operatorv1.PipelineState_PIPELINE_STATE_COMPLETED {
		err = failed(exitFailed, "pipeline %s is %s: %s", id, name(last.GetState()), printable(last.GetDetail()))
	}
	return err
}

func (a *app) pipelineCancel() *cobra.Command {
	var reason string
	c := &cobra.Command{
		Use: "cancel PIPELINE", Short: "Stop a pipeline and its open jobs for good", Args: cobra.ExactArgs(1),
		Example: "  shardy pipeline cancel 01k9x2 --reason 'wrong model' --yes",
		RunE: about(a, (*api).pipelineID, func(ctx context.Context, api *api, id string) error {
			if err := a.confirm("cancel pipeline %s and its open jobs", id); err != nil {
				return err
			}
			_, err := api.CancelPipeline(ctx, &operatorv1.CancelPipelineRequest{Id: id, Reason: reason})
			return a.done(err, id, "cancelled")
		}),
	}
	c.Flags().StringVar(&reason, "reason", "", "why, for the record")
	return c
}

func (a *app) pipelineOutput() *cobra.Command {
	var to string
	c := &cobra.Command{
		Use: "output PIPELINE", Short: "Download the outputs of the last stage, joined", Args: cobra.ExactArgs(1),
		Example: "  shardy pipeline output 01k9x2 --output picture.raw",
		RunE: about(a, (*api).pipelineID, func(ctx context.Context, api *api, id string) error {
			_, err := a.download(ctx, api, id, to)
			return err
		}),
	}
	c.Flags().StringVarP(&to, "output", "o", "-", "file to write, - for stdout")
	return c
}

// download writes a pipeline's output and returns its size.
func (a *app) download(ctx context.Context, api *api, id, to string) (size uint64, err error) {
	out, err := a.openOutput(to)
	if err != nil {
		return 0, err
	}
	stream, err := api.DownloadOutput(ctx, &operatorv1.DownloadOutputRequest{Id: id})
	return size, out.finish(receive(stream, err, func(res *operatorv1.DownloadOutputResponse) (bool, error) {
		size += uint64(len(res.Data))
		return false, writeAll(out, res.Data)
	}))
}

// progress draws one line on a terminal, or a line now and then elsewhere.
type progress struct {
	app   *app
	bar   bool
	begin time.Time
	shown time.Time
}

func (a *app) newProgress() *progress {
	return &progress{app: a, bar: !a.json && isTerminal(a.err), begin: time.Now()}
}

func (p *progress) show(s *operatorv1.Pipeline) error {
	ended := s.State != operatorv1.PipelineState_PIPELINE_STATE_RUNNING
	if p.app.json || !ended && time.Since(p.shown) < p.every() {
		return nil
	}
	p.shown = time.Now()
	const width = 30
	full := 0
	if s.Chunks > 0 {
		full = int(uint64(s.Settled) * width / uint64(s.Chunks))
	}
	line := fmt.Sprintf("stage %d/%d [%-*s] %d/%d verified, %d failed, %s", s.Stage+1, s.Stages, width,
		stripes[:min(full, width)], s.Settled-min(s.Failed, s.Settled), s.Chunks, s.Failed, time.Since(p.begin).Round(100*time.Millisecond))
	if p.bar {
		end := ""
		if ended {
			end = "\n"
		}
		_, err := fmt.Fprintf(p.app.err, "\r\x1b[K%s%s", line, end)
		return err
	}
	_, err := fmt.Fprintln(p.app.err, line)
	return err
}

const stripes = "##############################"

func (p *progress) every() time.Duration {
	if p.bar {
		return 100 * time.Millisecond
	}
	return 2 * time.Second
}
