package pebblelog

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"

	"github.com/shardy-network/orchestrator/events"
	"github.com/shardy-network/orchestrator/events/eventstest"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// sample makes a closed log: stream a at 1, 2, 5 (hidden, then 6), stream b at 3, 4; two blobs.
func sample(t *testing.T) (dir string, blob [32]byte) {
	t.Helper()
	dir = t.TempDir()
	l := open(t, dir, Options{})
	ctx := t.Context()
	put := func(stream string, n int) {
		for range n {
			facts := []events.Fact{&eventv1.AckTimedOut{Attempt: 7}}
			id := eventstest.NewID()
			evs, err := events.Encode(events.Origin{ID: events.NewCommandID(id[:])}, facts)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := l.Append(ctx, stream, events.Any, evs...); err != nil {
				t.Fatal(err)
			}
		}
	}
	for i := range 2 {
		data := []byte(strings.Repeat("blob", 300+i))
		blob = sumOf(data)
		if err := l.Stage(ctx, blob, data); err != nil {
			t.Fatal(err)
		}
	}
	put("a", 2)
	put("b", 2)
	put("a", 1)
	if err := l.Delete(ctx, "a", events.At(2)); err != nil {
		t.Fatal(err)
	}
	put("a", 1)
	if _, err := l.Append(ctx, "foreign", events.Absent, eventstest.Draft("Note")); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return dir, blob
}

func TestFsckPassesAGoodLog(t *testing.T) {
	dir, _ := sample(t)
	rep, err := Fsck(dir)
	if err != nil || rep != (Report{Events: 7, Streams: 3, Blobs: 2, Head: 7, Unsealed: 1}) {
		t.Errorf("%+v, %v", rep, err)
	}
}

// TestFsckNamesTheDamage alters one thing of a good log at a time.
func TestFsckNamesTheDamage(t *testing.T) {
	u64 := func(vs ...uint64) (b []byte) {
		for _, v := range vs {
			b = binary.BigEndian.AppendUint64(b, v)
		}
		return b
	}
	var blob [32]byte
	for what, c := range map[string]struct {
		harm func(db *pebble.DB) error
		want Damage // What is a part of the sentence
	}{
		"bit flipped": {
			func(db *pebble.DB) error { return alter(db, eventKey(nil, 4), func(v []byte) { v[len(v)-1] ^= 1 }) },
			Damage{Stream: "b", Rev: 1, Pos: 4, What: "record is damaged"},
		},
		"version of the future": {
			func(db *pebble.DB) error { return alter(db, eventKey(nil, 2), func(v []byte) { v[0] = 9 }) },
			Damage{Stream: "a", Rev: 1, Pos: 2, What: "record is damaged"},
		},
		"data altered with checksum": {
			func(db *pebble.DB) error {
				return alter(db, eventKey(nil, 4), func(v []byte) {
					v[len(v)-1] ^= 1
					binary.LittleEndian.PutUint32(v[offSum:], checksum(v, 4))
				})
			},
			Damage{Stream: "b", Rev: 1, Pos: 4, What: "digest"},
		},
		"record gone":      {func(db *pebble.DB) error { return db.Delete(eventKey(nil, 3), nil) }, Damage{Pos: 3, What: "missing"}},
		"last record gone": {func(db *pebble.DB) error { return db.Delete(eventKey(nil, 7), nil) }, Damage{Stream: "foreign", Pos: 7, What: "not there"}},
		"entry gone": {
			func(db *pebble.DB) error { return db.Delete(streamKey(nil, "b", 1), nil) },
			Damage{Stream: "b", Rev: 1, Pos: 4, What: "no entry"},
		},
		"entry of another record": {
			func(db *pebble.DB) error { return db.Set(streamKey(nil, "b", 1), u64(3), nil) },
			Damage{Stream: "b", Rev: 1, Pos: 4, What: "another record"},
		},
		"entry too many": {
			func(db *pebble.DB) error { return db.Set(streamKey(nil, "b", 2), u64(5), nil) },
			Damage{What: "streams name 8"},
		},
		"entry too many, beyond": {
			func(db *pebble.DB) error { return db.Set(streamKey(nil, "b", 2), u64(99), nil) },
			Damage{Stream: "b", Rev: 2, Pos: 99, What: "not there"},
		},
		"gap in a stream": {
			func(db *pebble.DB) error { return db.Set(streamKey(nil, "b", 3), u64(5), nil) },
			Damage{Stream: "b", Rev: 2, Pos: 5, What: "revision is missing"},
		},
		"too much hidden": {
			func(db *pebble.DB) error { return db.Set(streamKey(nil, "a", 0), u64(1, 50), nil) },
			Damage{Stream: "a", Rev: 50, What: "hidden"},
		},
		"entry cut": {
			func(db *pebble.DB) error { return db.Set(streamKey(nil, "a", 0), []byte{1}, nil) },
			Damage{Stream: "a", Pos: 1, What: "another record"},
		},
		"blob altered": {
			func(db *pebble.DB) error {
				return alter(db, blobKey(nil, &blob), func(v []byte) { v[20] ^= 1 })
			},
			Damage{What: "blob"},
		},
		"stray key": {func(db *pebble.DB) error { return db.Set([]byte("x/y"), nil, nil) }, Damage{What: "belongs to nothing"}},
		"bad key":   {func(db *pebble.DB) error { return db.Set([]byte("e/zz"), nil, nil) }, Damage{What: "not a position"}},
	} {
		t.Run(what, func(t *testing.T) {
			var dir string
			dir, blob = sample(t)
			db, err := pebble.Open(dir, &pebble.Options{Logger: newDisk(nil, quiet), FormatMajorVersion: pebble.FormatNewest})
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(c.harm(db), db.Close()); err != nil {
				t.Fatal(err)
			}
			rep, err := Fsck(dir)
			var d *Damage
			if !errors.As(err, &d) || !errors.Is(err, events.ErrCorrupt) {
				t.Fatalf("%+v, %v", rep, err)
			}
			if d.Stream != c.want.Stream || d.Rev != c.want.Rev || d.Pos != c.want.Pos || !strings.Contains(d.What, c.want.What) {
				t.Errorf("got %v, want %+v", d, c.want)
			}
		})
	}
}

func alter(db *pebble.DB, key []byte, f func(v []byte)) error {
	v, closer, err := db.Get(key)
	if err != nil {
		return err
	}
	own := append([]byte(nil), v...)
	if err := closer.Close(); err != nil {
		return err
	}
	f(own)
	return db.Set(key, own, nil)
}

// TestReadersTellDamage: what fsck would find is an error for readers too, behind what was good before it.
func TestReadersTellDamage(t *testing.T) {
	dir, _ := sample(t)
	db, err := pebble.Open(dir, &pebble.Options{Logger: newDisk(nil, quiet), FormatMajorVersion: pebble.FormatNewest})
	if err != nil {
		t.Fatal(err)
	}
	err = alter(db, eventKey(nil, 4), func(v []byte) { v[len(v)-1] ^= 1 })
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	l := open(t, dir, Options{})
	defer l.Close()
	good := map[string]int{"read": 1, "read all": 3, "tail": 3} // what lies before the damage
	for name, seq := range map[string]func() (int, error){
		"read": func() (n int, err error) {
			for _, err = range l.Read(t.Context(), "b", events.Span{}) {
				n++
			}
			return n, err
		},
		"read all": func() (n int, err error) {
			for _, err = range l.ReadAll(t.Context(), 0, events.Filter{}) {
				n++
			}
			return n, err
		},
		"tail": func() (n int, err error) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			for _, err = range l.Tail(ctx, 0, events.Filter{}) {
				n++
			}
			return n, err
		},
	} {
		if n, err := seq(); !errors.Is(err, events.ErrCorrupt) || n != good[name]+1 {
			t.Errorf("%s: %d steps, %v", name, n, err)
		}
	}
}

// TestBitRotOnDisk flips a byte in the middle of each file of a log that lies in tables.
func TestBitRotOnDisk(t *testing.T) {
	dir, _ := sample(t)
	l := open(t, dir, Options{})
	if err := errors.Join(l.db.Flush(), l.Close()); err != nil {
		t.Fatal(err)
	}
	tables, err := filepath.Glob(filepath.Join(dir, "*.sst"))
	if err != nil || len(tables) == 0 {
		t.Fatal(tables, err)
	}
	for _, name := range tables {
		good, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		bad := append([]byte(nil), good...)
		bad[len(bad)/8] ^= 0x40
		if err := os.WriteFile(name, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		if rep, err := Fsck(dir); !errors.Is(err, events.ErrCorrupt) {
			t.Errorf("%s: %+v, %v", filepath.Base(name), rep, err)
		}
		if err := os.WriteFile(name, good, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Fsck(dir); err != nil {
		t.Errorf("put right again: %v", err)
	}
}

func TestFsckNeedsAClosedLogOfThisFormat(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Options{})
	if _, err := Fsck(dir); !errors.Is(err, ErrLocked) {
		t.Errorf("open log: %v", err)
	}
	if _, err := Open(dir, Options{Logger: quiet}); !errors.Is(err, ErrLocked) {
		t.Errorf("second open: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Fsck(filepath.Join(dir, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no folder: %v", err)
	}
	other := t.TempDir()
	db, err := pebble.Open(other, &pebble.Options{Logger: newDisk(nil, quiet)})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(db.Set([]byte("a"), nil, nil), db.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(other, Options{Logger: quiet}); !errors.Is(err, ErrFormat) {
		t.Errorf("another's folder: %v", err)
	}
	if _, err := Fsck(other); !errors.Is(err, ErrFormat) {
		t.Errorf("fsck of another's folder: %v", err)
	}
}
