package host

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/events"
	"github.com/shardy-network/orchestrator/events/eventstest"
	"github.com/shardy-network/orchestrator/events/memlog"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// remote is a log as a client sees one over a network that fails: calls of an outage hang for a while, and what was
// under way when it began was written or not.
type remote struct {
	events.Log
	mu    sync.Mutex
	down  chan struct{} // not nil: away; closed when it is back
	hang  time.Duration
	calls int
}

func (l *remote) fail(down bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case down && l.down == nil:
		l.down = make(chan struct{})
	case !down && l.down != nil:
		close(l.down)
		l.down = nil
	}
}

// there waits like a client that is not connected. In every third call of an outage the server still hears it.
func (l *remote) there(ctx context.Context) (heard bool, err error) {
	l.mu.Lock()
	down := l.down
	l.calls++
	heard = l.calls%3 == 0
	l.mu.Unlock()
	if down == nil {
		return true, nil
	}
	select {
	case <-time.After(l.hang):
		return heard, fmt.Errorf("%w: no connection", events.ErrUnavailable)
	case <-ctx.Done():
		return false, ctx.Err()
	}
}

func (l *remote) Append(ctx context.Context, stream string, want events.Expect, evs ...events.Draft) (events.Appended, error) {
	heard, err := l.there(ctx)
	if !heard {
		return events.Appended{}, err
	}
	at, appendErr := l.Log.Append(ctx, stream, want, evs...)
	if err != nil {
		return events.Appended{}, err
	}
	return at, appendErr
}

func (l *remote) Read(ctx context.Context, stream string, span events.Span) iter.Seq2[events.Record, error] {
	return func(yield func(events.Record, error) bool) {
		if _, err := l.there(ctx); err != nil {
			yield(events.Record{}, err)
			return
		}
		l.Log.Read(ctx, stream, span)(yield)
	}
}

func (l *remote) Head(ctx context.Context) (events.Position, error) {
	if _, err := l.there(ctx); err != nil {
		return 0, err
	}
	return l.Log.Head(ctx)
}

// TestOutagesOfTheLog takes the log away again and again while clients submit and workers compute. Nothing is lost,
// nothing is done twice, and nobody who was at work is blamed.
func TestOutagesOfTheLog(t *testing.T) {
	for _, hang := range []time.Duration{0, 3 * time.Second} {
		t.Run(fmt.Sprintf("calls hang %v", hang), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { outages(t, hang) })
		})
	}
}

func outages(t *testing.T, hang time.Duration) {
	log := &remote{Log: memlog.New(), hang: hang}
	f := newField(t, log, nil)
	f.onDeliver = func(task actors.Task) {
		go func() { // a worker that takes its time, not longer than it may
			f.ack(task)
			time.Sleep(1500 * time.Millisecond)
			f.finish(task, "right")
		}()
	}
	f.host.Start(t.Context(), Open{})
	f.workers(8)
	const jobs = 200
	var submitted sync.WaitGroup
	for i := range jobs {
		submitted.Go(func() {
			time.Sleep(time.Duration(i) * 100 * time.Millisecond)
			id, cmd := submission(i)
			p := cmd.GetSubmitJob().Policy
			p.AckTimeoutMs, p.MinExecutionTimeoutMs, p.MaxExecutionTimeoutMs = 1000, 2000, 2000
			for {
				_, err := f.host.Do(t.Context(), actors.JobAddress(id), cmd)
				if err == nil {
					return
				}
				if !errors.Is(err, events.ErrUnavailable) {
					t.Errorf("submission in an outage: %v", err)
					return
				}
				time.Sleep(200 * time.Millisecond)
			}
		})
	}
	for _, away := range []time.Duration{50 * time.Millisecond, 5 * time.Second, 700 * time.Millisecond, 40 * time.Second} {
		time.Sleep(2500 * time.Millisecond)
		log.fail(true)
		time.Sleep(away)
		log.fail(false)
	}
	submitted.Wait()
	for range jobs {
		select {
		case <-f.decided:
		case <-time.After(10 * time.Hour):
			t.Fatal("a job is stuck")
		}
	}
	if got := len(types(t, log, events.Filter{Types: []string{"TaskVerified"}})); got != jobs {
		t.Errorf("%d verdicts for %d jobs", got, jobs)
	}
	if got := types(t, log, events.Filter{Types: []string{"AssignmentStripped", "AckTimedOut", "ExecutionTimedOut"}}); len(got) != 0 {
		t.Errorf("workers were blamed for the log's outages: %v", got)
	}
	s, err := f.host.Stats(t.Context())
	if err != nil || s.Outages == 0 || s.LogAway || s.Panics != 0 {
		t.Errorf("%+v, %v", s, err)
	}
	f.end()
	time.Sleep(time.Minute)
}

// TestADeadWorkerIsStrippedAfterAnOutage: the grace ends.
func TestADeadWorkerIsStrippedAfterAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &remote{Log: memlog.New(), hang: time.Second}
		f := newField(t, log, func(c *Config) { c.ReconnectGrace = 4 * time.Second })
		f.host.Start(t.Context(), Open{})
		f.workers(2)
		id, cmd := submission(1)
		cmd.GetSubmitJob().Policy.AckTimeoutMs = 2000
		if _, err := f.host.Do(t.Context(), actors.JobAddress(id), cmd); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		log.fail(true)
		began := time.Now()
		time.Sleep(20 * time.Second) // the deadline falls into it
		log.fail(false)
		back := time.Now()
		for len(types(t, log.Log, events.Filter{Types: []string{"AssignmentStripped"}})) < 2 {
			if time.Sleep(100 * time.Millisecond); time.Since(began) > time.Hour {
				t.Fatal("nobody was stripped")
			}
		}
		if took := time.Since(back); took < 4*time.Second || took > 10*time.Second {
			t.Errorf("stripped %v after the log came back, want the grace of 4 s", took)
		}
		f.end()
		time.Sleep(time.Minute)
	})
}

// TestCommandsInAnOutage: who waits is told at once, who does not is served later.
func TestCommandsInAnOutage(t *testing.T) {
	log := eventstest.Faulty(memlog.New())
	f := newField(t, log, nil)
	f.host.Start(t.Context(), Open{})
	first := f.submit(1)
	end := log.Outage()
	id, cmd := submission(2)
	if _, err := f.host.Do(t.Context(), actors.JobAddress(id), cmd); !errors.Is(err, events.ErrUnavailable) {
		t.Errorf("submission in an outage: %v", err)
	}
	waitFor(t, f.host.gate.away)
	lines, err := f.host.Explain(t.Context(), first)
	if err != nil || len(lines) == 0 || !strings.Contains(lines[0], "the event log is away") {
		t.Errorf("explained in an outage: %q, %v", lines, err)
	}
	began := time.Now()
	for range 100 {
		if _, err := f.host.Do(t.Context(), actors.JobAddress(id), cmd); !errors.Is(err, events.ErrUnavailable) {
			t.Errorf("submission in an outage: %v", err)
		}
	}
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("100 refusals took %v", took)
	}
	told := make(chan error, 1)
	f.host.Tell(actors.JobAddress(first), &eventv1.Command{Kind: &eventv1.Command_CancelJob{CancelJob: &eventv1.CancelJob{By: "me", Reason: "test"}}},
		func(_ any, err error) { told <- err })
	select {
	case err := <-told:
		t.Errorf("answered in an outage: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	end()
	if err := <-told; err != nil {
		t.Errorf("after the outage: %v", err)
	}
	if to := <-f.decided; to.ID != first {
		t.Errorf("%s was cancelled", to.ID)
	}
	f.close()
}

// TestCloseInAnOutage does not wait for the log.
func TestCloseInAnOutage(t *testing.T) {
	log := &remote{Log: memlog.New(), hang: 30 * time.Second}
	f := newField(t, log, func(c *Config) { c.AppendTimeout = 100 * time.Millisecond })
	f.host.Start(t.Context(), Open{})
	f.workers(2)
	ids := []string{f.submit(1), f.submit(2)}
	log.fail(true)
	for _, id := range ids {
		f.host.Tell(actors.JobAddress(id), &eventv1.Command{Kind: &eventv1.Command_CancelJob{CancelJob: &eventv1.CancelJob{By: "me", Reason: "test"}}}, nil)
	}
	waitFor(t, f.host.gate.away)
	began := time.Now()
	f.close()
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("close took %v", took)
	}
}
