package operator

import (
	"context"
	"errors"
	"slices"

	"github.com/shardy-network/orchestrator/events"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

const (
	maxReasons = 16     // of one filter
	maxLooked  = 10_000 // dead letters that one call looks at: a page may end short of its size
)

// letterFilter is a filter that was checked.
type letterFilter struct {
	reasons  []eventv1.DeadLetterReason // sorted; none: any
	tenants  []string                   // nil: everybody's
	pipeline string
	kind     eventv1.JobKind
	module   []byte
	from     int64
	until    int64 // 0: no end
}

// letterFilter refuses filters that nothing can pass, and other tenants' dead letters.
func (c *caller) letterFilter(f *operatorv1.DeadLetterFilter) (letterFilter, error) {
	x := letterFilter{
		pipeline: f.GetPipeline(), kind: f.GetKind(), module: f.GetModule(), from: f.GetFromUs(), until: f.GetUntilUs(),
	}
	for _, r := range f.GetReasons() {
		if r == 0 || eventv1.DeadLetterReason_name[int32(r)] == "" {
			return x, refuse("filter.reasons", "unknown")
		}
		x.reasons = append(x.reasons, r)
	}
	if len(x.reasons) > maxReasons {
		return x, refuse("filter.reasons", "too many")
	}
	slices.Sort(x.reasons)
	x.reasons = slices.Compact(x.reasons)
	if x.pipeline != "" {
		if err := events.CheckEntityID(x.pipeline); err != nil {
			return x, err
		}
	}
	switch {
	case eventv1.JobKind_name[int32(x.kind)] == "":
		return x, refuse("filter.kind", "unknown")
	case len(x.module) != 0 && len(x.module) != 32:
		return x, refuse("filter.module", "SHA-256 of an admitted module")
	case x.from < 0 || x.until < 0:
		return x, refuse("filter.from_us", "before 1970")
	case x.until != 0 && x.until <= x.from:
		return x, refuse("filter.until_us", "is not after from_us")
	}
	var err error
	x.tenants, err = c.tenantsOf(f.GetTenant())
	return x, err
}

// open reads a page token of the list with this filter.
func (f *letterFilter) open(size uint32, token string) (cursor, Page, error) {
	return openPage(size, token, "dead letters", f.reasons, f.tenants, f.pipeline, f.kind, f.module, f.from, f.until)
}

func (f *letterFilter) passes(d *operatorv1.DeadLetter) bool {
	kind := d.Kind
	if kind == eventv1.JobKind_JOB_KIND_UNSPECIFIED {
		kind = eventv1.JobKind_JOB_KIND_STANDARD
	}
	return (len(f.reasons) == 0 || slices.Contains(f.reasons, d.Reason)) && (f.pipeline == "" || d.Pipeline == f.pipeline) &&
		(f.kind == 0 || kind == f.kind) && (f.module == nil || slices.Equal(d.Module, f.module)) &&
		d.AtUs >= f.from && (f.until == 0 || d.AtUs < f.until)
}

// ListDeadLetters lists dead letters, the newest first.
func (a *API) ListDeadLetters(ctx context.Context, req *operatorv1.ListDeadLettersRequest) (*operatorv1.ListDeadLettersResponse, error) {
	f, err := callerOf(ctx).letterFilter(req.Filter)
	if err != nil {
		return nil, err
	}
	cursor, page, err := f.open(req.PageSize, req.PageToken)
	if err != nil {
		return nil, err
	}
	rows, next, err := a.findLetters(ctx, &f, page)
	if err != nil {
		return nil, err
	}
	res := &operatorv1.ListDeadLettersResponse{DeadLetters: rows, NextPageToken: cursor.token(next)}
	if req.Counts && a.deps.Counts != nil {
		res.Counts, err = a.deps.Counts.CountDeadLetters(ctx, f.query(Page{}))
	}
	return res, err
}

// query is what the catalogue is asked.
func (f *letterFilter) query(page Page) DeadLetterQuery {
	return DeadLetterQuery{
		Page: page, Reasons: f.reasons, Kind: f.kind, Tenants: f.tenants, Pipeline: f.pipeline, Module: f.module, FromUs: f.from, UntilUs: f.until,
	}
}

// findLetters asks the catalogue, completes its rows from their jobs, and leaves out what the filter does not let pass.
func (a *API) findLetters(ctx context.Context, f *letterFilter, page Page) (rows []*operatorv1.DeadLetter, next string, err error) {
	q := f.query(page)
	for looked := 0; ; {
		q.Limit = page.Limit - len(rows)
		found, next, err := a.deps.Catalogue.DeadLetters(ctx, q)
		if err != nil {
			return nil, "", err
		}
		for _, d := range found {
			if err := a.completeLetter(ctx, d); err != nil {
				return nil, "", err
			}
			if f.passes(d) {
				rows = append(rows, d)
			}
		}
		looked += len(found)
		if next == "" || len(rows) >= page.Limit || looked >= maxLooked {
			return rows, next, nil
		}
		if ctx.Err() != nil {
			return nil, "", context.Cause(ctx)
		}
		q.After = next
	}
}

// completeLetter fills in what the catalogue does not keep.
func (a *API) completeLetter(ctx context.Context, d *operatorv1.DeadLetter) error {
	if len(d.Module) > 0 {
		return nil
	}
	spec, err := a.jobSpec(ctx, &caller{role: Admin}, d.Id)
	if errors.Is(err, errNotFound) {
		return nil // deleted since
	}
	if err != nil {
		return err
	}
	d.Kind, d.Module, d.Stage, d.Chunk = spec.Kind, spec.Module, spec.Stage, spec.Chunk
	return nil
}
