// Package pebblelog is the event log of one process, embedded on Pebble: every acknowledged append is on disk, synced,
// under a dense position, in the order in which readers and tails see it.
//
// One goroutine commits: it groups what has queued up into one batch with one sync. The folder belongs to one process
// at a time. When the disk fails or is full, appends stop for good (ErrUnavailable with the cause) while reads go on;
// open the log again once the cause is gone. Events are never dropped, so the folder only grows.
package pebblelog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/shardy-network/orchestrator/events"
)

var (
	// ErrLocked refuses a folder that is open, here or in another process.
	ErrLocked = errors.New("event log is in use")
	// ErrFormat refuses a folder that another version wrote, or that is no event log.
	ErrFormat = errors.New("not an event log of this version")
)

// closePatience is how long Close waits for an engine that can no longer write before it leaves it behind.
const closePatience = 3 * time.Second

// Log is an [events.Log] that has every optional power.
type Log struct {
	db   *pebble.DB
	lock *pebble.Lock
	disk *disk // watches the engine's writes; owns the failed state
	log  *slog.Logger

	queue     queue
	requests  sync.Pool // of *request
	blobs     blobCache
	recent    recent
	names     names
	durable   atomic.Uint64 // last position on disk; readers never look beyond it
	committer chan struct{} // closed when the committer has ended
	done      chan struct{} // closed by Close

	mu     sync.RWMutex // guards closed
	closed bool
	calls  sync.WaitGroup // calls in flight; Add only under mu and while not closed

	c committer // belongs to the committer goroutine alone
}

var (
	_ events.Log    = (*Log)(nil)
	_ events.Atomic = (*Log)(nil)
	_ events.Stager = (*Log)(nil)

	_ events.Tombstoner = (*Log)(nil)
	_ events.Backward   = (*Log)(nil)
)

// Open opens the log in a folder and makes it when it is not there. It fails with ErrLocked or ErrFormat.
func Open(dir string, opts Options) (*Log, error) {
	if err := opts.Validate(); err != nil {
		return nil, err
	}
	opts = opts.withDefaults()
	d := newDisk(opts.fs, opts.Logger)
	db, lock, err := openDB(dir, opts, d, false)
	if err != nil {
		return nil, err
	}
	l := &Log{
		db: db, lock: lock, disk: d, log: opts.Logger,
		committer: make(chan struct{}), done: make(chan struct{}),
	}
	l.queue.init(opts)
	l.blobs.init(opts.BlobCacheBytes)
	l.recent.init(opts.RecentRecords, opts.RecentBytes)
	l.requests.New = func() any { return &request{done: make(chan struct{}, 1)} }
	if err := l.load(opts); err != nil {
		return nil, errors.Join(err, db.Close(), lock.Close())
	}
	streams, err := db.NewIter(&pebble.IterOptions{LowerBound: []byte(streamPrefix), UpperBound: []byte(streamsEnd)})
	if err != nil {
		return nil, errors.Join(typed(err), db.Close(), lock.Close())
	}
	l.calls.Add(1)
	go l.learn(streams)
	go l.commit()
	return l, nil
}

// openDB locks the folder and opens the engine.
func openDB(dir string, opts Options, d *disk, readOnly bool) (*pebble.DB, *pebble.Lock, error) {
	if !readOnly {
		if err := d.MkdirAll(dir, 0o700); err != nil {
			return nil, nil, fmt.Errorf("event log: %w", err)
		}
	}
	lock, err := pebble.LockDirectory(dir, d)
	if err != nil {
		if _, serr := d.Stat(dir); serr != nil {
			return nil, nil, fmt.Errorf("event log: %w", serr)
		}
		return nil, nil, fmt.Errorf("%w: %s: %w", ErrLocked, dir, err)
	}
	cache := pebble.NewCache(opts.BlockCacheBytes)
	defer cache.Unref()
	po := opts.pebble(d, cache)
	po.Lock = lock
	po.ReadOnly = readOnly
	po.ErrorIfNotExists = readOnly
	db, err := pebble.Open(dir, po)
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("event log: %w", typed(err)), lock.Close())
	}
	return db, lock, nil
}

// load reads the format and the last position.
func (l *Log) load(opts Options) error {
	v, closer, err := l.db.Get(keyFormat)
	switch {
	case errors.Is(err, pebble.ErrNotFound):
		if err := l.create(); err != nil {
			return err
		}
	case err != nil:
		return fmt.Errorf("event log: %w", typed(err))
	default:
		same := bytes.Equal(v, formatValue)
		closer.Close()
		if !same {
			return ErrFormat
		}
	}
	last, err := lastPosition(l.db)
	if err != nil {
		return err
	}
	l.durable.Store(last)
	l.recent.start(last)
	l.c.init(l, opts, last)
	return nil
}

// create marks an empty folder as a log of this format.
func (l *Log) create() error {
	it, err := l.db.NewIter(nil)
	if err != nil {
		return fmt.Errorf("event log: %w", typed(err))
	}
	empty := !it.First()
	if err := errors.Join(it.Error(), it.Close()); err != nil {
		return fmt.Errorf("event log: %w", typed(err))
	}
	if !empty {
		return ErrFormat
	}
	if err := l.db.Set(keyFormat, formatValue, pebble.Sync); err != nil {
		return fmt.Errorf("event log: %w", err)
	}
	return l.disk.cause()
}

func lastPosition(db *pebble.DB) (uint64, error) {
	it, err := db.NewIter(&pebble.IterOptions{LowerBound: eventKey(nil, 0), UpperBound: []byte(eventsEnd)})
	if err != nil {
		return 0, fmt.Errorf("event log: %w", typed(err))
	}
	defer it.Close()
	if !it.Last() {
		return 0, typed(it.Error())
	}
	return parseEventKey(it.Key())
}

// begin counts a call in, unless ctx has ended or the log is closed.
func (l *Log) begin(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	l.mu.RLock()
	defer l.mu.RUnlock()
	if l.closed {
		return events.ErrClosed
	}
	l.calls.Add(1)
	return nil
}

// ended tells a reader that it must stop, and why.
func (l *Log) ended(ctx context.Context) error {
	select {
	case <-l.done:
		return events.ErrClosed
	default:
		return ctx.Err()
	}
}

// Head returns the position of the last durable event.
func (l *Log) Head(ctx context.Context) (events.Position, error) {
	if err := l.begin(ctx); err != nil {
		return 0, err
	}
	defer l.calls.Done()
	return events.Position(l.durable.Load()), nil
}

// Failed is closed when the log has stopped taking appends; Cause then says why.
func (l *Log) Failed() <-chan struct{} { return l.disk.failed }

// Cause returns why the log takes no more appends, or nil.
func (l *Log) Cause() error { return l.disk.cause() }

// Close ends every call in flight with ErrClosed, waits for them and for the commit under way. It must not be called
// from within a read. The engine of a log that failed may be stuck: it is then left behind after three seconds, with the
// folder locked until the process ends, and Close says so.
func (l *Log) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		<-l.committer
		return nil
	}
	l.closed = true
	close(l.done)
	l.mu.Unlock()
	l.queue.close()
	ended := make(chan error, 1)
	go func() {
		<-l.committer
		l.calls.Wait()
		ended <- l.db.Close()
	}()
	if l.disk.cause() == nil {
		select {
		case err := <-ended:
			return errors.Join(typed(err), l.lock.Close())
		case <-l.disk.failed:
		}
	}
	patience := time.NewTimer(closePatience)
	defer patience.Stop()
	select {
	case err := <-ended:
		return errors.Join(typed(err), l.lock.Close())
	case <-patience.C:
		return errors.Join(fmt.Errorf("%w: engine left behind", l.unavailable()), l.lock.Close())
	}
}

// unavailable is the answer to appends after a failure.
func (l *Log) unavailable() error {
	return fmt.Errorf("%w: %w", events.ErrUnavailable, l.disk.cause())
}

// typed makes the engine's finding of damage an ErrCorrupt.
func typed(err error) error {
	if err != nil && pebble.IsCorruptionError(err) && !errors.Is(err, events.ErrCorrupt) {
		return fmt.Errorf("%w: %w", events.ErrCorrupt, err)
	}
	return err
}

var _ vfs.FS = (*disk)(nil)
