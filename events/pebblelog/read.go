package pebblelog

import (
	"context"
	"errors"
	"iter"
	"math"

	"github.com/cockroachdb/pebble/v2"

	"github.com/shardy-network/orchestrator/events"
)

// A reader takes records in chunks, so that a slow one holds nothing of the engine while it works.
const (
	chunkRecords = 512
	firstRecords = 128 // of the first chunk, for those who soon leave
	chunkBytes   = 1 << 20
	tailRecords  = 256 // taken from memory at a time
)

// Read yields a stream's events. Hidden ones are left out; a wholly hidden stream is not found.
func (l *Log) Read(ctx context.Context, stream string, span events.Span) iter.Seq2[events.Record, error] {
	return func(yield func(events.Record, error) bool) {
		if err := l.begin(ctx); err != nil {
			yield(events.Record{}, err)
			return
		}
		defer l.calls.Done()
		if err := l.read(ctx, stream, span, func(r events.Record) bool { return yield(r, nil) }); err != nil {
			yield(events.Record{}, err)
		}
	}
}

// read yields until yield says no. It then returns nil.
func (l *Log) read(ctx context.Context, stream string, span events.Span, yield func(events.Record) bool) error {
	durable := l.durable.Load()
	pos, hidden, err := l.streamEntry(stream, 0)
	if err == nil && pos > durable {
		err = events.ErrNotFound
	}
	if err != nil {
		return err
	}
	if hidden == buried {
		return events.ErrDeleted
	}
	low, high, left := hidden, uint64(math.MaxUint64), max(span.Limit, 0)
	if !span.Back {
		low = max(low, span.From)
	}
	visible := false
	for {
		chunk, broken := l.streamChunk(stream, low, high, span.Back, left, durable)
		for i := range chunk {
			if err := l.ended(ctx); err != nil {
				return err
			}
			if !yield(chunk[i]) {
				return nil
			}
		}
		if broken != nil {
			return broken
		}
		if len(chunk) == 0 {
			break
		}
		visible = true
		last := chunk[len(chunk)-1].Rev
		if span.Limit > 0 {
			if left -= len(chunk); left == 0 {
				return nil
			}
		}
		if span.Back && last == low {
			return nil
		}
		if span.Back {
			high = last
		} else {
			low = last + 1
		}
	}
	if !visible && hidden > 0 {
		// Nothing from here on: is there anything at all?
		any, err := l.streamChunk(stream, hidden, math.MaxUint64, false, 1, durable)
		if err == nil && len(any) == 0 {
			err = events.ErrNotFound
		}
		return err
	}
	return nil
}

// streamChunk reads some revisions in [low, high), up to limit if that is not 0, that are durable. With an error comes
// what was good before it.
func (l *Log) streamChunk(stream string, low, high uint64, back bool, limit int, durable uint64) ([]events.Record, error) {
	upper := streamEnd(nil, stream)
	if high != math.MaxUint64 {
		upper = streamKey(nil, stream, high)
	}
	it, err := l.db.NewIter(&pebble.IterOptions{LowerBound: streamKey(nil, stream, low), UpperBound: upper})
	if err != nil {
		return nil, typed(err)
	}
	defer it.Close()
	if limit == 0 || limit > chunkRecords {
		limit = chunkRecords
	}
	step, ok := it.Next, it.First
	if back {
		step, ok = it.Prev, it.Last
	}
	var chunk []events.Record
	size := 0
	for more := ok(); more && len(chunk) < limit && size < chunkBytes; more = step() {
		_, rev, err := parseStreamKey(it.Key())
		if err != nil {
			return chunk, err
		}
		pos, _, err := parseStreamValue(rev, it.Value())
		if err != nil {
			return chunk, err
		}
		if pos > durable {
			continue
		}
		r, err := l.recordAt(pos, stream, rev)
		if err != nil {
			return chunk, err
		}
		chunk = append(chunk, r)
		size += len(r.Data) + len(r.Meta)
	}
	return chunk, typed(it.Error())
}

// recordAt reads the record that a stream's entry names.
func (l *Log) recordAt(pos uint64, stream string, rev uint64) (events.Record, error) {
	v, closer, err := l.db.Get(eventKey(make([]byte, 0, eventKeyLen), pos))
	if errors.Is(err, pebble.ErrNotFound) {
		return events.Record{}, damaged(pos, "is missing")
	}
	if err != nil {
		return events.Record{}, typed(err)
	}
	defer closer.Close()
	r, err := parseRecord(pos, v)
	if err != nil {
		return events.Record{}, err
	}
	if string(r.stream) != stream || r.rev != rev {
		return events.Record{}, damaged(pos, "is not the one that its stream names")
	}
	return r.record(pos, stream, l.names.of(r.typ)), nil
}

// ReadAll yields the events after a position that are durable when it begins. It shows deleted streams too.
func (l *Log) ReadAll(ctx context.Context, after events.Position, f events.Filter) iter.Seq2[events.Record, error] {
	return func(yield func(events.Record, error) bool) {
		if err := l.begin(ctx); err != nil {
			yield(events.Record{}, err)
			return
		}
		defer l.calls.Done()
		end := l.durable.Load()
		var chunk []events.Record
		limit := firstRecords
		for at := uint64(after); at < end; limit = chunkRecords {
			var err error
			chunk, at, err = l.logChunk(chunk[:0], at, end, limit, &f)
			if !l.yieldChunk(ctx, chunk, err, yield) {
				return
			}
		}
	}
}

// yieldChunk yields records, and the error that came behind them. It reports whether there is reason to go on.
func (l *Log) yieldChunk(ctx context.Context, chunk []events.Record, err error, yield func(events.Record, error) bool) bool {
	for i := range chunk {
		if err := l.ended(ctx); err != nil {
			yield(events.Record{}, err)
			return false
		}
		if !yield(chunk[i], nil) {
			return false
		}
	}
	if err == nil {
		err = l.ended(ctx)
	}
	if err != nil {
		yield(events.Record{}, err)
		return false
	}
	return true
}

// logChunk looks at up to limit records in (after, end], takes those that pass the filter, and says up to where it
// looked. With an error comes what was good before it.
func (l *Log) logChunk(chunk []events.Record, after, end uint64, limit int, f *events.Filter) ([]events.Record, uint64, error) {
	it, err := l.db.NewIter(&pebble.IterOptions{LowerBound: eventKey(nil, after+1), UpperBound: eventKey(nil, end+1)})
	if err != nil {
		return chunk, after, typed(err)
	}
	defer it.Close()
	size, stream := 0, ""
	more := it.First()
	for n := 0; n < limit && size < chunkBytes; n++ {
		if !more {
			if err := typed(it.Error()); err != nil {
				return chunk, after, err
			}
			return chunk, after, damaged(after+1, "is missing")
		}
		pos, err := parseEventKey(it.Key())
		if err != nil {
			return chunk, after, err
		}
		if pos != after+1 {
			return chunk, after, damaged(after+1, "is missing")
		}
		r, err := parseRecord(pos, it.Value())
		if err != nil {
			return chunk, after, err
		}
		if string(r.stream) != stream {
			stream = string(r.stream)
		}
		if typ := l.names.of(r.typ); f.Match(stream, typ) {
			chunk = append(chunk, r.record(pos, stream, typ))
		}
		size += len(it.Value())
		if after = pos; after == end {
			break
		}
		more = it.Next()
	}
	return chunk, after, nil
}
