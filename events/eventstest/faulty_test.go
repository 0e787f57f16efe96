package eventstest_test

import (
	"context"
	"errors"
	"testing"

	"github.com/shardy-network/orchestrator/events"
	"github.com/shardy-network/orchestrator/events/eventstest"
	"github.com/shardy-network/orchestrator/events/memlog"
)

func TestFaultyLogKeepsTheContractWithoutFaults(t *testing.T) {
	eventstest.Run(t, func(*testing.T) events.Log { return eventstest.Faulty(memlog.New()) })
}

func TestAppendsThatFail(t *testing.T) {
	for _, c := range []struct {
		how  eventstest.Fault
		want int // events in the stream after the failure
	}{{eventstest.NotPersisted, 1}, {eventstest.Persisted, 2}} {
		l := eventstest.Faulty(memlog.New())
		ctx := t.Context()
		l.FailAppend(2, c.how)
		if _, err := l.Append(ctx, "s", events.Absent, eventstest.Draft("A")); err != nil {
			t.Fatal(err)
		}
		b := eventstest.Draft("B")
		if _, err := l.Append(ctx, "s", events.At(0), b); !errors.Is(err, events.ErrUnavailable) {
			t.Fatalf("fault %d: %v", c.how, err)
		}
		n := 0
		for _, err := range l.Read(ctx, "s", events.Span{}) {
			if err != nil {
				t.Fatal(err)
			}
			n++
		}
		if n != c.want {
			t.Errorf("fault %d left %d events, want %d", c.how, n, c.want)
		}
		// Either way the writer comes through by repeating.
		if got, err := l.Append(ctx, "s", events.At(0), b); err != nil || got.Rev != 1 {
			t.Errorf("repeat after fault %d: %+v, %v", c.how, got, err)
		}
	}
}

func TestOutage(t *testing.T) {
	l := eventstest.Faulty(memlog.New())
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	live, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		var last error
		for tick, err := range l.Tail(ctx, 0, events.Filter{}) {
			if last = err; tick.Live {
				close(live)
			}
		}
		ended <- last
	}()
	<-live
	end := l.Outage()
	if err := <-ended; !errors.Is(err, events.ErrUnavailable) {
		t.Errorf("tail in an outage: %v", err)
	}
	if _, err := l.Append(ctx, "s", events.Absent, eventstest.Draft("A")); !errors.Is(err, events.ErrUnavailable) {
		t.Errorf("append in an outage: %v", err)
	}
	if _, err := l.Head(ctx); !errors.Is(err, events.ErrUnavailable) {
		t.Errorf("head in an outage: %v", err)
	}
	end()
	if _, err := l.Append(ctx, "s", events.Absent, eventstest.Draft("A")); err != nil {
		t.Errorf("append after an outage: %v", err)
	}
}
