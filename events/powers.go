package events

import (
	"context"
	"iter"
)

// Tombstoner is the optional power to end a stream for good.
type Tombstoner interface {
	// Tombstone hides a stream's events, appends the draft as its last and MUST refuse every later append, read,
	// delete and tombstone of the stream with ErrDeleted. The draft is seen by ReadAll and Tail alone.
	Tombstone(ctx context.Context, stream string, want Expect, last Draft) (Appended, error)
}

// Backward is the optional power to read the whole log from its end.
type Backward interface {
	// ReadAllBack yields the events before the given position, newest first, as they were when the read began.
	ReadAllBack(ctx context.Context, before Position, f Filter) iter.Seq2[Record, error]
}
