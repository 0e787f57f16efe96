package readmodel

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/shardy-network/orchestrator/events"
	"github.com/shardy-network/orchestrator/projections"
)

// Model is the read model. Queries may be asked from everywhere at any time; each sees the rows of one place in the
// log.
//
// A rebuild is written into a second database beside the first, which goes on answering until the second has reached
// its place; then it takes the first one's place. A database that is found damaged is deleted at once, and so is one
// that another version wrote: then queries answer from what has been built so far, and Rebuilding says so.
type Model struct {
	path string
	log  projections.StreamReader
	opts Options

	mu      sync.RWMutex // held for reading while a query runs, for writing while databases come and go
	current *store       // answers queries
	next    *store       // a rebuild; nil: none
	closed  bool

	news    sync.Mutex // guards what follows
	changed chan struct{}
	lost    chan struct{}
	suspect *store // found damaged by a query
}

var (
	_ projections.Projection = (*Model)(nil)
	_ projections.Batcher    = (*Model)(nil)
	_ projections.Loser      = (*Model)(nil)
)

// Open opens the database at path, or one in memory when path is empty. A database that is missing, damaged, of another
// log or of another version is deleted and begun anew: the model's place is then before the first event.
func Open(ctx context.Context, path string, log projections.StreamReader, o Options) (*Model, error) {
	m := &Model{path: path, log: log, opts: o.withDefaults(), changed: make(chan struct{}), lost: make(chan struct{})}
	if path != "" {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return nil, fmt.Errorf("read model: %w", err)
		}
	}
	var err error
	if m.current, err = m.openOrBegin(ctx, path); err != nil {
		return nil, fmt.Errorf("read model: %w", err)
	}
	if err := m.resumeRebuild(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("read model: %w", err), m.current.close())
	}
	return m, nil
}

// openOrBegin opens a database, or begins it when it is of no use.
func (m *Model) openOrBegin(ctx context.Context, path string) (*store, error) {
	s, err := openStore(ctx, path, m.log, m.opts)
	switch {
	case err == nil && s.position() == 0:
		return m.aim(ctx, s)
	case err == nil || !useless(err):
		return s, err
	}
	m.opts.Logger.Warn("read model is of no use, building it anew", "path", path, "error", err)
	return m.beginAnew(ctx, path)
}

// aim makes a database that holds nothing yet complete where the log ends now.
func (m *Model) aim(ctx context.Context, s *store) (*store, error) {
	var err error
	if s.goal, err = m.head(ctx); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

func (m *Model) beginAnew(ctx context.Context, path string) (*store, error) {
	if path != "" {
		if err := remove(path); err != nil {
			return nil, err
		}
	}
	s, err := openStore(ctx, path, m.log, m.opts)
	if err != nil {
		return nil, err
	}
	return m.aim(ctx, s)
}

// head is the end of the log, where the log can tell it.
func (m *Model) head(ctx context.Context) (events.Position, error) {
	if log, ok := m.log.(interface {
		Head(ctx context.Context) (events.Position, error)
	}); ok {
		return log.Head(ctx)
	}
	return 0, nil
}

// useless tells whether an error means that the database must be built anew.
func useless(err error) bool {
	var d *damage
	return damaged(err) || errors.As(err, &d) || errors.Is(err, errOtherVersion) || errors.Is(err, errOtherLog)
}

func (m *Model) rebuildPath() string { return m.path + ".rebuild" }

// resumeRebuild goes on with a rebuild that was under way when the process ended.
func (m *Model) resumeRebuild(ctx context.Context) error {
	if m.path == "" {
		return nil
	}
	if _, err := os.Stat(m.rebuildPath()); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if m.current.position() == 0 { // nothing to answer from meanwhile
		return remove(m.rebuildPath())
	}
	next, err := openStore(ctx, m.rebuildPath(), m.log, m.opts)
	if useless(err) {
		return remove(m.rebuildPath())
	}
	if err != nil {
		return err
	}
	next.goal = max(next.goal, m.current.position())
	m.next = next
	return nil
}

// Close ends what is under way and releases the database. The runner must have ended.
func (m *Model) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil
	}
	m.closed = true
	err := m.current.close()
	if m.next != nil {
		err = errors.Join(err, m.next.close())
	}
	return err
}

// Name is "read-model".
func (m *Model) Name() string { return "read-model" }

// Filter passes all facts.
func (m *Model) Filter() events.Filter { return events.Filter{} }

// Batch asks the runner for large batches when there is much to do: the more of a job falls into one, the less there is
// to write.
func (m *Model) Batch() projections.Batch {
	return projections.Batch{Records: 60_000, Bytes: 48 << 20, MaxCoalesce: maxCoalesce}
}

// Position is the place up to which everything was applied: that of the rebuild, if there is one.
func (m *Model) Position() events.Position {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.target().position()
}

// target is the database that is being written. It must be called with the lock held.
func (m *Model) target() *store {
	if m.next != nil {
		return m.next
	}
	return m.current
}

// Apply takes in a batch and writes it in one transaction.
func (m *Model) Apply(ctx context.Context, batch []events.Record, upTo events.Position) error {
	m.mu.RLock()
	s, closed := m.target(), m.closed
	m.mu.RUnlock()
	if closed {
		return ErrClosed
	}
	if s.dead.Load() {
		return errors.Join(errLost, m.replace(ctx, s, errLost))
	}
	malformed, err := s.apply(ctx, batch, upTo)
	switch {
	case useless(err):
		return errors.Join(err, m.replace(ctx, s, err))
	case err != nil:
		return fmt.Errorf("read model: %w", err)
	}
	if malformed > 0 {
		m.opts.Logger.Warn("records that do not decode were left out of the read model", "records", malformed, "up_to", uint64(upTo))
	}
	if err := m.finishRebuild(ctx); err != nil {
		return err
	}
	if len(batch) > 0 {
		m.announce()
	}
	return nil
}

// announce tells those who wait for changes.
func (m *Model) announce() {
	m.news.Lock()
	defer m.news.Unlock()
	close(m.changed)
	m.changed = make(chan struct{})
}

// Changed is closed when rows have changed; ask again for the next time.
func (m *Model) Changed() <-chan struct{} {
	m.news.Lock()
	defer m.news.Unlock()
	return m.changed
}

// Lost is closed when a query has found the database damaged: the runner must let the model begin anew.
func (m *Model) Lost() <-chan struct{} {
	m.news.Lock()
	defer m.news.Unlock()
	return m.lost
}

// Rebuilding reports whether a rebuild is under way: rows are of the past, and the newest may be missing.
func (m *Model) Rebuilding() bool {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.next != nil || m.current.partial()
}

// Partial reports whether queries answer from a database that has not reached the place where the log was when it was
// begun: what is not in it may exist all the same.
func (m *Model) Partial() bool {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.current.partial()
}

// read runs a question on the rows of one place.
func (m *Model) read(ctx context.Context, question func(*conn) error) error {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if m.closed {
		return ErrClosed
	}
	s := m.current
	if s.dead.Load() {
		return ErrRebuilding
	}
	err := s.read(ctx, question)
	if damaged(err) {
		m.suspicion(s)
	}
	if errors.Is(err, ErrNotFound) && s.partial() {
		return ErrRebuilding
	}
	return err
}

// suspicion notes that a query found damage.
func (m *Model) suspicion(s *store) {
	m.news.Lock()
	defer m.news.Unlock()
	if m.suspect == nil {
		m.suspect = s
		close(m.lost)
	}
}
