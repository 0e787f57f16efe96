package e2e

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/shardy-network/orchestrator/cmd/shardy/examples"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

// TestTheOrchestratorIsKilledAgainAndAgain sends a stream of jobs and a pipeline to an orchestrator that is killed at
// random moments. Whatever was accepted is verified once, and the workers, the same processes, come back by themselves.
func TestTheOrchestratorIsKilledAgainAndAgain(t *testing.T) {
	s := open(t, quickPolicy())
	d := dice(t)
	crew := s.crew(3)
	primes := s.admit("primes", (&task{low: 0, high: 1000}).chunk())
	program := examples.NewCNN(true)
	pipeline := s.submitProgram(program)

	const kills, batches, batch = 7, 30, 10
	tasks := small(d, batches*batch)
	sent := make(chan error, 1)
	ctx, cancel := context.WithTimeout(t.Context(), patience(90*time.Second))
	defer cancel()
	go func() { sent <- s.insist(ctx, primes, tasks, batch) }()
	for i := range kills {
		// The moment is measured from when the address answers: some kills hit the recovery, most hit the work.
		pause := time.Duration(d.IntN(1500)) * time.Millisecond
		select {
		case <-time.After(pause):
		case <-s.server.Done():
			t.Fatal("the orchestrator ended by itself")
		}
		s.server.Kill()
		t.Logf("kill %d, %s after the start", i+1, pause)
		if d.IntN(2) == 0 { // and again while it reads its folder
			s.stillborn(time.Duration(d.IntN(200)) * time.Millisecond)
		}
		s.start()
	}
	s.must(<-sent)
	s.settled(tasks)
	s.completed(pipeline)
	if got := s.output(pipeline); examples.Digest(s.assemble(program, got)) != s.reference(program, true) {
		t.Error("the pipeline's output is wrong")
	}
	for _, w := range crew {
		select {
		case <-w.Done():
			t.Errorf("%s ended", w.name)
		default:
		}
	}
	s.stop()
	h := s.history()
	s.judge(h, tasks)
	if n := s.once(h); n != len(tasks)+len(program.Chunks()) {
		t.Errorf("%d jobs in the log, want %d", n, len(tasks)+len(program.Chunks()))
	}
	if h.pipelines[pipeline] != 1 {
		t.Errorf("the pipeline completed %d times", h.pipelines[pipeline])
	}
	for _, w := range crew {
		if n := h.connected[w.key]; n < 2 {
			t.Errorf("%s connected %d times", w.name, n)
		}
	}
	t.Logf("records %v, stripped %v", h.counts, h.stripped)
	s.sound()
}

// stillborn starts the orchestrator and kills it, most often before it serves.
func (s *site) stillborn(after time.Duration) {
	s.Helper()
	args, _ := s.serveArgs()
	p, err := s.group.Start("orchestrator", args...)
	s.must(err)
	select {
	case <-time.After(after):
	case <-p.Done():
	}
	p.Kill()
}

// insist submits batch after batch, and repeats what was not answered. The repeat asks for the same jobs.
func (s *site) insist(ctx context.Context, module []byte, tasks []*task, batch int) error {
	for i := 0; i < len(tasks); i += batch {
		part := tasks[i : i+batch]
		for {
			once, cancel := context.WithTimeout(ctx, patience(5*time.Second))
			res, err := s.jobs.SubmitJobs(once, request(module, fmt.Sprintf("batch-%d", i), part, nil))
			cancel()
			if err == nil {
				err = accepted(part, res)
			}
			if err == nil {
				break
			}
			select {
			case <-time.After(20 * time.Millisecond):
			case <-ctx.Done():
				return fmt.Errorf("%w: %w", ctx.Err(), err)
			}
		}
		select {
		case <-time.After(100 * time.Millisecond): // a stream, not a flood
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// accepted notes ids, or says which job was not accepted.
func accepted(tasks []*task, res *operatorv1.SubmitJobsResponse) error {
	for i, j := range res.Jobs {
		if j.Code != 0 {
			return fmt.Errorf("refused with %d: %s", j.Code, j.Detail)
		}
		if before := tasks[i].id; before != "" && before != j.Id {
			return fmt.Errorf("the repeated request made job %s, the first one %s", j.Id, before)
		}
		tasks[i].id = j.Id
	}
	return nil
}

// submitProgram sends a program as a pipeline.
func (s *site) submitProgram(p examples.Program) string {
	s.Helper()
	chunks := p.Chunks()
	canary := chunks[0]
	if len(canary) > 64<<10 {
		canary = nil
	}
	module := s.admit(p.Module(), canary)
	req := &operatorv1.SubmitPipelineRequest{Spec: &eventv1.PipelineSpec{
		Name: p.Module(),
		Stages: []*eventv1.StageSpec{{Name: "only", Template: &eventv1.JobSpec{
			Module: module, FuelLimit: p.Fuel(), MinTier: 1, Output: &eventv1.OutputSpec{MaxBytes: 1 << 20},
		}}},
	}}
	for _, c := range chunks {
		res, err := s.modules.PutBlob(s.Context(), &operatorv1.PutBlobRequest{Data: c})
		s.must(err)
		req.Chunks = append(req.Chunks, res.Ref)
	}
	res, err := s.pipelines.SubmitPipeline(s.Context(), req)
	s.must(err)
	return res.Id
}

func (s *site) completed(pipeline string) {
	s.Helper()
	s.until("the pipeline is complete", 0, []string{"PipelineCompleted", "PipelineFailed"}, func(e *seen) bool {
		if f, ok := e.Fact.(*eventv1.PipelineFailed); ok {
			s.Fatalf("the pipeline failed: %v", f)
		}
		return e.Stream == "pipeline-"+pipeline
	})
}

func (s *site) output(pipeline string) []byte {
	s.Helper()
	stream, err := s.pipelines.DownloadOutput(s.Context(), &operatorv1.DownloadOutputRequest{Id: pipeline})
	s.must(err)
	defer stream.Close()
	var all []byte
	for stream.Receive() {
		all = append(all, stream.Msg().Data...)
	}
	s.must(stream.Err())
	return all
}

// assemble cuts an output into the program's pieces and puts them together.
func (s *site) assemble(p examples.Program, data []byte) []byte {
	s.Helper()
	var pieces [][]byte
	for _, n := range p.OutputSizes() {
		if n > len(data) {
			s.Fatalf("the output ends in chunk %d", len(pieces))
		}
		pieces, data = append(pieces, data[:n]), data[n:]
	}
	all, err := p.Assemble(pieces)
	s.must(err)
	return all
}

func (s *site) reference(p examples.Program, quick bool) [32]byte {
	s.Helper()
	sum, err := examples.Reference(p.Module(), quick)
	s.must(err)
	return sum
}
