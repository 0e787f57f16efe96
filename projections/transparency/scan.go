package transparency

import (
	"context"
	"fmt"
	"iter"
	"runtime"
	"sync"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/shardy-network/orchestrator/events"
)

// Log is the part of the event log that a tree reads.
type Log interface {
	Read(ctx context.Context, stream string, span events.Span) iter.Seq2[events.Record, error]
	ReadAll(ctx context.Context, after events.Position, f events.Filter) iter.Seq2[events.Record, error]
	Head(ctx context.Context) (events.Position, error)
}

// chunkLeaves is how many records are hashed at a time.
const chunkLeaves = 512

// chunk is a run of records and, once done is closed, the hashes of their leaves.
type chunk struct {
	records []events.Record
	hashes  []tlog.Hash
	err     error // of the log, after these records
	done    chan struct{}
}

func (c *chunk) hash() {
	var buf []byte
	for i := range c.records {
		c.hashes[i], buf = hashLeaf(buf, &c.records[i])
	}
	close(c.done)
}

// scan reads the records after a position up to the end of the log, hashes them on several cores, and hands them over
// in order, until each returns an error. Records MUST NOT be kept beyond the call that hands them over.
func scan(ctx context.Context, log Log, after events.Position, workers int, each func(records []events.Record, hashes []tlog.Hash) error) error {
	if workers < 1 {
		workers = runtime.GOMAXPROCS(0)
	}
	ctx, stop := context.WithCancel(ctx)
	order := make(chan *chunk, 2*workers)
	work := make(chan *chunk, 2*workers)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	for range workers {
		wg.Go(func() {
			for c := range work {
				c.hash()
			}
		})
	}
	wg.Go(func() {
		defer close(order)
		defer close(work)
		readChunks(ctx, log, after, func(c *chunk) bool {
			select {
			case order <- c:
			case <-ctx.Done():
				return false
			}
			work <- c // the workers end only with this goroutine
			return true
		})
	})
	for c := range order {
		<-c.done
		if err := each(c.records, c.hashes); err != nil {
			return err
		}
		if c.err != nil {
			return c.err
		}
	}
	return ctx.Err()
}

// readChunks cuts the log into chunks. A failure of the log is in the last one.
func readChunks(ctx context.Context, log Log, after events.Position, put func(*chunk) bool) {
	c := new(chunk)
	send := func() bool {
		c.hashes, c.done = make([]tlog.Hash, len(c.records)), make(chan struct{})
		full := c
		c = &chunk{records: make([]events.Record, 0, chunkLeaves)}
		return put(full)
	}
	last := after
	for r, err := range log.ReadAll(ctx, after, events.Filter{}) {
		if err == nil && r.Pos <= last {
			err = fmt.Errorf("%w: position %d after %d", events.ErrCorrupt, r.Pos, last)
		}
		if err != nil {
			c.err = err
			break
		}
		last = r.Pos
		if c.records = append(c.records, r); len(c.records) == chunkLeaves && !send() {
			return
		}
	}
	if len(c.records) > 0 || c.err != nil {
		send()
	}
}
