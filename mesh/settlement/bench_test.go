package settlement

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/shardy-network/orchestrator/actors/ledger"
	"github.com/shardy-network/orchestrator/events"
)

// null is a chain whose blocks hold what is submitted at once, for nothing.
type null struct {
	*toy
	check bool
}

func (n *null) Submit(_ context.Context, tx []byte) (ledger.Hash, error) {
	if !n.check {
		return ledger.Hash{}, nil
	}
	c, err := ledger.Check(chainID, tx)
	return c.ID(), err
}

// BenchmarkJob is what the settlement of one verified job of two replicas takes of the processor: all from the records of
// the log to transactions that are signed and handed over, the book written to disk as it has to be. What the node then
// does (two attestations to be verified, above all) is not in it.
func BenchmarkJob(b *testing.B) {
	for _, check := range []bool{false, true} {
		name := "alone"
		if check {
			name = "with the node's check"
		}
		b.Run(name, func(b *testing.B) {
			const jobs = 2000
			sc := newScene(b, 1_000_000_000_000, nil, nil)
			for n := range jobs {
				sc.job(fmt.Sprint("j", n), quorum, 2, 0)
			}
			var all []events.Record
			for r, err := range sc.log.ReadAll(b.Context(), 0, sc.s.Filter()) {
				must(b, err)
				all = append(all, r)
			}
			node := &null{toy: sc.chain, check: check}
			sc.conf.Ledger = node
			var hear, send, cpu time.Duration
			bytes := 0
			n := 0
			for b.Loop() {
				b.StopTimer()
				path := b.TempDir()
				s, err := open(b.Context(), sc.conf, disk{path + "/book"}, time.Now, threadTime)
				must(b, err)
				s.pace = newPacer(1000, time.Now, threadTime)
				b.StartTimer()
				begin := time.Now()
				for at := 0; at < len(all); at += 1024 {
					batch := all[at:min(at+1024, len(all))]
					must(b, s.Apply(b.Context(), batch, batch[len(batch)-1].Pos))
				}
				half := time.Now()
				s.stored = storing{} // long ago
				s.pass(b.Context())
				hear += half.Sub(begin)
				send += time.Since(half)
				cpu += s.pace.total()
				bytes = s.Status().Bytes
				n += jobs
				if st := s.Status(); st.Waiting > 0 || st.Sent == 0 {
					b.Fatalf("%+v", st)
				}
			}
			b.ReportMetric(float64(hear.Nanoseconds())/float64(n), "hear-ns/job")
			b.ReportMetric(float64(send.Nanoseconds())/float64(n), "send-ns/job")
			b.ReportMetric(float64(cpu.Nanoseconds())/float64(n), "cpu-ns/job")
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/job")
			b.ReportMetric(float64(bytes)/jobs, "B/job")
			b.ReportMetric(0, "ns/op")
		})
	}
}
