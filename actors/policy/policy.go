// Package policy holds the rules of a deployment: their defaults, their bounds, and what they mean for one job.
//
// Nothing here looks at a running system: a job carries the policy that was resolved for it when it was submitted, so
// a change of policy never reaches jobs that exist.
package policy

import (
	"errors"
	"fmt"

	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// ErrInvalid refuses a policy that is out of bounds. The text says which field.
var ErrInvalid = errors.New("policy is out of bounds")

// Bounds that no deployment can pass: they keep the state of one job small, and sums of times far from overflow.
const (
	MaxReplicas   = 15
	MaxAttempts   = 100
	MaxTimeoutMs  = 7 * 24 * 3600 * 1000 // a week
	MaxSlack      = 1000
	MaxTiers      = 3
	MaxFuel       = uint64(1) << 60
	MaxInputBytes = uint64(1) << 40
	MaxGraceMs    = 3600 * 1000
)

// CheckJob refuses a job's policy that is out of bounds or contradicts itself.
func CheckJob(p *eventv1.JobPolicy) error {
	switch {
	case p == nil:
		return invalid("missing")
	case p.Redundancy < 1 || p.Redundancy > p.MaxReplicas:
		return invalid("redundancy %d: want 1 to max_replicas", p.Redundancy)
	case p.MaxReplicas > MaxReplicas:
		return invalid("max_replicas %d: want at most %d", p.MaxReplicas, MaxReplicas)
	case p.Margin < 1 || p.Margin > p.MaxReplicas:
		return invalid("margin %d: want 1 to max_replicas", p.Margin)
	case p.MaxAttempts < 1 || p.MaxAttempts > MaxAttempts:
		return invalid("max_attempts %d: want 1 to %d", p.MaxAttempts, MaxAttempts)
	case p.AckTimeoutMs < 1 || p.AckTimeoutMs > MaxTimeoutMs:
		return invalid("ack_timeout_ms %d: want 1 to %d", p.AckTimeoutMs, MaxTimeoutMs)
	case p.MinExecutionTimeoutMs < 1 || p.MinExecutionTimeoutMs > p.MaxExecutionTimeoutMs:
		return invalid("min_execution_timeout_ms %d: want 1 to the maximum", p.MinExecutionTimeoutMs)
	case p.MaxExecutionTimeoutMs > MaxTimeoutMs:
		return invalid("max_execution_timeout_ms %d: want at most %d", p.MaxExecutionTimeoutMs, MaxTimeoutMs)
	case p.ExecutionSlack < 1 || p.ExecutionSlack > MaxSlack:
		return invalid("execution_slack %d: want 1 to %d", p.ExecutionSlack, MaxSlack)
	case eventv1.RefereeMode_name[int32(p.Referee)] == "":
		return invalid("referee %d: unknown mode", p.Referee)
	}
	return nil
}

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrInvalid}, args...)...)
}
