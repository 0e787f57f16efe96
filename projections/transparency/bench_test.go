//go:build unix

package transparency

import (
	"context"
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/shardy-network/orchestrator/events"
	"github.com/shardy-network/orchestrator/events/pebblelog"
)

// cpu is what this process has used so far: the machine may be busy with others.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkApply is the cost of the tree on the hot process: leaves, nodes, tiles, their files and checkpoints.
func BenchmarkApply(b *testing.B) {
	s := newSlate(4096)
	for i := range s.records {
		s.records[i].Data, s.records[i].Meta = make([]byte, 180), make([]byte, 220)
	}
	for name, dir := range map[string]string{"memory": "", "disk": b.TempDir()} {
		b.Run(name, func(b *testing.B) {
			tree := open(b, dir, new(slate), Options{})
			b.ReportAllocs()
			n, begun := 0, cpu(b)
			for b.Loop() {
				if err := tree.Apply(context.Background(), s.records, tree.Position()+4096); err != nil {
					b.Fatal(err)
				}
				n += 4096
			}
			if err := tree.Close(); err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64((cpu(b)-begun).Nanoseconds())/float64(n), "cpu-ns/event")
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "events/s")
		})
	}
}

// BenchmarkVerify reads and hashes an embedded log again.
func BenchmarkVerify(b *testing.B) {
	const n = 200_000
	log, err := pebblelog.Open(b.TempDir(), pebblelog.Options{Logger: quiet})
	if err != nil {
		b.Fatal(err)
	}
	defer log.Close()
	for i := 0; i < n; i += 1000 {
		batch := make([]events.Draft, 1000)
		for j := range batch {
			batch[j] = draft(i + j)
			batch[j].Data, batch[j].Meta = make([]byte, 180), make([]byte, 220)
		}
		if _, err := log.Append(b.Context(), fmt.Sprintf("job-%d", i), events.Any, batch...); err != nil {
			b.Fatal(err)
		}
	}
	dir := b.TempDir()
	tree := open(b, dir, log, Options{})
	if err := feed(b, tree, log); err != nil {
		b.Fatal(err)
	}
	if err := tree.Close(); err != nil {
		b.Fatal(err)
	}
	for _, workers := range []int{1, 2} {
		b.Run(fmt.Sprint(workers), func(b *testing.B) {
			begun := cpu(b)
			for b.Loop() {
				r, err := Verify(b.Context(), log, dir, VerifyOptions{Key: public(testKey(1)), Workers: workers})
				if err != nil || !r.Clean() {
					b.Fatal(r, err)
				}
			}
			b.ReportMetric(float64(n*b.N)/b.Elapsed().Seconds(), "events/s")
			b.ReportMetric(float64(n*b.N)/(cpu(b)-begun).Seconds(), "events/cpu-s")
		})
	}
}
