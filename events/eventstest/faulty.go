package eventstest

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"

	"github.com/shardy-network/orchestrator/events"
)

// Fault is what becomes of one append.
type Fault int

// The faults that a writer cannot tell apart by the answer: both are ErrUnavailable.
const (
	NotPersisted Fault = iota + 1 // failed, and nothing was written
	Persisted                     // failed, but everything was written
)

// errFault is the cause that a faulty log gives.
var errFault = errors.New("injected fault")

// Faults is a log that fails on command. It has the powers of the log within; those that are missing there answer
// ErrUnsupported.
type Faults struct {
	log events.Log

	mu      sync.Mutex // guards what follows
	appends int        // appends begun
	faults  map[int]Fault
	outage  chan struct{} // not nil during an outage; closed at its end
	began   chan struct{} // closed and replaced when an outage begins
}

var (
	_ events.Log    = (*Faults)(nil)
	_ events.Atomic = (*Faults)(nil)
	_ events.Stager = (*Faults)(nil)
)

// Faulty wraps a log, which works until told otherwise.
func Faulty(log events.Log) *Faults {
	return &Faults{log: log, faults: make(map[int]Fault), began: make(chan struct{})}
}

// FailAppend makes the n-th append from now fail, from 1. Repeated appends and appends to several streams count too.
func (f *Faults) FailAppend(n int, how Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults[f.appends+n] = how
}

// Appends is how many appends have begun.
func (f *Faults) Appends() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.appends
}

// Outage makes every call fail with ErrUnavailable, tails in flight too, until end is called.
func (f *Faults) Outage() (end func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	over := f.outage
	if over == nil {
		over = make(chan struct{})
		f.outage = over
		close(f.began)
		f.began = make(chan struct{})
	}
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.outage == over {
			f.outage = nil
		}
	}
}

func unavailable() error { return fmt.Errorf("%w: %w", events.ErrUnavailable, errFault) }

// state returns an error during an outage, and else the channel that is closed when the next one begins.
func (f *Faults) state() (<-chan struct{}, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.outage != nil {
		return nil, unavailable()
	}
	return f.began, nil
}

// next counts an append and returns what becomes of it.
func (f *Faults) next() (Fault, error) {
	if _, err := f.state(); err != nil {
		return 0, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.appends++
	how := f.faults[f.appends]
	delete(f.faults, f.appends)
	return how, nil
}

// Append appends, or fails as told.
func (f *Faults) Append(ctx context.Context, stream string, want events.Expect, evs ...events.Draft) (events.Appended, error) {
	how, err := f.next()
	if err != nil || how == NotPersisted {
		return events.Appended{}, unavailable()
	}
	got, err := f.log.Append(ctx, stream, want, evs...)
	if err == nil && how == Persisted {
		return events.Appended{}, unavailable()
	}
	return got, err
}

// AppendAll appends, or fails as told.
func (f *Faults) AppendAll(ctx context.Context, parts ...events.Batch) ([]events.Appended, error) {
	at, ok := f.log.(events.Atomic)
	if !ok {
		return nil, events.ErrUnsupported
	}
	how, err := f.next()
	if err != nil || how == NotPersisted {
		return nil, unavailable()
	}
	got, err := at.AppendAll(ctx, parts...)
	if err == nil && how == Persisted {
		return nil, unavailable()
	}
	return got, err
}

// interrupted ends a read when an outage begins.
func interrupted[T any](f *Faults, ctx context.Context, seq func(context.Context) iter.Seq2[T, error]) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		began, err := f.state()
		if err != nil {
			yield(none, err)
			return
		}
		ctx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		stop := make(chan struct{})
		defer close(stop)
		go func() {
			select {
			case <-began:
				cancel(unavailable())
			case <-stop:
			}
		}()
		for v, err := range seq(ctx) {
			if cause := context.Cause(ctx); errors.Is(cause, errFault) {
				yield(none, cause)
				return
			}
			if !yield(v, err) {
				return
			}
		}
	}
}

// Read reads, except during an outage.
func (f *Faults) Read(ctx context.Context, stream string, span events.Span) iter.Seq2[events.Record, error] {
	return interrupted(f, ctx, func(ctx context.Context) iter.Seq2[events.Record, error] { return f.log.Read(ctx, stream, span) })
}

// ReadAll reads, except during an outage.
func (f *Faults) ReadAll(ctx context.Context, after events.Position, filter events.Filter) iter.Seq2[events.Record, error] {
	return interrupted(f, ctx, func(ctx context.Context) iter.Seq2[events.Record, error] { return f.log.ReadAll(ctx, after, filter) })
}

// Tail follows the log until an outage begins.
func (f *Faults) Tail(ctx context.Context, after events.Position, filter events.Filter) iter.Seq2[events.Tick, error] {
	return interrupted(f, ctx, func(ctx context.Context) iter.Seq2[events.Tick, error] { return f.log.Tail(ctx, after, filter) })
}

// Head answers, except during an outage.
func (f *Faults) Head(ctx context.Context) (events.Position, error) {
	if _, err := f.state(); err != nil {
		return 0, err
	}
	return f.log.Head(ctx)
}

// Delete deletes, except during an outage.
func (f *Faults) Delete(ctx context.Context, stream string, want events.Expect) error {
	if _, err := f.state(); err != nil {
		return err
	}
	return f.log.Delete(ctx, stream, want)
}

// Stage stages, except during an outage.
func (f *Faults) Stage(ctx context.Context, sum [32]byte, data []byte) error {
	st, ok := f.log.(events.Stager)
	if !ok {
		return events.ErrUnsupported
	}
	if _, err := f.state(); err != nil {
		return err
	}
	return st.Stage(ctx, sum, data)
}

// Staged returns a staged blob, except during an outage.
func (f *Faults) Staged(ctx context.Context, sum [32]byte) ([]byte, error) {
	st, ok := f.log.(events.Stager)
	if !ok {
		return nil, events.ErrUnsupported
	}
	if _, err := f.state(); err != nil {
		return nil, err
	}
	return st.Staged(ctx, sum)
}

// Close closes the log within.
func (f *Faults) Close() error { return f.log.Close() }
