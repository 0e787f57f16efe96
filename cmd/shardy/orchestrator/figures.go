package orchestrator

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/shardy-network/orchestrator/projections/metrics"
)

// figures are what a scrape of /metrics hears of the process itself. Nothing is scraped before everything is built.
func (o *Orchestrator) figures(ctx context.Context) []metrics.Figure {
	stats, err := o.host.Stats(ctx)
	if err != nil {
		return nil // the host is closing
	}
	door := o.door.Stats()
	all := []metrics.Figure{
		gauge("slots_waiting", "Slots that wait for a worker.", float64(stats.Dispatch.WaitingSlots)),
		gauge("slots_in_flight", "Slots in the hands of workers.", float64(stats.Dispatch.InFlight)),
		gauge("entities", "Jobs, slots, workers and pipelines in memory.", float64(stats.Entities)),
		gauge("deadlines", "Deadlines that are armed.", float64(stats.Deadlines)),
		gauge("recovering", "Jobs and pipelines from before the start that are still to be reopened.", float64(stats.Recovering)),
		gauge("sessions", "Workers with a session.", float64(door.Sessions)),
		gauge("log_away", "1 while the event log cannot be reached.", one(stats.LogAway)),
		total("log_outages", "Times the event log could not be reached.", float64(stats.Outages)),
		total("events_appended", "Events appended by this process.", float64(stats.Events)),
		total("append_conflicts", "Appends that had to be looked up or decided again.", float64(stats.Conflicts)),
		total("entity_failures", "Entities that failed and were started anew.", float64(stats.Panics)),
		total("dispatch_failures", "Placements that came to nothing.", float64(stats.DispatchFailed)),
		total("slots_abandoned", "Slots given up for want of anybody who might have them.", float64(stats.Abandoned)),
		total("ringers", "Settled jobs issued again to test workers.", float64(stats.Ringers)),
		total("handshakes_refused", "Connections of workers that were refused.", float64(door.Refused)),
		total("stale_messages", "Acknowledgements and results that came too late to count.", float64(door.Stale)),
	}
	all = append(all, gauge("log_tree_stopped", "1 when the log's tree takes in and signs no more: the log contradicts what was signed, or the folder is damaged.", one(o.tree.Err() != nil)))
	for _, t := range stats.Dispatch.Tiers {
		tier := strconv.Itoa(int(t.Tier))
		all = append(all,
			metrics.Figure{Name: "workers_willing", Help: "Connected workers that take work.", Label: "tier", Of: tier, Value: float64(t.Workers)},
			metrics.Figure{Name: "workers_idle", Help: "Of these, those with free credits.", Label: "tier", Of: tier, Value: float64(t.Idle)})
	}
	for _, code := range slices.Sorted(maps.Keys(door.Closed)) {
		all = append(all, metrics.Figure{
			Name: "sessions_closed_total", Help: "Sessions closed, by the reason the worker was told.", Counter: true,
			Label: "code", Of: strings.ToLower(code), Value: float64(door.Closed[code]),
		})
	}
	return append(all, o.meshFigures()...)
}

func gauge(name, help string, v float64) metrics.Figure {
	return metrics.Figure{Name: name, Help: help, Value: v}
}

func total(name, help string, v float64) metrics.Figure {
	return metrics.Figure{Name: name + "_total", Help: help, Counter: true, Value: v}
}

// one is a truth as a gauge has it.
func one(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
