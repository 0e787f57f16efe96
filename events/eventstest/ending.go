package eventstest

import (
	"fmt"
	"testing"

	"github.com/shardy-network/orchestrator/events"
)

func testTombstoner(t *testing.T, l events.Log) {
	ts, ok := l.(events.Tombstoner)
	if !ok {
		t.Skip("this log ends no streams")
	}
	ctx := limited(t)
	first := Draft("A")
	must(t, l, "s", events.Absent, first, Draft("B"))
	must(t, l, "hidden", events.Absent, Draft("H"))
	must(t, l, "other", events.Absent, Draft("C"))
	if err := l.Delete(ctx, "hidden", events.Any); err != nil {
		t.Fatal(err)
	}
	_, err := ts.Tombstone(ctx, "s", events.At(7), Draft("$end"))
	wantErr(t, "at another revision", err, events.ErrConflict)
	_, err = ts.Tombstone(ctx, "", events.Any, Draft("$end"))
	wantErr(t, "of no stream", err, events.ErrInvalid)
	for _, c := range []struct {
		stream string
		want   events.Expect
		rev    uint64
	}{{"s", events.At(1), 2}, {"hidden", events.Any, 1}, {"never", events.Absent, 0}} {
		got, err := ts.Tombstone(ctx, c.stream, c.want, Draft("$end"))
		head, herr := l.Head(ctx)
		if err != nil || herr != nil || got.Rev != c.rev || got.Pos != head {
			t.Errorf("%s: %+v, %v, head %d, %v", c.stream, got, err, head, herr)
		}
		for _, want := range []events.Expect{events.Absent, events.At(c.rev), events.Exists, events.Any} {
			_, err = l.Append(ctx, c.stream, want, Draft("D"))
			wantErr(t, "append to "+c.stream, err, events.ErrDeleted)
		}
		for _, span := range []events.Span{{}, {From: 1}, {Back: true}} {
			_, err = stream(t, l, c.stream, span)
			wantErr(t, "read of "+c.stream, err, events.ErrDeleted)
		}
		wantErr(t, "delete of "+c.stream, l.Delete(ctx, c.stream, events.Any), events.ErrDeleted)
		_, err = ts.Tombstone(ctx, c.stream, events.Any, Draft("$end"))
		wantErr(t, "tombstone of "+c.stream, err, events.ErrDeleted)
	}
	_, err = l.Append(ctx, "s", events.Absent, first)
	wantErr(t, "repeat of what was written", err, events.ErrDeleted)
	if at, ok := l.(events.Atomic); ok {
		_, err := at.AppendAll(ctx, events.Batch{Stream: "n", Events: []events.Draft{Draft("N")}}, events.Batch{Stream: "s", Want: events.Any})
		wantErr(t, "check of what has ended", err, events.ErrDeleted)
		_, err = stream(t, l, "n", events.Span{})
		wantErr(t, "nothing was written", err, events.ErrNotFound)
	}
	if seen := types(all(t, l, 0, events.Filter{Types: []string{""}})); seen != "A0 B1 H0 C0 $end2 $end1 $end0" {
		t.Errorf("all: %s", seen)
	}
	if rs, err := stream(t, l, "other", events.Span{}); err != nil || types(rs) != "C0" {
		t.Errorf("another stream: %s, %v", types(rs), err)
	}
}

func testBackward(t *testing.T, l events.Log) {
	bw, ok := l.(events.Backward)
	if !ok {
		t.Skip("this log does not read backwards")
	}
	back := func(before events.Position, f events.Filter, limit int) (got []events.Record) {
		t.Helper()
		for r, err := range bw.ReadAllBack(limited(t), before, f) {
			if err != nil {
				t.Fatal(err)
			}
			if got = append(got, r); len(got) == limit {
				break
			}
		}
		return got
	}
	if got := back(1<<64-1, events.Filter{}, 0); len(got) != 0 {
		t.Errorf("empty log: %v", got)
	}
	second := must(t, l, "a", events.Absent, Draft("A"), Draft("$B"))
	last := must(t, l, "b", events.Absent, Draft("C"), Draft("D"))
	for _, c := range []struct {
		before events.Position
		f      events.Filter
		limit  int
		want   string
	}{
		{1<<64 - 1, events.Filter{}, 0, "D1 C0 A0"},
		{1<<64 - 1, events.Filter{Types: []string{""}}, 3, "D1 C0 $B1"},
		{last.Pos, events.Filter{Streams: []string{"b"}}, 0, "C0"},
		{second.Pos, events.Filter{Types: []string{""}}, 0, "A0"},
		{0, events.Filter{}, 0, ""},
	} {
		if got := types(back(c.before, c.f, c.limit)); got != c.want {
			t.Errorf("before %d, %+v: %q, want %q", c.before, c.f, got, c.want)
		}
	}
	long := make([]events.Draft, 1500)
	for i := range long {
		long[i] = Draft("L")
	}
	must(t, l, "long", events.Absent, long...)
	got := back(1<<64-1, events.Filter{}, 0)
	if len(got) != 1503 {
		t.Fatalf("%d records", len(got))
	}
	forth := all(t, l, 0, events.Filter{})
	for i := range got {
		if want := forth[len(forth)-1-i]; fmt.Sprint(got[i]) != fmt.Sprint(want) {
			t.Fatalf("record %d: %v, want %v", i, got[i], want)
		}
	}
}
