package traces

import (
	"context"
	"crypto/sha256"

	"go.opentelemetry.io/otel/trace"
)

// TraceID is the id of the trace that shows a pipeline or a job that was submitted alone.
func TraceID(entity string) trace.TraceID {
	sum := sha256.Sum256([]byte("shardy/trace/" + entity))
	return trace.TraceID(sum[:16])
}

// spanID is the id of the span of a pipeline, a job or an attempt.
func spanID(name string) trace.SpanID {
	sum := sha256.Sum256([]byte("shardy/span/" + name))
	return trace.SpanID(sum[:8])
}

type wanted struct {
	trace trace.TraceID
	span  trace.SpanID
}

type wantedKey struct{}

func withIDs(ctx context.Context, t trace.TraceID, s trace.SpanID) context.Context {
	return context.WithValue(ctx, wantedKey{}, wanted{t, s})
}

// derived hands out the ids that the context asks for. Every span here asks.
type derived struct{}

func (derived) NewIDs(ctx context.Context) (trace.TraceID, trace.SpanID) {
	w, _ := ctx.Value(wantedKey{}).(wanted)
	return w.trace, w.span
}

func (derived) NewSpanID(ctx context.Context, _ trace.TraceID) trace.SpanID {
	w, _ := ctx.Value(wantedKey{}).(wanted)
	return w.span
}
