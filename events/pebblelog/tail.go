package pebblelog

import (
	"context"
	"iter"

	"github.com/shardy-network/orchestrator/events"
)

// Tail yields the events after a position and then follows the log.
func (l *Log) Tail(ctx context.Context, after events.Position, f events.Filter) iter.Seq2[events.Tick, error] {
	return func(yield func(events.Tick, error) bool) {
		if err := l.begin(ctx); err != nil {
			yield(events.Tick{}, err)
			return
		}
		defer l.calls.Done()
		t := tail{l: l, f: f, at: uint64(after), told: uint64(after), entries: make([]entry, 0, tailRecords)}
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
	l       *Log
	f       events.Filter
	at      uint64 // everything up to here was seen or filtered out
	told    uint64 // the last place that the reader knows
	live    bool
	entries []entry
	chunk   []events.Record
}

// step yields what there is, from memory or else from disk, or waits for more.
func (t *tail) step(ctx context.Context, yield func(events.Tick, error) bool) (more bool, err error) {
	// The channel is taken before the end is read: what comes in between closes it.
	news := t.l.recent.news()
	end := t.l.durable.Load()
	if t.at >= end {
		return t.wait(ctx, news, yield), nil
	}
	t.entries = t.l.recent.from(t.at+1, t.entries)
	if len(t.entries) > 0 {
		return t.fromMemory(ctx, end, yield)
	}
	var broken error
	t.chunk, t.at, broken = t.l.logChunk(t.chunk[:0], t.at, end, chunkRecords, &t.f)
	for i := range t.chunk {
		if err := t.l.ended(ctx); err != nil {
			return false, err
		}
		r := t.chunk[i]
		t.told = uint64(r.Pos)
		if !yield(events.Tick{Event: &r, Pos: r.Pos, Live: t.live}, nil) {
			return false, nil
		}
	}
	if broken != nil {
		return false, broken
	}
	return t.tell(yield), nil
}

func (t *tail) fromMemory(ctx context.Context, end uint64, yield func(events.Tick, error) bool) (bool, error) {
	// One piece of memory for the records of a step and one for their bytes: they are the reader's.
	n, size := 0, 0
	for i := range t.entries {
		if e := &t.entries[i]; t.f.Match(e.stream, e.typ) {
			n, size = n+1, size+len(e.body)
		}
	}
	records, bytes := make([]events.Record, 0, n), make([]byte, 0, size)
	for i := range t.entries {
		e := &t.entries[i]
		if t.at == end { // the entry is newer than what this step looked for
			break
		}
		if err := t.l.ended(ctx); err != nil {
			return false, err
		}
		t.at++
		if !t.f.Match(e.stream, e.typ) {
			continue
		}
		parsed, err := parseRecord(t.at, e.body)
		if err != nil {
			return false, err
		}
		from := len(bytes)
		bytes = append(append(bytes, parsed.meta...), parsed.data...)
		records = append(records, parsed.recordIn(bytes[from:len(bytes):len(bytes)], t.at, e.stream, e.typ))
		r := &records[len(records)-1]
		t.told = t.at
		if !yield(events.Tick{Event: r, Pos: r.Pos, Live: t.live}, nil) {
			return false, nil
		}
	}
	clear(t.entries) // do not keep old groups in memory
	if !t.live {
		return t.tell(yield), nil
	}
	return true, nil
}

// tell lets the reader know a place that no event told it.
func (t *tail) tell(yield func(events.Tick, error) bool) bool {
	if t.told == t.at {
		return true
	}
	t.told = t.at
	return yield(events.Tick{Pos: events.Position(t.at), Live: t.live}, nil)
}

func (t *tail) wait(ctx context.Context, news <-chan struct{}, yield func(events.Tick, error) bool) bool {
	if !t.live || t.told != t.at {
		t.live, t.told = true, t.at
		if !yield(events.Tick{Pos: events.Position(t.at), Live: true}, nil) {
			return false
		}
	}
	select {
	case <-news:
	case <-ctx.Done():
	case <-t.l.done:
	}
	return true
}
