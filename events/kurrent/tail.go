package kurrent

import (
	"context"
	"errors"
	"iter"
	"slices"
	"time"

	"github.com/shardy-network/orchestrator/events"
)

// tailBatch is how many events a tail takes from the feed at a time.
const tailBatch = 256

// Tail yields the events after a position and then follows the log. An outage that is shorter than a call may take
// passes unseen; a longer one ends the tail with ErrUnavailable.
func (l *Log) Tail(ctx context.Context, after events.Position, f events.Filter) iter.Seq2[events.Tick, error] {
	return func(yield func(events.Tick, error) bool) {
		if err := l.begin(ctx); err != nil {
			yield(events.Tick{}, err)
			return
		}
		defer l.calls.Done()
		l.feed.start()
		t := tail{l: l, f: f, at: after, told: after, batch: make([]events.Record, 0, tailBatch)}
		more, err := true, error(nil)
		for more && err == nil {
			if more, err = t.step(ctx, yield); more && err == nil {
				err = l.ended(ctx)
			}
		}
		if err != nil {
			yield(events.Tick{}, err)
		}
	}
}

// tail is one reader's place.
type tail struct {
	l     *Log
	f     events.Filter
	at    events.Position // everything up to here was seen or filtered out
	told  events.Position // the last place that the reader knows
	live  bool
	batch []events.Record
	stuck time.Time // since when history has not gone on
}

// step yields what there is, from the feed or else from history, or waits for more.
func (t *tail) step(ctx context.Context, yield func(events.Tick, error) bool) (more bool, err error) {
	rs, g := t.l.feed.look(t.at, t.batch[:0])
	switch {
	case g.broken != nil && len(rs) == 0:
		return false, g.broken
	case len(rs) > 0:
		more, err = t.yield(ctx, rs, true, yield)
		clear(rs)
		return more, err
	case g.ready:
		t.at = max(t.at, g.upto)
		if !t.live || t.told != t.at {
			t.live, t.told = true, t.at
			if !yield(events.Tick{Pos: t.at, Live: true}, nil) {
				return false, nil
			}
		}
	case g.news == nil:
		return t.history(ctx, yield)
	}
	select {
	case <-g.news:
	case <-ctx.Done():
	case <-t.l.life.Done():
	}
	return true, nil
}

// history reads a page of what the feed no longer has.
func (t *tail) history(ctx context.Context, yield func(events.Tick, error) bool) (bool, error) {
	rs, _, err := t.l.bounded(ctx, &query{after: t.at})
	if more, endErr := t.yield(ctx, rs, false, yield); !more || endErr != nil {
		return more, endErr
	}
	if len(rs) > 0 {
		t.stuck = time.Time{}
		if err == nil {
			return true, nil
		}
	}
	if err == nil {
		err = unavailable("the node that is read from is behind")
	}
	if t.stuck.IsZero() {
		t.stuck = time.Now()
	}
	if !errors.Is(err, events.ErrUnavailable) || time.Since(t.stuck) >= t.l.opts.CallTimeout {
		return false, err
	}
	// An outage, or the feed knows of events that this node does not have yet.
	_ = pause(ctx, retryPause)
	return true, nil
}

// yield hands on what passes the filter, and the place of the last event.
func (t *tail) yield(ctx context.Context, rs []events.Record, shared bool, yield func(events.Tick, error) bool) (bool, error) {
	for i := range rs {
		if err := t.l.ended(ctx); err != nil {
			return false, err
		}
		r := rs[i]
		t.at = r.Pos
		if !t.f.Match(r.Stream, r.Type) {
			continue
		}
		if shared {
			r.Data, r.Meta = slices.Clone(r.Data), slices.Clone(r.Meta)
		}
		t.told = r.Pos
		if !yield(events.Tick{Event: &r, Pos: r.Pos, Live: t.live}, nil) {
			return false, nil
		}
	}
	if t.live || t.told == t.at {
		return true, nil
	}
	t.told = t.at
	return yield(events.Tick{Pos: t.at, Live: false}, nil), nil
}
