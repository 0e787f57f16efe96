package transparency

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/shardy-network/orchestrator/events"
	"github.com/shardy-network/orchestrator/events/memlog"
	"github.com/shardy-network/orchestrator/projections"
)

var quiet = slog.New(slog.DiscardHandler)

// draft makes an event that differs from all others.
func draft(n int) events.Draft {
	d := events.Draft{Type: "TaskAcked", Data: fmt.Appendf(nil, "data of %d", n), Meta: fmt.Appendf(nil, "meta of %d", n)}
	binary.BigEndian.PutUint64(d.ID[:], uint64(n)+1)
	return d
}

// write appends events to a few streams.
func write(t testing.TB, log events.Log, from, n int) {
	t.Helper()
	for i := from; i < from+n; {
		batch := []events.Draft{draft(i)}
		for i++; i%7 != 0 && i < from+n; i++ {
			batch = append(batch, draft(i))
		}
		if _, err := log.Append(t.Context(), fmt.Sprintf("job-%d", i/7%5), events.Any, batch...); err != nil {
			t.Fatal(err)
		}
	}
}

// feed hands a log's records to a projection up to its end, in batches.
func feed(t testing.TB, tree *Tree, log events.Log) error {
	t.Helper()
	var batch []events.Record
	for r, err := range log.ReadAll(t.Context(), tree.Position(), tree.Filter()) {
		if err != nil {
			t.Fatal(err)
		}
		if batch = append(batch, r); len(batch) == 100 {
			if err := tree.Apply(t.Context(), batch, r.Pos); err != nil {
				return err
			}
			batch = batch[:0]
		}
	}
	if len(batch) > 0 {
		return tree.Apply(t.Context(), batch, batch[len(batch)-1].Pos)
	}
	return nil
}

func open(t testing.TB, dir string, log Log, o Options) *Tree {
	t.Helper()
	o.Logger = quiet
	tree, err := Open(t.Context(), dir, log, testKey(1), o)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

// TestThroughTheRunner: the tree as a process has it, from the first event to a verified folder.
func TestThroughTheRunner(t *testing.T) {
	log := memlog.New()
	defer log.Close()
	dir := t.TempDir()
	write(t, log, 0, 3000)
	tree := open(t, dir, log, Options{})
	runner, err := projections.NewRunner(log, projections.Options{Logger: quiet}, tree)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- runner.Run(ctx) }()
	write(t, log, 3000, 777)
	head, err := log.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := runner.WaitFor(t.Context(), tree.Name(), head); err != nil {
		t.Fatal(err)
	}
	e, err := tree.Evidence(t.Context(), "job-3", 17)
	if err != nil {
		t.Fatal(err)
	}
	r, c, err := e.Verify(public(testKey(1)))
	if err != nil || r.Stream != "job-3" || r.Rev != 17 || c.Size != 3777 {
		t.Fatalf("%+v of %+v: %v", r, c, err)
	}
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if err := tree.Close(); err != nil {
		t.Fatal(err)
	}
	report, err := Verify(t.Context(), log, dir, VerifyOptions{Key: public(testKey(1))})
	if err != nil || !report.Clean() || report.Signed != 3777 || report.Matched != report.Checkpoints {
		t.Fatalf("%+v, %v", report, err)
	}
}

// TestCleanStopSigns and goes on at the next start without reading the log anew.
func TestCleanStopSigns(t *testing.T) {
	log := memlog.New()
	defer log.Close()
	dir := t.TempDir()
	for i, n := range []int{1, 255, 256, 257, 700, 3} {
		write(t, log, i*10_000, n)
		tree := open(t, dir, log, Options{SignAfter: time.Hour})
		if i > 0 && tree.Position() == 0 {
			t.Fatal("began anew")
		}
		if err := feed(t, tree, log); err != nil {
			t.Fatal(err)
		}
		if err := tree.Close(); err != nil {
			t.Fatal(err)
		}
		again := open(t, dir, log, Options{})
		signed, err := again.Latest()
		if err != nil {
			t.Fatal(err)
		}
		head, _ := log.Head(t.Context())
		if c, err := OpenCheckpoint(signed, public(testKey(1))); err != nil || c.Size != int64(head) {
			t.Fatalf("%v, %v; want %d leaves", c, err, head)
		}
		if err := again.Close(); err != nil {
			t.Fatal(err)
		}
		if after, _ := ReadCheckpoints(dir, public(testKey(1))); len(after) != i+1 || !bytes.Equal(after[i].Signed, signed) {
			t.Fatalf("%d checkpoints after %d starts", len(after), i+1)
		}
	}
}
