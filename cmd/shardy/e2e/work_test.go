package e2e

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/shardy-network/orchestrator/cmd/shardy/examples"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

func split(stream string) (room, id string) {
	room, id, _ = strings.Cut(stream, "-")
	return room, id
}

// task is a job for the module primes, whose answer is computed here too.
type task struct {
	low, high uint64
	id        string
}

func (t task) chunk() []byte {
	return binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(nil, t.low), t.high)
}

// answer counts the primes of the range, the twins among them, and gives the last one and their sum.
func (t task) answer() []byte {
	composite := make([]bool, t.high-t.low)
	for d := uint64(2); d*d < t.high; d++ {
		if d > 2 && d%2 == 0 {
			continue
		}
		for n := max(d*d, (t.low+d-1)/d*d); n < t.high; n += d {
			composite[n-t.low] = true
		}
	}
	var count, twins, last, sum uint64
	for n := max(t.low, 2); n < t.high; n++ {
		if composite[n-t.low] {
			continue
		}
		count++
		sum += n
		if last != 0 && n-last == 2 {
			twins++
		}
		last = n
	}
	var out []byte
	for _, v := range []uint64{count, twins, last, sum} {
		out = binary.LittleEndian.AppendUint64(out, v)
	}
	return out
}

// small draws tasks that take a few milliseconds.
func small(d *rand.Rand, n int) []*task {
	all := make([]*task, n)
	for i := range all {
		low := uint64(d.IntN(1_000_000))
		all[i] = &task{low: low, high: low + 100 + uint64(d.IntN(2000))}
	}
	return all
}

// admit makes an example's module known and returns its name.
func (s *site) admit(module string, canary []byte) []byte {
	s.Helper()
	res, err := s.modules.AdmitModule(s.Context(), &operatorv1.AdmitModuleRequest{Module: examples.Module(module), Canary: canary})
	s.must(err)
	return res.Module.Name
}

// request asks for tasks; the same key asks for the same jobs.
func request(module []byte, key string, tasks []*task, wish *operatorv1.PolicyOverrides) *operatorv1.SubmitJobsRequest {
	req := &operatorv1.SubmitJobsRequest{}
	for i, t := range tasks {
		req.Jobs = append(req.Jobs, &operatorv1.NewJob{
			Payload: t.chunk(), Overrides: wish,
			Spec: &eventv1.JobSpec{
				Module: module, FuelLimit: (t.high-t.low)*250 + 50_000_000, MinTier: 1, RequestId: fmt.Sprintf("%s-%d", key, i),
				Output: &eventv1.OutputSpec{MaxBytes: 1 << 10},
			},
		})
	}
	return req
}

// accept notes the ids of accepted jobs.
func (s *site) accept(tasks []*task, res *operatorv1.SubmitJobsResponse) {
	s.Helper()
	if len(res.Jobs) != len(tasks) {
		s.Fatalf("%d answers for %d jobs", len(res.Jobs), len(tasks))
	}
	for i, j := range res.Jobs {
		if j.Code != 0 {
			s.Fatalf("job refused: %d %s", j.Code, j.Detail)
		}
		tasks[i].id = j.Id
	}
}

// submit has tasks accepted.
func (s *site) submit(module []byte, key string, tasks []*task, wish *operatorv1.PolicyOverrides) {
	s.Helper()
	res, err := s.jobs.SubmitJobs(s.Context(), request(module, key, tasks, wish))
	s.must(err)
	s.accept(tasks, res)
}

// settled waits until all tasks are verified, over the API.
func (s *site) settled(tasks []*task) {
	s.Helper()
	open := map[string]bool{}
	for _, t := range tasks {
		open["job-"+t.id] = true
	}
	s.until(fmt.Sprintf("%d jobs are verified", len(tasks)), 0, []string{"TaskVerified", "JobDeadLettered"}, func(e *seen) bool {
		if d, ok := e.Fact.(*eventv1.JobDeadLettered); ok && open[e.Stream] {
			s.Fatalf("%s: %s %s", e.Stream, d.Reason, d.Detail)
		}
		delete(open, e.Stream)
		return len(open) == 0
	})
}

// answers keeps the digests of those that were computed: the long ones come again. No two tests run at once.
var answers = map[[2]uint64][32]byte{}

// judge holds every task's verdict against the answer: verified once, with the right output.
func (s *site) judge(h *history, tasks []*task) {
	s.Helper()
	for _, t := range tasks {
		all := h.verified[t.id]
		if len(all) != 1 {
			s.Errorf("job %s was verified %d times, dead letters %v", t.id, len(all), h.deadLettered[t.id])
			continue
		}
		want, ok := answers[[2]uint64{t.low, t.high}]
		if !ok {
			want = sha256.Sum256(t.answer())
			answers[[2]uint64{t.low, t.high}] = want
		}
		if string(all[0].Output.GetSha256()) != string(want[:]) {
			s.Errorf("job %s: the verified output is wrong", t.id)
		}
	}
}

// once checks that no job at all was verified twice, and that none of those asked for is left open. It returns how many
// were asked for: the deployment issues some again to test workers, which may be open at the end.
func (s *site) once(h *history) int {
	s.Helper()
	asked := 0
	for id, j := range h.submitted {
		ringer := j.Spec.Kind == eventv1.JobKind_JOB_KIND_LITE_TEST
		if !ringer {
			asked++
		}
		if n := len(h.verified[id]); n > 1 || n == 0 && !ringer {
			s.Errorf("job %s was verified %d times, dead-lettered %d times", id, n, len(h.deadLettered[id]))
		}
	}
	return asked
}
