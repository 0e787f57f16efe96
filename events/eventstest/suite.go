// Package eventstest holds every event log to the same contract: one suite for all backends, and a log that fails on
// command for the tests of those who use one.
//
// It is for tests alone. It tests what the contract says, not how a backend does it.
package eventstest

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/shardy-network/orchestrator/events"
)

// patience bounds every wait of a test for something that must happen.
const patience = 20 * time.Second

// Run holds the logs that open returns to the contract. Each test opens one and closes it. A log that has optional
// powers is held to them too.
func Run(t *testing.T, open func(t *testing.T) events.Log) {
	stories := []struct {
		name string
		run  func(t *testing.T, l events.Log)
	}{
		{"appends and reads back what was written", testAppend},
		{"holds the writer to its expectation", testExpectations},
		{"answers a repeat with the first answer", testRepeat},
		{"reads the span asked for", testSpans},
		{"filters by prefix", testFilters},
		{"refuses what is malformed or too large", testLimits},
		{"gives readers their own bytes", testOwnBytes},
		{"hides a deleted stream and revives it", testDelete},
		{"hands over from history to live without gap or repeat", testHandOver},
		{"tells a filtered tail its place", testFilteredPlace},
		{"ends with its context", testContext},
		{"ends calls in flight when closed", testClose},
		{"appends to several streams, all or none", testAtomic},
		{"stages blobs", testStager},
		{"ends a stream for good", testTombstoner},
		{"reads the whole log backwards", testBackward},
		{"agrees with a model", testModel},
	}
	for _, s := range stories {
		t.Run(s.name, func(t *testing.T) {
			l := open(t)
			defer func() {
				if err := l.Close(); err != nil {
					t.Errorf("close: %v", err)
				}
			}()
			s.run(t, l)
		})
	}
}

var lastID atomic.Uint64

// NewID returns an id that no other call of this process returns.
func NewID() events.ID {
	id := events.ID{0xee}
	binary.BigEndian.PutUint64(id[8:], lastID.Add(1))
	return id
}

// Draft returns an event of a type, with new id.
func Draft(typ string) events.Draft {
	return events.Draft{ID: NewID(), Type: typ, Data: []byte("data of " + typ), Meta: []byte("meta of " + typ)}
}

func limited(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// must appends and fails the test if that fails.
func must(t *testing.T, l events.Log, stream string, want events.Expect, evs ...events.Draft) events.Appended {
	t.Helper()
	got, err := l.Append(limited(t), stream, want, evs...)
	if err != nil {
		t.Fatalf("append to %s: %v", stream, err)
	}
	return got
}

// stream reads a whole stream.
func stream(t *testing.T, l events.Log, name string, span events.Span) ([]events.Record, error) {
	t.Helper()
	var got []events.Record
	for r, err := range l.Read(limited(t), name, span) {
		if err != nil {
			return got, err
		}
		got = append(got, r)
	}
	return got, nil
}

func all(t *testing.T, l events.Log, after events.Position, f events.Filter) []events.Record {
	t.Helper()
	var got []events.Record
	for r, err := range l.ReadAll(limited(t), after, f) {
		if err != nil {
			t.Fatalf("read all: %v", err)
		}
		got = append(got, r)
	}
	return got
}

// types lists records as "A0 B1": type and revision.
func types(rs []events.Record) string {
	var s strings.Builder
	for i, r := range rs {
		if i > 0 {
			s.WriteString(" ")
		}
		s.WriteString(fmt.Sprint(r.Type, r.Rev))
	}
	return s.String()
}

func wantErr(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: got error %v, want %v", what, err, want)
	}
}
