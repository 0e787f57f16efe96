package readmodel

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/shardy-network/orchestrator/events"
)

// tb is a testing.TB or a *rapid.T.
type tb interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
	Cleanup(func())
}

func openFor(t tb, log recordsOf, path string, o Options) *Model {
	t.Helper()
	m, err := Open(context.Background(), path, log, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
	})
	return m
}

func apply(t tb, m *Model, recs []events.Record) {
	t.Helper()
	if len(recs) == 0 {
		return
	}
	if err := m.Apply(context.Background(), recs, recs[len(recs)-1].Pos); err != nil {
		t.Fatal(err)
	}
}

// dump writes every row of every table as text, but for where a rebuild is complete.
func dump(t tb, s *store) map[string][]string {
	t.Helper()
	ctx, tables := context.Background(), map[string][]string{}
	var names []string
	err := s.w.each(ctx, "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'", nil, func(r row) error {
		names = append(names, r.text(0))
		return nil
	})
	for _, name := range names {
		if err != nil {
			break
		}
		err = s.w.each(ctx, "SELECT * FROM "+name+" ORDER BY 1, 2, 3", nil, func(r row) error {
			var line strings.Builder
			for _, v := range r {
				if b, ok := v.([]byte); ok {
					line.WriteString(fmt.Sprintf("%x|", b))
				} else {
					line.WriteString(fmt.Sprintf("%v|", v))
				}
			}
			tables[name] = append(tables[name], line.String())
			return nil
		})
	}
	if err != nil {
		t.Fatal(err)
	}
	delete(tables, "place")
	return tables
}

func sameRows(t tb, want, got *Model) {
	t.Helper()
	if want.Position() != got.Position() {
		t.Fatalf("place %d, want %d", got.Position(), want.Position())
	}
	if d := cmp.Diff(dump(t, want.target()), dump(t, got.target())); d != "" {
		t.Fatalf("rows differ (-want +got):\n%s", d)
	}
}

func played(seed uint64, steps int) *world {
	w := newWorld(rand.New(rand.NewPCG(seed, 0)).IntN)
	for range steps {
		w.step()
	}
	return w
}

// TestCutsDoNotMatter: however the log is cut into batches, and whatever is forgotten between them, the rows are those
// of one event at a time.
func TestCutsDoNotMatter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := played(rapid.Uint64().Draw(t, "world"), rapid.IntRange(1, 150/effort).Draw(t, "steps"))
		one := openFor(t, w.records, "", Options{})
		for i := range w.records {
			apply(t, one, w.records[i:i+1])
			one.current.forgetCaches()
		}
		cut := openFor(t, w.records, "", Options{})
		for left := w.records; len(left) > 0; {
			n := rapid.IntRange(1, len(left)).Draw(t, "batch")
			apply(t, cut, left[:n])
			left = left[n:]
			if rapid.Bool().Draw(t, "forget") {
				cut.current.forgetCaches()
			}
		}
		sameRows(t, one, cut)
	})
}

// TestRebuild: the rows of a rebuild are those that were there, and queries are answered meanwhile.
func TestRebuild(t *testing.T) {
	for name, path := range map[string]string{"memory": "", "file": filepath.Join(t.TempDir(), "rows.db")} {
		t.Run(name, func(t *testing.T) {
			w := played(7, 1500/effort)
			want := openFor(t, w.records, "", Options{})
			apply(t, want, w.records)
			m := openFor(t, w.records, path, Options{})
			apply(t, m, w.records)
			before, _, err := m.Jobs(t.Context(), JobQuery{})
			if err != nil {
				t.Fatal(err)
			}
			if err := m.Reset(t.Context()); err != nil || m.Position() != 0 || !m.Rebuilding() || m.Partial() {
				t.Fatalf("reset: %v, place %d, rebuilding %v", err, m.Position(), m.Rebuilding())
			}
			half := len(w.records) / 2
			apply(t, m, w.records[:half])
			during, _, err := m.Jobs(t.Context(), JobQuery{})
			if d := cmp.Diff(before, during, ignoreUnexported); d != "" || err != nil {
				t.Fatalf("jobs during the rebuild: %v\n%s", err, d)
			}
			apply(t, m, w.records[half:])
			if m.Rebuilding() {
				t.Fatal("rebuild does not end")
			}
			sameRows(t, want, m)
			if after, _, err := m.Jobs(t.Context(), JobQuery{}); err != nil || len(after) != len(before) {
				t.Fatalf("jobs after the rebuild: %d, %v", len(after), err)
			}
		})
	}
}
