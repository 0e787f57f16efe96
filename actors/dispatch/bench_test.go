package dispatch_test

import (
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/actors/dispatch"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// crowd is a matcher with idle workers and waiting jobs, which the workers cannot take when there are none.
func crowd(workers, jobs int) *dispatch.Matcher {
	m := dispatch.New(dispatch.Config{})
	for i := range jobs {
		s := seek(fmt.Sprintf("%026d", i), 0, 1)
		s.Spec.Tenant, s.SinceUs = fmt.Sprint(i%10), int64(i)
		s.Spec.Input = &eventv1.BlobRef{Size: uint64(i%17) << 10}
		m.Seek(s)
	}
	for i := range workers {
		m.Ready(numbered(i, 4))
	}
	return m
}

func numbered(i int, credits uint32) dispatch.Worker {
	key := make([]byte, 32)
	binary.BigEndian.PutUint64(key, uint64(i)*0x9e3779b97f4a7c15)
	return dispatch.Worker{
		Key: key, Group: fmt.Sprint(i / 3), Tier: uint32(1 + i%3), MemoryBytes: 256 * mib << (i % 3), ChunkBytes: mib << (i % 4),
		FuelPerMs: 1_000_000, Credits: credits,
	}
}

// BenchmarkMatchIdleWorkers: one job of two slots comes, is placed with two of 15,000 idle workers, and ends.
func BenchmarkMatchIdleWorkers(b *testing.B) {
	m := crowd(15_000, 0)
	s := seek("00000000000000000000000000", 0, 1)
	placed := 0
	for b.Loop() {
		m.Seek(s)
		for _, p := range m.Match(uint64(placed), 0, 64) {
			m.Release(actors.Release{Job: p.Job, Holder: actors.Holder{Slot: p.Slot, Worker: p.Dispatch.Worker, Group: p.Dispatch.Group}})
			placed++
		}
		m.Forget(s.Job)
	}
	report(b, placed)
}

// BenchmarkMatchSaturated: 100,000 jobs wait, every slot that 100 workers give back is placed anew.
func BenchmarkMatchSaturated(b *testing.B) { saturated(b, 100) }

// BenchmarkMatchTwoWorkers: the same with two workers, so that each job's second slot waits for the other one.
func BenchmarkMatchTwoWorkers(b *testing.B) { saturated(b, 2) }

// BenchmarkMatchManyWorkers: the same with 15,000 workers.
func BenchmarkMatchManyWorkers(b *testing.B) { saturated(b, 15_000) }

func saturated(b *testing.B, workers int) {
	const jobs = 100_000
	m := crowd(0, jobs)
	for i := range workers {
		w := numbered(i, 16)
		w.Tier, w.Group = 2, ""
		m.Ready(w)
	}
	open := m.Match(0, 0, jobs)
	next, returned, placed := jobs, map[string]int{}, 0
	for b.Loop() {
		p := open[0]
		open = open[1:]
		m.Release(actors.Release{Job: p.Job, Holder: actors.Holder{Slot: p.Slot, Worker: p.Dispatch.Worker}})
		if returned[p.Job]++; returned[p.Job] == 2 {
			delete(returned, p.Job)
			m.Forget(p.Job)
			s := seek(fmt.Sprintf("%026d", next), 0, 1)
			s.Spec.Tenant, s.SinceUs = fmt.Sprint(next%10), int64(next)
			m.Seek(s)
			next++
		}
		more := m.Match(uint64(placed), 0, 64)
		placed += len(more)
		open = append(open, more...)
	}
	report(b, placed)
}

// BenchmarkMatchNothingFits: 100,000 jobs wait that none of 15,000 idle workers may take; what a call costs.
func BenchmarkMatchNothingFits(b *testing.B) {
	m := dispatch.New(dispatch.Config{})
	for i := range 100_000 {
		s := seek(fmt.Sprintf("%026d", i), 0, 1)
		s.Spec.MinMemoryBytes, s.Spec.Priority = 1<<40, int32(i%5)
		m.Seek(s)
	}
	for i := range 15_000 {
		m.Ready(numbered(i, 4))
	}
	for b.Loop() {
		if len(m.Match(0, 0, 64)) > 0 {
			b.Fatal("placed what nobody can hold")
		}
	}
}

// BenchmarkReconnect: one of 15,000 workers goes and comes back while 100,000 jobs wait for others.
func BenchmarkReconnect(b *testing.B) {
	m := crowd(0, 100_000)
	for i := range 15_000 {
		w := numbered(i, 4)
		w.Tier = 1
		m.Ready(w)
	}
	w := numbered(7, 4)
	w.Tier = 1
	for b.Loop() {
		m.Gone(w.Key)
		m.Ready(w)
		m.Match(0, 0, 64)
	}
}

// report counts everything that a placement takes: its share of Seek and Forget, Match, and Release.
func report(b *testing.B, placed int) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(max(placed, 1)), "ns/placement")
}

// BenchmarkAbandoned asks which of 100,000 waiting jobs, each with a result of another worker, nobody may take.
func BenchmarkAbandoned(b *testing.B) {
	m := dispatch.New(dispatch.Config{})
	for i := range 1000 {
		m.Ready(numbered(i, 1))
	}
	for i := range 100_000 {
		s := seek(fmt.Sprint("j", i), 1)
		s.Used = []actors.Holder{{Worker: numbered(i%1000, 1).Key}}
		m.Seek(s)
	}
	m.Match(0, 0, 1000)
	b.ReportAllocs()
	for b.Loop() {
		if got := m.Abandoned(0, 0); len(got) > 0 {
			b.Fatal(got)
		}
	}
}
