package eventstest

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/shardy-network/orchestrator/events"
)

func testAppend(t *testing.T, l events.Log) {
	head, err := l.Head(limited(t))
	if err != nil || head != 0 {
		t.Fatalf("head of an empty log: %v, %v", head, err)
	}
	before := time.Now().Add(-time.Second)
	a, b := Draft("A"), Draft("B")
	b.JSON, b.Data, b.Meta = true, []byte(`{"b":1}`), nil
	got := must(t, l, "job-1", events.Absent, a, b)
	if got.Rev != 1 || got.Pos == 0 {
		t.Fatalf("answer %+v", got)
	}
	other := must(t, l, "job-2", events.Absent, Draft("C"))
	if other.Rev != 0 || other.Pos <= got.Pos {
		t.Fatalf("answer %+v after %+v", other, got)
	}
	if head, err = l.Head(limited(t)); err != nil || head != other.Pos {
		t.Fatalf("head %v, %v, want %v", head, err, other.Pos)
	}
	rs, err := stream(t, l, "job-1", events.Span{})
	if err != nil || len(rs) != 2 {
		t.Fatalf("%v, %v", rs, err)
	}
	for i, want := range []events.Draft{a, b} {
		r := rs[i]
		if r.ID != want.ID || r.Type != want.Type || r.JSON != want.JSON || !bytes.Equal(r.Data, want.Data) || !bytes.Equal(r.Meta, want.Meta) {
			t.Errorf("read %+v, wrote %+v", r.Draft, want)
		}
		if r.Stream != "job-1" || r.Rev != uint64(i) || r.Pos == 0 || r.Pos > got.Pos {
			t.Errorf("place %s %d %d", r.Stream, r.Rev, r.Pos)
		}
		if r.Time.Before(before) || r.Time.After(time.Now().Add(time.Second)) || r.Time.Location() != time.UTC {
			t.Errorf("time %v", r.Time)
		}
	}
	_, err = stream(t, l, "job-3", events.Span{})
	wantErr(t, "missing stream", err, events.ErrNotFound)
	if seen := types(all(t, l, 0, events.Filter{})); seen != "A0 B1 C0" {
		t.Errorf("all: %s", seen)
	}
	if seen := types(all(t, l, got.Pos, events.Filter{})); seen != "C0" {
		t.Errorf("all after: %s", seen)
	}
	if seen := all(t, l, other.Pos, events.Filter{}); len(seen) != 0 {
		t.Errorf("after the head: %v", seen)
	}
}

func testExpectations(t *testing.T, l events.Log) {
	must(t, l, "two", events.Absent, Draft("A"), Draft("B"))
	for _, c := range []struct {
		stream string
		want   events.Expect
		got    events.Expect // of the conflict; Any: no conflict
	}{
		{"two", events.Absent, events.At(1)},
		{"two", events.At(0), events.At(1)},
		{"two", events.At(2), events.At(1)},
		{"two", events.At(1<<64 - 1), events.At(1)},
		{"none", events.At(0), events.Absent},
		{"none", events.At(1<<64 - 1), events.Absent},
		{"none", events.Exists, events.Absent},
		{"two", events.At(1), events.Any},
		{"two", events.Exists, events.Any},
		{"two", events.Any, events.Any},
		{"new", events.Any, events.Any},
	} {
		_, err := l.Append(limited(t), c.stream, c.want, Draft("C"))
		if c.got == events.Any {
			if err != nil {
				t.Errorf("%s %v: %v", c.stream, c.want, err)
			}
			continue
		}
		var conflict *events.Conflict
		if !errors.As(err, &conflict) || !errors.Is(err, events.ErrConflict) {
			t.Errorf("%s %v: %v", c.stream, c.want, err)
			continue
		}
		if conflict.Stream != c.stream || conflict.Want != c.want || conflict.Got != c.got {
			t.Errorf("%s %v: %v", c.stream, c.want, conflict)
		}
	}
	rs, err := stream(t, l, "two", events.Span{})
	if err != nil || types(rs) != "A0 B1 C2 C3 C4" {
		t.Errorf("%s, %v", types(rs), err)
	}
}

func testRepeat(t *testing.T, l events.Log) {
	a, b, c := Draft("A"), Draft("B"), Draft("C")
	first := must(t, l, "s", events.Absent, a, b)
	if again := must(t, l, "s", events.Absent, a, b); again != first {
		t.Errorf("repeat of the first append: %+v, first %+v", again, first)
	}
	second := must(t, l, "s", events.At(1), c)
	must(t, l, "s", events.At(2), Draft("D"))
	if again := must(t, l, "s", events.At(1), c); again != second {
		t.Errorf("repeat behind others: %+v, first %+v", again, second)
	}
	if again := must(t, l, "s", events.Absent, a, b); again != first {
		t.Errorf("late repeat of the first append: %+v, first %+v", again, first)
	}
	for _, no := range []struct {
		what string
		want events.Expect
		evs  []events.Draft
	}{
		{"same ids, another expectation", events.At(0), []events.Draft{c}},
		{"the same and more", events.At(1), []events.Draft{c, Draft("E"), Draft("F")}},
		{"a part in another order", events.Absent, []events.Draft{b, a}},
		{"another event in its place", events.At(1), []events.Draft{Draft("C")}},
	} {
		_, err := l.Append(limited(t), "s", no.want, no.evs...)
		wantErr(t, no.what, err, events.ErrConflict)
	}
	rs, err := stream(t, l, "s", events.Span{})
	if err != nil || types(rs) != "A0 B1 C2 D3" {
		t.Errorf("%s, %v", types(rs), err)
	}
}

func testLimits(t *testing.T, l events.Log) {
	big := Draft("Big")
	big.Data, big.Meta = make([]byte, events.MaxAppendBytes-10), make([]byte, 10)
	must(t, l, "big", events.Absent, big)
	over, many := big, make([]events.Draft, events.MaxAppendEvents+1)
	over.ID, over.Meta = NewID(), make([]byte, 11)
	for i := range many {
		many[i] = events.Draft{ID: NewID(), Type: "A"}
	}
	must(t, l, "many", events.Absent, many[1:]...)
	noID, noType, longType, badType := Draft("A"), Draft(""), Draft(strings.Repeat("t", events.MaxTypeName+1)), Draft("A\xff")
	noID.ID = events.ID{}
	must(t, l, strings.Repeat("n", events.MaxStreamName), events.Absent, Draft(strings.Repeat("t", events.MaxTypeName)))
	for _, c := range []struct {
		what, stream string
		evs          []events.Draft
		err          error
	}{
		{"too many bytes", "s", []events.Draft{over}, events.ErrTooLarge},
		{"too many bytes in several events", "s", []events.Draft{big, Draft("A")}, events.ErrTooLarge},
		{"too many events", "s", many, events.ErrTooLarge},
		{"no events", "s", nil, events.ErrInvalid},
		{"no id", "s", []events.Draft{noID}, events.ErrInvalid},
		{"no type", "s", []events.Draft{noType}, events.ErrInvalid},
		{"long type", "s", []events.Draft{longType}, events.ErrInvalid},
		{"type that is no text", "s", []events.Draft{badType}, events.ErrInvalid},
		{"no stream", "", []events.Draft{Draft("A")}, events.ErrInvalid},
		{"long stream", strings.Repeat("n", events.MaxStreamName+1), []events.Draft{Draft("A")}, events.ErrInvalid},
		{"control character in the stream", "a\x00b", []events.Draft{Draft("A")}, events.ErrInvalid},
	} {
		_, err := l.Append(limited(t), c.stream, events.Any, c.evs...)
		wantErr(t, c.what, err, c.err)
	}
	wantErr(t, "delete of no stream", l.Delete(limited(t), "", events.Any), events.ErrInvalid)
	_, err := stream(t, l, "s", events.Span{})
	wantErr(t, "nothing was written", err, events.ErrNotFound)
}

func testOwnBytes(t *testing.T, l events.Log) {
	d := Draft("A")
	must(t, l, "s", events.Absent, d)
	want := string(d.Data)
	d.Data[0], d.Meta[0] = '!', '!'
	ctx := limited(t)
	for range 2 {
		rs, err := stream(t, l, "s", events.Span{})
		if err != nil || string(rs[0].Data) != want {
			t.Fatalf("%q, %v", rs[0].Data, err)
		}
		rs[0].Data[0], rs[0].Meta[0] = '!', '!'
		rs = all(t, l, 0, events.Filter{})
		if string(rs[0].Data) != want {
			t.Fatalf("%q", rs[0].Data)
		}
		rs[0].Data[0] = '!'
		_ = append(rs[0].Meta, "more"...)
		for tick, err := range l.Tail(ctx, 0, events.Filter{}) {
			if err != nil || string(tick.Event.Data) != want {
				t.Fatalf("%+v, %v", tick, err)
			}
			tick.Event.Data[0] = '!'
			break
		}
	}
}

func testDelete(t *testing.T, l events.Log) {
	a := Draft("A")
	must(t, l, "s", events.Absent, a, Draft("B"))
	must(t, l, "other", events.Absent, Draft("C"))
	wantErr(t, "delete at another revision", l.Delete(limited(t), "s", events.At(7)), events.ErrConflict)
	wantErr(t, "delete what is not there", l.Delete(limited(t), "none", events.Any), events.ErrNotFound)
	if err := l.Delete(limited(t), "s", events.At(1)); err != nil {
		t.Fatal(err)
	}
	_, err := stream(t, l, "s", events.Span{})
	wantErr(t, "read after delete", err, events.ErrNotFound)
	_, err = stream(t, l, "s", events.Span{Back: true})
	wantErr(t, "read back after delete", err, events.ErrNotFound)
	_, err = l.Append(limited(t), "s", events.Exists, Draft("D"))
	wantErr(t, "append to what exists", err, events.ErrConflict)
	wantErr(t, "delete twice", l.Delete(limited(t), "s", events.Any), events.ErrNotFound)

	again := must(t, l, "s", events.Absent, Draft("E"))
	if again.Rev != 2 {
		t.Errorf("revived at revision %d, want 2", again.Rev)
	}
	must(t, l, "s", events.At(2), Draft("F"))
	for _, span := range []events.Span{{}, {From: 1}, {From: 2}} {
		if rs, err := stream(t, l, "s", span); err != nil || types(rs) != "E2 F3" {
			t.Errorf("%+v after revival: %s, %v", span, types(rs), err)
		}
	}
	if rs, err := stream(t, l, "s", events.Span{Back: true}); err != nil || types(rs) != "F3 E2" {
		t.Errorf("back after revival: %s, %v", types(rs), err)
	}
	if rs, err := stream(t, l, "s", events.Span{From: 9}); err != nil || len(rs) != 0 {
		t.Errorf("beyond the end: %s, %v", types(rs), err)
	}
	if err := l.Delete(limited(t), "s", events.Exists); err != nil {
		t.Fatal(err)
	}
	if again := must(t, l, "s", events.Any, Draft("G")); again.Rev != 4 {
		t.Errorf("revived again at revision %d, want 4", again.Rev)
	}
	if rs, err := stream(t, l, "other", events.Span{}); err != nil || types(rs) != "C0" {
		t.Errorf("another stream: %s, %v", types(rs), err)
	}
}
