package pebblelog

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/shardy-network/orchestrator/events"
)

// cpu is the CPU time that this process has used.
func cpu() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func folderSize(t testing.TB, dir string) (n int64) {
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		i, err := d.Info()
		if err == nil {
			n += i.Size()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func report(b *testing.B, n int, start time.Time, used time.Duration) {
	b.ReportMetric(float64(n)/time.Since(start).Seconds(), "events/s")
	b.ReportMetric(float64(used.Microseconds())/float64(n), "cpu-µs/event")
}

// BenchmarkAppend appends single events, each to a stream of its own appender, from so many at once.
func BenchmarkAppend(b *testing.B) {
	for _, appenders := range []int{1, 16, 256, 1000} {
		for _, linger := range []time.Duration{0, 200 * time.Microsecond, MaxLinger} {
			b.Run(fmt.Sprintf("%d/linger=%v", appenders, linger), func(b *testing.B) {
				l := open(b, b.TempDir(), Options{Linger: linger})
				defer l.Close()
				var left atomic.Int64
				left.Store(int64(b.N))
				var nap atomic.Int64
				b.ReportAllocs()
				b.ResetTimer()
				start, used := time.Now(), cpu()
				var wg sync.WaitGroup
				for a := range appenders {
					wg.Go(func() {
						d := events.Draft{Type: "ReplicaReturned", Data: make([]byte, 125), Meta: make([]byte, 125)}
						stream, want := fmt.Sprintf("job-01kq3x5t6a7r8e9n0m1d2%06d", a), events.Absent
						for left.Add(-1) >= 0 {
							binary.BigEndian.PutUint64(d.ID[:], uint64(left.Load())+1)
							d.ID[15] = byte(a)
							t0 := time.Now()
							got, err := l.Append(context.Background(), stream, want, d)
							if err != nil {
								b.Error(err)
								return
							}
							nap.Add(int64(time.Since(t0)))
							want = events.At(got.Rev)
						}
					})
				}
				wg.Wait()
				b.StopTimer()
				report(b, b.N, start, cpu()-used)
				b.ReportMetric(float64(nap.Load())/float64(b.N)/1e3, "wait-µs/event")
			})
		}
	}
}

// road writes what one verified job writes: ten records in three streams with nine appends, and its payload.
func road(ctx context.Context, l *Log, n uint64, dice *rand.Rand) error {
	id := events.NewEntityID(time.UnixMilli(1_800_000_000_000+int64(n)), [10]byte(binary.BigEndian.AppendUint64([]byte{byte(n), 1}, dice.Uint64())))
	payload := make([]byte, 1024)
	noise(dice, payload)
	if err := l.Stage(ctx, sha256.Sum256(payload), payload); err != nil {
		return err
	}
	type step struct {
		stream string
		want   events.Expect
		typs   []string
	}
	job := "job-" + id
	slots := []string{"assignment-" + id + "-0", "assignment-" + id + "-1"}
	steps := []step{{job, events.Absent, []string{"JobSubmitted"}}}
	for _, s := range slots {
		steps = append(steps, step{s, events.Absent, []string{"AssignmentDispatched"}}, step{s, events.At(0), []string{"TaskAcked"}},
			step{s, events.At(1), []string{"ResultReturned"}})
	}
	steps = append(steps, step{job, events.At(0), []string{"ReplicaReturned"}}, step{job, events.At(1), []string{"ReplicaReturned", "TaskVerified"}})
	for _, s := range steps {
		cmd := events.NewCommandID([]byte(s.stream), []byte(s.typs[0]), []byte(s.want.String()))
		evs := make([]events.Draft, len(s.typs))
		for i, typ := range s.typs {
			// Half of a fact and of its envelope is digests, keys and signatures, which do not compress.
			data, meta := make([]byte, 100+dice.IntN(50)), make([]byte, 100+dice.IntN(50))
			noise(dice, data[:len(data)/2])
			noise(dice, meta[:len(meta)/2])
			evs[i] = events.Draft{ID: cmd.Event(i), Type: typ, Data: data, Meta: meta}
		}
		if _, err := l.Append(ctx, s.stream, s.want, evs...); err != nil {
			return err
		}
	}
	return nil
}

func noise(dice *rand.Rand, b []byte) {
	for i := range b {
		b[i] = byte(dice.Uint32())
	}
}

// BenchmarkJob writes whole jobs from 512 submitters and reports what a job costs.
func BenchmarkJob(b *testing.B) {
	dir := b.TempDir()
	l := open(b, dir, Options{})
	var n atomic.Uint64
	b.ReportAllocs()
	b.ResetTimer()
	start, used := time.Now(), cpu()
	var wg sync.WaitGroup
	for w := range 512 {
		wg.Go(func() {
			dice := rand.New(rand.NewPCG(uint64(w), 1))
			for {
				i := n.Add(1)
				if i > uint64(b.N) {
					return
				}
				if err := road(context.Background(), l, i, dice); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	report(b, b.N*10, start, cpu()-used)
	b.ReportMetric(float64(b.N)/time.Since(start).Seconds(), "jobs/s")
	m := l.db.Metrics()
	b.ReportMetric(float64(folderSize(b, dir))/float64(b.N), "B/job-live")
	b.ReportMetric(float64(m.WAL.PhysicalSize+m.WAL.ObsoletePhysicalSize)/float64(b.N), "B/job-wal")
	t := m.Total()
	b.ReportMetric(float64(m.WAL.BytesWritten+t.TableBytesCompacted+t.TableBytesFlushed)/float64(b.N), "written-B/job")
	if err := l.Close(); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(folderSize(b, dir))/float64(b.N), "B/job-closed")
}

// BenchmarkReadAll replays a log from disk.
func BenchmarkReadAll(b *testing.B) {
	l := open(b, b.TempDir(), Options{})
	defer l.Close()
	dice := rand.New(rand.NewPCG(1, 1))
	for i := range uint64(2000) {
		if err := road(context.Background(), l, i, dice); err != nil {
			b.Fatal(err)
		}
	}
	n := 0
	b.ReportAllocs()
	b.ResetTimer()
	start, used := time.Now(), cpu()
	for b.Loop() {
		for _, err := range l.ReadAll(context.Background(), 0, events.Filter{}) {
			if err != nil {
				b.Fatal(err)
			}
			n++
		}
	}
	b.StopTimer()
	report(b, n, start, cpu()-used)
}
