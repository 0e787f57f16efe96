package operator

import (
	"context"

	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

// GetStatus says how the process stands.
func (a *API) GetStatus(ctx context.Context, _ *operatorv1.GetStatusRequest) (*operatorv1.GetStatusResponse, error) {
	res := &operatorv1.GetStatusResponse{}
	if a.deps.Status != nil {
		var err error
		if res, err = a.deps.Status(ctx); err != nil {
			return nil, err
		}
	}
	head, err := a.deps.Log.Head(ctx)
	if err != nil {
		return nil, err
	}
	res.Head = uint64(head)
	return res, nil
}
