package consensus

import (
	"context"
	"syscall"
	"testing"
	"time"
)

// BenchmarkFourValidators is what ordering costs: signed transactions of 105 bytes, given to every validator (as gossip
// does), agreed on by four in one process, in memory, blocks on disk. Reported is processor time per transaction and
// validator, making the transactions left out.
func BenchmarkFourValidators(b *testing.B) { benchmark(b, 4) }

// BenchmarkOneValidator is the same without anybody to agree with.
func BenchmarkOneValidator(b *testing.B) { benchmark(b, 1) }

func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func benchmark(b *testing.B, n int) {
	const batch = 2000
	net := newNetworkIn(b, b.TempDir(), n, func(c *Config) { c.BatchInterval = 50 * time.Millisecond })
	defer net.close()
	nodes := net.startAll()
	ctx, cancel := context.WithTimeout(b.Context(), 5*time.Minute)
	defer cancel()
	i, key := 0, testKey(100)
	var used time.Duration
	began := time.Now()
	for b.Loop() {
		txs := make([][]byte, batch)
		for j := range txs {
			txs[j] = signedTx(i, key)
			i++
		}
		before := cpu()
		done := make(chan error, n)
		for _, node := range nodes {
			go func() {
				for _, tx := range txs {
					if err := node.engine.Submit(ctx, tx); err != nil {
						done <- err
						return
					}
				}
				last := string(txs[batch-1])
				done <- node.ledger.await(ctx, func() bool { return node.ledger.count[last] > 0 })
			}()
		}
		for range nodes {
			if err := <-done; err != nil {
				b.Fatal(err)
			}
		}
		used += cpu() - before
	}
	b.ReportMetric(float64(used.Microseconds())/float64(i)/float64(n), "cpu-us/tx/node")
	b.ReportMetric(float64(i)/time.Since(began).Seconds(), "tx/s")
}
