package operator

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"connectrpc.com/connect"

	"github.com/shardy-network/orchestrator/actors/secrecy"
	"github.com/shardy-network/orchestrator/events"
	"github.com/shardy-network/orchestrator/events/blobs"
	"github.com/shardy-network/orchestrator/projections/audit"
	auditv1 "github.com/shardy-network/orchestrator/proto/shardy/audit/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

// MaxAudits bounds the audits of single jobs at once: each reads a job's records and verifies every signature.
const MaxAudits = 2

// audits lets callers in one after the other.
type audits chan struct{}

func (q audits) enter(ctx context.Context) error {
	select {
	case q <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (q audits) leave() { <-q }

// ExplainVerdict tells a job's story from its records. Results are left out for those who must not see them, or not yet.
func (a *API) ExplainVerdict(ctx context.Context, req *operatorv1.ExplainVerdictRequest) (*operatorv1.ExplainVerdictResponse, error) {
	c := callerOf(ctx)
	if _, err := a.jobSpec(ctx, c, req.Id); err != nil {
		return nil, err
	}
	if err := a.audits.enter(ctx); err != nil {
		return nil, err
	}
	defer a.audits.leave()
	story, err := audit.Explain(ctx, a.deps.Log, req.Id)
	if err != nil {
		return nil, err
	}
	if !c.is(byAdmin) && !(c.is(workers) && settled(story.Phase)) {
		audit.Withhold(story)
	}
	return &operatorv1.ExplainVerdictResponse{Story: story, Lines: audit.Tell(story)}, nil
}

// settled reports whether no replica of the job will be computed any more.
func settled(p auditv1.JobPhase) bool {
	return p == auditv1.JobPhase_JOB_PHASE_VERIFIED || p == auditv1.JobPhase_JOB_PHASE_CANCELLED ||
		p == auditv1.JobPhase_JOB_PHASE_DISCARDED
}

// GetBundle streams the file that proves a job's verdict. It holds the records as they are stored, so that for
// everybody but admins the job must be decided for good.
func (a *API) GetBundle(ctx context.Context, req *operatorv1.GetBundleRequest, out *connect.ServerStream[operatorv1.GetBundleResponse]) error {
	c := callerOf(ctx)
	v, err := a.readJob(ctx, c, req.Id)
	if err != nil {
		return err
	}
	if !c.is(byAdmin) && !secrecy.Ends(v.job.State) {
		return fmt.Errorf("%w: it is %s", errHidden, plain(v.job.State.String(), "JOB_STATE_"))
	}
	if err := a.audits.enter(ctx); err != nil {
		return err
	}
	defer a.audits.leave()
	job, err := audit.Collect(ctx, a.deps.Log, req.Id)
	if err != nil {
		return err
	}
	opts := audit.BundleOptions{Prover: a.deps.Prover, Software: a.software(ctx), MadeUs: time.Now().UnixMicro()}
	if !req.NoContent {
		opts.Content = proofContents{a.deps.Blobs}
	}
	w := bufio.NewWriterSize(parts(func(p []byte) error { return out.Send(&operatorv1.GetBundleResponse{Data: p}) }), partBytes)
	if _, err := job.WriteBundle(ctx, w, opts); err != nil {
		return err
	}
	return w.Flush()
}

// software names this process in a bundle.
func (a *API) software(ctx context.Context) string {
	if a.deps.Status != nil {
		if s, err := a.deps.Status(ctx); err == nil {
			return "shardy " + s.GetVersion()
		}
	}
	return "shardy"
}

// parts sends what is written to it, in messages of a bounded size.
type parts func([]byte) error

func (send parts) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		part := p[:min(len(p), partBytes)]
		if err := send(part); err != nil {
			return n - len(p), err
		}
		p = p[len(part):]
	}
	return n, nil
}

// proofContents reads content for a bundle.
type proofContents struct{ from Blobs }

func (b proofContents) Get(ctx context.Context, sum [32]byte) ([]byte, error) {
	content, size, err := b.from.Open(ctx, sum)
	if errors.Is(err, blobs.ErrNotFound) {
		return nil, fmt.Errorf("%w: %w", events.ErrNotFound, err)
	}
	if err != nil {
		return nil, err
	}
	defer content.Close()
	if size > blobs.DefaultMaxBytes {
		return nil, fmt.Errorf("%w: content of %d bytes", events.ErrNotFound, size) // too much for a bundle: its hash stays
	}
	data, err := io.ReadAll(io.LimitReader(content, size+1))
	if err != nil {
		return nil, fmt.Errorf("%w: content %x: %w", events.ErrUnavailable, sum, err)
	}
	return data, nil
}
