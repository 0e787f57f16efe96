package readmodel

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"
)

// maxCoalesce is how long a batch may wait for company while nobody waits for it.
const maxCoalesce = time.Second

// errLost tells the runner to read from the model's place again, which has moved back.
var errLost = errors.New("read model was damaged and is built anew")

// Reset begins a rebuild. Queries are answered from the rows that are there until the rebuild has reached their place.
func (m *Model) Reset(ctx context.Context) error {
	path := ""
	if m.path != "" {
		path = m.rebuildPath()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return ErrClosed
	}
	if m.next != nil {
		if err := m.next.close(); err != nil {
			m.opts.Logger.Warn("rebuild of the read model was given up", "error", err)
		}
		m.next = nil
	}
	next, err := m.beginAnew(ctx, path)
	if err != nil {
		return fmt.Errorf("read model: %w", err)
	}
	next.goal = m.current.position()
	m.next = next
	return nil
}

// finishRebuild puts a rebuild that has reached its goal in the place of what it was to replace.
func (m *Model) finishRebuild(ctx context.Context) error {
	m.mu.RLock()
	done := m.next != nil && m.next.position() >= m.next.goal
	m.mu.RUnlock()
	if !done {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.path == "" {
		err := m.current.close()
		m.current, m.next = m.next, nil
		return err
	}
	// Closing checkpoints the write-ahead log into its database, so that one file is all there is of each. If the
	// process ends between these steps, the next start finds the old one, or none and the rebuild beside it.
	err := errors.Join(m.current.close(), m.next.close())
	if err == nil {
		err = remove(m.path)
	}
	if err == nil {
		err = os.Rename(m.rebuildPath(), m.path)
	}
	if err != nil {
		m.opts.Logger.Warn("rebuild of the read model was not put into place", "error", err)
	}
	m.next = nil
	m.current, err = m.openOrBegin(ctx, m.path)
	if err != nil {
		m.current = &store{path: m.path, opts: m.opts} // to be begun by the next batch
		m.current.dead.Store(true)
		return fmt.Errorf("read model: %w", err)
	}
	if m.current.position() == 0 {
		return errLost
	}
	return nil
}

// Recover replaces a database that a query has found damaged.
func (m *Model) Recover(ctx context.Context) error {
	m.news.Lock()
	s := m.suspect
	m.news.Unlock()
	if s == nil {
		return nil
	}
	return m.replace(ctx, s, errLost)
}

// replace deletes a database that is damaged and begins it anew.
func (m *Model) replace(ctx context.Context, s *store, why error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.news.Lock()
	defer m.news.Unlock()
	if m.suspect != nil {
		m.suspect, m.lost = nil, make(chan struct{})
	}
	if s != m.current && s != m.next {
		return nil // it has gone already
	}
	m.opts.Logger.Warn("read model is damaged, building it anew", "path", s.path, "error", why)
	_ = s.close() // what it says of damage is known
	s.dead.Store(true)
	s.reached.Store(0)
	begun, err := m.beginAnew(ctx, s.path)
	if err != nil {
		return fmt.Errorf("read model: %w", err) // the next batch tries again
	}
	switch {
	case s == m.next:
		begun.goal = max(begun.goal, m.current.position())
		m.next = begun
	case m.next != nil: // the rebuild goes on and will take its place
		m.current = begun
		m.next.goal = max(m.next.goal, s.position())
	default:
		m.current = begun
	}
	return nil
}
