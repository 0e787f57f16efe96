package e2e

import (
	"encoding/hex"
	"encoding/json"
	"strings"
	"syscall"
	"testing"

	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

// outcomes reads what dlq requeue and dlq discard print.
func outcomes(t *testing.T, r result) map[string]int {
	t.Helper()
	n := map[string]int{}
	for line := range strings.Lines(r.out) {
		var o struct{ ID, Done string }
		if err := json.Unmarshal([]byte(line), &o); err != nil || len(o.ID) != 26 {
			t.Fatalf("%v: %s", err, line)
		}
		n[o.Done]++
	}
	return n
}

// dead waits until each of these jobs is a dead letter for the reason.
func (s *site) dead(why eventv1.DeadLetterReason, ids ...string) {
	s.Helper()
	open := map[string]bool{}
	for _, id := range ids {
		open["job-"+id] = true
	}
	s.until("the jobs are dead letters", 0, []string{"JobDeadLettered"}, func(e *seen) bool {
		if f := e.Fact.(*eventv1.JobDeadLettered); open[e.Stream] && f.Reason != why {
			s.Errorf("%s died of %s: %s", e.Stream, f.Reason, f.Detail)
		}
		delete(open, e.Stream)
		return len(open) == 0
	})
}

func signal(crew []*worker, sig syscall.Signal) {
	for _, w := range crew {
		w.Signal(sig)
	}
}

// TestDeadLettersComeBack: jobs die because nobody answers, because their input is wrong and because their fuel is too
// little. Requeued together, or edited, all of them are verified, and the log that says so stands an audit.
func TestDeadLettersComeBack(t *testing.T) {
	s := open(t, quickPolicy())
	crew := s.crew(2, "--sandboxes", "2") // a chunk that lasts must not hold up the one beside it
	primes := s.admit("primes", (&task{low: 0, high: 1000}).chunk())

	// Nobody answers: both workers stand still, and one attempt is all there is.
	signal(crew, syscall.SIGSTOP)
	wish := hurried()
	wish.MaxAttempts = 1
	lost := small(dice(t), 6)
	s.submit(primes, "lost", lost, wish)
	var ids []string
	for _, x := range lost {
		ids = append(ids, x.id)
	}
	s.dead(eventv1.DeadLetterReason_DEAD_LETTER_REASON_DELIVERY_EXHAUSTED, ids...)
	signal(crew, syscall.SIGCONT)
	s.poll("the dry run finds all", func() bool {
		r := s.want(0, "dlq", "requeue", "--all", "--reason-code", "delivery_exhausted", "--dry-run")
		return outcomes(t, r)["would_be_requeued"] == len(lost)
	})
	r := s.want(0, "dlq", "requeue", "--all", "--reason-code", "delivery_exhausted", "--reason", "the workers are back", "--yes")
	if n := outcomes(t, r)["requeued"]; n != len(lost) {
		t.Errorf("requeued %d of %d", n, len(lost))
	}
	s.want(0, append([]string{"job", "watch", "--timeout", "50s"}, ids...)...)

	// The module fails: one input is not what it takes, one job has too little fuel.
	good := task{low: 1000, high: 9000}
	hungry := task{low: 2000, high: 8000}
	bad := s.died(primes, s.file("bad", []byte("fifteen bytes..")), "1000000000")
	poor := s.died(primes, s.file("hungry", hungry.chunk()), "1000")
	fixed := s.file("good", good.chunk())
	s.state("dead_lettered", "job", "describe", poor)
	s.want(4, "dlq", "edit", poor, "--fuel-limit", "1000", "--reason", "the same")
	var would, did struct{ ID string }
	s.want(0, "dlq", "edit", bad, "--input", fixed, "--dry-run").json(t, &would)
	s.want(0, "dlq", "edit", bad, "--input", fixed, "--reason", "the right input").json(t, &did)
	if would.ID != did.ID {
		t.Errorf("the dry run said %s, the edit made %s", would.ID, did.ID)
	}
	good.id = did.ID
	s.want(0, "dlq", "edit", poor, "--fuel-limit", "2e9", "--reason", "more fuel").json(t, &did)
	hungry.id = did.ID
	s.want(0, "job", "watch", good.id, hungry.id, "--timeout", "50s")
	s.state("discarded", "job", "describe", bad)
	if r := s.ok("dlq", "payload", bad); r.out != "fifteen bytes.." {
		t.Errorf("the payload is %q", r.out)
	}

	whole := s.mendedPipeline(primes, crew)
	s.stop()
	h := s.history()
	s.judge(h, append(lost, &good, &hungry, whole))
	if h.counts["JobRequeued"] != len(lost) || h.counts["JobDiscarded"] != 3 || h.counts["ChunksReopened"] != 1 {
		t.Errorf("records %v", h.counts)
	}
	s.sound()
}

// died submits a job over the command line, which is dead-lettered because its module fails.
func (s *site) died(module []byte, input, fuel string) string {
	s.Helper()
	id := s.submitted("job", "submit", hex.EncodeToString(module), "--input", input, "--fuel", fuel, "--min-tier", "1")
	s.dead(eventv1.DeadLetterReason_DEAD_LETTER_REASON_JOB_FAILED, id)
	return id
}

// mendedPipeline edits a chunk of a pipeline while another one keeps its stage running. It returns the edited chunk.
func (s *site) mendedPipeline(module []byte, crew []*worker) *task {
	s.Helper()
	long := &task{low: 10_000_000, high: 10_000_000 + 6*lastingWidth} // some seconds: it outlives the test's next steps
	whole := &task{low: 50, high: 6000}
	ref := func(data []byte) *eventv1.BlobRef {
		res, err := s.modules.PutBlob(s.Context(), &operatorv1.PutBlobRequest{Data: data})
		s.must(err)
		return res.Ref
	}
	res, err := s.pipelines.SubmitPipeline(s.Context(), &operatorv1.SubmitPipelineRequest{
		Spec: &eventv1.PipelineSpec{Name: "mended", MaxFailures: 1, Stages: []*eventv1.StageSpec{{Template: &eventv1.JobSpec{
			Module: module, FuelLimit: 100_000_000_000, MinTier: 1, Output: &eventv1.OutputSpec{MaxBytes: 1 << 10},
		}}}},
		Chunks: []*eventv1.BlobRef{ref([]byte("no input at all")), ref(long.chunk())},
	})
	s.must(err)
	var letter string
	s.until("the chunk is dead", 0, []string{"JobDeadLettered", "JobSubmitted"}, func(e *seen) bool {
		if f, ok := e.Fact.(*eventv1.JobSubmitted); ok && f.Spec.Pipeline == res.Id && f.Spec.Chunk == 0 {
			letter = e.Stream
		}
		_, dead := e.Fact.(*eventv1.JobDeadLettered)
		return dead && e.Stream == letter
	})
	signal(crew, syscall.SIGSTOP) // the long chunk stays open while the other is edited
	var did struct{ ID string }
	s.want(0, "dlq", "edit", strings.TrimPrefix(letter, "job-"), "--input", s.file("whole", whole.chunk()), "--reason", "mended").json(s.T, &did)
	signal(crew, syscall.SIGCONT)
	s.want(0, "pipeline", "watch", res.Id, "--timeout", "50s")
	if r := s.ok("pipeline", "output", res.Id); r.out != string(whole.answer())+string(long.answer()) {
		s.Errorf("the pipeline's output is %x", r.out)
	}
	whole.id = did.ID
	return whole
}
