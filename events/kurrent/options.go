package kurrent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// ErrOptions is the error of Options that make no sense.
var ErrOptions = errors.New("bad options of the remote log")

// Options of a log. The zero Options are the defaults.
type Options struct {
	// Logger hears of outages, once at their beginning and once at their end. Default: nobody.
	Logger *slog.Logger
	// CallTimeout ends a call whose context ends later or never. Default 10 s, 100 ms to 10 min; defaultDeadline in
	// the connection string goes before it. A tail that has lost the server for as long ends too.
	CallTimeout time.Duration
	// Patience is how long a call waits for a connection. Default 2 s, at most CallTimeout.
	Patience time.Duration
	// Reads is how many pages are read at the same time. Default 32, 1 to 64: a server takes 100 streams.
	Reads int
	// Window is how many of the newest events are kept for tails, if they fit into 32 MiB. Default 8192, 16 to 1 Mi.
	Window int
	// Watch is how often the subscription is compared with the log's head. Default 5 s, 10 ms to 10 min.
	Watch time.Duration
}

// Validate refuses what is out of range.
func (o Options) Validate() error {
	o = o.withDefaults()
	switch {
	case o.CallTimeout < 100*time.Millisecond || o.CallTimeout > 10*time.Minute:
		return fmt.Errorf("%w: call timeout %v", ErrOptions, o.CallTimeout)
	case o.Patience < 10*time.Millisecond || o.Patience > o.CallTimeout:
		return fmt.Errorf("%w: patience %v", ErrOptions, o.Patience)
	case o.Reads < 1 || o.Reads > 64:
		return fmt.Errorf("%w: %d reads", ErrOptions, o.Reads)
	case o.Window < 16 || o.Window > 1<<20:
		return fmt.Errorf("%w: window of %d", ErrOptions, o.Window)
	case o.Watch < 10*time.Millisecond || o.Watch > 10*time.Minute:
		return fmt.Errorf("%w: watch every %v", ErrOptions, o.Watch)
	}
	return nil
}

func (o Options) withDefaults() Options {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.CallTimeout == 0 {
		o.CallTimeout = 10 * time.Second
	}
	if o.Patience == 0 {
		o.Patience = min(2*time.Second, o.CallTimeout)
	}
	if o.Reads == 0 {
		o.Reads = 32
	}
	if o.Window == 0 {
		o.Window = 8192
	}
	if o.Watch == 0 {
		o.Watch = 5 * time.Second
	}
	return o
}

// retryPause lies between attempts to reach a server that is not there.
const retryPause = 100 * time.Millisecond

// pause waits, or returns why not.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
