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
func BenchmarkFourValidators(b *testing.B) { benchmark(b, 4, signed) }

// BenchmarkOneValidator is the same without anybody to agree with.
func BenchmarkOneValidator(b *testing.B) { benchmark(b, 1, signed) }

// BenchmarkFourValidatorsUnsigned leaves out the signatures of transactions, which are most of it.
func BenchmarkFourValidatorsUnsigned(b *testing.B) { benchmark(b, 4, unsigned) }

var benchmarkKey = testKey(100)

func signed(i int) []byte { return signedTx(i, benchmarkKey) }

func unsigned(i int) []byte {
	tx := signedTx(i, benchmarkKey)
	tx[0] = 't'
	return tx
}

func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func benchmark(b *testing.B, n int, makeTx func(int) []byte) {
	const batch = 2000
	net := newNetworkIn(b, b.TempDir(), n, func(c *Config) { c.BatchInterval = 50 * time.Millisecond })
	defer net.close()
	nodes := net.startAll()
	ctx, cancel := context.WithTimeout(b.Context(), 5*time.Minute)
	defer cancel()
	i := 0
	var used time.Duration
	began := time.Now()
	for b.Loop() {
		txs := make([][]byte, batch)
		for j := range txs {
			txs[j] = makeTx(i)
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
