package pebblelog

import (
	"context"
	"iter"

	"github.com/cockroachdb/pebble/v2"

	"github.com/shardy-network/orchestrator/events"
)

// ReadAllBack yields the events before a position that are durable when it begins, newest first. It shows deleted
// streams too.
func (l *Log) ReadAllBack(ctx context.Context, before events.Position, f events.Filter) iter.Seq2[events.Record, error] {
	return func(yield func(events.Record, error) bool) {
		if err := l.begin(ctx); err != nil {
			yield(events.Record{}, err)
			return
		}
		defer l.calls.Done()
		var chunk []events.Record
		limit := firstRecords
		for at := min(uint64(before), l.durable.Load()+1); at > 1; limit = chunkRecords {
			var err error
			chunk, at, err = l.backChunk(chunk[:0], at, limit, &f)
			if !l.yieldChunk(ctx, chunk, err, yield) {
				return
			}
		}
	}
}

// backChunk looks at up to limit records before a position, takes those that pass the filter, and says down to where it
// looked. With an error comes what was good before it.
func (l *Log) backChunk(chunk []events.Record, before uint64, limit int, f *events.Filter) ([]events.Record, uint64, error) {
	it, err := l.db.NewIter(&pebble.IterOptions{LowerBound: eventKey(nil, 1), UpperBound: eventKey(nil, before)})
	if err != nil {
		return chunk, before, typed(err)
	}
	defer it.Close()
	size := 0
	more := it.Last()
	for n := 0; n < limit && size < chunkBytes && before > 1; n++ {
		if !more {
			if err := typed(it.Error()); err != nil {
				return chunk, before, err
			}
			return chunk, before, damaged(before-1, "is missing")
		}
		pos, err := parseEventKey(it.Key())
		if err != nil {
			return chunk, before, err
		}
		if pos != before-1 {
			return chunk, before, damaged(before-1, "is missing")
		}
		r, err := parseRecord(pos, it.Value())
		if err != nil {
			return chunk, before, err
		}
		if stream, typ := string(r.stream), l.names.of(r.typ); f.Match(stream, typ) {
			chunk = append(chunk, r.record(pos, stream, typ))
		}
		size += len(it.Value())
		before = pos
		more = it.Prev()
	}
	return chunk, before, nil
}
