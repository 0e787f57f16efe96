package dashboard

import (
	"context"
	"errors"

	"github.com/shardy-network/orchestrator/actors/secrecy"
	"github.com/shardy-network/orchestrator/projections/readmodel"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

// content reports whether the viewer may see inputs and outputs: who only watches does not. See the roles of the API.
func (v Viewer) content() bool {
	return v.Role >= RoleOperator || v.Role >= RoleViewer && v.Tenants != nil
}

// seesJob reports whether a job exists for the viewer. That a job tests its worker is nobody's business but the staff's.
func (v Viewer) seesJob(tenant string, kind eventv1.JobKind) bool {
	return v.Sees(tenant) && (v.Tenants == nil || kind != eventv1.JobKind_JOB_KIND_LITE_TEST)
}

// redactor cuts out of records what the viewer must not see, by the rules of the API: admins see everything; others do
// not see results of a job that is not decided, nor the answer of a ringer that is open.
type redactor struct {
	viewer  Viewer
	decided func(job string) bool
	known   map[string]bool
}

// redactor asks the read model which jobs are decided, each at most once.
func (d *Dashboard) redactor(ctx context.Context, v Viewer) *redactor {
	return &redactor{viewer: v, known: map[string]bool{}, decided: func(id string) bool {
		j, err := d.deps.Model.Job(ctx, id)
		if errors.Is(err, readmodel.ErrNotFound) {
			return false
		}
		return err == nil && secrecy.Ends(j.State)
	}}
}

// redactorOf knows the state of one job.
func redactorOf(v Viewer, job string, state operatorv1.JobState) *redactor {
	return &redactor{viewer: v, known: map[string]bool{job: secrecy.Ends(state)}, decided: func(string) bool { return false }}
}

// cut changes a record that was decoded for this viewer alone. What could not be decoded is not shown to those from
// whom something may be hidden. It reports whether something was taken away.
func (x *redactor) cut(d *decoded) bool {
	if x.viewer.Role >= RoleAdmin && x.viewer.Tenants == nil {
		return false
	}
	if d.Fact == nil || d.Env == nil {
		d.Data, d.Meta = nil, nil
		return true
	}
	if !secrecy.Holds(d.Fact, d.Env.GetCommand()) || x.isDecided(secrecy.JobOf(d.Stream)) {
		return false
	}
	d.Data, d.Meta = nil, nil // not the bytes that hold it
	secrecy.Cut(d.Fact, d.Env.GetCommand())
	return true
}

func (x *redactor) isDecided(job string) bool {
	if job == "" {
		return false
	}
	known, ok := x.known[job]
	if !ok {
		known = x.decided(job)
		x.known[job] = known
	}
	return known
}
