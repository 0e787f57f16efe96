package readmodel

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/shardy-network/orchestrator/events"
)

var quiet = Options{Logger: slog.New(slog.DiscardHandler)}

// filled makes a database with everything that a world has recorded, and closes it.
func filled(t *testing.T, w *world) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "rows.db")
	m, err := Open(t.Context(), path, recordsOf(w.records), quiet)
	if err != nil {
		t.Fatal(err)
	}
	apply(t, m, w.records)
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

func wanted(t *testing.T, w *world) *Model {
	t.Helper()
	m := openFor(t, w.records, "", quiet)
	apply(t, m, w.records)
	return m
}

// catchUp applies what the model has not seen, and begins again as often as it says that it has lost rows.
func catchUp(t *testing.T, m *Model, recs []events.Record) {
	t.Helper()
	for range 10 {
		if err := m.Recover(context.Background()); err != nil {
			t.Fatal(err)
		}
		err := error(nil)
		for i := 0; i < len(recs) && err == nil; i += 300 {
			part := recs[i:min(i+300, len(recs))]
			for len(part) > 0 && part[0].Pos <= m.Position() {
				part = part[1:]
			}
			if len(part) > 0 {
				err = m.Apply(context.Background(), part, part[len(part)-1].Pos)
			}
		}
		if err == nil {
			return
		}
	}
	t.Fatal("never caught up")
}

// TestUselessDatabasesAreBuiltAnew: whatever lies at the path, the model opens and comes to the right rows.
func TestUselessDatabasesAreBuiltAnew(t *testing.T) {
	w, other := played(11, 800), played(12, 800)
	want := wanted(t, w)
	for name, harm := range map[string]func(t *testing.T, path string){
		"deleted":     func(t *testing.T, path string) { must(t, os.Remove(path)) },
		"empty":       func(t *testing.T, path string) { must(t, os.Truncate(path, 0)) },
		"text":        func(t *testing.T, path string) { must(t, os.WriteFile(path, []byte("never a database"), 0o600)) },
		"cut":         func(t *testing.T, path string) { must(t, os.Truncate(path, 100_000)) },
		"other log":   func(t *testing.T, path string) { copyFile(t, filled(t, other), path) },
		"other table": func(t *testing.T, path string) { sql(t, path, "CREATE TABLE stranger (x); PRAGMA user_version = 0") },
		"old version": func(t *testing.T, path string) { sql(t, path, "PRAGMA user_version = 99") },
		"no place":    func(t *testing.T, path string) { sql(t, path, "DROP TABLE place") },
		"left over": func(t *testing.T, path string) {
			must(t, os.WriteFile(path+".rebuild", []byte("half a rebuild"), 0o600))
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := filled(t, w)
			harm(t, path)
			m := openFor(t, w.records, path, quiet)
			catchUp(t, m, w.records)
			sameRows(t, want, m)
		})
	}
}

// TestAFolderIsNoDatabase: what cannot be built anew is an error, not a loop.
func TestAFolderIsNoDatabase(t *testing.T) {
	path := t.TempDir()
	must(t, os.WriteFile(filepath.Join(path, "full"), nil, 0o600))
	if _, err := Open(t.Context(), path, recordsOf(nil), quiet); err == nil {
		t.Fatal("a folder was opened as a database")
	}
}

// TestDamageWhileItRuns: bytes of the file change under an open model. Writer or reader finds it, and the rows are built
// anew; nobody is shown an internal error for good.
func TestDamageWhileItRuns(t *testing.T) {
	w := played(13, 2500)
	want := wanted(t, w)
	half := len(w.records) / 2
	for _, finder := range []string{"writer", "reader"} {
		t.Run(finder, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "rows.db")
			m := openFor(t, w.records, path, quiet)
			apply(t, m, w.records[:half])
			if _, err := m.Totals(t.Context()); err != nil {
				t.Fatal(err)
			}
			must(t, m.Close()) // into one file, and nothing in the caches
			m = openFor(t, w.records, path, quiet)
			scribble(t, path)
			if finder == "reader" {
				lost := m.Lost()
				_, _, err := m.Jobs(t.Context(), JobQuery{Page: Page{Limit: MaxPage}})
				if err == nil {
					t.Fatal("nobody noticed")
				}
				<-lost
			}
			catchUp(t, m, w.records)
			sameRows(t, want, m)
			if _, _, err := m.Jobs(t.Context(), JobQuery{}); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// scribble overwrites all pages but the first few.
func scribble(t *testing.T, path string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	must(t, err)
	info, err := f.Stat()
	must(t, err)
	junk := make([]byte, 4096)
	for i := range junk {
		junk[i] = byte(i*7 + 1)
	}
	for at := int64(4096); at < info.Size(); at += 4096 {
		if _, err := f.WriteAt(junk, at); err != nil {
			t.Fatal(err)
		}
	}
	must(t, f.Close())
}

// TestKilled: the files as they are on the disk at any moment, copied while batches are written, resume without a gap or
// a repeat.
func TestKilled(t *testing.T) {
	w := played(14, 1500/effort+200)
	want := wanted(t, w)
	dir := t.TempDir()
	path := filepath.Join(dir, "rows.db")
	m := openFor(t, w.records, path, quiet)
	moments := 0
	step := min(211, len(w.records)/16)
	for i := 0; i < len(w.records); i += step {
		apply(t, m, w.records[i:min(i+step, len(w.records))])
		if i/step%4 != 3 {
			continue
		}
		moments++
		copied := filepath.Join(t.TempDir(), "rows.db")
		for _, suffix := range []string{"", "-wal"} { // the shared memory of the WAL is not kept by a crash of the machine
			if _, err := os.Stat(path + suffix); err == nil {
				copyFile(t, path+suffix, copied+suffix)
			}
		}
		again := openFor(t, w.records, copied, quiet)
		if got := again.Position(); got != m.Position() {
			t.Fatalf("moment %d: resumed at %d, want %d", moments, got, m.Position())
		}
		catchUp(t, again, w.records)
		sameRows(t, want, again)
	}
	if moments < 3 {
		t.Fatalf("%d moments", moments)
	}
}

// TestTornWAL: a write-ahead log that ends anywhere gives an earlier place, never a wrong one.
func TestTornWAL(t *testing.T) {
	w := played(15, 700/effort+200)
	want := wanted(t, w)
	path := filepath.Join(t.TempDir(), "rows.db")
	m := openFor(t, w.records, path, quiet)
	for i := 0; i < len(w.records); i += 250 {
		apply(t, m, w.records[i:min(i+250, len(w.records))])
	}
	info, err := os.Stat(path + "-wal")
	must(t, err)
	for part := range int64(6) {
		copied := filepath.Join(t.TempDir(), "rows.db")
		copyFile(t, path, copied)
		copyFile(t, path+"-wal", copied+"-wal")
		must(t, os.Truncate(copied+"-wal", info.Size()*part/6+13*part))
		again := openFor(t, w.records, copied, quiet)
		if again.Position() > m.Position() {
			t.Fatalf("part %d: position %d beyond %d", part, again.Position(), m.Position())
		}
		catchUp(t, again, w.records)
		sameRows(t, want, again)
	}
}

// TestAbortedTransaction: a batch that fails in its middle changes nothing, and the same batch goes through afterwards.
func TestAbortedTransaction(t *testing.T) {
	w := played(16, 2000/effort+200)
	want := wanted(t, w)
	m := openFor(t, w.records, filepath.Join(t.TempDir(), "rows.db"), quiet)
	half := len(w.records) / 2
	apply(t, m, w.records[:half])
	before := dump(t, m.current)
	place := m.Position()
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("enough")
	cancel(stop)
	if err := m.Apply(ctx, w.records[half:], w.records[len(w.records)-1].Pos); !errors.Is(err, stop) {
		t.Fatalf("a cancelled batch: %v", err)
	}
	must(t, m.current.script(t.Context(), "CREATE TRIGGER stumble BEFORE INSERT ON series BEGIN SELECT raise(ABORT, 'stumbled'); END"))
	if err := m.Apply(t.Context(), w.records[half:], w.records[len(w.records)-1].Pos); err == nil {
		t.Fatal("the trigger did not fire")
	}
	if m.Position() != place {
		t.Fatalf("place %d, want %d", m.Position(), place)
	}
	if after := dump(t, m.current); len(after["jobs"]) != len(before["jobs"]) || len(after["attempts"]) != len(before["attempts"]) {
		t.Fatal("half a batch is there")
	}
	must(t, m.current.script(t.Context(), "DROP TRIGGER stumble"))
	apply(t, m, w.records[half:])
	sameRows(t, want, m)
}

// TestRebuildSurvivesARestart: a rebuild that was under way goes on, while the old rows answer.
func TestRebuildSurvivesARestart(t *testing.T) {
	w := played(17, 1500/effort+200)
	want := wanted(t, w)
	path := filled(t, w)
	m, err := Open(t.Context(), path, recordsOf(w.records), quiet)
	must(t, err)
	must(t, m.Reset(t.Context()))
	apply(t, m, w.records[:len(w.records)/3])
	must(t, m.Close())
	m = openFor(t, w.records, path, quiet)
	if m.Position() == 0 || !m.Rebuilding() || m.Partial() {
		t.Fatalf("place %d, rebuilding %v, partial %v", m.Position(), m.Rebuilding(), m.Partial())
	}
	n, err := m.Totals(t.Context())
	must(t, err)
	full, err := want.Totals(t.Context())
	must(t, err)
	if n.Verdicts != full.Verdicts {
		t.Fatalf("%d verdicts while it is rebuilt, want %d", n.Verdicts, full.Verdicts)
	}
	catchUp(t, m, w.records)
	if m.Rebuilding() {
		t.Fatal("the rebuild has not ended")
	}
	sameRows(t, want, m)
	if _, err := os.Stat(path + ".rebuild"); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("the rebuild is still there: %v", err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	in, err := os.Open(from)
	must(t, err)
	defer in.Close()
	out, err := os.Create(to)
	must(t, err)
	_, err = io.Copy(out, in)
	must(t, errors.Join(err, out.Close()))
}

// sql changes a database behind the model's back.
func sql(t *testing.T, path, text string) {
	t.Helper()
	c, err := dial(dsn(path, false))
	must(t, err)
	must(t, c.run(t.Context(), text))
	must(t, c.close())
}

// TestNoRoomForANewOne: when nothing can be begun in the place of a damaged database, the model says so and tries again.
func TestNoRoomForANewOne(t *testing.T) {
	w := played(18, 600)
	want := wanted(t, w)
	path := filled(t, w)
	m := openFor(t, w.records, path, quiet)
	must(t, os.Remove(path))
	must(t, os.MkdirAll(filepath.Join(path, "in the way"), 0o700)) // a folder that cannot be removed as a file
	if err := m.replace(t.Context(), m.current, errLost); err == nil {
		t.Fatal("a folder was replaced")
	}
	if _, err := m.Job(t.Context(), w.jobs[0]); !errors.Is(err, ErrRebuilding) || !m.Partial() || m.Position() != 0 {
		t.Fatalf("job: %v, partial %v, place %d", err, m.Partial(), m.Position())
	}
	if err := m.Apply(t.Context(), w.records[:10], w.records[9].Pos); err == nil {
		t.Fatal("a batch was taken")
	}
	must(t, os.RemoveAll(path))
	catchUp(t, m, w.records)
	sameRows(t, want, m)
}
