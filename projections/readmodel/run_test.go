package readmodel_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/shardy-network/orchestrator/events"
	"github.com/shardy-network/orchestrator/events/memlog"
	"github.com/shardy-network/orchestrator/projections"
	"github.com/shardy-network/orchestrator/projections/readmodel"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

// house is a log with a read model that follows it.
type house struct {
	t      *testing.T
	log    *memlog.Log
	path   string
	model  *readmodel.Model
	runner *projections.Runner
	n      uint64
}

func newHouse(t *testing.T) *house {
	h := &house{t: t, log: memlog.New(), path: filepath.Join(t.TempDir(), "rows.db")}
	var err error
	if h.model, err = readmodel.Open(t.Context(), h.path, h.log, readmodel.Options{Logger: slog.New(slog.DiscardHandler)}); err != nil {
		t.Fatal(err)
	}
	o := projections.Options{Logger: slog.New(slog.DiscardHandler), MinBackoff: time.Millisecond}
	if h.runner, err = projections.NewRunner(h.log, o, h.model); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- h.runner.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := errors.Join(<-ended, h.model.Close(), h.log.Close()); err != nil {
			t.Error(err)
		}
	})
	return h
}

func (h *house) write(stream string, facts ...events.Fact) events.Position {
	h.t.Helper()
	h.n++
	drafts, err := events.Encode(events.Origin{ID: events.NewCommandID(binary.BigEndian.AppendUint64(nil, h.n))}, facts)
	if err != nil {
		h.t.Fatal(err)
	}
	at, err := h.log.Append(h.t.Context(), stream, events.Any, drafts...)
	if err != nil {
		h.t.Fatal(err)
	}
	return at.Pos
}

func (h *house) submit(n int) events.Position {
	return h.write(fmt.Sprintf("job-%d", n), &eventv1.JobSubmitted{Spec: &eventv1.JobSpec{Tenant: "acme"}, Policy: &eventv1.JobPolicy{}, Slots: 2})
}

func (h *house) jobs() int64 {
	h.t.Helper()
	counts, err := h.model.CountJobs(h.t.Context(), readmodel.JobQuery{})
	if err != nil {
		h.t.Fatal(err)
	}
	return counts[operatorv1.JobState_JOB_STATE_OPEN]
}

func (h *house) wait(pos events.Position) {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), 20*time.Second)
	defer cancel()
	if err := h.runner.WaitFor(ctx, h.model.Name(), pos); err != nil {
		h.t.Fatalf("place %d: %v; %+v", pos, err, h.runner.Status())
	}
}

// TestReadYourWrites: what was appended before WaitFor is in the rows after it, every time.
func TestReadYourWrites(t *testing.T) {
	h := newHouse(t)
	for i := range 50 {
		changed := h.model.Changed()
		h.wait(h.submit(i))
		if n := h.jobs(); n != int64(i+1) {
			t.Fatalf("%d jobs after %d", n, i+1)
		}
		<-changed
	}
	if s := h.runner.Status()[0]; s.Records != 50 || s.Rate == 0 || s.Busy == 0 || s.Applied.IsZero() || s.Err != nil {
		t.Errorf("status: %+v", s)
	}
}

// TestRunnerRebuilds: a rebuild that was asked for ends at the same rows, and lists are full all the while.
func TestRunnerRebuilds(t *testing.T) {
	h := newHouse(t)
	var last events.Position
	for i := range 300 {
		last = h.submit(i)
	}
	h.wait(last)
	if err := h.runner.Rebuild(t.Context(), h.model.Name()); err != nil {
		t.Fatal(err)
	}
	for {
		if n := h.jobs(); n != 300 {
			t.Fatalf("%d jobs during the rebuild", n)
		}
		if !h.model.Rebuilding() {
			break
		}
	}
	h.wait(h.submit(300))
	if n := h.jobs(); n != 301 || h.runner.Status()[0].Rebuilds != 1 {
		t.Fatalf("%d jobs, %+v", n, h.runner.Status()[0])
	}
}

// TestRunnerRecovers: damage that a query finds while nothing is appended is repaired without anybody's help.
func TestRunnerRecovers(t *testing.T) {
	h := newHouse(t)
	var last events.Position
	for i := range 2000 {
		last = h.submit(i)
	}
	h.wait(last)
	if err := h.runner.Rebuild(t.Context(), h.model.Name()); err != nil { // leaves one file, read by nobody yet
		t.Fatal(err)
	}
	h.wait(last)
	f, err := os.OpenFile(h.path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	for at := int64(4096); at < info.Size(); at += 4096 {
		if _, err := f.WriteAt(make([]byte, 4096), at); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	list := func() (int, error) {
		rows, _, err := h.model.Jobs(t.Context(), readmodel.JobQuery{Page: readmodel.Page{Limit: readmodel.MaxPage}})
		return len(rows), err
	}
	if _, err := list(); err == nil {
		t.Fatal("nobody noticed")
	}
	deadline := time.Now().Add(20 * time.Second)
	for {
		changed := h.model.Changed()
		if n, err := list(); err == nil && n == readmodel.MaxPage && h.jobs() == 2000 {
			return
		}
		select {
		case <-changed:
		case <-time.After(time.Until(deadline)):
			t.Fatalf("not repaired: %+v", h.runner.Status())
		}
	}
}

// TestFreshOnAnOldLog: a database that is begun on a log with a history says that it is being built until it holds it.
func TestFreshOnAnOldLog(t *testing.T) {
	h := newHouse(t)
	end := h.write("job-old", &eventv1.JobSubmitted{Spec: &eventv1.JobSpec{Tenant: "a"}, Policy: &eventv1.JobPolicy{Redundancy: 2}, Slots: 2})
	m, err := readmodel.Open(t.Context(), filepath.Join(t.TempDir(), "fresh.db"), h.log, readmodel.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if _, err := m.Job(t.Context(), "old"); !errors.Is(err, readmodel.ErrRebuilding) || !m.Partial() {
		t.Fatalf("before anything was read: %v, partial %v", err, m.Partial())
	}
	for tick, err := range h.log.Tail(t.Context(), 0, m.Filter()) {
		if err != nil {
			t.Fatal(err)
		}
		if err := m.Apply(t.Context(), []events.Record{*tick.Event}, tick.Pos); err != nil {
			t.Fatal(err)
		}
		if tick.Pos >= end {
			break
		}
	}
	if _, err := m.Job(t.Context(), "old"); err != nil || m.Partial() {
		t.Fatalf("after all was read: %v, partial %v", err, m.Partial())
	}
}
