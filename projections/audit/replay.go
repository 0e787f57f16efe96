package audit

import (
	"context"
	"iter"
	"runtime"
	"time"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/actors/rooms"
	"github.com/shardy-network/orchestrator/events"
)

// Blobs reads content by its SHA-256. It MUST answer events.ErrNotFound (wrapped or not) for what it does not have, and
// need not check what it answers.
type Blobs interface {
	Get(ctx context.Context, sum [32]byte) ([]byte, error)
}

// Streams reads single streams, like an events.Log.
type Streams interface {
	Read(ctx context.Context, stream string, span events.Span) iter.Seq2[events.Record, error]
}

// Log reads streams, and everything in order, like an events.Log.
type Log interface {
	Streams
	ReadAll(ctx context.Context, after events.Position, f events.Filter) iter.Seq2[events.Record, error]
}

// Options say how to audit. The zero value audits everything but blobs.
type Options struct {
	// Rooms finds the room of a stream. Nil: the rooms of this build.
	Rooms func(stream string) (room actors.Kind, id string, ok bool)
	// Blobs is where the contents are that facts name. Nil: contents are not looked at.
	Blobs Blobs
	// SkipEvidence leaves out the pass over the stored evidence, which costs a signature check per result.
	SkipEvidence bool
	// Workers is the number of goroutines that judge. Default: one a core, at least 2.
	Workers int
	// MaxOpen bounds the streams kept in memory at once; further ones are read again when they go on. Default 200,000.
	MaxOpen int
	// MaxFound bounds the divergences that are listed. Default 20.
	MaxFound int
}

const (
	defaultMaxOpen  = 200_000
	defaultMaxFound = 20
)

func (o Options) withDefaults() Options {
	if o.Rooms == nil {
		o.Rooms = rooms.ByStream
	}
	if o.Workers < 1 {
		o.Workers = max(2, runtime.GOMAXPROCS(0))
	}
	if o.MaxOpen < 1 {
		o.MaxOpen = defaultMaxOpen
	}
	if o.MaxFound < 1 {
		o.MaxFound = defaultMaxFound
	}
	return o
}

// Replay audits a log up to its end as it is now. An error means that the log could not be read, or that ctx ended;
// what is wrong with a log that can be read is in the report.
func Replay(ctx context.Context, log Log, opts Options) (Report, error) {
	opts = opts.withDefaults()
	found := findings{max: opts.MaxFound}
	report, err := replay(ctx, log, opts, &found)
	if err != nil {
		return Report{}, err
	}
	if !opts.SkipEvidence {
		if report.Evidence, err = examine(ctx, log, opts, &found); err != nil {
			return Report{}, err
		}
	}
	report.Divergences, report.Found = found.count, found.kept
	if report.Found == nil {
		report.Found = []Divergence{}
	}
	return report, nil
}

// replay is the first pass: every stream is folded and every command is decided again.
func replay(ctx context.Context, log Log, opts Options, found *findings) (Report, error) {
	begun := time.Now()
	judges := make([]*judge, opts.Workers)
	for i := range judges {
		judges[i] = newJudge(log, opts)
	}
	order := findings{max: opts.MaxFound}
	if err := deal(ctx, log, events.Filter{}, judges, &order); err != nil {
		return Report{}, err
	}
	found.merge(order)
	var r Report
	for _, j := range judges {
		r.Streams += j.streams
		r.Events += j.events
		r.Commands += j.commands
		r.Undecidable += j.undecidable
		found.merge(j.found)
	}
	r.Seconds = time.Since(begun).Seconds()
	if r.Seconds > 0 {
		r.EventsPerS = float64(r.Events) / r.Seconds
	}
	return r, nil
}
