package operator

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/actors/policy"
	"github.com/shardy-network/orchestrator/events"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

// policyAddress is the deployment's one policy.
var policyAddress = actors.Address{Room: actors.PolicyRoom, ID: policy.ID}

// policyCache holds the policy as it stands. Facts replace it; nobody changes it in place.
type policyCache struct {
	now   atomic.Pointer[standing]
	stale atomic.Bool // a fact came that was not read yet
}

// standing is a policy and its version: the revision of its fact plus one.
type standing struct {
	policy  *eventv1.Policy
	version uint64
	plain   map[eventv1.JobKind]*eventv1.JobPolicy // of jobs without wishes
}

// current is the policy, read anew when a fact has changed it.
func (c *policyCache) current(ctx context.Context, log Log) (standing, error) {
	if c.stale.CompareAndSwap(true, false) {
		if err := c.load(ctx, log); err != nil {
			c.stale.Store(true)
			return standing{}, err
		}
	}
	return *c.now.Load(), nil
}

// offer takes a policy unless a later one is there.
func (c *policyCache) offer(next standing) {
	for {
		old := c.now.Load()
		if old != nil && old.version >= next.version {
			return
		}
		if c.now.CompareAndSwap(old, &next) {
			return
		}
	}
}

// load reads the last policy that was set, or takes the built-in one.
func (c *policyCache) load(ctx context.Context, log Log) error {
	for r, err := range log.Read(ctx, policyAddress.Stream(), events.Span{Back: true, Limit: 1}) {
		if errors.Is(err, events.ErrNotFound) {
			break
		}
		if err != nil {
			return err
		}
		fact, err := events.Decode(r)
		if err != nil {
			return err
		}
		changed, ok := fact.(*eventv1.PolicyChanged)
		if !ok {
			return fmt.Errorf("%w: %s in the policy's stream", events.ErrMalformed, r.Type)
		}
		c.offer(newStanding(changed.Policy, r.Rev+1))
	}
	if c.now.Load() == nil {
		builtin := newStanding(policy.Default(), 0)
		c.now.CompareAndSwap(nil, &builtin)
	}
	return nil
}

// GetPolicy shows the policy as it stands.
func (a *API) GetPolicy(ctx context.Context, _ *operatorv1.GetPolicyRequest) (*operatorv1.GetPolicyResponse, error) {
	now, err := a.policies.current(ctx, a.deps.Log)
	return &operatorv1.GetPolicyResponse{Policy: now.policy}, err
}

// ChangePolicy replaces the policy. Jobs that were submitted keep theirs.
func (a *API) ChangePolicy(ctx context.Context, req *operatorv1.ChangePolicyRequest) (*operatorv1.ChangePolicyResponse, error) {
	if req.Policy == nil {
		return nil, refuse("policy", "is needed")
	}
	if err := checkReason(req.Reason, true); err != nil {
		return nil, err
	}
	_, err := a.deps.Orchestrator.Do(ctx, policyAddress, &eventv1.Command{Kind: &eventv1.Command_ChangePolicy{
		ChangePolicy: &eventv1.ChangePolicy{Policy: req.Policy, By: callerOf(ctx).name, Reason: req.Reason},
	}})
	if err != nil {
		return nil, err
	}
	a.policies.stale.Store(true)
	return &operatorv1.ChangePolicyResponse{}, nil
}

// resolve makes the policy of one job: the deployment's for its kind, with the client's wishes within their bounds. The
// result may be shared: nobody changes it.
func (s standing) resolve(kind eventv1.JobKind, wish *operatorv1.PolicyOverrides) (*eventv1.JobPolicy, error) {
	if wish == nil {
		if p := s.plain[kind]; p != nil {
			return p, nil
		}
	}
	p, err := policy.Resolve(s.policy, kind, wish)
	if err != nil {
		return nil, err
	}
	p.Version = s.version
	return p, nil
}

// newStanding resolves the policies of jobs without wishes once. A kind whose policy is out of bounds is left out: the
// job that asks for it is told.
func newStanding(p *eventv1.Policy, version uint64) standing {
	s := standing{policy: p, version: version, plain: map[eventv1.JobKind]*eventv1.JobPolicy{}}
	for kind := range eventv1.JobKind_name {
		kind := eventv1.JobKind(kind)
		if job, err := policy.Resolve(p, kind, nil); err == nil {
			job.Version = version
			s.plain[kind] = job
		}
	}
	return s
}
