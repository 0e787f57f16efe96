package policy

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

// ForKind is the deployment's policy for jobs of a kind; unspecified is read as standard.
func ForKind(p *eventv1.Policy, kind eventv1.JobKind) (*eventv1.JobPolicy, error) {
	switch kind {
	case eventv1.JobKind_JOB_KIND_UNSPECIFIED, eventv1.JobKind_JOB_KIND_STANDARD:
		return p.GetStandard(), nil
	case eventv1.JobKind_JOB_KIND_STRESS:
		return p.GetStress(), nil
	case eventv1.JobKind_JOB_KIND_LITE_TEST:
		return p.GetLiteTest(), nil
	}
	return nil, invalid("job kind %d is unknown", kind)
}

// Resolve is the policy of one job: the deployment's for its kind with the job's wishes applied. Overrides may be nil,
// and a zero wishes nothing. A job may ask for more certainty than the deployment, never for less, and never for more
// work than the deployment allows any job: redundancy and margin lie between the deployment's own and its max_replicas;
// all other figures can only be lowered. The result is read, never written: it may be the deployment's own.
func Resolve(p *eventv1.Policy, kind eventv1.JobKind, o *operatorv1.PolicyOverrides) (*eventv1.JobPolicy, error) {
	deployed, err := ForKind(p, kind)
	if err != nil {
		return nil, err
	}
	if err := CheckJob(deployed); err != nil {
		return nil, fmt.Errorf("deployment: %w", err)
	}
	if o == nil {
		return deployed, nil
	}
	job := proto.CloneOf(deployed)
	wishes := [...]struct {
		name     string
		wish     uint32
		to       *uint32
		from, up uint32
	}{
		{"redundancy", o.Redundancy, &job.Redundancy, deployed.Redundancy, deployed.MaxReplicas},
		{"margin", o.Margin, &job.Margin, deployed.Margin, deployed.MaxReplicas},
		{"max_replicas", o.MaxReplicas, &job.MaxReplicas, 1, deployed.MaxReplicas},
		{"max_attempts", o.MaxAttempts, &job.MaxAttempts, 1, deployed.MaxAttempts},
		{"ack_timeout_ms", o.AckTimeoutMs, &job.AckTimeoutMs, 1, deployed.AckTimeoutMs},
		{
			"max_execution_timeout_ms", o.MaxExecutionTimeoutMs, &job.MaxExecutionTimeoutMs,
			1, deployed.MaxExecutionTimeoutMs,
		},
	}
	for _, w := range wishes {
		if w.wish == 0 {
			continue
		}
		if w.wish < w.from || w.wish > w.up {
			return nil, invalid("%s %d: the deployment allows %d to %d", w.name, w.wish, w.from, w.up)
		}
		*w.to = w.wish
	}
	job.MinExecutionTimeoutMs = min(job.MinExecutionTimeoutMs, job.MaxExecutionTimeoutMs)
	if err := CheckJob(job); err != nil { // for example max_replicas below redundancy
		return nil, err
	}
	return job, nil
}
