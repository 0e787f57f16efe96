package chain

import (
	"testing"

	"github.com/shardy-network/orchestrator/mesh/chain/chaintest"
)

// BenchmarkCatchUp verifies, executes and stores 100 blocks of 20 transactions.
func BenchmarkCatchUp(b *testing.B) {
	m := chaintest.New(b, 4, 2)
	m.Grow(100, 20)
	for b.Loop() {
		b.StopTimer()
		c, err := Open(Config{Dir: b.TempDir(), Genesis: m.Genesis})
		if err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		if _, err := c.Accept(b.Context(), m.Blocks); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		shut(b, c)
		b.StartTimer()
	}
	b.ReportMetric(100*float64(b.N)/b.Elapsed().Seconds(), "blocks/s")
}

// BenchmarkSnapshot writes 100,000 accounts to disk and makes a chain of them.
func BenchmarkSnapshot(b *testing.B) {
	m := chaintest.New(b, 1, 100_000)
	block := m.Grow(1, 1)
	source := open(b, Config{Dir: b.TempDir(), Genesis: m.Genesis})
	if _, err := source.Accept(b.Context(), m.Blocks); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if err := source.snapshots.write(m.State, block, nil); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		c, err := Open(Config{Dir: b.TempDir(), Genesis: m.Genesis})
		if err != nil {
			b.Fatal(err)
		}
		manifest, err := source.Manifest(1)
		if err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		if err := c.Install(manifest, nil, func(n uint32) ([]byte, error) { return source.Chunk(1, n) }); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		shut(b, c)
		b.StartTimer()
	}
}

func BenchmarkAccountProof(b *testing.B) {
	m := chaintest.New(b, 4, 100_000)
	m.Grow(1, 1)
	c := open(b, Config{Dir: b.TempDir(), Genesis: m.Genesis})
	if _, err := c.Accept(b.Context(), m.Blocks); err != nil {
		b.Fatal(err)
	}
	key := chaintest.Public(chaintest.Key(5000))
	for b.Loop() {
		if _, err := c.AccountProof(key); err != nil {
			b.Fatal(err)
		}
	}
}
