package cli

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/genproto/googleapis/rpc/errdetails"

	op "github.com/shardy-network/orchestrator/proto/shardy/operator/v1/operatorv1connect"
)

// api is the whole operator API.
type api struct {
	op.JobServiceClient
	op.PipelineServiceClient
	op.ModuleServiceClient
	op.WorkerServiceClient
	op.DeadLetterServiceClient
	op.EventServiceClient
	op.AuditServiceClient
	op.SystemServiceClient
	op.LedgerServiceClient
	op.MeshServiceClient
}

// dial reads the settings; the first call connects.
func (a *app) dial() (*api, error) {
	r, err := a.resolve()
	if err != nil {
		return nil, err
	}
	return dialAt(r.Address.Value, r.Token.Value), nil
}

// dialAt speaks to any orchestrator.
func dialAt(at, token string) *api {
	h := &http.Client{Transport: bearer{token, http.DefaultTransport}}
	opts := connect.WithInterceptors(addressed{at}, insistent)
	return &api{
		op.NewJobServiceClient(h, at, opts), op.NewPipelineServiceClient(h, at, opts), op.NewModuleServiceClient(h, at, opts),
		op.NewWorkerServiceClient(h, at, opts), op.NewDeadLetterServiceClient(h, at, opts),
		op.NewEventServiceClient(h, at, opts), op.NewAuditServiceClient(h, at, opts), op.NewSystemServiceClient(h, at, opts),
		op.NewLedgerServiceClient(h, at, opts), op.NewMeshServiceClient(h, at, opts),
	}
}

type bearer struct {
	token string
	next  http.RoundTripper
}

func (b bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	if b.token != "" {
		r = r.Clone(r.Context())
		r.Header.Set("Authorization", "Bearer "+b.token)
	}
	return b.next.RoundTrip(r)
}

// addressed says where nobody answered, or where there is no ledger.
type addressed struct{ at string }

func (x addressed) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		res, err := next(ctx, req)
		e, ok := errors.AsType[*connect.Error](err)
		switch procedure := req.Spec().Procedure; {
		case !ok:
		case e.Code() == connect.CodeUnavailable && len(e.Details()) == 0:
			err = failed(exitUnavailable, "no orchestrator answers at %s: %w", x.at, err)
		case e.Code() == connect.CodeUnimplemented && (strings.HasPrefix(procedure, "/"+op.LedgerServiceName+"/") || strings.HasPrefix(procedure, "/"+op.MeshServiceName+"/")):
			err = failed(exitRefused, "the orchestrator at %s shares no ledger (serve --mesh): %w", x.at, err)
		}
		return res, err
	}
}

// insistent asks again when the ledger's door says that this address has asked too often: to verify a ledger is to read all
// of it.
var insistent = connect.UnaryInterceptorFunc(func(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		for wait := 100 * time.Millisecond; ; wait = min(2*wait, 2*time.Second) {
			res, err := next(ctx, req)
			if connect.CodeOf(err) != connect.CodeResourceExhausted || req.Spec().IdempotencyLevel != connect.IdempotencyNoSideEffects ||
				!strings.HasPrefix(req.Spec().Procedure, "/"+op.LedgerServiceName+"/") {
				return res, err
			}
			select {
			case <-time.After(max(wait, min(retryDelay(err), 30*time.Second))):
			case <-ctx.Done():
				return nil, context.Cause(ctx)
			}
		}
	}
})

// retryDelay is when the door says that one may come back; 0 when it does not.
func retryDelay(err error) time.Duration {
	e, ok := errors.AsType[*connect.Error](err)
	if !ok {
		return 0
	}
	for _, d := range e.Details() {
		if v, err := d.Value(); err == nil {
			if info, ok := v.(*errdetails.RetryInfo); ok {
				return info.GetRetryDelay().AsDuration()
			}
		}
	}
	return 0
}

func (x addressed) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

func (x addressed) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return next
}

// receive hands every message of a stream to do, until the stream ends, or do says stop.
func receive[T any](stream *connect.ServerStreamForClient[T], err error, do func(*T) (stop bool, err error)) error {
	if err != nil {
		return err
	}
	defer stream.Close()
	for stream.Receive() {
		stop, err := do(stream.Msg())
		if err != nil || stop {
			return err
		}
	}
	return broken(stream.Err())
}

// broken says in plain words that the connection ended in the middle of a stream.
func broken(err error) error {
	if e, ok := errors.AsType[*connect.Error](err); ok && len(e.Details()) == 0 && strings.Contains(e.Message(), "EOF") {
		return failed(exitUnavailable, "the connection to the orchestrator broke: %w", err)
	}
	return err
}
