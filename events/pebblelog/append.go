package pebblelog

import (
	"context"

	"github.com/shardy-network/orchestrator/events"
)

// Append adds events to one stream. It returns when they are synced.
func (l *Log) Append(ctx context.Context, stream string, want events.Expect, evs ...events.Draft) (events.Appended, error) {
	if err := events.CheckAppend(stream, evs); err != nil {
		return events.Appended{}, err
	}
	if err := l.begin(ctx); err != nil {
		return events.Appended{}, err
	}
	defer l.calls.Done()
	r := l.take(kindAppend)
	r.add(stream, want, evs)
	if err := l.run(ctx, r); err != nil {
		return events.Appended{}, err
	}
	got := r.parts[0].got
	l.give(r)
	return got, nil
}

// AppendAll adds events to several streams, all or none. The answer to a check, a part without events, is zero.
func (l *Log) AppendAll(ctx context.Context, parts ...events.Batch) ([]events.Appended, error) {
	if err := events.CheckParts(parts); err != nil {
		return nil, err
	}
	if err := l.begin(ctx); err != nil {
		return nil, err
	}
	defer l.calls.Done()
	r := l.take(kindAppend)
	for i := range parts {
		r.add(parts[i].Stream, parts[i].Want, parts[i].Events)
	}
	if err := l.run(ctx, r); err != nil {
		return nil, err
	}
	got := make([]events.Appended, len(r.parts))
	for i := range r.parts {
		got[i] = r.parts[i].got
	}
	l.give(r)
	return got, nil
}

// Delete hides a stream's events from Read. They stay in the log, and in ReadAll and Tail.
func (l *Log) Delete(ctx context.Context, stream string, want events.Expect) error {
	if err := events.CheckStream(stream); err != nil {
		return err
	}
	if err := l.begin(ctx); err != nil {
		return err
	}
	defer l.calls.Done()
	r := l.take(kindDelete)
	r.add(stream, want, nil)
	if err := l.run(ctx, r); err != nil {
		return err
	}
	l.give(r)
	return nil
}

// Tombstone ends a stream for good with a last record.
func (l *Log) Tombstone(ctx context.Context, stream string, want events.Expect, last events.Draft) (events.Appended, error) {
	evs := []events.Draft{last}
	if err := events.CheckAppend(stream, evs); err != nil {
		return events.Appended{}, err
	}
	if err := l.begin(ctx); err != nil {
		return events.Appended{}, err
	}
	defer l.calls.Done()
	r := l.take(kindTombstone)
	r.add(stream, want, evs)
	if err := l.run(ctx, r); err != nil {
		return events.Appended{}, err
	}
	got := r.parts[0].got
	l.give(r)
	return got, nil
}

// run sends a request through the committer. The request is the caller's again only if there is no error.
func (l *Log) run(ctx context.Context, r *request) error {
	if err := l.push(ctx, r); err != nil {
		l.give(r)
		return err
	}
	ok, err := l.await(ctx, r)
	if !ok {
		return err
	}
	if err := r.err; err != nil {
		l.give(r)
		return err
	}
	return nil
}
