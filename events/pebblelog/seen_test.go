package pebblelog

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/shardy-network/orchestrator/events"
	"github.com/shardy-network/orchestrator/events/eventstest"
)

// TestSieve holds the one promise of the filter, and that it is of use.
func TestSieve(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s sieve
		for _, h := range rapid.SliceOf(rapid.Uint64()).Draw(t, "members") {
			s.add(h)
			if !s.has(h) {
				t.Fatalf("member %d is missing", h)
			}
		}
	})
	var s seen
	s.init()
	s.older.Store(new(sieve))
	const n = 3 * firstSieve // three layers
	for i := range n {
		s.add(fmt.Sprint("member-", i))
	}
	strangers := 0
	for i := range n {
		if s.never(fmt.Sprint("member-", i)) {
			t.Fatalf("member %d never existed", i)
		}
		if !s.never(fmt.Sprint("stranger-", i)) {
			strangers++
		}
	}
	if strangers > n/20 {
		t.Errorf("%d of %d strangers pass", strangers, n)
	}
	full := sieve{full: true}
	if full.add(1); !full.has(2) {
		t.Error("a full filter denies")
	}
}

// TestSeenAcrossReopening begins streams, forgets their heads, opens the log again and tries to begin them once more.
func TestSeenAcrossReopening(t *testing.T) {
	dir := t.TempDir()
	const streams = 300
	for round := range 3 {
		l, err := Open(dir, Options{HeadStreams: 16})
		if err != nil {
			t.Fatal(err)
		}
		l.calls.Wait() // the background reading has ended
		if l.c.seen.older.Load() == nil {
			t.Fatal("the streams of before were not learned")
		}
		for i := range streams {
			stream := fmt.Sprint("job-", i)
			_, err := l.Append(t.Context(), stream, events.Absent, eventstest.Draft("A"))
			if round == 0 && err != nil || round > 0 && err == nil {
				t.Fatalf("round %d: begin %s: %v", round, stream, err)
			}
			if i > 32 { // long out of memory
				if _, err := l.Append(t.Context(), fmt.Sprint("job-", i-32), events.Absent, eventstest.Draft("A")); err == nil {
					t.Fatalf("round %d: stream %d was begun twice", round, i-32)
				}
			}
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
