package eventstest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/shardy-network/orchestrator/events"
)

func testSpans(t *testing.T, l events.Log) {
	must(t, l, "s", events.Absent, Draft("A"), Draft("B"))
	must(t, l, "x", events.Absent, Draft("X"))
	must(t, l, "s", events.At(1), Draft("C"), Draft("D"))
	must(t, l, "s2", events.Absent, Draft("Y"))
	for _, c := range []struct {
		span events.Span
		want string
	}{
		{events.Span{}, "A0 B1 C2 D3"},
		{events.Span{From: 1}, "B1 C2 D3"},
		{events.Span{From: 1, Limit: 2}, "B1 C2"},
		{events.Span{Limit: 9}, "A0 B1 C2 D3"},
		{events.Span{From: 4}, ""},
		{events.Span{From: 1<<64 - 1}, ""},
		{events.Span{Back: true}, "D3 C2 B1 A0"},
		{events.Span{Back: true, Limit: 1}, "D3"},
		{events.Span{Back: true, Limit: 3, From: 9}, "D3 C2 B1"},
	} {
		rs, err := stream(t, l, "s", c.span)
		if err != nil || types(rs) != c.want {
			t.Errorf("%+v: %q, %v, want %q", c.span, types(rs), err, c.want)
		}
	}
	for r, err := range l.Read(limited(t), "s", events.Span{}) {
		if err != nil || r.Rev != 0 {
			t.Errorf("%v, %v", r, err)
		}
		break // leaving early is no error
	}
	long := make([]events.Draft, 1500) // more than a reader may take at a time
	for i := range long {
		long[i] = Draft("L")
	}
	must(t, l, "long", events.Absent, long...)
	for _, span := range []events.Span{{}, {Back: true}, {From: 700, Limit: 700}, {Back: true, Limit: 1400}} {
		rs, err := stream(t, l, "long", span)
		want := int(1500 - span.From)
		if span.Limit > 0 {
			want = span.Limit
		}
		if err != nil || len(rs) != want {
			t.Fatalf("%+v: %d records, %v, want %d", span, len(rs), err, want)
		}
		for i, r := range rs {
			rev := span.From + uint64(i)
			if span.Back {
				rev = uint64(1499 - i)
			}
			if r.Rev != rev || r.ID != long[rev].ID {
				t.Fatalf("%+v: record %d has revision %d", span, i, r.Rev)
			}
		}
	}
}

func testFilters(t *testing.T, l events.Log) {
	must(t, l, "job-1", events.Absent, Draft("JobSubmitted"))
	must(t, l, "worker-1", events.Absent, Draft("WorkerRegistered"), Draft("$internal"))
	must(t, l, "job-2", events.Absent, Draft("JobSubmitted"))
	must(t, l, "job-1", events.At(0), Draft("TaskVerified"))
	for _, c := range []struct {
		f    events.Filter
		want string
	}{
		{events.Filter{}, "JobSubmitted0 WorkerRegistered0 JobSubmitted0 TaskVerified1"},
		{events.Filter{Streams: []string{"job-"}}, "JobSubmitted0 JobSubmitted0 TaskVerified1"},
		{events.Filter{Streams: []string{"job-2", "worker-"}}, "WorkerRegistered0 $internal1 JobSubmitted0"},
		{events.Filter{Types: []string{"Job", "Task"}}, "JobSubmitted0 JobSubmitted0 TaskVerified1"},
		{events.Filter{Types: []string{"$"}}, "$internal1"},
		{events.Filter{Types: []string{"Nothing"}}, ""},
	} {
		if got := types(all(t, l, 0, c.f)); got != c.want {
			t.Errorf("%+v: %q, want %q", c.f, got, c.want)
		}
		var got []events.Record
		for tick, err := range l.Tail(limited(t), 0, c.f) {
			if err != nil {
				t.Fatal(err)
			}
			if tick.Event == nil && tick.Live {
				break
			}
			if tick.Event != nil {
				got = append(got, *tick.Event)
			}
		}
		if types(got) != c.want {
			t.Errorf("tail of %+v: %q, want %q", c.f, types(got), c.want)
		}
	}
}

// testHandOver reads tails from different starts while many write.
func testHandOver(t *testing.T, l events.Log) {
	const writers, each, tails = 8, 150, 4
	must(t, l, "before", events.Absent, Draft("B"))
	ctx := limited(t)
	start, err := l.Head(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			want := events.Absent
			for range each {
				got, err := l.Append(ctx, fmt.Sprintf("w-%d", w), want, Draft("W"))
				if err != nil {
					t.Errorf("writer %d: %v", w, err)
					return
				}
				want = events.At(got.Rev)
			}
		})
	}
	seen := make([][]events.Position, tails)
	for i := range tails {
		wg.Go(func() { seen[i] = follow(ctx, t, l, start, writers*each) })
	}
	wg.Wait()
	var want []events.Position
	for _, r := range all(t, l, start, events.Filter{}) {
		want = append(want, r.Pos)
	}
	for i := range seen {
		if !slices.Equal(seen[i], want) {
			t.Errorf("tail %d saw %d events, which are not the %d of the log", i, len(seen[i]), len(want))
		}
	}
}

// follow reads so many events from a tail, holds their order and their revisions, and waits for the tail to be live.
func follow(ctx context.Context, t *testing.T, l events.Log, after events.Position, n int) (seen []events.Position) {
	next := map[string]uint64{}
	live, last := false, after
	for tick, err := range l.Tail(ctx, after, events.Filter{}) {
		if err != nil {
			t.Errorf("tail after %d events: %v", len(seen), err)
			return seen
		}
		if tick.Pos < last || tick.Event != nil && tick.Pos != tick.Event.Pos || live && !tick.Live {
			t.Errorf("place %d after %d, live %v after %v", tick.Pos, last, tick.Live, live)
		}
		live, last = live || tick.Live, tick.Pos
		if e := tick.Event; e != nil {
			if next[e.Stream] != e.Rev {
				t.Errorf("%s: revision %d, want %d", e.Stream, e.Rev, next[e.Stream])
			}
			next[e.Stream] = e.Rev + 1
			seen = append(seen, e.Pos)
		}
		if live && len(seen) == n {
			return seen
		}
	}
	return seen
}

// testFilteredPlace waits for a tail whose filter passes nothing to say that it has seen the end.
func testFilteredPlace(t *testing.T, l events.Log) {
	many := make([]events.Draft, 3000)
	for i := range many {
		many[i] = Draft("A")
	}
	must(t, l, "s", events.Absent, many...)
	var last events.Position
	appended := false
	for tick, err := range l.Tail(limited(t), 0, events.Filter{Types: []string{"Other"}}) {
		if err != nil {
			t.Fatal(err)
		}
		if tick.Event != nil {
			t.Fatalf("event %+v", tick.Event)
		}
		if tick.Live && !appended {
			appended = true
			last = must(t, l, "s", events.Exists, Draft("B")).Pos
		}
		if appended && tick.Pos == last {
			return
		}
	}
}

func testContext(t *testing.T, l events.Log) {
	must(t, l, "s", events.Absent, Draft("A"), Draft("B"), Draft("C"))
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := l.Append(ended, "s", events.Any, Draft("D"))
	wantErr(t, "append", err, context.Canceled)
	wantErr(t, "delete", l.Delete(ended, "s", events.Any), context.Canceled)
	_, err = l.Head(ended)
	wantErr(t, "head", err, context.Canceled)

	for name, read := range map[string]func(context.Context) func(func(any, error) bool){
		"read": func(ctx context.Context) func(func(any, error) bool) {
			return anySeq(l.Read(ctx, "s", events.Span{}))
		},
		"read all": func(ctx context.Context) func(func(any, error) bool) {
			return anySeq(l.ReadAll(ctx, 0, events.Filter{}))
		},
		"tail": func(ctx context.Context) func(func(any, error) bool) {
			return anySeq(l.Tail(ctx, 0, events.Filter{}))
		},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		n, last := 0, error(nil)
		for _, err := range read(ctx) {
			if last != nil {
				t.Errorf("%s yields after its error", name)
			}
			n, last = n+1, err
			cancel()
		}
		cancel()
		if n != 2 || !errors.Is(last, context.Canceled) {
			t.Errorf("%s: %d steps, error %v", name, n, last)
		}
	}
	// A tail that waits is woken by the end of its context.
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	for _, err = range l.Tail(ctx, 0, events.Filter{}) {
	}
	wantErr(t, "waiting tail", err, context.DeadlineExceeded)
	if rs, err := stream(t, l, "s", events.Span{}); err != nil || types(rs) != "A0 B1 C2" {
		t.Errorf("%s, %v", types(rs), err)
	}
}

func anySeq[T any](seq func(func(T, error) bool)) func(func(any, error) bool) {
	return func(yield func(any, error) bool) {
		for v, err := range seq {
			if !yield(v, err) {
				return
			}
		}
	}
}

func testClose(t *testing.T, l events.Log) {
	must(t, l, "s", events.Absent, Draft("A"), Draft("B"))
	ctx := limited(t)
	ended := make(chan error, 3)
	waits := make(chan struct{}, 3)
	go func() {
		var last error
		for tick, err := range l.Tail(ctx, 0, events.Filter{}) {
			if last = err; tick.Live && err == nil {
				waits <- struct{}{}
			}
		}
		ended <- last
	}()
	closing := make(chan struct{})
	for _, seq := range []func(func(any, error) bool){
		anySeq(l.Read(ctx, "s", events.Span{})), anySeq(l.ReadAll(ctx, 0, events.Filter{})),
	} {
		go func() {
			var last error
			for _, err := range seq {
				if last = err; err == nil {
					waits <- struct{}{}
					<-closing
				}
			}
			ended <- last
		}()
	}
	for range 3 {
		<-waits
	}
	closed := make(chan error, 1)
	go func() { closed <- l.Close() }()
	for { // until Close has begun
		if _, err := l.Head(ctx); err != nil {
			wantErr(t, "head while closing", err, events.ErrClosed)
			break
		}
	}
	select {
	case <-closed:
		t.Error("closed before the readers had ended")
	default:
	}
	close(closing)
	for range 3 {
		wantErr(t, "call in flight", <-ended, events.ErrClosed)
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
	_, err := l.Append(ctx, "s", events.Any, Draft("C"))
	wantErr(t, "append after close", err, events.ErrClosed)
	_, err = stream(t, l, "s", events.Span{})
	wantErr(t, "read after close", err, events.ErrClosed)
	wantErr(t, "delete after close", l.Delete(ctx, "s", events.Any), events.ErrClosed)
	for _, err = range l.Tail(ctx, 0, events.Filter{}) {
	}
	wantErr(t, "tail after close", err, events.ErrClosed)
}
