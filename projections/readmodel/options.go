package readmodel

import (
	"log/slog"
	"time"
)

// Options tune a read model. The zero value is right for most.
type Options struct {
	// ClosedJobs is how many verified, cancelled and discarded jobs are kept, with their attempts; the oldest are
	// forgotten first. Open and dead-lettered jobs stay for as long as they are. Default: 1,000,000 (some 1.5 KiB
	// each); negative: all.
	ClosedJobs int
	// ClosedPipelines likewise. Default: 100,000.
	ClosedPipelines int
	// Workers is how many workers are kept. Beyond that, those known longest are forgotten unless they are connected,
	// draining or banned. Default: 100,000.
	Workers int
	// Sessions is how many sessions of each worker are kept. Default: 100.
	Sessions int
	// PerSecond, PerMinute and PerHour are for how long the throughput is kept in steps of that size.
	// Defaults: 6 hours, 14 days, 5 years.
	PerSecond, PerMinute, PerHour time.Duration
	// Readers is how many pages are read at the same time. Default: 4.
	Readers int
	// Logger hears of databases that had to be built anew. Default: slog.Default().
	Logger *slog.Logger
}

func (o Options) withDefaults() Options {
	for _, d := range []struct {
		v   *int
		def int
	}{{&o.ClosedJobs, 1_000_000}, {&o.ClosedPipelines, 100_000}, {&o.Workers, 100_000}, {&o.Sessions, 100}, {&o.Readers, 4}} {
		if *d.v == 0 {
			*d.v = d.def
		}
	}
	for _, d := range []struct {
		v   *time.Duration
		def time.Duration
	}{{&o.PerSecond, 6 * time.Hour}, {&o.PerMinute, 14 * 24 * time.Hour}, {&o.PerHour, 5 * 365 * 24 * time.Hour}} {
		if *d.v <= 0 {
			*d.v = d.def
		}
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	return o
}
