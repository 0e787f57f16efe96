package eventstest

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/shardy-network/orchestrator/events"
)

func testAtomic(t *testing.T, l events.Log) {
	at, ok := l.(events.Atomic)
	if !ok {
		t.Skip("this log is not atomic")
	}
	ctx := limited(t)
	a, b := Draft("A"), Draft("B")
	parts := []events.Batch{
		{Stream: "x", Events: []events.Draft{a}},
		{Stream: "y", Events: []events.Draft{b, Draft("C")}},
		{Stream: "z", Want: events.Absent},
	}
	first, err := at.AppendAll(ctx, parts...)
	if err != nil || len(first) != 3 || first[0].Rev != 0 || first[1].Rev != 1 || first[1].Pos <= first[0].Pos || first[2] != (events.Appended{}) {
		t.Fatalf("%+v, %v", first, err)
	}
	again, err := at.AppendAll(ctx, parts...)
	if err != nil || fmt.Sprint(again) != fmt.Sprint(first) {
		t.Errorf("repeat: %+v, %v, first %+v", again, err, first)
	}
	for _, c := range []struct {
		what  string
		parts []events.Batch
		err   error
	}{
		{"failed check", []events.Batch{{Stream: "n", Events: []events.Draft{Draft("D")}}, {Stream: "x", Want: events.At(7)}}, events.ErrConflict},
		{"failed part", []events.Batch{{Stream: "n", Events: []events.Draft{Draft("D")}}, {Stream: "x", Events: []events.Draft{Draft("E")}}}, events.ErrConflict},
		{"a part that is there and one that is not", []events.Batch{{Stream: "x", Events: []events.Draft{a}}, {Stream: "n", Events: []events.Draft{Draft("D")}}}, events.ErrConflict},
		{"a stream twice", []events.Batch{{Stream: "n", Events: []events.Draft{Draft("D")}}, {Stream: "n", Want: events.Any}}, events.ErrInvalid},
		{"no parts", nil, events.ErrInvalid},
	} {
		_, err := at.AppendAll(ctx, c.parts...)
		wantErr(t, c.what, err, c.err)
		_, err = stream(t, l, "n", events.Span{})
		wantErr(t, "nothing of: "+c.what, err, events.ErrNotFound)
	}
	if got, err := at.AppendAll(ctx, events.Batch{Stream: "x", Want: events.At(0)}); err != nil || got[0] != (events.Appended{}) {
		t.Errorf("checks alone: %+v, %v", got, err)
	}
	if got := types(all(t, l, 0, events.Filter{})); got != "A0 B0 C1" {
		t.Errorf("all: %s", got)
	}
}

func testStager(t *testing.T, l events.Log) {
	st, ok := l.(events.Stager)
	if !ok {
		t.Skip("this log stages nothing")
	}
	ctx := limited(t)
	blob := func(n int) ([32]byte, []byte) {
		data := bytes.Repeat([]byte{byte(n), byte(n >> 8)}, 512)
		return sha256.Sum256(data), data
	}
	sum, data := blob(1)
	_, err := st.Staged(ctx, sum)
	wantErr(t, "before it was staged", err, events.ErrNotFound)
	for range 3 {
		if err := st.Stage(ctx, sum, data); err != nil {
			t.Fatal(err)
		}
	}
	data[0]++ // the log has its own copy
	must(t, l, "s", events.Absent, Draft("A"))
	got, err := st.Staged(ctx, sum)
	if err != nil || sha256.Sum256(got) != sum {
		t.Fatalf("staged: %d bytes, %v", len(got), err)
	}
	got[0]++
	if got, err = st.Staged(ctx, sum); err != nil || sha256.Sum256(got) != sum {
		t.Errorf("staged is not the reader's own: %v", err)
	}
	wantErr(t, "too large", st.Stage(ctx, sum, make([]byte, events.MaxStagedBytes+1)), events.ErrTooLarge)
	wantErr(t, "not what the sum says", st.Stage(ctx, sum, data), events.ErrInvalid)
	empty := sha256.Sum256(nil)
	if err := st.Stage(ctx, empty, nil); err != nil {
		t.Error(err)
	}
	if got, err := st.Staged(ctx, empty); err != nil || len(got) != 0 {
		t.Errorf("empty blob: %v, %v", got, err)
	}
	full := make([]byte, events.MaxStagedBytes)
	if err := st.Stage(ctx, sha256.Sum256(full), full); err != nil {
		t.Error(err)
	}
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Go(func() {
			sum, data := blob(2 + i%50)
			if err := st.Stage(ctx, sum, data); err != nil {
				t.Error(err)
			}
			if got, err := st.Staged(ctx, sum); err != nil || !bytes.Equal(got, data) {
				t.Errorf("blob %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	if seen := types(all(t, l, 0, events.Filter{})); seen != "A0" {
		t.Errorf("blobs are not events: %s", seen)
	}
}

// testModel does at random what a small map can do too, and compares.
func testModel(t *testing.T, l events.Log) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	dice := rand.New(rand.NewPCG(seed, 0))
	streams := map[string][]events.Draft{}
	for range 300 {
		name := fmt.Sprintf("m-%d", dice.IntN(6))
		have := uint64(len(streams[name]))
		evs := make([]events.Draft, 1+dice.IntN(3))
		for i := range evs {
			evs[i] = Draft(fmt.Sprintf("T%d", dice.IntN(3)))
		}
		rev := uint64(dice.IntN(8))
		want, holds := events.At(rev), have == rev+1
		switch dice.IntN(4) {
		case 0:
			want, holds = events.Absent, have == 0
		case 1:
			want, holds = events.Exists, have > 0
		case 2:
			want, holds = events.Any, true
		}
		got, err := l.Append(limited(t), name, want, evs...)
		if holds != (err == nil) {
			t.Fatalf("append at %v to %d events: %v", want, have, err)
		}
		if err != nil {
			wantErr(t, "append", err, events.ErrConflict)
			continue
		}
		streams[name] = append(streams[name], evs...)
		if got.Rev != have+uint64(len(evs))-1 {
			t.Fatalf("revision %d after %d events", got.Rev, have)
		}
	}
	seen := map[string]int{}
	for _, r := range all(t, l, 0, events.Filter{}) {
		if want := streams[r.Stream][seen[r.Stream]]; want.ID != r.ID || r.Rev != uint64(seen[r.Stream]) {
			t.Fatalf("%s: %v at %d", r.Stream, r.ID, r.Rev)
		}
		seen[r.Stream]++
	}
	for name, evs := range streams {
		rs, err := stream(t, l, name, events.Span{})
		if err != nil || len(rs) != len(evs) || seen[name] != len(evs) {
			t.Fatalf("%s: %d and %d records, %v, want %d", name, len(rs), seen[name], err, len(evs))
		}
	}
}
