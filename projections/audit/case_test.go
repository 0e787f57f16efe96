package audit_test

import (
	"context"
	"errors"
	"iter"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/events"
	"github.com/shardy-network/orchestrator/projections/audit"
	"github.com/shardy-network/orchestrator/projections/audit/audittest"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// aged is a log on an old server: it tells positions only to those who read everything.
type aged struct{ audit.Log }

func (a aged) Read(ctx context.Context, stream string, span events.Span) iter.Seq2[events.Record, error] {
	return func(yield func(events.Record, error) bool) {
		for r, err := range a.Log.Read(ctx, stream, span) {
			r.Pos = 0
			if !yield(r, err) {
				return
			}
		}
	}
}

func TestPositionsOfOldServers(t *testing.T) {
	w, id := audittest.Scene(t, "troubles")
	w.Submit(true)
	w.Work()
	young, old := explain(t, w, id), must(audit.Explain(t.Context(), aged{w.Log}, id))(t)
	if !proto.Equal(young, old) || old.LastPosition == 0 {
		t.Errorf("an old server's log tells another story: %v, not %v", old, young)
	}
}

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// TestForgedLogsAreBounded: a log that opens more slots than there can be is refused before they are read.
func TestForgedLogsAreBounded(t *testing.T) {
	w, id := audittest.Scene(t, "verified")
	all := w.Records()
	for _, slots := range []uint32{audit.MaxCaseSlots + 1, 1 << 31, 1<<32 - 1} {
		reencode(t, &all[0], func(f *eventv1.JobSubmitted) { f.Slots = slots })
		if _, err := audit.Collect(t.Context(), audittest.Forged{All: all}, id); !errors.Is(err, audit.ErrTooLarge) {
			t.Errorf("%d slots: %v", slots, err)
		}
	}
	reencode(t, &all[0], func(f *eventv1.JobSubmitted) { f.Slots, f.FirstSlot = 3, 1<<32-2 })
	c := must(audit.Collect(t.Context(), audittest.Forged{All: all}, id))(t)
	if r := must(c.Replay(t.Context(), nil))(t); r.Clean() {
		t.Error("slots beyond the last number are fine")
	}
}

// TestALogThatCannotBeReadIsNoStory: the log's own error comes through.
func TestALogThatCannotBeReadIsNoStory(t *testing.T) {
	w, id := audittest.Scene(t, "verified")
	if err := w.Log.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := audit.Explain(t.Context(), w.Log, id); !errors.Is(err, events.ErrClosed) {
		t.Errorf("got %v", err)
	}
}
