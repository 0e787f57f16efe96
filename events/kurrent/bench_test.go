package kurrent_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/shardy-network/orchestrator/events"
	"github.com/shardy-network/orchestrator/events/esdbserver"
	"github.com/shardy-network/orchestrator/events/eventstest"
	"github.com/shardy-network/orchestrator/events/kurrent"
	"github.com/shardy-network/orchestrator/events/memlog"
	"github.com/shardy-network/orchestrator/events/pebblelog"
)

// BenchmarkAppend measures appends of 200 bytes, each to a stream of its own appender. The CPU is the client's and the
// server's together.
func BenchmarkAppend(b *testing.B) {
	for _, backend := range []string{"memory", "pebble"} {
		for _, appenders := range []int{1, 16, 256} {
			b.Run(fmt.Sprintf("%s/%d", backend, appenders), func(b *testing.B) {
				var log events.Log = memlog.New()
				if backend == "pebble" {
					var err error
					if log, err = pebblelog.Open(b.TempDir(), pebblelog.Options{}); err != nil {
						b.Fatal(err)
					}
				}
				appendAll(b, serve(b, log, esdbserver.Config{}).open(kurrent.Options{}), appenders)
			})
		}
	}
}

func appendAll(b *testing.B, l events.Log, appenders int) {
	var left atomic.Int64
	left.Store(int64(b.N))
	var before, after syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &before)
	b.ResetTimer()
	var wg sync.WaitGroup
	for i := range appenders {
		wg.Go(func() {
			stream, want := fmt.Sprintf("s-%d-%d", b.N, i), events.Absent
			for left.Add(-1) >= 0 {
				d := eventstest.Draft("A")
				d.Data = make([]byte, 200)
				got, err := l.Append(b.Context(), stream, want, d)
				if err != nil {
					b.Error(err)
					return
				}
				want = events.At(got.Rev)
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &after)
	cpu := after.Utime.Nano() + after.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "appends/s")
	b.ReportMetric(float64(cpu)/float64(b.N)/1000, "cpu-us/append")
}

// BenchmarkRead measures how fast a whole log is read, and how fast eight tails follow it together while it grows.
func BenchmarkRead(b *testing.B) {
	log := memlog.New()
	l := serve(b, log, esdbserver.Config{}).open(kurrent.Options{})
	grow := func(n int) {
		evs := make([]events.Draft, n)
		for i := range evs {
			evs[i] = eventstest.Draft("A")
			evs[i].Data = make([]byte, 200)
		}
		if _, err := log.Append(b.Context(), fmt.Sprintf("s-%v", evs[0].ID), events.Absent, evs...); err != nil {
			b.Fatal(err)
		}
	}
	for range 25 {
		grow(4000)
	}
	b.Run("all", func(b *testing.B) {
		n := 0
		for b.Loop() {
			for _, err := range l.ReadAll(b.Context(), 0, events.Filter{}) {
				if err != nil {
					b.Fatal(err)
				}
				n++
			}
		}
		b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "events/s")
	})
	b.Run("8 tails", func(b *testing.B) {
		const tails, each = 8, 4000
		n := 0
		for b.Loop() {
			head, err := l.Head(b.Context())
			if err != nil {
				b.Fatal(err)
			}
			var live, wg sync.WaitGroup
			live.Add(tails)
			for range tails {
				wg.Go(func() {
					seen, told := 0, false
					for tick, err := range l.Tail(b.Context(), head, events.Filter{}) {
						if err != nil {
							b.Error(err)
							return
						}
						if tick.Live && !told {
							told = true
							live.Done()
						}
						if tick.Event != nil {
							if seen++; seen == each {
								return
							}
						}
					}
				})
			}
			live.Wait()
			grow(each)
			wg.Wait()
			n += tails * each
		}
		b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "events/s")
	})
}
