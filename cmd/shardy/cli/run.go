package cli

import (
	"context"
	"crypto/sha256"
	"path/filepath"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

// maxRunInput bounds what shardy run reads into memory.
const maxRunInput = 4 << 30

type runFlags struct {
	workFlags
	input, output, canary string
	chunk                 uint64
	failures              uint32
	name                  string
	detach                bool
}

func (a *app) runCommand() *cobra.Command {
	var f runFlags
	c := &cobra.Command{
		Use: "run MODULE", Short: "Run a WebAssembly module over a file, cut into chunks", Args: cobra.ExactArgs(1),
		Long: "Run admits the module, cuts the input into chunks, has each chunk computed and verified, and writes the\n" +
			"outputs one after the other. Progress goes to stderr.",
		Example: "  shardy run primes.wasm --input ranges.bin --chunk-size 16 --output counts.bin",
		RunE: a.call(func(ctx context.Context, args []string) error {
			api, err := a.dial()
			if err != nil {
				return err
			}
			return a.run(ctx, api, args[0], &f)
		}),
	}
	f.flags(c)
	c.Flags().StringVar(&f.input, "input", "-", "file to compute over, - for stdin")
	c.Flags().StringVarP(&f.output, "output", "o", "-", "file to write, - for stdout")
	c.Flags().Uint64Var(&f.chunk, "chunk-size", 0, "bytes of a chunk (0: the whole input is one)")
	c.Flags().StringVar(&f.canary, "canary", "", "file with an input for the module's trial (default: the first chunk, up to 64 KiB)")
	c.Flags().Uint32Var(&f.failures, "max-failures", 0, "failed chunks to tolerate")
	c.Flags().StringVar(&f.name, "name", "", "name of the pipeline (default: the module's file)")
	c.Flags().BoolVar(&f.detach, "detach", false, "print the pipeline's id and do not wait")
	return c
}

// ran is what run prints with --json.
type ran struct {
	ID          string `json:"id"`
	Module      string `json:"module"`
	Chunks      int    `json:"chunks"`
	Failed      uint32 `json:"failed"`
	InputBytes  int    `json:"input_bytes"`
	OutputBytes uint64 `json:"output_bytes"`
	Output      string `json:"output"`
}

func (a *app) run(ctx context.Context, api *api, file string, f *runFlags) error {
	if a.json && !f.detach && (f.output == "-" || f.output == "") {
		return usage("with --json the output needs a file: --output F")
	}
	module, err := a.readInput(file, maxModule)
	if err != nil {
		return err
	}
	input, err := a.readInput(f.input, maxRunInput)
	if err != nil {
		return err
	}
	chunks, err := cutInput(input, f.chunk)
	if err != nil {
		return err
	}
	canary := chunks[0][:min(len(chunks[0]), maxCanary)]
	if f.canary != "" {
		if canary, err = a.readInput(f.canary, maxCanary); err != nil {
			return err
		}
	}
	admitted, err := api.AdmitModule(ctx, &operatorv1.AdmitModuleRequest{Module: module, Canary: canary})
	if err != nil {
		return err
	}
	done := ran{Module: hexID(admitted.Module.Name), Chunks: len(chunks), InputBytes: len(input), Output: f.output}
	if done.ID, err = a.submitRun(ctx, api, admitted.Module.Name, chunks, file, f); err != nil {
		return err
	}
	a.say("pipeline %s: %d chunks", done.ID, len(chunks))
	if f.detach {
		return a.printRun(done)
	}
	show := a.newProgress()
	err = a.followPipeline(ctx, api, done.ID, func(p *operatorv1.Pipeline) error {
		done.Failed = p.Failed
		return show.show(p)
	})
	if err != nil {
		return err
	}
	if done.OutputBytes, err = a.download(ctx, api, done.ID, f.output); err != nil {
		return err
	}
	if a.json {
		return a.printRun(done)
	}
	return nil
}

func (a *app) printRun(r ran) error {
	if a.json {
		return a.printJSON(r)
	}
	return writeAll(a.out, []byte(r.ID+"\n"))
}

// submitRun stores the chunks and submits the pipeline.
func (a *app) submitRun(ctx context.Context, api *api, module []byte, chunks [][]byte, file string, f *runFlags) (string, error) {
	work, err := f.spec(module)
	if err != nil {
		return "", err
	}
	refs, err := a.upload(ctx, api, chunks)
	if err != nil {
		return "", err
	}
	stage := &eventv1.StageSpec{Name: "run", Template: work}
	if f.redundancy > 0 {
		stage.Policy = &eventv1.JobPolicy{Redundancy: f.redundancy}
	}
	title := f.name
	if title == "" {
		title = filepath.Base(file)
	}
	res, err := api.SubmitPipeline(ctx, &operatorv1.SubmitPipelineRequest{Chunks: refs, Spec: &eventv1.PipelineSpec{
		Name: title, Tenant: f.tenant, RequestId: f.requestID, MaxFailures: f.failures, Stages: []*eventv1.StageSpec{stage},
	}})
	if err != nil {
		return "", err
	}
	return res.Id, nil
}

// uploads is how many chunks travel at once.
const uploads = 8

// upload stores the chunks, each distinct one once, and returns their names in order.
func (a *app) upload(ctx context.Context, api *api, chunks [][]byte) ([]*eventv1.BlobRef, error) {
	first := make(map[[32]byte]int, len(chunks)) // place of the first chunk with this content
	same := make([]int, len(chunks))
	refs := make([]*eventv1.BlobRef, len(chunks))
	work, ctx := errgroup.WithContext(ctx)
	work.SetLimit(uploads)
	for i, chunk := range chunks {
		sum := sha256.Sum256(chunk)
		at, ok := first[sum]
		if same[i] = at; ok {
			continue
		}
		first[sum], same[i] = i, i
		work.Go(func() error {
			res, err := api.PutBlob(ctx, &operatorv1.PutBlobRequest{Data: chunk})
			refs[i] = res.GetRef()
			return err
		})
	}
	if err := work.Wait(); err != nil {
		return nil, err
	}
	for i := range refs {
		refs[i] = refs[same[i]]
	}
	return refs, nil
}

// cutInput cuts the input into chunks; the last one may be shorter.
func cutInput(input []byte, size uint64) ([][]byte, error) {
	if size == 0 {
		size = uint64(max(len(input), 1))
	}
	if size > maxInput {
		return nil, usage("chunks of %s: the orchestrator takes at most %s, see --chunk-size", bytesText(size), bytesText(maxInput))
	}
	if uint64(len(input))/size > 100_000 {
		return nil, usage("--chunk-size %d makes more than 100,000 chunks", size)
	}
	chunks := [][]byte{}
	for len(input) > 0 {
		n := min(uint64(len(input)), size)
		chunks = append(chunks, input[:n])
		input = input[n:]
	}
	if len(chunks) == 0 {
		return nil, usage("the input is empty")
	}
	return chunks, nil
}
