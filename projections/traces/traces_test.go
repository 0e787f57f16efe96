package traces

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	collectorv1 "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/events"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// story is what happens to one job of a pipeline: a worker drops out, another answers.
func story(t testing.TB) []events.Record {
	t.Helper()
	worker := []byte{0xab, 0xcd}
	steps := []struct {
		ms     int
		stream string
		fact   events.Fact
	}{
		{0, "pipeline-p", &eventv1.PipelineSubmitted{}},
		{10, "job-a", &eventv1.JobSubmitted{Spec: &eventv1.JobSpec{Kind: eventv1.JobKind_JOB_KIND_STANDARD, Tenant: "lab", Pipeline: "p"}}},
		{20, "assignment-a-0", &eventv1.AssignmentDispatched{Attempt: 1, Worker: worker}},
		{120, "assignment-a-0", &eventv1.AssignmentStripped{Attempt: 1, Reason: eventv1.StripReason_STRIP_REASON_SOCKET_DROPPED}},
		{130, "assignment-a-0", &eventv1.AssignmentDispatched{Attempt: 2, Worker: worker}},
		{140, "assignment-a-1", &eventv1.AssignmentDispatched{Attempt: 1, Worker: worker}},
		{230, "assignment-a-0", &eventv1.ResultReturned{Attempt: 2, Status: eventv1.ResultStatus_RESULT_STATUS_OK}},
		{250, "job-a", &eventv1.TaskVerified{Basis: eventv1.VerdictBasis_VERDICT_BASIS_SINGLE, Agreeing: []uint32{0}}},
		{260, "pipeline-p", &eventv1.PipelineCompleted{}},
	}
	var out []events.Record
	for i, s := range steps {
		drafts, err := events.Encode(events.Origin{ID: events.NewCommandID(fmt.Append(nil, i))}, []events.Fact{s.fact})
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, events.Record{
			Draft: drafts[0], Stream: s.stream, Pos: events.Position(i + 1), Time: noon.Add(time.Duration(s.ms) * time.Millisecond),
		})
	}
	return out
}

func spansOf(t *testing.T, cfg Config, batch []events.Record) tracetest.SpanStubs {
	t.Helper()
	sink := tracetest.NewInMemoryExporter()
	tr := open(cfg, 0, sink)
	if err := tr.Apply(t.Context(), batch, events.Position(len(batch))); err != nil {
		t.Fatal(err)
	}
	if err := tr.provider.ForceFlush(t.Context()); err != nil {
		t.Fatal(err)
	}
	spans := sink.GetSpans()
	if err := tr.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	return spans
}

func TestJobBecomesATrace(t *testing.T) {
	spans := spansOf(t, Config{Node: "n1"}, story(t))
	type span struct {
		kind, parent, outcome string
		begin, end            int
		failed                bool
	}
	names := map[string]string{
		spanID("pipeline-p").String(): "pipeline", spanID("job-a").String(): "job", "0000000000000000": "",
	}
	got := map[span]int{}
	for _, s := range spans {
		if s.SpanContext.TraceID() != TraceID("p") {
			t.Errorf("%s is in trace %s, want the pipeline's", s.Name, s.SpanContext.TraceID())
		}
		outcome := ""
		for _, a := range s.Attributes {
			if a.Key == "shardy.outcome" || a.Key == "shardy.state" {
				outcome = a.Value.AsString()
			}
		}
		got[span{
			s.Name, names[s.Parent.SpanID().String()], outcome, int(s.StartTime.Sub(noon).Milliseconds()),
			int(s.EndTime.Sub(noon).Milliseconds()), s.Status.Code == codes.Error,
		}]++
	}
	for _, want := range []span{
		{"pipeline", "", "completed", 0, 260, false},
		{"job", "pipeline", "verified", 10, 250, false},
		{"attempt", "job", "stripped: socket_dropped", 20, 120, true},
		{"attempt", "job", "returned ok", 130, 230, false},
		{"attempt", "job", "not needed", 140, 250, false},
	} {
		if got[want] != 1 {
			t.Errorf("span %+v is there %d times", want, got[want])
		}
	}
	if len(spans) != 5 {
		t.Errorf("%d spans, want 5: %v", len(spans), got)
	}
}

// TestSameStorySameIDs holds that a trace which is sent again is the same one.
func TestSameStorySameIDs(t *testing.T) {
	ids := func() map[string]bool {
		set := map[string]bool{}
		for _, s := range spansOf(t, Config{}, story(t)) {
			set[s.SpanContext.SpanID().String()] = true
		}
		return set
	}
	first, second := ids(), ids()
	for id := range first {
		if !second[id] {
			t.Errorf("span %s is another one the second time", id)
		}
	}
	if len(first) != 5 {
		t.Errorf("%d distinct spans, want 5", len(first))
	}
}

func TestTooManyAtOnceAreCounted(t *testing.T) {
	sink := tracetest.NewInMemoryExporter()
	tr := open(Config{MaxJobs: 1}, 0, sink)
	defer tr.Close(context.WithoutCancel(t.Context()))
	batch := story(t)
	batch = append(batch[:2:2], batch...) // the pipeline and the job a second time, while the first are open
	batch[2].Stream, batch[3].Stream = "pipeline-q", "job-b"
	if err := tr.Apply(t.Context(), batch, 99); err != nil {
		t.Fatal(err)
	}
	if tr.Missed() != 2 {
		t.Fatalf("missed %d, want 2", tr.Missed())
	}
}

func TestConfigIsChecked(t *testing.T) {
	for _, cfg := range []Config{{}, {Endpoint: "127.0.0.1:4318"}, {Endpoint: "ftp://127.0.0.1"}, {Endpoint: "http://127.0.0.1:1", Ratio: 1.5}, {Endpoint: "http://127.0.0.1:1", MaxJobs: -1}} {
		if err := cfg.Validate(); !errors.Is(err, ErrConfig) {
			t.Errorf("%+v: %v, want ErrConfig", cfg, err)
		}
	}
}

// TestCollectorHears sends to a collector over HTTP, as the product does.
func TestCollectorHears(t *testing.T) {
	var mu sync.Mutex
	heard := map[string]string{} // span id -> name
	collector := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		req := new(collectorv1.ExportTraceServiceRequest)
		if err != nil || r.URL.Path != "/v1/traces" || proto.Unmarshal(body, req) != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		for _, rs := range req.ResourceSpans {
			for _, ss := range rs.ScopeSpans {
				for _, s := range ss.Spans {
					heard[hex.EncodeToString(s.SpanId)] = s.Name
				}
			}
		}
	}))
	defer collector.Close()
	tr, err := Open(t.Context(), Config{Endpoint: collector.URL, Node: "n1", Version: "v0"}, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := tr.Apply(t.Context(), story(t), 9); err != nil {
		t.Fatal(err)
	}
	if err := tr.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(heard) != 5 || heard[spanID("job-a").String()] != "job" {
		t.Fatalf("the collector heard %v", heard)
	}
}
