package kurrent_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/shardy-network/orchestrator/events"
	"github.com/shardy-network/orchestrator/events/esdbserver"
	"github.com/shardy-network/orchestrator/events/eventstest"
	"github.com/shardy-network/orchestrator/events/kurrent"
	"github.com/shardy-network/orchestrator/events/memlog"
	"github.com/shardy-network/orchestrator/events/pebblelog"
)

// slack is how much later than its deadline a call may return on a busy machine.
const slack = 2 * time.Second

// within appends with a deadline and fails the test if the answer comes much later.
func within(t *testing.T, d time.Duration, l events.Log, stream string, want events.Expect, evs ...events.Draft) (events.Appended, error) {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	began := time.Now()
	got, err := l.Append(ctx, stream, want, evs...)
	if took := time.Since(began); took > d+slack {
		t.Errorf("append with a deadline of %v returned after %v", d, took)
	}
	return got, err
}

// writer appends to a stream of its own and repeats what it does not know the outcome of.
type writer struct {
	stream string
	want   events.Expect
	done   []events.ID
	lost   int // appends that failed at first
}

func (w *writer) append(t *testing.T, l events.Log) bool {
	d := eventstest.Draft("W")
	for t.Context().Err() == nil {
		got, err := within(t, 700*time.Millisecond, l, w.stream, w.want, d)
		if err == nil {
			w.done = append(w.done, d.ID)
			w.want = events.At(got.Rev)
			return true
		}
		w.lost++
		if !errors.Is(err, events.ErrUnavailable) {
			t.Errorf("%s: %v", w.stream, err)
			return false
		}
	}
	return false
}

// holds fails the test unless the stream is exactly what the writer wrote.
func (w *writer) holds(t *testing.T, l events.Log) {
	t.Helper()
	i := 0
	for r, err := range l.Read(t.Context(), w.stream, events.Span{}) {
		if err != nil || i == len(w.done) || r.ID != w.done[i] {
			t.Errorf("%s at %d of %d: %v, %v", w.stream, i, len(w.done), r.ID, err)
			return
		}
		i++
	}
	if i != len(w.done) {
		t.Errorf("%s has %d events, %d were acknowledged", w.stream, i, len(w.done))
	}
}

func TestOutagesWithWritersInFlight(t *testing.T) {
	log, err := pebblelog.Open(t.TempDir(), pebblelog.Options{})
	if err != nil {
		t.Fatal(err)
	}
	s := serve(t, log, esdbserver.Config{})
	l := s.open(kurrent.Options{})
	writers := make([]*writer, 64)
	var stop atomic.Bool
	var wg sync.WaitGroup
	for i := range writers {
		w := &writer{stream: fmt.Sprintf("job-%d", i)}
		writers[i] = w
		wg.Go(func() {
			for !stop.Load() && w.append(t, l) {
			}
		})
	}
	for _, down := range []time.Duration{1500 * time.Millisecond, 10 * time.Millisecond, 300 * time.Millisecond} {
		time.Sleep(200 * time.Millisecond) // the load that the outage falls into
		s.stop()
		time.Sleep(down) // the outage
		s.start()
		// The first append of a new writer comes through, without repeating.
		if _, err := within(t, 5*time.Second, l, fmt.Sprintf("after-%v", down), events.Absent, eventstest.Draft("A")); err != nil {
			t.Errorf("first append after an outage of %v: %v", down, err)
		}
	}
	stop.Store(true)
	wg.Wait()
	lost := 0
	for _, w := range writers {
		w.holds(t, l)
		lost += w.lost
	}
	if lost == 0 {
		t.Error("no append fell into an outage")
	}
}

func TestTailsSurviveAShortOutage(t *testing.T) {
	s := serve(t, memlog.New(), esdbserver.Config{})
	l := s.open(kurrent.Options{Window: 64})
	const total = 900
	var wg sync.WaitGroup
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	for i := range 6 {
		f := events.Filter{}
		if i%2 == 1 {
			f.Streams = []string{"w-"}
		}
		wg.Go(func() { expect(ctx, t, l, f, 0, total) })
	}
	w := &writer{stream: "w-1"}
	for i := range total {
		if i == 300 || i == 600 {
			s.stop()
			s.start()
		}
		if !w.append(t, l) {
			break
		}
	}
	wg.Wait()
}

// expect follows a tail for so many events of one stream and holds their order.
func expect(ctx context.Context, t *testing.T, l events.Log, f events.Filter, after events.Position, n int) (last events.Position) {
	next := uint64(0)
	for tick, err := range l.Tail(ctx, after, f) {
		if err != nil {
			t.Errorf("tail after %d events: %v", next, err)
			return last
		}
		if e := tick.Event; e != nil {
			if e.Rev != next {
				t.Errorf("revision %d, want %d", e.Rev, next)
				return last
			}
			last = e.Pos
			if next++; int(next) == n {
				return last
			}
		}
	}
	return last
}

func TestTailEndsWithALongOutage(t *testing.T) {
	s := serve(t, memlog.New(), esdbserver.Config{})
	l := s.open(kurrent.Options{CallTimeout: 300 * time.Millisecond})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	first, err := l.Append(ctx, "s", events.Absent, eventstest.Draft("A"))
	if err != nil {
		t.Fatal(err)
	}
	for tick, err := range l.Tail(ctx, 0, events.Filter{}) {
		if tick.Live && err == nil {
			s.stop()
		}
		if err != nil && !errors.Is(err, events.ErrUnavailable) {
			t.Errorf("tail in an outage: %v", err)
		}
	}
	if ctx.Err() != nil {
		t.Fatal("the tail did not end")
	}
	for _, err := range l.Tail(ctx, first.Pos, events.Filter{}) {
		if !errors.Is(err, events.ErrUnavailable) {
			t.Errorf("new tail in an outage: %v", err)
		}
	}
	s.start()
	second, err := within(t, 5*time.Second, l, "s", events.At(0), eventstest.Draft("B"))
	for err != nil { // the call timeout is short
		second, err = within(t, 5*time.Second, l, "s", events.At(0), eventstest.Draft("B"))
	}
	for {
		for tick, err := range l.Tail(ctx, first.Pos, events.Filter{}) {
			if err != nil {
				break
			}
			if tick.Event != nil {
				if tick.Pos != second.Pos {
					t.Errorf("tail goes on at %d, want %d", tick.Pos, second.Pos)
				}
				return
			}
		}
		if ctx.Err() != nil {
			t.Fatal("no tail after the outage")
		}
	}
}

// TestManyAppendersAndTailsOnFewStreams holds that the server's limit of streams for each connection stops nobody.
func TestManyAppendersAndTailsOnFewStreams(t *testing.T) {
	s := serve(t, memlog.New(), esdbserver.Config{MaxStreamsPerConn: 100})
	l := s.open(kurrent.Options{Reads: 64, CallTimeout: 2 * time.Minute})
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	const appenders, tails = 1000, 50
	var wg sync.WaitGroup
	for range tails {
		wg.Go(func() {
			seen := 0
			for tick, err := range l.Tail(ctx, 0, events.Filter{}) {
				if err != nil {
					t.Errorf("tail after %d: %v", seen, err)
					return
				}
				if tick.Event != nil {
					seen++
				}
				if seen == 2*appenders {
					return
				}
			}
		})
	}
	for i := range appenders {
		wg.Go(func() {
			w := &writer{stream: fmt.Sprintf("a-%d", i)}
			for range 2 {
				d := eventstest.Draft("W")
				got, err := l.Append(ctx, w.stream, w.want, d)
				if err != nil {
					t.Errorf("%s: %v", w.stream, err)
					return
				}
				w.want, w.done = events.At(got.Rev), append(w.done, d.ID)
			}
			w.holds(t, l)
		})
	}
	wg.Wait()
}

// TestFaultTable holds that it does not matter what became of an append whose answer was lost, once or twice.
func TestFaultTable(t *testing.T) {
	for _, how := range []eventstest.Fault{eventstest.NotPersisted, eventstest.Persisted} {
		mem := memlog.New()
		faults := eventstest.Faulty(mem)
		l := serve(t, struct {
			events.Log
			events.Backward
		}{faults, mem}, esdbserver.Config{}).open(kurrent.Options{})
		w := &writer{stream: "s"}
		var last events.Position
		for lost := range 3 {
			for i := range lost {
				faults.FailAppend(i+1, how)
			}
			d := eventstest.Draft("A")
			got, err := l.Append(t.Context(), w.stream, w.want, d)
			if lost == 2 {
				if !errors.Is(err, events.ErrUnavailable) {
					t.Errorf("both answers lost: %v", err)
				}
				got, err = l.Append(t.Context(), w.stream, w.want, d)
			}
			if err != nil || got.Rev != uint64(lost) || got.Pos <= last {
				t.Errorf("fault %d, %d answers lost: %+v, %v", how, lost, got, err)
			}
			if again, err := l.Append(t.Context(), w.stream, w.want, d); err != nil || again != got {
				t.Errorf("repeat: %+v, %v, first %+v", again, err, got)
			}
			w.want, w.done, last = events.At(got.Rev), append(w.done, d.ID), got.Pos
		}
		faults.FailAppend(1, how) // an append that cannot be told from its repeat is not repeated
		if _, err := l.Append(t.Context(), "any", events.Any, eventstest.Draft("A")); !errors.Is(err, events.ErrUnavailable) {
			t.Errorf("fault %d of an append that expects nothing: %v", how, err)
		}
		w.holds(t, l)
	}
}
