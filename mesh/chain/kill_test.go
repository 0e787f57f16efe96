package chain

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/shardy-network/orchestrator/mesh/chain/chaintest"
)

func tempDir(t *rapid.T) string {
	dir, err := os.MkdirTemp("", "chain")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

const victimDir = "SHARDY_CHAIN_VICTIM"

// TestVictim is the process that TestKill kills: it commits blocks and says so after each.
func TestVictim(t *testing.T) {
	dir := os.Getenv(victimDir)
	if dir == "" {
		t.Skip("only as the process of TestKill")
	}
	m := chaintest.New(t, 1, 20)
	c := open(t, Config{Dir: dir, Genesis: m.Genesis, SnapshotBlocks: 5, KeepBlocks: 7, SegmentBytes: 3000})
	m.Grow(int(c.Height()), 2)
	if c.State().Root() != m.State.Root() {
		t.Fatal("another state")
	}
	fmt.Printf("committed %d\n", c.Height())
	for {
		b := m.Grow(1, 2)
		if err := c.Commit(b.Block, b.Certificate); err != nil {
			t.Fatal(err)
		}
		fmt.Printf("committed %d\n", c.Height())
	}
}

// TestKill kills a process with SIGKILL while it commits, again and again: what it has said to be committed is there.
func TestKill(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	dir := t.TempDir()
	said := uint64(0)
	for round := range 4 {
		p := exec.Command(os.Args[0], "-test.run=^TestVictim$")
		p.Env = append(os.Environ(), victimDir+"="+dir)
		out, err := p.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Start(); err != nil {
			t.Fatal(err)
		}
		began := said
		for lines := bufio.NewScanner(out); lines.Scan(); {
			h, ok := strings.CutPrefix(lines.Text(), "committed ")
			if !ok {
				continue
			}
			n, err := strconv.ParseUint(h, 10, 64)
			if err != nil || n < said {
				t.Errorf("it had committed %d, and begins with %q", said, h)
			}
			if said = n; said > began+uint64(11+3*round) {
				_ = p.Process.Kill()
			}
		}
		_ = p.Wait() // it was killed
		if said <= began {
			t.Fatal("it committed nothing")
		}
	}
	m := chaintest.New(t, 1, 20)
	c := open(t, Config{Dir: dir, Genesis: m.Genesis})
	if c.Height() < said {
		t.Fatalf("height %d, it had committed %d", c.Height(), said)
	}
	m.Grow(int(c.Height()), 2)
	agree(t, c, m)
}
