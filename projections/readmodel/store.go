package readmodel

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"sync"
	"sync/atomic"

	"github.com/shardy-network/orchestrator/events"
	"github.com/shardy-network/orchestrator/projections"
)

// cachedRows is how many rows of each kind a store remembers between batches, twice that at most. A job with its
// attempts is some 1.5 KiB.
const cachedRows = 16_384

// store is one database: a connection that writes and some that read.
//
// The file is written in WAL mode with synchronous=NORMAL: only checkpoints sync, a few megabytes apart. What a power
// cut takes back, rows and place together, is read from the log again; OFF would save those syncs too, but a power cut
// could then leave a database that looks whole and is not.
type store struct {
	path string // empty: in memory
	opts Options

	goal events.Position // where the rows are complete; written with the model's lock held

	w       *conn         // the writer's
	place   place         // of the writer
	reached atomic.Uint64 // the place's position, for everybody
	dead    atomic.Bool   // closed for its damage, and nothing could be begun in its place yet
	// What the writer knows of the rows; only good for as long as every transaction succeeds.
	jobs      cache[string, *job]
	pipelines cache[string, *pipeline]
	workers   cache[string, *worker]
	closed    int64 // closed jobs there are; negative: not known
	ended     int64 // ended pipelines likewise
	known     int64 // workers likewise

	readers chan *conn // idle ones; in memory there is one connection for all, the writer's
	dialled []*conn    // those that only read
}

var (
	errOtherVersion = errors.New("database of another version")
	errOtherLog     = errors.New("database of another log")
)

func dsn(path string, reader bool) string {
	if path == "" {
		return ":memory:?_pragma=temp_store(MEMORY)&_pragma=cache_size(-8192)"
	}
	q := "_pragma=journal_mode(WAL)&_pragma=synchronous(NORMAL)&_pragma=busy_timeout(5000)&_pragma=temp_store(MEMORY)" +
		"&_pragma=wal_autocheckpoint(4000)&_pragma=journal_size_limit(67108864)&_pragma=cell_size_check(1)"
	if reader {
		q += "&_pragma=query_only(1)&_pragma=cache_size(-4096)"
	} else {
		q += "&_pragma=cache_size(-65536)"
	}
	return "file:" + (&url.URL{Path: path}).EscapedPath() + "?" + q
}

// openStore opens what is at the path, or begins it. A database that is of no use is an error that is damage,
// errOtherVersion or errOtherLog.
func openStore(ctx context.Context, path string, log projections.StreamReader, o Options) (*store, error) {
	s := &store{path: path, opts: o}
	s.forgetCaches()
	if err := s.open(ctx, log); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

func (s *store) open(ctx context.Context, log projections.StreamReader) (err error) {
	if s.w, err = dial(dsn(s.path, false)); err != nil {
		return err
	}
	for _, step := range []func(context.Context) error{
		s.begin, s.readPlace, func(ctx context.Context) error { return s.place.check(ctx, log) },
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return s.dialReaders()
}

// begin makes the schema in a new file, and refuses a file that has another one.
func (s *store) begin(ctx context.Context) error {
	var app, had int64
	for text, to := range map[string]*int64{"PRAGMA application_id": &app, "PRAGMA user_version": &had} {
		if _, err := s.w.one(ctx, text, nil, func(r row) { *to = r.int(0) }); err != nil {
			return err
		}
	}
	found, err := s.w.shape(ctx)
	if err != nil {
		return err
	}
	if found != "" {
		want, err := wantedShape()
		if err == nil && (app != application || had != version || found != want) {
			err = fmt.Errorf("%w: %d, want %d", errOtherVersion, had, version)
		}
		if err != nil {
			return err
		}
		return s.check(ctx)
	}
	script := fmt.Sprintf("BEGIN; %s PRAGMA application_id = %d; PRAGMA user_version = %d; COMMIT", schema, application, version)
	return s.script(ctx, script)
}

// shape is the text of a database's schema, empty for a new one.
func (c *conn) shape(ctx context.Context) (text string, err error) {
	err = c.each(ctx, "SELECT name, sql FROM sqlite_schema ORDER BY type, name", nil, func(r row) error {
		text += r.text(0) + ": " + r.text(1) + "\n"
		return nil
	})
	return text, err
}

// wantedShape is what the schema looks like in a database: a forgotten change of the version is found all the same.
var wantedShape = sync.OnceValues(func() (text string, err error) {
	c, err := dial(":memory:")
	if err != nil {
		return "", err
	}
	if err = c.run(context.Background(), schema); err == nil {
		text, err = c.shape(context.Background())
	}
	return text, errors.Join(err, c.close())
})

// script runs several statements.
func (s *store) script(ctx context.Context, text string) error {
	err := s.w.run(ctx, text)
	if st := s.w.stmts[text]; st != nil {
		delete(s.w.stmts, text)
		err = errors.Join(err, st.close())
	}
	return err
}

// check looks for damage: the structure of the pages of the small tables and of the free list. All pages of a large
// database take minutes; damage in one that is read later is found then.
func (s *store) check(ctx context.Context) error {
	for _, table := range []string{"place", "counters", "series", "pipelines", "workers", "modules"} {
		word := ""
		if _, err := s.w.one(ctx, "PRAGMA quick_check("+table+")", nil, func(r row) { word = r.text(0) }); err != nil {
			return err
		}
		if word != "ok" {
			return &damage{table, word}
		}
	}
	return nil
}

// damage is what a check found.
type damage struct{ table, word string }

func (d *damage) Error() string { return "table " + d.table + ": " + d.word }

func (s *store) readPlace(ctx context.Context) error {
	_, err := s.w.one(ctx, "SELECT position, ordinal, stream, rev, at, id, goal FROM place", nil, func(r row) {
		s.place = place{
			position: events.Position(r.int(0)), ordinal: r.int(1), stream: r.text(2), rev: uint64(r.int(3)),
			at: events.Position(r.int(4)),
		}
		copy(s.place.id[:], r.blob(5))
		s.goal = events.Position(r.int(6))
		s.reached.Store(uint64(s.place.position))
	})
	return err
}

// check holds the place against the log: the last record must be where it was.
func (p *place) check(ctx context.Context, log projections.StreamReader) error {
	if p.stream == "" {
		return nil
	}
	for r, err := range log.Read(ctx, p.stream, events.Span{From: p.rev, Limit: 1}) {
		if errors.Is(err, events.ErrNotFound) || errors.Is(err, events.ErrDeleted) {
			return fmt.Errorf("%w: %w", errOtherLog, err)
		}
		if err != nil {
			return err
		}
		if r.Rev == p.rev && r.Pos == p.at && r.ID == p.id {
			return nil
		}
	}
	return errOtherLog
}

func (s *store) dialReaders() error {
	if s.path == "" {
		s.readers = make(chan *conn, 1)
		s.readers <- s.w
		return nil
	}
	s.readers = make(chan *conn, s.opts.Readers)
	for range s.opts.Readers {
		c, err := dial(dsn(s.path, true))
		if err != nil {
			return err
		}
		s.dialled = append(s.dialled, c)
		s.readers <- c
	}
	return nil
}

// close must be called when nobody reads or writes any more.
func (s *store) close() error {
	var err error
	for _, c := range s.dialled {
		err = errors.Join(err, c.close())
	}
	s.dialled = nil
	if s.w != nil {
		err = errors.Join(err, s.w.close()) // the last one to close checkpoints the WAL away
		s.w = nil
	}
	return err
}

// remove deletes the files of a database.
func remove(path string) error {
	var err error
	for _, suffix := range []string{"", "-wal", "-shm", "-journal"} {
		if e := os.Remove(path + suffix); e != nil && !errors.Is(e, os.ErrNotExist) {
			err = errors.Join(err, e)
		}
	}
	return err
}

// position is the place up to which everything is in the rows.
func (s *store) position() events.Position { return events.Position(s.reached.Load()) }

// partial tells whether rows are missing that were to be there from the start.
func (s *store) partial() bool { return s.dead.Load() || s.position() < s.goal }

func (s *store) forgetCaches() {
	s.jobs, s.pipelines, s.workers = newCache[string, *job](cachedRows), newCache[string, *pipeline](1024), newCache[string, *worker](cachedRows)
	s.closed, s.ended, s.known = -1, -1, -1
}

// apply folds a batch and writes it in one transaction, with the place that it leads to.
func (s *store) apply(ctx context.Context, recs []events.Record, upTo events.Position) (malformed int, err error) {
	if s.path == "" {
		c := <-s.readers
		defer func() { s.readers <- c }()
	}
	b := newBatch(ctx, s)
	for i := range recs {
		b.take(&recs[i])
	}
	to := s.place
	to.position, to.ordinal = upTo, b.ordinal
	if n := len(recs); n > 0 {
		last := &recs[n-1]
		to.stream, to.rev, to.at, to.id = last.Stream, last.Rev, last.Pos, last.ID
	}
	err = b.err
	if err == nil {
		err = s.transact(b, to)
	}
	if err != nil {
		s.forgetCaches() // they speak of rows that were not written
		return 0, err
	}
	s.place = to
	s.reached.Store(uint64(upTo))
	for _, j := range b.jobs {
		if j.state != open { // hardly anything follows: it is read back then
			s.jobs.drop(j.id)
		}
	}
	s.jobs.age()
	s.pipelines.age()
	s.workers.age()
	return b.malformed, nil
}

// transact writes the batch, all or nothing. A statement is not interrupted: between them the batch looks whether its
// context has ended.
func (s *store) transact(b *batch, to place) (err error) {
	ctx := context.Background()
	if err := s.w.run(ctx, "BEGIN IMMEDIATE"); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.rollback())
		}
	}()
	if err := b.write(ctx); err != nil {
		return err
	}
	if err := b.writePlace(ctx, to); err != nil {
		return err
	}
	return s.w.run(ctx, "COMMIT")
}

// rollback ends a transaction that failed; some failures have ended it already.
func (s *store) rollback() error {
	err := s.w.run(context.Background(), "ROLLBACK")
	if err != nil && !damaged(err) {
		return nil
	}
	return err
}
