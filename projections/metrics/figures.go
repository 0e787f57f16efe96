package metrics

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/shardy-network/orchestrator/projections"
)

// scrapeTimeout bounds what a scrape waits for the process's figures.
const scrapeTimeout = 2 * time.Second

// figures asks the process at every scrape. Its series depend on what it is told, so it describes none beforehand.
type figures struct{ src Sources }

func newFigures(src Sources) prometheus.Collector { return figures{src} }

// Describe sends nothing: the collector is unchecked.
func (figures) Describe(chan<- *prometheus.Desc) {}

// Collect sends the figures of this moment.
func (c figures) Collect(out chan<- prometheus.Metric) {
	if c.src.Projections != nil {
		for _, s := range c.src.Projections() {
			collectProjection(out, s)
		}
	}
	if c.src.Figures == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
	defer cancel()
	for _, f := range c.src.Figures(ctx) {
		kind := prometheus.GaugeValue
		if f.Counter {
			kind = prometheus.CounterValue
		}
		send(out, f.Name, f.Help, kind, f.Value, f.Label, f.Of)
	}
}

func collectProjection(out chan<- prometheus.Metric, s projections.Status) {
	lag := 0.0
	if s.Head > s.Position {
		lag = float64(s.Head - s.Position)
	}
	const label = "projection"
	send(out, "projection_position", "Place in the log up to which the projection has applied everything.", prometheus.GaugeValue, float64(s.Position), label, s.Name)
	send(out, "projection_lag", "Positions that the projection is behind the head of the log.", prometheus.GaugeValue, lag, label, s.Name)
	send(out, "projection_behind_seconds", "For how long it has been behind.", prometheus.GaugeValue, s.Behind.Seconds(), label, s.Name)
	send(out, "projection_records_total", "Records applied since the process began.", prometheus.CounterValue, float64(s.Records), label, s.Name)
	send(out, "projection_restarts_total", "Times its tail was begun anew after a failure.", prometheus.CounterValue, float64(s.Restarts), label, s.Name)
}

// send passes one value on. What is wrong with it becomes an error of the scrape, not a panic.
func send(out chan<- prometheus.Metric, name, help string, kind prometheus.ValueType, v float64, label, of string) {
	var labels, values []string
	if label != "" {
		labels, values = []string{label}, []string{of}
	}
	d := prometheus.NewDesc("shardy_"+name, help, labels, nil)
	m, err := prometheus.NewConstMetric(d, kind, v, values...)
	if err != nil {
		m = prometheus.NewInvalidMetric(d, err)
	}
	out <- m
}
