package memlog

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/shardy-network/orchestrator/events"
)

// Append adds events to one stream.
func (l *Log) Append(ctx context.Context, name string, want events.Expect, evs ...events.Draft) (events.Appended, error) {
	if len(evs) == 0 {
		return events.Appended{}, fmt.Errorf("%w: no events", events.ErrInvalid)
	}
	got, err := l.AppendAll(ctx, events.Batch{Stream: name, Want: want, Events: evs})
	if err != nil {
		return events.Appended{}, err
	}
	return got[0], nil
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
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.ended(ctx); err != nil {
		return nil, err
	}
	if got, ok := l.repeated(parts); ok {
		return got, nil
	}
	for _, p := range parts {
		if err := l.conflict(p); err != nil {
			return nil, err
		}
	}
	got := make([]events.Appended, len(parts))
	at := now()
	for i, p := range parts {
		if len(p.Events) > 0 {
			got[i] = l.add(p, at)
		}
	}
	l.tell()
	return got, nil
}

func (l *Log) add(p events.Batch, now time.Time) events.Appended {
	s := l.streams[p.Stream]
	if s == nil {
		s = new(stream)
		l.streams[p.Stream] = s
	}
	var last events.Appended
	for _, d := range p.Events {
		d.Data, d.Meta = slices.Clone(d.Data), slices.Clone(d.Meta)
		last = events.Appended{Rev: uint64(len(s.places)), Pos: events.Position(len(l.records) + 1)}
		s.places = append(s.places, len(l.records))
		l.records = append(l.records, events.Record{Draft: d, Stream: p.Stream, Rev: last.Rev, Pos: last.Pos, Time: now})
	}
	return last
}

func (l *Log) conflict(p events.Batch) error {
	s := l.streams[p.Stream]
	if s.buried() {
		return events.ErrDeleted
	}
	got := events.Absent
	if s.exists() {
		got = events.At(uint64(len(s.places) - 1))
	}
	if p.Want == events.Any || p.Want == got || p.Want == events.Exists && s.exists() {
		return nil
	}
	return &events.Conflict{Stream: p.Stream, Want: p.Want, Got: got}
}

// repeated looks for the parts where their expectations would have put them. A repeated check is not looked at again.
func (l *Log) repeated(parts []events.Batch) ([]events.Appended, bool) {
	got := make([]events.Appended, len(parts))
	seen := false
	for i, p := range parts {
		if len(p.Events) == 0 {
			continue
		}
		s := l.streams[p.Stream]
		if !s.exists() {
			return nil, false
		}
		from, n := s.hidden, len(p.Events)
		switch rev, ok := p.Want.Rev(); {
		case ok && rev >= uint64(len(s.places)):
			return nil, false
		case ok:
			from = int(rev) + 1
		case p.Want != events.Absent:
			from = len(s.places) - n
		}
		if from < s.hidden || len(s.places)-from < n {
			return nil, false
		}
		for j, place := range s.places[from : from+n] {
			if l.records[place].ID != p.Events[j].ID {
				return nil, false
			}
		}
		last := l.records[s.places[from+n-1]]
		got[i], seen = events.Appended{Rev: last.Rev, Pos: last.Pos}, true
	}
	return got, seen
}

// Delete hides a stream's events from Read.
func (l *Log) Delete(ctx context.Context, name string, want events.Expect) error {
	if err := events.CheckStream(name); err != nil {
		return err
	}
	if err := l.begin(ctx); err != nil {
		return err
	}
	defer l.calls.Done()
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.conflict(events.Batch{Stream: name, Want: want}); err != nil {
		return err
	}
	s := l.streams[name]
	if !s.exists() {
		return events.ErrNotFound
	}
	s.hidden = len(s.places)
	return nil
}

// Tombstone ends a stream for good with a last record.
func (l *Log) Tombstone(ctx context.Context, name string, want events.Expect, last events.Draft) (events.Appended, error) {
	p := events.Batch{Stream: name, Want: want, Events: []events.Draft{last}}
	if err := events.CheckAppend(name, p.Events); err != nil {
		return events.Appended{}, err
	}
	if err := l.begin(ctx); err != nil {
		return events.Appended{}, err
	}
	defer l.calls.Done()
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.conflict(p); err != nil {
		return events.Appended{}, err
	}
	got := l.add(p, now())
	s := l.streams[name]
	s.hidden, s.ended = len(s.places), true
	l.tell()
	return got, nil
}

// tell wakes the tails.
func (l *Log) tell() {
	close(l.wake)
	l.wake = make(chan struct{})
}

func now() time.Time { return time.Now().UTC().Round(0).Truncate(time.Microsecond) }

// Stage keeps a copy of data under its SHA-256.
func (l *Log) Stage(ctx context.Context, sum [32]byte, data []byte) error {
	if err := events.CheckStaged(sum, data); err != nil {
		return err
	}
	if err := l.begin(ctx); err != nil {
		return err
	}
	defer l.calls.Done()
	l.mu.Lock()
	defer l.mu.Unlock()
	b, ok := l.staged[sum]
	if !ok {
		b.data = slices.Clone(data)
	}
	b.at = time.Now()
	l.staged[sum] = b
	return nil
}

// Staged returns what Stage kept.
func (l *Log) Staged(ctx context.Context, sum [32]byte) ([]byte, error) {
	if err := l.begin(ctx); err != nil {
		return nil, err
	}
	defer l.calls.Done()
	l.mu.RLock()
	defer l.mu.RUnlock()
	b, ok := l.staged[sum]
	if !ok {
		return nil, events.ErrNotFound
	}
	return append(make([]byte, 0, len(b.data)), b.data...), nil
}

// StagedBefore yields the sums of the blobs that were last staged before the given time.
func (l *Log) StagedBefore(ctx context.Context, at time.Time) iter.Seq2[[32]byte, error] {
	return func(yield func([32]byte, error) bool) {
		if err := l.begin(ctx); err != nil {
			yield([32]byte{}, err)
			return
		}
		defer l.calls.Done()
		l.mu.RLock()
		var sums [][32]byte
		for sum, b := range l.staged {
			if b.at.Before(at) {
				sums = append(sums, sum)
			}
		}
		l.mu.RUnlock()
		for _, sum := range sums {
			if err := l.ended(ctx); err != nil {
				yield([32]byte{}, err)
				return
			}
			if !yield(sum, nil) {
				return
			}
		}
	}
}

// Unstage removes a blob, unless it was staged again at or after the given time. It tells whether it did.
func (l *Log) Unstage(ctx context.Context, sum [32]byte, before time.Time) (bool, error) {
	if err := l.begin(ctx); err != nil {
		return false, err
	}
	defer l.calls.Done()
	l.mu.Lock()
	defer l.mu.Unlock()
	b, ok := l.staged[sum]
	if !ok || !b.at.Before(before) {
		return false, nil
	}
	delete(l.staged, sum)
	return true, nil
}
