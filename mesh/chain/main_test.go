package chain

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/shardy-network/orchestrator/mesh/chain/chaintest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// open opens a chain that the test closes.
func open(t testing.TB, cfg Config) *Chain {
	t.Helper()
	c, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { shut(t, c) })
	return c
}

func shut(t testing.TB, c *Chain) {
	t.Helper()
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
}

// agree holds a chain against the blocks that were made.
func agree(t testing.TB, c *Chain, m *chaintest.Maker) {
	t.Helper()
	if c.Height() != m.State.Height() || c.State().Root() != m.State.Root() || c.State().Head() != m.State.Head() {
		t.Fatalf("height %d root %x, want %d %x", c.Height(), c.State().Root(), m.State.Height(), m.State.Root())
	}
}
