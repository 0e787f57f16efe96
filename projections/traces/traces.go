// Package traces turns the log into OpenTelemetry traces: a span for each pipeline, for each job, and below it one for
// each attempt, with the times that the records have.
//
// It promises that nothing on the path of a job knows of it (spans are made from facts, after the fact), that ids are
// derived from the job's and the pipeline's, so that a trace that is sent twice is the same trace, and that memory is
// bounded: what a busy collector does not take in time is dropped and counted. Limits: it begins at the place it is
// started at, so that work begun before has no trace; and it is off unless an endpoint is configured.
package traces

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.37.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/shardy-network/orchestrator/events"
	"github.com/shardy-network/orchestrator/projections"
)

// Name is the projection's.
const Name = "traces"

// ErrConfig refuses a configuration.
var ErrConfig = errors.New("traces configuration")

// Config of the traces.
type Config struct {
	// Endpoint is the URL of an OTLP collector over HTTP, for example http://127.0.0.1:4318. As OTLP has it, traces go
	// to v1/traces below it.
	Endpoint string
	// Ratio of traces that are kept, 0 to 1. All jobs of a pipeline share its fate. Default 1.
	Ratio float64
	// Node and Version name the process in every trace.
	Node, Version string
	// Logger hears of what could not be sent. Default: slog.Default().
	Logger *slog.Logger
	// MaxJobs bounds the jobs and pipelines under way that are followed. Default 100,000, some 500 bytes each.
	MaxJobs int
}

func (c Config) withDefaults() Config {
	if c.Ratio == 0 {
		c.Ratio = 1
	}
	if c.MaxJobs == 0 {
		c.MaxJobs = 100_000
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

// Validate reports the first value that is out of range.
func (c Config) Validate() error {
	c = c.withDefaults()
	switch {
	case !collector(c.Endpoint):
		return fmt.Errorf("%w: endpoint %q: the http or https URL of a collector", ErrConfig, c.Endpoint)
	case !(c.Ratio > 0 && c.Ratio <= 1):
		return fmt.Errorf("%w: ratio %g: above 0, at most 1", ErrConfig, c.Ratio)
	case c.MaxJobs < 1 || c.MaxJobs > 10_000_000:
		return fmt.Errorf("%w: %d jobs at once: 1 to 10,000,000", ErrConfig, c.MaxJobs)
	}
	return nil
}

func collector(endpoint string) bool {
	u, err := url.Parse(endpoint)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != ""
}

// Traces is the projection that makes them.
type Traces struct {
	provider *sdktrace.TracerProvider
	tracer   trace.Tracer
	max      int
	missed   atomic.Uint64

	mu   sync.Mutex // guards what follows
	at   events.Position
	open map[string]*job      // by id
	flow map[string]time.Time // pipelines by id: when they were submitted
}

var _ projections.Projection = (*Traces)(nil)

// Open makes the traces of what comes after the given place. The collector need not be there yet.
func Open(ctx context.Context, cfg Config, start events.Position) (*Traces, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	endpoint, err := url.JoinPath(cfg.Endpoint, "v1", "traces")
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	exporter, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(endpoint), otlptracehttp.WithTimeout(10*time.Second))
	if err != nil {
		return nil, fmt.Errorf("traces: %w", err)
	}
	logger := cfg.withDefaults().Logger
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { logger.Warn("traces were lost", "error", err) }))
	return open(cfg, start, exporter), nil
}

func open(cfg Config, start events.Position, exporter sdktrace.SpanExporter) *Traces {
	cfg = cfg.withDefaults()
	t := &Traces{max: cfg.MaxJobs, at: start, open: make(map[string]*job), flow: make(map[string]time.Time)}
	t.provider = sdktrace.NewTracerProvider(
		sdktrace.WithBatcher(exporter, sdktrace.WithMaxQueueSize(16_384), sdktrace.WithMaxExportBatchSize(2048)),
		sdktrace.WithSampler(sdktrace.TraceIDRatioBased(cfg.Ratio)), // by the trace's id: all of a trace or nothing
		sdktrace.WithIDGenerator(derived{}),
		sdktrace.WithResource(resource.NewSchemaless(
			semconv.ServiceName("shardy-orchestrator"), semconv.ServiceInstanceID(cfg.Node), semconv.ServiceVersion(cfg.Version),
		)),
	)
	t.tracer = t.provider.Tracer("github.com/shardy-network/orchestrator/projections/traces")
	return t
}

// Close sends what is left, within the time that ctx has.
func (t *Traces) Close(ctx context.Context) error {
	if err := t.provider.Shutdown(ctx); err != nil {
		return fmt.Errorf("traces: %w", err)
	}
	return nil
}

// Missed counts jobs and pipelines that were not followed because too many were under way.
func (t *Traces) Missed() uint64 { return t.missed.Load() }

// Name is "traces".
func (t *Traces) Name() string { return Name }

// Filter passes the facts of jobs, assignments and pipelines.
func (t *Traces) Filter() events.Filter {
	return events.Filter{Streams: []string{"job-", "assignment-", "pipeline-"}}
}

// Position is the place up to which everything was seen.
func (t *Traces) Position() events.Position {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.at
}

// Apply follows a batch. Records that do not decode as their facts stop the projection: they are damage.
func (t *Traces) Apply(_ context.Context, batch []events.Record, upTo events.Position) error {
	facts, err := projections.Facts(batch)
	if err != nil {
		return fmt.Errorf("traces: %w", err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range batch {
		if facts[i] != nil {
			t.follow(&batch[i], facts[i])
		}
	}
	t.at = upTo
	return nil
}

// Reset forgets what is under way. What was sent was sent: a rebuild would send it again under the same ids, so it goes
// on from where it is instead.
func (t *Traces) Reset(context.Context) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	clear(t.open)
	clear(t.flow)
	return nil
}
