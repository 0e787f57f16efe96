package dashboard

import (
	"context"
	"errors"

	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/events"
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

// decided reports whether no replica of a job will be computed any more: only then may its results be seen, or another
// worker could copy them.
func decided(s operatorv1.JobState) bool {
	return s == operatorv1.JobState_JOB_STATE_VERIFIED || s == operatorv1.JobState_JOB_STATE_CANCELLED ||
		s == operatorv1.JobState_JOB_STATE_DISCARDED
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
		return err == nil && decided(j.State)
	}}
}

// redactorOf knows the state of one job.
func redactorOf(v Viewer, job string, state operatorv1.JobState) *redactor {
	return &redactor{viewer: v, known: map[string]bool{job: decided(state)}, decided: func(string) bool { return false }}
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
	if !secretFact(d.Fact) && !secretCommand(d.Env.GetCommand()) || x.isDecided(jobOfStream(d.Stream)) {
		return false
	}
	d.Data, d.Meta = nil, nil // not the bytes that hold it
	cutFact(d.Fact)
	cutCommand(d.Env.GetCommand())
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

// jobOfStream is the job whose stream, or whose slot's stream, it is; empty: none.
func jobOfStream(stream string) string {
	if id, ok := idOfStream(stream, actors.JobRoom); ok {
		return id
	}
	job, _, ok := slotOfStream(stream)
	if !ok {
		return ""
	}
	return job
}

// secretFact reports whether a fact holds results or answers.
func secretFact(f events.Fact) bool {
	switch f := f.(type) {
	case *eventv1.JobSubmitted:
		return len(f.GetSpec().GetKnownChecksum()) > 0
	case *eventv1.ReplicaReturned, *eventv1.ResultReturned, *eventv1.ResultRejected, *eventv1.RefereeDecided:
		return true
	}
	return false
}

func secretCommand(c *eventv1.Command) bool {
	switch k := c.GetKind().(type) {
	case *eventv1.Command_SubmitJob:
		return len(k.SubmitJob.GetSpec().GetKnownChecksum()) > 0
	case *eventv1.Command_RecordReplica, *eventv1.Command_RecordReferee, *eventv1.Command_ReturnResult:
		return true
	}
	return false
}

func cutFact(f events.Fact) {
	switch f := f.(type) {
	case *eventv1.JobSubmitted:
		f.Spec = withoutAnswer(f.Spec)
	case *eventv1.ReplicaReturned:
		f.Output = nil
	case *eventv1.ResultReturned:
		f.Output, f.Proof = nil, nil
	case *eventv1.ResultRejected:
		f.Output = nil
	case *eventv1.RefereeDecided:
		f.Output = nil
	}
}

func cutCommand(c *eventv1.Command) {
	switch k := c.GetKind().(type) {
	case *eventv1.Command_SubmitJob:
		k.SubmitJob.Spec = withoutAnswer(k.SubmitJob.Spec)
	case *eventv1.Command_RecordReplica:
		k.RecordReplica.Output = nil
	case *eventv1.Command_RecordReferee:
		k.RecordReferee.Output = nil
	case *eventv1.Command_ReturnResult:
		k.ReturnResult.Output, k.ReturnResult.Proof = nil, nil
	}
}

func withoutAnswer(spec *eventv1.JobSpec) *eventv1.JobSpec {
	if len(spec.GetKnownChecksum()) == 0 {
		return spec
	}
	out := proto.CloneOf(spec)
	out.KnownChecksum = nil
	return out
}
