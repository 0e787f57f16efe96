package metrics

import (
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

// durations in seconds, from one millisecond to ten minutes.
var durations = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600}

// series are the counters that facts move.
type series struct {
	events      *prometheus.CounterVec // by type
	submitted   *prometheus.CounterVec // by kind
	decided     *prometheus.CounterVec // by outcome, basis
	deadLetters *prometheus.CounterVec // by reason
	requeued    prometheus.Counter
	mismatches  prometheus.Counter
	waves       prometheus.Counter
	referees    *prometheus.CounterVec // by outcome
	replicas    *prometheus.CounterVec // by standing: agreeing, contradicted
	fuel        prometheus.Counter
	attempts    prometheus.Counter
	returned    *prometheus.CounterVec // by status
	rejected    *prometheus.CounterVec // by reason
	stripped    *prometheus.CounterVec // by reason
	admitted    *prometheus.CounterVec // by tier
	refused     *prometheus.CounterVec // by reason
	challenges  *prometheus.CounterVec // by kind, outcome
	banned      prometheus.Counter
	pipelines   *prometheus.CounterVec // by outcome
	latency     prometheus.Histogram
	run         prometheus.Histogram
}

func newSeries() *series {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "shardy_" + name, Help: help})
	}
	vector := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "shardy_" + name, Help: help}, labels)
	}
	histogram := func(name, help string) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{Name: "shardy_" + name, Help: help, Buckets: durations})
	}
	return &series{
		events:      vector("log_events_total", "Events of the log, by type of fact.", "type"),
		submitted:   vector("jobs_submitted_total", "Jobs submitted.", "kind"),
		decided:     vector("jobs_decided_total", "Jobs that came to an end; basis is what a verdict rests on.", "outcome", "basis"),
		deadLetters: vector("dead_letters_total", "Jobs that were dead-lettered.", "reason"),
		requeued:    counter("dead_letters_requeued_total", "Dead letters that were given a new round."),
		mismatches:  counter("consensus_mismatches_total", "Waves that closed with results that contradict each other."),
		waves:       counter("waves_opened_total", "Waves opened beyond the first of a round."),
		referees:    vector("referee_runs_total", "Disputed jobs that the orchestrator computed itself.", "outcome"),
		replicas:    vector("replicas_judged_total", "Results of verified jobs, by whether they are the verdict's.", "standing"),
		fuel:        counter("fuel_verified_total", "Fuel of verified results, each job counted once."),
		attempts:    counter("attempts_total", "Assignments handed to a worker."),
		returned:    vector("results_returned_total", "Results that were taken.", "status"),
		rejected:    vector("results_rejected_total", "Results that are invalid by themselves.", "reason"),
		stripped:    vector("assignments_stripped_total", "Assignments taken from a worker.", "reason"),
		admitted:    vector("workers_admitted_total", "Admissions.", "tier"),
		refused:     vector("workers_refused_total", "Workers that were refused admission.", "reason"),
		challenges:  vector("challenges_total", "Challenges that workers were put to.", "kind", "outcome"),
		banned:      counter("workers_banned_total", "Workers that were banned."),
		pipelines:   vector("pipelines_total", "Pipelines that began or ended.", "event"),
		latency:     histogram("job_duration_seconds", "From submission to verification, of jobs submitted since the process began."),
		run:         histogram("run_duration_seconds", "From a worker's acknowledgement to its result."),
	}
}

func (s *series) all() []prometheus.Collector {
	return []prometheus.Collector{
		s.events, s.submitted, s.decided, s.deadLetters, s.requeued, s.mismatches, s.waves, s.referees, s.replicas, s.fuel,
		s.attempts, s.returned, s.rejected, s.stripped, s.admitted, s.refused, s.challenges, s.banned, s.pipelines,
		s.latency, s.run,
	}
}

// reset is for a rebuild: everything that was counted is counted again.
func (s *series) reset(registry *prometheus.Registry) *series {
	for _, c := range s.all() {
		registry.Unregister(c)
	}
	fresh := newSeries()
	registry.MustRegister(fresh.all()...)
	return fresh
}

// label is an enum's value as a label: "STRIP_REASON_ACK_TIMEOUT" under "STRIP_REASON_" is "ack_timeout". A value that
// the schema does not know is "unknown", so that the set of labels stays closed.
func label(name, prefix string) string {
	plain, ok := strings.CutPrefix(name, prefix)
	if !ok {
		return "unknown"
	}
	return strings.ToLower(plain)
}
