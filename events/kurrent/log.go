// Package kurrent keeps an [events.Log] in EventStoreDB or KurrentDB, or in any server that speaks their gRPC protocol
// (package esdbserver does): every call ends by its context, a server that goes away and comes back is found again,
// and no event is lost, skipped or repeated on the way.
//
// It takes the connection string and the protocol's stubs from EventStore-Client-Go v4, and keeps the connection
// itself: that library's Client is dead for good after an outage of a second, lets callers hang whatever their context
// says, panics when it is closed during a read, and ends the process over one malformed date. Limits: one log is one
// cluster; there is no atomic append to several streams and no staging of blobs; a real server's scavenged events are
// gone for a tail that has not come to them.
package kurrent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/shardy-network/orchestrator/events"
)

// Log is an [events.Log] on a server.
//
// Appends and reads have a connection each, so that neither waits for the other's streams: a server takes only 100 at
// a time on one. All tails of the process share one subscription.
type Log struct {
	opts   Options
	log    *slog.Logger
	writes *link
	reads  *link
	slots  chan struct{} // a token for each page that may be read at the same time
	feed   *feed
	lanes  lanes
	single atomic.Bool // the server does not know BatchAppend

	life context.Context // ends when Close begins
	end  context.CancelFunc

	mu     sync.Mutex // guards closed
	closed bool
	calls  sync.WaitGroup // calls in flight; Add only under mu and while not closed
}

var (
	_ events.Log      = (*Log)(nil)
	_ events.Backward = (*Log)(nil)
)

// Open connects to the server that a connection string names: esdb://, esdb+discover://, or the same with kurrentdb.
// It waits for the server until ctx ends, so that the order in which both are started does not matter, and returns at
// once when the server refuses it (ErrDenied) or the string is malformed (ErrURI). Errors never hold the password.
func Open(ctx context.Context, uri string, o Options) (*Log, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	cfg, err := parseURI(uri)
	if err != nil {
		return nil, err
	}
	o = o.withDefaults()
	if cfg.DefaultDeadline != nil {
		o.CallTimeout = *cfg.DefaultDeadline
	}
	dialer, err := newDialer(cfg)
	if err != nil {
		return nil, err
	}
	l := &Log{opts: o, log: o.Logger, slots: make(chan struct{}, o.Reads)}
	l.life, l.end = context.WithCancel(context.Background())
	l.writes = newLink(dialer, o, true)
	l.reads = newLink(dialer, o, false)
	l.feed = newFeed(l)
	if cfg.DisableTLS && cfg.Username != "" {
		l.log.Warn("the connection string has a password but no TLS: the password is not sent")
	}
	if err := l.await(ctx); err != nil {
		_ = l.Close()
		return nil, err
	}
	return l, nil
}

// await asks for the head until there is an answer.
func (l *Log) await(ctx context.Context) error {
	var last error
	for {
		_, err := l.Head(ctx)
		if ctx.Err() != nil && last != nil {
			return last // says more than that the time is over
		}
		if err == nil || !errors.Is(err, events.ErrUnavailable) {
			return err
		}
		last = err
		_ = pause(ctx, retryPause)
	}
}

// begin counts a call in, unless ctx has ended or the log is closed.
func (l *Log) begin(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return events.ErrClosed
	}
	l.calls.Add(1)
	return nil
}

// bound returns a context that ends with ctx, with the log, and when a call has taken too long.
func (l *Log) bound(ctx context.Context) (context.Context, func()) {
	c, cancel := context.WithTimeout(ctx, l.opts.CallTimeout)
	stop := context.AfterFunc(l.life, cancel)
	return c, func() {
		stop()
		cancel()
	}
}

// ended tells a caller that it must stop, and why.
func (l *Log) ended(ctx context.Context) error {
	if l.life.Err() != nil {
		return events.ErrClosed
	}
	return ctx.Err()
}

// fault is what a caller hears of an error. ctx is the caller's own.
func (l *Log) fault(ctx context.Context, err error) error {
	switch end := l.ended(ctx); {
	case err == nil:
		return nil
	case errors.Is(end, context.DeadlineExceeded):
		return fmt.Errorf("%w: %w", events.ErrUnavailable, end)
	case end != nil:
		return end
	}
	return err
}

// Close ends every call in flight with ErrClosed and waits for them; it must not be called from within a read.
func (l *Log) Close() error {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.end()
	l.calls.Wait()
	l.feed.wait()
	l.lanes.work.Wait()
	l.writes.close()
	l.reads.close()
	return nil
}
