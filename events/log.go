package events

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"
)

// Position orders every event of a log. It is opaque: compare it, store it, never compute with it.
// The zero Position lies before the first event.
type Position uint64

// ID names one event for good. Writers choose it; see [CommandID].
type ID [16]byte

// Draft is an event that is about to be appended.
type Draft struct {
	ID   ID     // never zero
	Type string // the fact's message name, for example "TaskVerified"
	JSON bool   // Data is JSON text; facts are protobuf
	Data []byte // the fact; the log keeps these very bytes
	Meta []byte // an encoded Envelope
}

// Record is an event that was appended. Its byte slices belong to the reader.
type Record struct {
	Draft
	Stream string
	Rev    uint64 // place in its stream, from 0
	Pos    Position
	Time   time.Time // of the append, UTC; never read by a decision
}

// Expect is what the writer believes about a stream. The zero value means: it does not exist.
type Expect struct {
	kind expectKind
	rev  uint64
}

type expectKind uint8

const (
	expectAbsent expectKind = iota
	expectAt
	expectExists
	expectAny
)

// The expectations that carry no revision.
var (
	Absent = Expect{}
	Exists = Expect{kind: expectExists}
	Any    = Expect{kind: expectAny}
)

// At expects the stream's last event to have this revision.
func At(rev uint64) Expect { return Expect{kind: expectAt, rev: rev} }

// Rev returns the expected revision, and whether the expectation names one.
func (e Expect) Rev() (uint64, bool) { return e.rev, e.kind == expectAt }

// String describes the expectation as a sentence's end: "absent", "at 3", "exists", "any".
func (e Expect) String() string {
	switch e.kind {
	case expectAbsent:
		return "absent"
	case expectAt:
		return fmt.Sprintf("at %d", e.rev)
	case expectExists:
		return "exists"
	default:
		return "any"
	}
}

// Appended tells where the last event of an append lies.
type Appended struct {
	Rev uint64
	Pos Position
}

// The refusals of a log. Implementations wrap them; test with errors.Is.
var (
	ErrConflict    = errors.New("stream is not as expected")
	ErrNotFound    = errors.New("no such stream")
	ErrDeleted     = errors.New("stream was deleted for good")
	ErrTooLarge    = errors.New("append is too large")
	ErrInvalid     = errors.New("append is malformed")
	ErrUnavailable = errors.New("log is unavailable")
	ErrDenied      = errors.New("access to the log was denied")
	ErrClosed      = errors.New("log is closed")
	ErrUnsupported = errors.New("not supported by this log")
	ErrCorrupt     = errors.New("log is corrupt")
)

// Conflict is the ErrConflict of one stream. Got is Absent or At(n).
type Conflict struct {
	Stream    string
	Want, Got Expect
}

func (c *Conflict) Error() string {
	return fmt.Sprintf("stream %q: want %v, got %v", c.Stream, c.Want, c.Got)
}

// Is makes a Conflict an ErrConflict.
func (c *Conflict) Is(target error) bool { return target == ErrConflict }

// Span bounds a read of one stream. The zero Span reads forward from the start to the end.
type Span struct {
	From  uint64 // first revision to yield; ignored when Back
	Limit int    // 0: no limit
	Back  bool   // newest first
}

// Filter narrows reads of the whole log by prefixes of one kind, so that every log can push it down.
// The zero Filter passes everything but system events, whose types begin with "$".
type Filter struct {
	Streams []string
	Types   []string
}

// Tick is one step of a tail: an event, or news about the reader's place.
type Tick struct {
	Event *Record  // nil when the tick carries only a place
	Pos   Position // everything up to here was seen or filtered out; safe to checkpoint after handling
	Live  bool     // the tail has reached the end of the log and now follows it
}

// Limits of every log, so that an append which one backend takes is taken by all.
const (
	MaxAppendBytes  = 1 << 20 // data and metadata of one append, as EventStoreDB has it
	MaxAppendEvents = 4096
	MaxStreamName   = 256 // bytes
	MaxTypeName     = 128 // bytes
)

// Log is an append-only event log with many small streams, one global order and live tails.
//
// Implementations MUST be safe for concurrent use. They share one contract suite (package eventstest).
type Log interface {
	// Append adds events to one stream, all or none. When it returns nil the events MUST be durable and MUST be
	// visible to every later read. After ErrUnavailable, or the end of ctx, the outcome is unknown: the writer
	// looks for its event ids in the stream's tail before it decides again.
	// Repeating an append (same ids, same expectation) whose expectation no longer holds because it was
	// already written is answered with the first answer.
	Append(ctx context.Context, stream string, want Expect, evs ...Draft) (Appended, error)

	// Read yields a stream's events in the order of Span. A missing stream yields ErrNotFound.
	Read(ctx context.Context, stream string, span Span) iter.Seq2[Record, error]

	// ReadAll yields events after the given position, in order, up to the end as it was when the read began.
	ReadAll(ctx context.Context, after Position, f Filter) iter.Seq2[Record, error]

	// Tail yields events after the given position, then waits for new ones; it ends with ctx or an error, which is
	// the last thing it yields. No event MUST be skipped or repeated within one tail. It yields only durable events.
	Tail(ctx context.Context, after Position, f Filter) iter.Seq2[Tick, error]

	// Head returns the position of the last durable event.
	Head(ctx context.Context) (Position, error)

	// Delete hides a stream's events; a later append continues its revisions.
	Delete(ctx context.Context, stream string, want Expect) error

	// Close ends every call in flight with ErrClosed and waits for them.
	Close() error
}

// Batch is one stream's part of an atomic append. No events makes it a check.
type Batch struct {
	Stream string
	Want   Expect
	Events []Draft
}

// Atomic is the optional power to append to several streams at once, all or none. Logs that lack it do not
// implement it, so domain code must be right without it.
type Atomic interface {
	AppendAll(ctx context.Context, parts ...Batch) ([]Appended, error)
}

// Stager is the optional power to keep small blobs beside the events and make both durable with one sync.
type Stager interface {
	// Stage takes a copy of data under its SHA-256 and returns at once. Every Append that begins after Stage
	// returned MUST fail if the blob does not become durable with it or before it. Staging what is there is free.
	Stage(ctx context.Context, sum [32]byte, data []byte) error
	// Staged returns what Stage kept, or ErrNotFound.
	Staged(ctx context.Context, sum [32]byte) ([]byte, error)
}

// MaxStagedBytes bounds one staged blob.
const MaxStagedBytes = 64 << 10
