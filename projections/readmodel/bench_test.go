package readmodel

import (
	"fmt"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/shardy-network/orchestrator/events"
)

// stream is the records of verified jobs as they interleave when so many are in flight at a time.
func stream(jobs, inFlight int) []events.Record {
	n := uint64(1)
	w := newWorld(func(k int) int { // cheap dice, always the same
		n = n*6364136223846793005 + 1442695040888963407
		return int(n>>33) % k
	})
	w.tenants = []string{"acme", "umbrella", "initech"}
	for len(w.jobs) < jobs {
		for len(w.jobs)%inFlight != 0 || len(w.tasks)+len(w.waiting) == 0 {
			spec := w.spec()
			id := events.DeriveEntityID(fmt.Append(nil, len(w.jobs)))
			w.jobs = append(w.jobs, id)
			w.submitJob(id, spec, 2)
			if len(w.jobs)%inFlight == 0 {
				break
			}
		}
		w.dispatch()
		for _, t := range w.tasks {
			w.ack(t)
		}
		for len(w.tasks) > 0 {
			t := w.take(0)
			w.answer(t, "out of "+t.Job, nil)
		}
	}
	return w.records
}

func cpu() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkApply reports how fast verified jobs are taken in, by the size of the batches.
func BenchmarkApply(b *testing.B) {
	const inFlight = 500
	all := stream(40_000, inFlight)
	for _, size := range []int{1000, 5000, 25_000} {
		b.Run(fmt.Sprintf("batch=%d", size), func(b *testing.B) {
			var worked, wall time.Duration
			records := 0
			for b.Loop() {
				m, err := Open(b.Context(), filepath.Join(b.TempDir(), "rows.db"), recordsOf(nil), Options{})
				if err != nil {
					b.Fatal(err)
				}
				runtime.GC()
				begin, used := time.Now(), cpu()
				for i := 0; i < len(all); i += size {
					apply(b, m, all[i:min(i+size, len(all))])
				}
				wall += time.Since(begin)
				worked += cpu() - used
				records += len(all)
				if err := m.Close(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(records)/wall.Seconds(), "events/s")
			b.ReportMetric(float64(worked.Nanoseconds())/float64(records), "cpu-ns/event")
			b.ReportMetric(float64(len(all))/40_000, "events/job")
		})
	}
}
