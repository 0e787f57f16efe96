package e2e

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// product is the binary, built once.
var product string

var seedFlag = flag.Uint64("seed", 0, "repeat what a seed drew; 0: a new one")

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if testing.Short() {
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "shardy-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	product = filepath.Join(dir, "shardy")
	build := exec.Command("go", append(append([]string{"build"}, buildFlags...), "-o", product, "..")...)
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// long leaves a test out under -short.
func long(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("runs processes; not with -short")
	}
}

// dice are a test's own. The seed is printed when it fails.
func dice(t *testing.T) *rand.Rand {
	t.Helper()
	seed := *seedFlag
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("-seed %d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// patience bounds every wait. Processes share the machine with other tests, and some look for races.
func patience(d time.Duration) time.Duration {
	if slow {
		return 5 * d
	}
	return d
}
