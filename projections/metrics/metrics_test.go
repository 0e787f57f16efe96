package metrics

import (
	"context"
	"fmt"
	"io"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/shardy-network/orchestrator/events"
	"github.com/shardy-network/orchestrator/events/memlog"
	"github.com/shardy-network/orchestrator/projections"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// record is a fact as the log yields it.
func record(t testing.TB, pos events.Position, stream string, f events.Fact) events.Record {
	t.Helper()
	drafts, err := events.Encode(events.Origin{ID: events.NewCommandID([]byte(stream), fmt.Append(nil, pos))}, []events.Fact{f})
	if err != nil {
		t.Fatal(err)
	}
	return events.Record{Draft: drafts[0], Stream: stream, Pos: pos}
}

// scrape returns the lines of a scrape that are not comments, by the name and labels before the value.
func scrape(t testing.TB, m *Metrics) map[string]string {
	t.Helper()
	w := httptest.NewRecorder()
	m.ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	body, err := io.ReadAll(w.Body)
	if err != nil || w.Code != 200 {
		t.Fatalf("scrape: %d %v\n%s", w.Code, err, body)
	}
	lines := make(map[string]string)
	for line := range strings.Lines(string(body)) {
		if i := strings.LastIndexByte(line, ' '); i > 0 && line[0] != '#' {
			lines[line[:i]] = strings.TrimSpace(line[i:])
		}
	}
	return lines
}

func expect(t *testing.T, got map[string]string, want map[string]string) {
	t.Helper()
	for series, v := range want {
		if got[series] != v {
			t.Errorf("%s is %q, want %q", series, got[series], v)
		}
	}
}

func TestFactsBecomeSeries(t *testing.T) {
	m := New(0, Sources{})
	facts := []struct {
		stream string
		fact   events.Fact
	}{
		{"job-a", &eventv1.JobSubmitted{Spec: &eventv1.JobSpec{}, AtUs: 1_000_000}},
		{"assignment-a-0", &eventv1.AssignmentDispatched{Attempt: 1}},
		{"assignment-a-0", &eventv1.AssignmentStripped{Attempt: 1, Reason: eventv1.StripReason_STRIP_REASON_SOCKET_DROPPED}},
		{"assignment-a-0", &eventv1.AssignmentDispatched{Attempt: 2}},
		{"assignment-a-0", &eventv1.ResultReturned{Attempt: 2, Status: eventv1.ResultStatus_RESULT_STATUS_OK, RunMs: 400}},
		{"job-a", &eventv1.ConsensusMismatch{Wave: 1}},
		{"job-a", &eventv1.WaveOpened{Wave: 2}},
		{"job-a", &eventv1.TaskVerified{
			Basis: eventv1.VerdictBasis_VERDICT_BASIS_QUORUM, Agreeing: []uint32{0, 2}, Contradicted: []uint32{1}, Fuel: 700, AtUs: 3_000_000,
		}},
		{"job-b", &eventv1.JobSubmitted{Spec: &eventv1.JobSpec{Kind: eventv1.JobKind_JOB_KIND_STRESS}, AtUs: 1}},
		{"job-b", &eventv1.JobDeadLettered{Reason: eventv1.DeadLetterReason_DEAD_LETTER_REASON_NO_QUORUM}},
		{"job-b", &eventv1.JobDiscarded{Reason: "enough"}},
		{"worker-aa", &eventv1.WorkerAdmitted{Tier: 3}},
		{"worker-bb", &eventv1.AdmissionRejected{Reason: eventv1.RejectionReason_REJECTION_REASON_TOO_SLOW}},
		{"worker-bb", &eventv1.ChallengeFailed{Kind: eventv1.ChallengeKind_CHALLENGE_KIND_MEMORY}},
		{"pipeline-p", &eventv1.PipelineCompleted{}},
	}
	var batch []events.Record
	for i, f := range facts {
		batch = append(batch, record(t, events.Position(i+1), f.stream, f.fact))
	}
	if err := m.Apply(t.Context(), batch, 15); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		`shardy_jobs_submitted_total{kind="standard"}`:                 "1",
		`shardy_jobs_submitted_total{kind="stress"}`:                   "1",
		`shardy_jobs_decided_total{basis="quorum",outcome="verified"}`: "1",
		`shardy_jobs_decided_total{basis="",outcome="dead_lettered"}`:  "1",
		`shardy_jobs_decided_total{basis="",outcome="discarded"}`:      "1",
		`shardy_dead_letters_total{reason="no_quorum"}`:                "1",
		`shardy_consensus_mismatches_total`:                            "1",
		`shardy_waves_opened_total`:                                    "1",
		`shardy_attempts_total`:                                        "2",
		`shardy_assignments_stripped_total{reason="socket_dropped"}`:   "1",
		`shardy_results_returned_total{status="ok"}`:                   "1",
		`shardy_replicas_judged_total{standing="agreeing"}`:            "2",
		`shardy_replicas_judged_total{standing="contradicted"}`:        "1",
		`shardy_fuel_verified_total`:                                   "700",
		`shardy_job_duration_seconds_count`:                            "1",
		`shardy_job_duration_seconds_sum`:                              "2",
		`shardy_run_duration_seconds_bucket{le="0.5"}`:                 "1",
		`shardy_run_duration_seconds_bucket{le="0.25"}`:                "0",
		`shardy_workers_admitted_total{tier="3"}`:                      "1",
		`shardy_workers_refused_total{reason="too_slow"}`:              "1",
		`shardy_challenges_total{kind="memory",outcome="failed"}`:      "1",
		`shardy_pipelines_total{event="completed"}`:                    "1",
		`shardy_log_events_total{type="AssignmentDispatched"}`:         "2",
	}
	expect(t, scrape(t, m), want)
	if m.Position() != 15 {
		t.Fatalf("position %d, want 15", m.Position())
	}
	if err := m.Reset(t.Context()); err != nil || m.Position() != 0 {
		t.Fatalf("reset: %v, position %d", err, m.Position())
	}
	if err := m.Apply(t.Context(), batch, 15); err != nil {
		t.Fatal(err)
	}
	expect(t, scrape(t, m), want)
}

// TestLabelsAreClosed holds that nothing which a stranger chooses becomes a label.
func TestLabelsAreClosed(t *testing.T) {
	m := New(0, Sources{})
	var batch []events.Record
	for i := range 500 {
		pos := events.Position(i + 1)
		batch = append(batch,
			events.Record{Draft: events.Draft{Type: fmt.Sprint("Stranger", i)}, Stream: fmt.Sprint("x-", i), Pos: pos},
			record(t, pos, "assignment-a-0", &eventv1.AssignmentStripped{Reason: eventv1.StripReason(1000 + i)}),
			record(t, pos, "worker-aa", &eventv1.WorkerAdmitted{Tier: uint32(100 + i)}))
	}
	if err := m.Apply(t.Context(), batch, 500); err != nil {
		t.Fatal(err)
	}
	expect(t, scrape(t, m), map[string]string{
		`shardy_log_events_total{type="other"}`:               "500",
		`shardy_assignments_stripped_total{reason="unknown"}`: "500",
		`shardy_workers_admitted_total{tier="9"}`:             "500",
	})
}

func TestDamageStops(t *testing.T) {
	m := New(7, Sources{})
	r := record(t, 8, "job-a", &eventv1.TaskVerified{})
	r.Data = []byte{0xff}
	if err := m.Apply(t.Context(), []events.Record{r}, 8); err == nil {
		t.Fatal("a damaged fact was counted")
	}
	if m.Position() != 7 {
		t.Fatalf("position %d moved by a batch that failed", m.Position())
	}
}

func TestRememberedSubmissionsAreBounded(t *testing.T) {
	s := newSubmissions(2)
	s.put("a", 1)
	s.put("b", 2)
	s.put("c", 3)
	if _, ok := s.take("c"); ok {
		t.Fatal("the third of two was remembered")
	}
	if us, ok := s.take("b"); !ok || us != 2 {
		t.Fatalf("b: %d %v", us, ok)
	}
	s.put("c", 3)
	if us, ok := s.take("c"); !ok || us != 3 {
		t.Fatalf("c after there was room: %d %v", us, ok)
	}
}

// TestFollowsTheLog runs the projection as the product does, and scrapes what the process says of itself.
func TestFollowsTheLog(t *testing.T) {
	log := memlog.New()
	defer log.Close()
	var runner *projections.Runner
	m := New(0, Sources{
		Projections: func() []projections.Status { return runner.Status() },
		Figures: func(context.Context) []Figure {
			return []Figure{
				{Name: "workers_connected", Help: "Workers with a session.", Label: "tier", Of: "2", Value: 5},
				{Name: "workers_connected", Help: "Workers with a session.", Label: "tier", Of: "3", Value: 1},
				{Name: "conflicts_total", Help: "Appends decided again.", Counter: true, Value: 3},
			}
		},
	})
	runner, err := projections.NewRunner(log, projections.Options{}, m)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- runner.Run(ctx) }()
	defer func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	drafts, err := events.Encode(events.Origin{ID: events.NewCommandID([]byte("one"))},
		[]events.Fact{&eventv1.ConsensusMismatch{Wave: 1}, &eventv1.WaveOpened{Wave: 2}})
	if err != nil {
		t.Fatal(err)
	}
	at, err := log.Append(ctx, "job-a", events.Absent, drafts...)
	if err != nil {
		t.Fatal(err)
	}
	wait, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if err := runner.WaitFor(wait, Name, at.Pos); err != nil {
		t.Fatal(err)
	}
	expect(t, scrape(t, m), map[string]string{
		`shardy_consensus_mismatches_total`:                     "1",
		`shardy_waves_opened_total`:                             "1",
		`shardy_projection_position{projection="metrics"}`:      fmt.Sprint(at.Pos),
		`shardy_projection_lag{projection="metrics"}`:           "0",
		`shardy_projection_records_total{projection="metrics"}`: "2",
		`shardy_workers_connected{tier="2"}`:                    "5",
		`shardy_workers_connected{tier="3"}`:                    "1",
		`shardy_conflicts_total`:                                "3",
	})
}

// BenchmarkVerifiedJob is the cost of the records of one job with two replicas.
func BenchmarkVerifiedJob(b *testing.B) {
	job := []struct {
		stream string
		fact   events.Fact
	}{
		{"job-a", &eventv1.JobSubmitted{Spec: &eventv1.JobSpec{Module: make([]byte, 32), Input: &eventv1.BlobRef{Sha256: make([]byte, 32)}}, Policy: &eventv1.JobPolicy{Redundancy: 2}, AtUs: 1}},
		{"assignment-a-0", &eventv1.AssignmentDispatched{Attempt: 1}},
		{"assignment-a-1", &eventv1.AssignmentDispatched{Attempt: 1}},
		{"assignment-a-0", &eventv1.ResultReturned{Attempt: 1, Status: eventv1.ResultStatus_RESULT_STATUS_OK, RunMs: 3}},
		{"assignment-a-1", &eventv1.ResultReturned{Attempt: 1, Status: eventv1.ResultStatus_RESULT_STATUS_OK, RunMs: 3}},
		{"job-a", &eventv1.ReplicaReturned{Slot: 0}},
		{"job-a", &eventv1.ReplicaReturned{Slot: 1}},
		{"job-a", &eventv1.TaskVerified{Agreeing: []uint32{0, 1}, AtUs: 9}},
	}
	m := New(0, Sources{})
	var batch []events.Record
	for i, f := range job {
		batch = append(batch, record(b, events.Position(i+1), f.stream, f.fact))
	}
	for b.Loop() {
		if err := m.Apply(b.Context(), batch, 8); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(len(batch)*b.N)/b.Elapsed().Seconds(), "events/s")
}
