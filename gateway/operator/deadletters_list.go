package operator

import (
	"context"
	"slices"

	"github.com/shardy-network/orchestrator/events"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

const maxReasons = 16 // of one filter

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
	rows, next, err := a.deps.Catalogue.DeadLetters(ctx, f.query(page))
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
