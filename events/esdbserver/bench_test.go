package esdbserver

import (
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"

	"github.com/shardy-network/orchestrator/events"
	"github.com/shardy-network/orchestrator/events/eventstest"
	"github.com/shardy-network/orchestrator/events/pebblelog"
	esdbv1 "github.com/shardy-network/orchestrator/proto/shardy/esdb/v1"
)

// cpu is the CPU time that this process, client and server, has used.
func cpu() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func report(b *testing.B, n int, start time.Time, used time.Duration) {
	b.ReportMetric(float64(n)/time.Since(start).Seconds(), "events/s")
	b.ReportMetric(float64((cpu()-used).Microseconds())/float64(n), "cpu-µs/event")
}

func durable(b *testing.B) (*pebblelog.Log, string) {
	b.Helper()
	log, err := pebblelog.Open(b.TempDir(), pebblelog.Options{})
	if err != nil {
		b.Fatal(err)
	}
	_, addr := serve(b, log, Config{MaxStreamsPerConn: 2000})
	return log, addr
}

// BenchmarkAppend appends single events of 250 bytes with the official client, each to a stream of its own appender.
func BenchmarkAppend(b *testing.B) {
	for _, appenders := range []int{1, 16, 256} {
		b.Run(fmt.Sprint(appenders), func(b *testing.B) {
			_, addr := durable(b)
			c := dial(b, "esdb://"+addr+"?tls=false")
			var left atomic.Int64
			left.Store(int64(b.N))
			b.ResetTimer()
			start, used := time.Now(), cpu()
			var wg sync.WaitGroup
			for a := range appenders {
				wg.Go(func() {
					var want esdb.ExpectedRevision = esdb.NoStream{}
					e := event("E", "")
					e.Data = make([]byte, 250)
					for left.Add(-1) >= 0 {
						e.EventID[0]++
						got, err := c.AppendToStream(b.Context(), fmt.Sprintf("s-%d", a), esdb.AppendToStreamOptions{ExpectedRevision: want}, e)
						if err != nil {
							b.Error(err)
							return
						}
						want = esdb.Revision(got.NextExpectedVersion)
					}
				})
			}
			wg.Wait()
			report(b, b.N, start, used)
		})
	}
}

// BenchmarkBatchAppend pipelines appends of single events on one call.
func BenchmarkBatchAppend(b *testing.B) {
	_, addr := durable(b)
	ss := call(b, b.Context(), raw(b, addr), methodBatch)
	b.ResetTimer()
	start, used := time.Now(), cpu()
	go func() {
		for i := range b.N {
			err := ss.SendMsg(&esdbv1.BatchAppendRequest{
				CorrelationId: uuidMessage(newUUID(), false), IsFinal: true, ProposedMessages: []*esdbv1.ProposedMessage{proposed(250)},
				Options: &esdbv1.BatchAppendRequest_Options{
					StreamIdentifier: identifier(fmt.Sprintf("s-%d", i%256)), Expected: &esdbv1.BatchAppendRequest_Options_Any{Any: &esdbv1.Empty{}},
				},
			})
			if err != nil {
				return
			}
		}
		_ = ss.CloseSend()
	}()
	for range b.N {
		var a esdbv1.BatchAppendResponse
		if err := ss.RecvMsg(&a); err != nil || a.GetSuccess() == nil {
			b.Fatal(err, &a)
		}
	}
	report(b, b.N, start, used)
}

// BenchmarkRead reads the whole log, with a client that does not decode and with the official one.
func BenchmarkRead(b *testing.B) {
	log, addr := durable(b)
	const size = 50_000
	for range size / 500 {
		evs := make([]events.Draft, 500)
		for i := range evs {
			evs[i] = eventstest.Draft("E")
			evs[i].Data, evs[i].Meta = make([]byte, 125), make([]byte, 125)
		}
		if _, err := log.Append(b.Context(), "s", events.Any, evs...); err != nil {
			b.Fatal(err)
		}
	}
	b.Run("bytes", func(b *testing.B) {
		c := raw(b, addr)
		n := 0
		start, used := time.Now(), cpu()
		for b.Loop() {
			q := followEverything()
			q.Options.Amount = &esdbv1.ReadOptions_Count{Count: size}
			ss := call(b, b.Context(), c, methodRead, q)
			for {
				if err := ss.RecvMsg(&esdbv1.Empty{}); err == io.EOF {
					break
				} else if err != nil {
					b.Fatal(err)
				}
				n++
			}
		}
		report(b, n, start, used)
	})
	b.Run("official", func(b *testing.B) {
		c := dial(b, "esdb://"+addr+"?tls=false")
		n := 0
		start, used := time.Now(), cpu()
		for b.Loop() {
			rs, err := c.ReadAll(b.Context(), esdb.ReadAllOptions{From: esdb.Start{}}, size)
			if err != nil {
				b.Fatal(err)
			}
			for {
				if _, err := rs.Recv(); err == io.EOF {
					break
				} else if err != nil {
					b.Fatal(err)
				}
				n++
			}
			rs.Close()
		}
		report(b, n, start, used)
	})
}
