package operator

import (
	"context"

	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

// GetMesh shows who this orchestrator is connected with.
func (a *API) GetMesh(ctx context.Context, _ *operatorv1.GetMeshRequest) (*operatorv1.GetMeshResponse, error) {
	if a.deps.Mesh == nil {
		return nil, errNoMesh
	}
	return a.deps.Mesh(ctx)
}
