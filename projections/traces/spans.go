package traces

import (
	"context"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/events"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// job is one under way.
type job struct {
	begin    time.Time
	kind     string
	tenant   string
	pipeline string
	waves    int
	held     map[string]attempt // by slot, as its stream names it
}

// attempt is one hand-over that has not ended.
type attempt struct {
	begin  time.Time
	number uint32
	worker []byte
}

// maxHeld bounds the attempts of one job that are under way at once.
const maxHeld = 64

// follow takes in one fact.
func (t *Traces) follow(r *events.Record, fact events.Fact) {
	room, id, _ := strings.Cut(r.Stream, "-")
	switch room {
	case actors.JobRoom:
		t.followJob(id, r, fact)
	case actors.AssignmentRoom:
		if i := strings.LastIndexByte(id, '-'); i > 0 {
			if j := t.open[id[:i]]; j != nil {
				t.followSlot(id[:i], j, id[i+1:], r, fact)
			}
		}
	case actors.PipelineRoom:
		t.followPipeline(id, r, fact)
	}
}

func (t *Traces) followJob(id string, r *events.Record, fact events.Fact) {
	if f, ok := fact.(*eventv1.JobSubmitted); ok {
		t.begin(id, r.Time, f.GetSpec())
		return
	}
	j := t.open[id]
	if j == nil {
		return
	}
	switch f := fact.(type) {
	case *eventv1.WaveOpened:
		j.waves++
	case *eventv1.TaskVerified:
		t.end(id, j, r.Time, "verified", attribute.String("shardy.basis", plain(f.GetBasis(), "VERDICT_BASIS_")),
			attribute.Int("shardy.agreeing", len(f.GetAgreeing())), attribute.Int("shardy.contradicted", len(f.GetContradicted())))
	case *eventv1.JobDeadLettered:
		t.end(id, j, r.Time, "dead_lettered", attribute.String("shardy.reason", plain(f.GetReason(), "DEAD_LETTER_REASON_")))
	case *eventv1.JobCancelled:
		t.end(id, j, r.Time, "cancelled")
	}
}

func (t *Traces) begin(id string, at time.Time, spec *eventv1.JobSpec) {
	if len(t.open) >= t.max {
		t.missed.Add(1)
		return
	}
	t.open[strings.Clone(id)] = &job{
		begin: at, kind: plain(spec.GetKind(), "JOB_KIND_"), tenant: spec.GetTenant(), pipeline: spec.GetPipeline(),
		waves: 1, held: make(map[string]attempt),
	}
}

// end sends a job's span. Its attempts were sent when they ended; what a decided job no longer needs ends with it.
func (t *Traces) end(id string, j *job, at time.Time, state string, more ...attribute.KeyValue) {
	delete(t.open, id)
	for slot, a := range j.held {
		t.sendAttempt(id, j, slot, a, at, "not needed", false)
	}
	parent := trace.SpanContext{}
	if j.pipeline != "" {
		parent = spanContext(j.trace(id), "pipeline-"+j.pipeline)
	}
	more = append(more, attribute.String("shardy.job", id), attribute.String("shardy.kind", j.kind),
		attribute.String("shardy.tenant", j.tenant), attribute.String("shardy.state", state), attribute.Int("shardy.waves", j.waves))
	t.send(parent, j.trace(id), "job-"+id, "job", j.begin, at, state == "dead_lettered", state, more)
}

func (j *job) trace(id string) trace.TraceID {
	if j.pipeline != "" {
		return TraceID(j.pipeline)
	}
	return TraceID(id)
}

func (t *Traces) followSlot(id string, j *job, slot string, r *events.Record, fact events.Fact) {
	a, held := j.held[slot]
	switch f := fact.(type) {
	case *eventv1.AssignmentDispatched:
		if held || len(j.held) < maxHeld {
			j.held[strings.Clone(slot)] = attempt{begin: r.Time, number: f.GetAttempt(), worker: f.GetWorker()}
		}
		return
	case *eventv1.ResultReturned:
		if held {
			t.sendAttempt(id, j, slot, a, r.Time, "returned "+plain(f.GetStatus(), "RESULT_STATUS_"), false)
		}
	case *eventv1.AssignmentStripped:
		if held {
			t.sendAttempt(id, j, slot, a, r.Time, "stripped: "+plain(f.GetReason(), "STRIP_REASON_"), true)
		}
	case *eventv1.AssignmentCancelled:
		if held {
			t.sendAttempt(id, j, slot, a, r.Time, "cancelled", false)
		}
	default:
		return
	}
	delete(j.held, slot)
}

func (t *Traces) sendAttempt(id string, j *job, slot string, a attempt, at time.Time, outcome string, failed bool) {
	name := fmt.Sprintf("assignment-%s-%s/%d", id, slot, a.number)
	t.send(spanContext(j.trace(id), "job-"+id), j.trace(id), name, "attempt", a.begin, at, failed, outcome, []attribute.KeyValue{
		attribute.String("shardy.job", id), attribute.String("shardy.slot", slot), attribute.Int64("shardy.attempt", int64(a.number)),
		attribute.String("shardy.worker", hex.EncodeToString(a.worker)), attribute.String("shardy.outcome", outcome),
	})
}

func (t *Traces) followPipeline(id string, r *events.Record, fact events.Fact) {
	state := ""
	switch fact.(type) {
	case *eventv1.PipelineSubmitted:
		if len(t.flow) >= t.max {
			t.missed.Add(1)
			return
		}
		t.flow[strings.Clone(id)] = r.Time
		return
	case *eventv1.PipelineCompleted:
		state = "completed"
	case *eventv1.PipelineFailed:
		state = "failed"
	case *eventv1.PipelineCancelled:
		state = "cancelled"
	default:
		return
	}
	begin, ok := t.flow[id]
	if !ok {
		return
	}
	delete(t.flow, id)
	t.send(trace.SpanContext{}, TraceID(id), "pipeline-"+id, "pipeline", begin, r.Time, state == "failed", state,
		[]attribute.KeyValue{attribute.String("shardy.pipeline", id), attribute.String("shardy.state", state)})
}

// spanContext names a span that was or will be sent.
func spanContext(id trace.TraceID, name string) trace.SpanContext {
	return trace.NewSpanContext(trace.SpanContextConfig{TraceID: id, SpanID: spanID(name)})
}

// send hands one ended span to the exporter's queue.
func (t *Traces) send(parent trace.SpanContext, id trace.TraceID, name, kind string, begin, end time.Time, failed bool, why string, attrs []attribute.KeyValue) {
	ctx := withIDs(context.Background(), id, spanID(name))
	if parent.IsValid() {
		ctx = trace.ContextWithRemoteSpanContext(ctx, parent)
	}
	_, span := t.tracer.Start(ctx, kind, trace.WithTimestamp(begin), trace.WithAttributes(attrs...))
	if failed {
		span.SetStatus(codes.Error, why)
	}
	span.End(trace.WithTimestamp(end))
}

// plain is an enum's value for people.
func plain[E interface {
	~int32
	String() string
}](v E, prefix string) string {
	name, ok := strings.CutPrefix(v.String(), prefix)
	if !ok {
		return strconv.Itoa(int(v))
	}
	return strings.ToLower(name)
}
