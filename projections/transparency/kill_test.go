package transparency

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"testing"

	"github.com/shardy-network/orchestrator/events"
)

const childFolder = "TRANSPARENCY_TEST_FOLDER"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childFolder); dir != "" {
		signForEver(dir)
	}
	os.Exit(m.Run())
}

const killLeaves = 100_000

// signForEver is a process that grows a tree, signs, and says what it has published, until it is killed.
func signForEver(dir string) {
	fail := func(err error) {
		fmt.Println("error", err)
		os.Exit(1)
	}
	s := newSlate(killLeaves)
	tree, err := Open(context.Background(), dir, s, testKey(1), Options{SignEvery: 1 << 40, SignAfter: 1 << 60, Logger: quiet})
	if err == nil {
		err = tree.Err()
	}
	if err != nil {
		fail(err)
	}
	for {
		from := int(tree.Position())
		next := min(from+777, killLeaves)
		if err := tree.Apply(context.Background(), s.records[from:next], events.Position(next)); err != nil {
			fail(err)
		}
		k, err := tree.Sign(context.Background())
		if err != nil {
			fail(err)
		}
		fmt.Println(k.Checkpoint.Size, k.Checkpoint.Root)
	}
}

// TestKill9 kills that process again and again: what it published is kept, and the tree goes on without a gap.
func TestKill9(t *testing.T) {
	dir := t.TempDir()
	published := map[string]string{}
	for round := range 4 {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^$")
		cmd.Env = append(os.Environ(), childFolder+"="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for i := 0; i < 5+9*round && lines.Scan(); i++ {
			var size, root string
			fmt.Sscan(lines.Text(), &size, &root)
			if was, ok := published[size]; ok && was != root || size == "error" {
				t.Fatalf("published %q, before %q", lines.Text(), was)
			}
			published[size] = root
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		for lines.Scan() { // published before the signal came
			var size, root string
			if n, _ := fmt.Sscan(lines.Text(), &size, &root); n == 2 {
				published[size] = root
			}
		}
		cmd.Wait() // it was killed
	}
	kept, err := ReadCheckpoints(dir, public(testKey(1)))
	if err != nil {
		t.Fatal(err)
	}
	there := map[string]string{}
	for _, k := range kept {
		there[fmt.Sprint(k.Checkpoint.Size)] = k.Checkpoint.Root.String()
	}
	for size, root := range published {
		if there[size] != root {
			t.Errorf("published %s %s, kept %q", size, root, there[size])
		}
	}
	if len(published) < 20 {
		t.Errorf("only %d were published: the test tells nothing", len(published))
	}
	s := newSlate(killLeaves)
	if r, err := Verify(t.Context(), s, dir, VerifyOptions{Key: public(testKey(1))}); err != nil || r.Matched != r.Checkpoints || r.TreeSize == 0 || !r.Clean() {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestOneWriter(t *testing.T) {
	dir := t.TempDir()
	s := newSlate(300)
	tree := open(t, dir, new(slate), Options{})
	if _, err := Open(t.Context(), dir, s, testKey(1), Options{Logger: quiet}); !errors.Is(err, ErrLocked) {
		t.Errorf("second writer: %v", err)
	}
	reader, err := Open(t.Context(), dir, s, nil, Options{Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := reader.Sign(t.Context()); !errors.Is(err, ErrReadOnly) {
		t.Errorf("signed without a key: %v", err)
	}
	if err := reader.Apply(t.Context(), nil, 3); !errors.Is(err, ErrReadOnly) {
		t.Errorf("added without a key: %v", err)
	}
	if err := reader.Close(); err != nil {
		t.Error(err)
	}
	if err := tree.Close(); err != nil {
		t.Error(err)
	}
	if err := tree.Close(); err != nil {
		t.Errorf("closed twice: %v", err)
	}
	if err := tree.Apply(t.Context(), s.records[:1], 1); !errors.Is(err, events.ErrClosed) {
		t.Errorf("added after the end: %v", err)
	}
	if _, err := Open(t.Context(), dir+"/none", s, nil, Options{}); err == nil {
		t.Error("read a folder that is not there")
	}
}
