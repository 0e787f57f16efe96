package pebblelog

import (
	"errors"
	"testing"

	"github.com/shardy-network/orchestrator/events"
	"github.com/shardy-network/orchestrator/events/eventstest"
)

// TestTombstoneOutlivesTheProcess ends streams with and without a past, opens the log again and checks it.
func TestTombstoneOutlivesTheProcess(t *testing.T) {
	dir, ctx := t.TempDir(), t.Context()
	l := open(t, dir, Options{})
	if _, err := l.Append(ctx, "past", events.Absent, eventstest.Draft("A"), eventstest.Draft("B")); err != nil {
		t.Fatal(err)
	}
	for _, stream := range []string{"past", "none"} {
		if _, err := l.Tombstone(ctx, stream, events.Any, eventstest.Draft("$end")); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if rep, err := Fsck(dir); err != nil || rep.Events != 4 || rep.Streams != 2 {
		t.Errorf("%+v, %v", rep, err)
	}
	l = open(t, dir, Options{})
	defer l.Close()
	for _, stream := range []string{"past", "none"} {
		if _, err := l.Append(ctx, stream, events.Any, eventstest.Draft("C")); !errors.Is(err, events.ErrDeleted) {
			t.Errorf("append to %s: %v", stream, err)
		}
		for _, err := range l.Read(ctx, stream, events.Span{}) {
			if !errors.Is(err, events.ErrDeleted) {
				t.Errorf("read of %s: %v", stream, err)
			}
		}
	}
}
