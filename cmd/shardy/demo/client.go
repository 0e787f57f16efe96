package demo

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"

	"github.com/shardy-network/orchestrator/cmd/shardy/examples"
	"github.com/shardy-network/orchestrator/projections/dashboard"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
	"github.com/shardy-network/orchestrator/proto/shardy/operator/v1/operatorv1connect"
)

// client speaks the operator API.
type client struct {
	address   string
	pipelines operatorv1connect.PipelineServiceClient
	modules   operatorv1connect.ModuleServiceClient
	events    operatorv1connect.EventServiceClient
	workers   operatorv1connect.WorkerServiceClient
	ledger    operatorv1connect.LedgerServiceClient
	system    operatorv1connect.SystemServiceClient
}

func newClient(address string) *client {
	return &client{
		address:   address,
		pipelines: operatorv1connect.NewPipelineServiceClient(http.DefaultClient, address),
		modules:   operatorv1connect.NewModuleServiceClient(http.DefaultClient, address),
		events:    operatorv1connect.NewEventServiceClient(http.DefaultClient, address),
		workers:   operatorv1connect.NewWorkerServiceClient(http.DefaultClient, address),
		system:    operatorv1connect.NewSystemServiceClient(http.DefaultClient, address),
		ledger:    operatorv1connect.NewLedgerServiceClient(http.DefaultClient, address),
	}
}

// submit admits the program's module, stores the chunks and submits the pipeline.
func (d *show) submit(ctx context.Context, p *piece) error {
	chunks := p.program.Chunks()
	module, err := d.client.modules.AdmitModule(ctx, &operatorv1.AdmitModuleRequest{
		Module: examples.Module(p.program.Module()), Canary: canary(chunks[0]),
	})
	if err != nil {
		return fmt.Errorf("admit module: %w", err)
	}
	refs := make([]*eventv1.BlobRef, len(chunks))
	for i, c := range chunks {
		r, err := d.client.modules.PutBlob(ctx, &operatorv1.PutBlobRequest{Data: c})
		if err != nil {
			return fmt.Errorf("store chunk %d: %w", i, err)
		}
		refs[i] = r.Ref
	}
	res, err := d.client.pipelines.SubmitPipeline(ctx, &operatorv1.SubmitPipelineRequest{
		Chunks: refs,
		Spec: &eventv1.PipelineSpec{
			Name: p.title,
			Stages: []*eventv1.StageSpec{{
				Name: p.program.Module(),
				Template: &eventv1.JobSpec{
					Module: module.Module.Name, FuelLimit: p.program.Fuel(), MinTier: 1,
					Output: &eventv1.OutputSpec{MaxBytes: 1 << 20}, Labels: labels(p.program),
				},
			}},
		},
	})
	if err != nil {
		return err
	}
	p.pipeline, p.chunks = res.Id, len(chunks)
	d.sum.Jobs += len(chunks)
	d.screen.say("%s: %d jobs of module %s, pipeline %s", p.title, len(chunks), p.program.Module(), p.pipeline)
	return nil
}

// labels tell the dashboard that the outputs of a program are tiles of a picture.
func labels(program examples.Program) []*eventv1.Label {
	if _, ok := program.(examples.Picture); !ok {
		return nil
	}
	return []*eventv1.Label{{Key: dashboard.PreviewLabel, Value: dashboard.PreviewTiles}}
}

// canary is an input for the trial run: a chunk that is small enough to travel with the module, else none.
func canary(chunk []byte) []byte {
	if len(chunk) > 64<<10 {
		return nil
	}
	return chunk
}

// collect downloads a pipeline's outputs and cuts them as the program says.
func (d *show) collect(ctx context.Context, p *piece) error {
	stream, err := d.client.pipelines.DownloadOutput(ctx, &operatorv1.DownloadOutputRequest{Id: p.pipeline})
	if err != nil {
		return err
	}
	defer stream.Close()
	var all bytes.Buffer
	for stream.Receive() {
		all.Write(stream.Msg().Data)
	}
	if err := stream.Err(); err != nil {
		return err
	}
	p.output = all.Bytes()
	outputs, err := cut(p.output, p.program.OutputSizes())
	if err != nil {
		return err
	}
	p.assembled, err = p.program.Assemble(outputs)
	return err
}

func cut(data []byte, sizes []int) ([][]byte, error) {
	outputs := make([][]byte, len(sizes))
	for i, n := range sizes {
		if n > len(data) {
			return nil, fmt.Errorf("%w: output ends in chunk %d", ErrWrong, i)
		}
		outputs[i], data = data[:n], data[n:]
	}
	if len(data) > 0 {
		return nil, fmt.Errorf("%w: %d bytes too many", ErrWrong, len(data))
	}
	return outputs, nil
}

// keep writes the picture and notes the accuracy.
func (d *show) keep(pieces []*piece) error {
	for _, p := range pieces {
		switch program := p.program.(type) {
		case examples.Picture:
			png, err := program.PNG(p.assembled)
			if err != nil {
				return err
			}
			d.sum.Picture = filepath.Join(d.dir, "picture.png")
			if err := os.WriteFile(d.sum.Picture, png, 0o644); err != nil {
				return err
			}
		case examples.CNN:
			var err error
			if d.sum.Accuracy, err = program.Accuracy(p.assembled); err != nil {
				return err
			}
		}
	}
	return nil
}
