package pebblelog

import (
	"context"
	"testing"

	"github.com/shardy-network/orchestrator/events"
)

func TestSmoke(t *testing.T) {
	dir := t.TempDir()
	l, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		a, err := l.Append(context.Background(), "job-1", events.Any, events.Draft{ID: events.ID{1, byte(i)}, Type: "A", Data: []byte("x")})
		if err != nil || a.Rev != uint64(i) {
			t.Fatal(a, err)
		}
	}
	n := 0
	for r, err := range l.Read(context.Background(), "job-1", events.Span{}) {
		if err != nil {
			t.Fatal(err)
		}
		if r.Rev != uint64(n) {
			t.Fatal(r)
		}
		n++
	}
	if n != 10 {
		t.Fatal(n)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}
