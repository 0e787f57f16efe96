package ordered_test

import (
	"context"
	"syscall"
	"testing"
	"time"

	"github.com/shardy-network/orchestrator/actors/ledger"
	"github.com/shardy-network/orchestrator/mesh/chain"
	"github.com/shardy-network/orchestrator/mesh/chain/chaintest"
	"github.com/shardy-network/orchestrator/mesh/chain/ordered"
	"github.com/shardy-network/orchestrator/mesh/consensus"
)

func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkFourChains is what a transfer costs from its submission to every validator (as gossip does) until each of four
// has executed it and has it on disk. Reported is processor time per transaction and validator, making the transactions
// left out.
func BenchmarkFourChains(b *testing.B) {
	const nodes, batch = 4, 2000
	m := chaintest.New(b, nodes, 200)
	x := consensus.NewExchange()
	var chains []*chain.Chain
	var engines []*consensus.Engine
	for _, key := range m.Validators {
		me, ok := consensus.KeyOf(chaintest.Public(key))
		if !ok {
			b.Fatal("no key")
		}
		c, err := chain.Open(chain.Config{Dir: b.TempDir(), Genesis: m.Genesis})
		if err != nil {
			b.Fatal(err)
		}
		e, err := consensus.Open(consensus.Config{
			Chain: chaintest.ChainID, Key: key, Dir: b.TempDir(), Application: ordered.Application{Chain: c},
			Transport: x.Join(me), Puller: nobody{}, FreshLog: true,
		})
		if err != nil {
			b.Fatal(err)
		}
		chains, engines = append(chains, c), append(engines, e)
		b.Cleanup(func() {
			if err := e.Close(); err != nil {
				b.Error(err)
			}
			if err := c.Close(); err != nil {
				b.Error(err)
			}
		})
	}
	ctx, cancel := context.WithTimeout(b.Context(), 5*time.Minute)
	defer cancel()
	var used time.Duration
	count := 0
	for b.Loop() {
		txs := make([][]byte, batch)
		ids := make([]ledger.Hash, batch)
		for i := range txs {
			txs[i] = m.TransferAt(chains[0].Height(), chaintest.Key(1000+i%200), chaintest.Key(3000+i%500), 1)
			checked, err := ledger.Check(chaintest.ChainID, txs[i])
			if err != nil {
				b.Fatal(err)
			}
			ids[i] = checked.ID()
		}
		before := cpu()
		done := make(chan error, nodes)
		for n, e := range engines {
			go func() {
				for _, tx := range txs {
					if err := e.Submit(ctx, tx); err != nil {
						done <- err
						return
					}
				}
				for _, id := range ids[len(ids)-500:] {
					if _, err := chains[n].Await(ctx, id); err != nil {
						done <- err
						return
					}
				}
				done <- nil
			}()
		}
		for range nodes {
			if err := <-done; err != nil {
				b.Fatal(err)
			}
		}
		used += cpu() - before
		count += batch
	}
	b.ReportMetric(float64(used.Microseconds())/float64(count)/nodes, "cpu-us/tx/node")
}
