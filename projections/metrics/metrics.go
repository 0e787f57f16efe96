// Package metrics counts the facts of the log for Prometheus: what was submitted, handed out, returned, refused,
// decided and how long that took.
//
// It promises that each fact that passes after the place it was started at is counted once, that a series' labels come
// from closed sets (kinds, reasons, tiers: never an id, a tenant or a text), and that a scrape waits for nothing but the
// figures of its own process. Limits: the counters begin with the process, as Prometheus expects of counters, so that a
// start need not read the whole log; what stands at this moment (workers connected, slots waiting) is asked of the
// process when it is scraped; and every process that follows one log counts all of it, so that a cluster's counters are
// compared, not added.
package metrics

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/shardy-network/orchestrator/events"
	"github.com/shardy-network/orchestrator/projections"
)

// Name is the projection's.
const Name = "metrics"

// Sources tell what only the process knows at the moment of a scrape. Both are optional, and must not block.
type Sources struct {
	Projections func() []projections.Status
	Figures     func(ctx context.Context) []Figure
}

// Figure is one number of the process.
type Figure struct {
	Name    string // of the series, after "shardy_"
	Help    string
	Counter bool // it only grows; else it is a gauge
	Label   string
	Of      string // the label's value; both or none
	Value   float64
}

// Metrics is the projection behind /metrics.
type Metrics struct {
	series   *series
	registry *prometheus.Registry
	scrape   http.Handler

	mu    sync.Mutex // guards what follows
	at    events.Position
	start events.Position
	open  *submissions
}

var (
	_ projections.Projection = (*Metrics)(nil)
	_ projections.Batcher    = (*Metrics)(nil)
)

// New counts what comes after the given place.
func New(start events.Position, src Sources) *Metrics {
	m := &Metrics{series: newSeries(), registry: prometheus.NewRegistry(), at: start, start: start, open: newSubmissions(maxSubmissions)}
	m.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		collectors.NewBuildInfoCollector(), newFigures(src))
	m.registry.MustRegister(m.series.all()...)
	m.scrape = promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4, EnableOpenMetrics: true})
	return m
}

// ServeHTTP answers a scrape.
func (m *Metrics) ServeHTTP(w http.ResponseWriter, r *http.Request) { m.scrape.ServeHTTP(w, r) }

// Name is "metrics".
func (m *Metrics) Name() string { return Name }

// Batch asks the runner to count a few times a second: nobody scrapes more often.
func (m *Metrics) Batch() projections.Batch {
	return projections.Batch{MinCoalesce: 500 * time.Millisecond, Records: 32 << 10}
}

// Filter passes every fact.
func (m *Metrics) Filter() events.Filter { return events.Filter{} }

// Position is the place up to which everything was counted.
func (m *Metrics) Position() events.Position {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.at
}

// Apply counts a batch. Records that do not decode as their facts stop the projection: they are damage.
func (m *Metrics) Apply(_ context.Context, batch []events.Record, upTo events.Position) error {
	facts := make([]events.Fact, len(batch))
	for i := range batch {
		if !labelled[batch[i].Type] {
			continue
		}
		f, err := events.Decode(batch[i])
		if err != nil && !errors.Is(err, events.ErrUnknownType) {
			return fmt.Errorf("metrics: %w", err)
		}
		facts[i] = f
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range batch {
		m.count(&batch[i], facts[i])
	}
	m.at = upTo
	return nil
}

// Reset goes back to where counting began. Prometheus takes the counters' fall to zero as a restart.
func (m *Metrics) Reset(context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.series = m.series.reset(m.registry)
	m.open = newSubmissions(maxSubmissions)
	m.at = m.start
	return nil
}
