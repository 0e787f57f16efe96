package readmodel

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"github.com/shardy-network/orchestrator/events"
)

func openFor(t testing.TB, log recordsOf, path string, o Options) *Model {
	t.Helper()
	m, err := Open(t.Context(), path, log, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

func apply(t testing.TB, m *Model, recs []events.Record) {
	t.Helper()
	if len(recs) == 0 {
		return
	}
	if err := m.Apply(context.Background(), recs, recs[len(recs)-1].Pos); err != nil {
		t.Fatal(err)
	}
}

// dump writes every row of every table as text.
func dump(t testing.TB, s *store) map[string][]string {
	t.Helper()
	tables := map[string][]string{}
	c := s.w
	var names []string
	if err := c.each(context.Background(), "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'", nil, func(r row) error {
		names = append(names, r.text(0))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		err := c.each(context.Background(), "SELECT * FROM "+name+" ORDER BY 1, 2, 3", nil, func(r row) error {
			line := ""
			for _, v := range r {
				if b, ok := v.([]byte); ok {
					line += fmt.Sprintf("%x|", b)
				} else {
					line += fmt.Sprintf("%v|", v)
				}
			}
			tables[name] = append(tables[name], line)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return tables
}

func TestSmoke(t *testing.T) {
	dice := rand.New(rand.NewPCG(1, 2))
	w := newWorld(dice.IntN)
	for range 4000 {
		w.step()
	}
	t.Log(len(w.records), w.refused, w.types())
	m := openFor(t, w.records, filepath.Join(t.TempDir(), "rows.db"), Options{})
	apply(t, m, w.records)
	for name, rows := range dump(t, m.current) {
		t.Log(name, len(rows))
	}
	ctx := t.Context()
	jobs, next, err := m.Jobs(ctx, JobQuery{})
	t.Log(len(jobs), next, err)
	for _, j := range jobs[:5] {
		x, err := m.Job(ctx, j.ID)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%+v", x)
	}
	n, err := m.CountJobs(ctx, JobQuery{})
	t.Log(n, err)
	tot, err := m.Totals(ctx)
	t.Logf("%+v %v", tot, err)
}
