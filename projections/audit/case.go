package audit

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/events"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// Bounds of one job's records: far above what an honest orchestrator writes.
const (
	MaxCaseRecords = 100_000
	MaxCaseSlots   = 10_000
)

// ErrTooLarge refuses a job with more slots or records than an audit holds in memory.
var ErrTooLarge = errors.New("the job has more records than an audit of one job takes")

// Case is every record of one job, of its own stream and of its slots', in the order of the log. It does not change once
// it is made, and may be read by several goroutines.
type Case struct {
	Job     string
	records []events.Record
	streams map[string][]int // places in records, by revision
}

// Collect reads a job's records. A job that is not there is events.ErrNotFound, a malformed id events.ErrBadID.
func Collect(ctx context.Context, log Streams, job string) (*Case, error) {
	if err := events.CheckEntityID(job); err != nil {
		return nil, err
	}
	var all []events.Record
	var runs []slotRun
	slots := 0
	for r, err := range log.Read(ctx, actors.JobAddress(job).Stream(), events.Span{}) {
		if err != nil {
			return nil, fmt.Errorf("job %s: %w", job, err)
		}
		if f, err := events.Decode(r); err == nil {
			if run := opened(f); run.count > 0 {
				runs = append(runs, run)
				slots += int(run.count)
			}
		}
		if all = append(all, r); len(all) > MaxCaseRecords || slots > MaxCaseSlots {
			return nil, fmt.Errorf("job %s: %w", job, ErrTooLarge)
		}
	}
	for _, run := range runs {
		for slot := run.first; slot-run.first < run.count; slot++ {
			var err error
			if all, err = collectSlot(ctx, log, job, slot, all); err != nil {
				return nil, err
			}
		}
	}
	if err := place(ctx, log, job, all); err != nil {
		return nil, err
	}
	slices.SortStableFunc(all, func(a, b events.Record) int {
		switch {
		case a.Pos < b.Pos:
			return -1
		case a.Pos > b.Pos:
			return 1
		}
		return 0
	})
	return newCase(job, all), nil
}

// place fills in the positions of records that came without: old servers tell them only to those who read everything.
func place(ctx context.Context, log Streams, job string, all []events.Record) error {
	whole, ok := log.(Log)
	if !ok || !slices.ContainsFunc(all, func(r events.Record) bool { return r.Pos == 0 }) {
		return nil
	}
	at := make(map[events.ID]events.Position, len(all))
	for r, err := range whole.ReadAll(ctx, 0, events.Filter{Streams: []string{jobPrefix + job, assignmentPrefix + job}}) {
		if err != nil {
			return fmt.Errorf("job %s: %w", job, err)
		}
		if len(at) > MaxCaseRecords {
			return fmt.Errorf("job %s: %w", job, ErrTooLarge)
		}
		at[r.ID] = r.Pos
	}
	for i := range all {
		all[i].Pos = at[all[i].ID]
	}
	return nil
}

// slotRun is slots with numbers that follow each other.
type slotRun struct{ first, count uint32 }

// opened are the slots that a fact opens. The counts of a forged fact are bounded by their reader.
func opened(f events.Fact) slotRun {
	switch f := f.(type) {
	case *eventv1.JobSubmitted:
		return slotRun{f.FirstSlot, min(f.Slots, MaxCaseSlots+1)}
	case *eventv1.WaveOpened:
		return slotRun{f.FirstSlot, min(f.Slots, MaxCaseSlots+1)}
	case *eventv1.JobRequeued:
		return slotRun{f.FirstSlot, min(f.Slots, MaxCaseSlots+1)}
	}
	return slotRun{}
}

// collectSlot appends a slot's records. A slot without any waits for its first worker.
func collectSlot(ctx context.Context, log Streams, job string, slot uint32, all []events.Record) ([]events.Record, error) {
	for r, err := range log.Read(ctx, actors.SlotAddress(job, slot).Stream(), events.Span{}) {
		if errors.Is(err, events.ErrNotFound) || errors.Is(err, events.ErrDeleted) {
			return all, nil
		}
		if err != nil {
			return nil, fmt.Errorf("slot %d of job %s: %w", slot, job, err)
		}
		if all = append(all, r); len(all) > MaxCaseRecords {
			return nil, fmt.Errorf("job %s: %w", job, ErrTooLarge)
		}
	}
	return all, nil
}

// newCase takes records that are in the order of the log.
func newCase(job string, records []events.Record) *Case {
	c := &Case{Job: job, records: records, streams: make(map[string][]int)}
	for i := range records {
		c.streams[records[i].Stream] = append(c.streams[records[i].Stream], i)
	}
	return c
}

// Records are the case's records. They are read, never written.
func (c *Case) Records() []events.Record { return c.records }

// Read makes a case the place where its own streams are read.
func (c *Case) Read(_ context.Context, stream string, span events.Span) iter.Seq2[events.Record, error] {
	return func(yield func(events.Record, error) bool) {
		places, ok := c.streams[stream]
		if !ok {
			yield(events.Record{}, events.ErrNotFound)
			return
		}
		if span.Limit > 0 {
			places = places[:min(len(places), span.Limit)]
		}
		for _, i := range places {
			if !yield(c.records[i], nil) {
				return
			}
		}
	}
}

// Replay decides the case's commands again and verifies its evidence, as Replay does for a whole log. Content may be nil.
func (c *Case) Replay(ctx context.Context, content Blobs) (Report, error) {
	found := findings{max: defaultMaxFound}
	return c.replay(ctx, content, defaultMaxFound, &found)
}

// replay adds what it finds to what was found before.
func (c *Case) replay(ctx context.Context, content Blobs, maxFound int, found *findings) (Report, error) {
	opts := Options{Workers: 1, MaxOpen: len(c.streams) + 1, Blobs: content, MaxFound: maxFound}.withDefaults()
	j, x := newJudge(c, opts), newExaminer(c, opts)
	x.partial = true
	var last events.Position
	for i := range c.records {
		r := &c.records[i]
		if r.Pos <= last {
			found.add(r, Order, "position %d follows %d", r.Pos, last)
		}
		last = r.Pos
		if err := errors.Join(ctx.Err(), j.take(ctx, r), x.take(ctx, r)); err != nil {
			return Report{}, err
		}
	}
	if err := j.end(ctx); err != nil {
		return Report{}, err
	}
	found.merge(j.found)
	found.merge(x.found)
	return Report{
		Streams: j.streams, Events: j.events, Commands: j.commands, Undecidable: j.undecidable, Evidence: x.sum,
		Divergences: found.count, Found: append([]Divergence{}, found.kept...),
	}, nil
}
