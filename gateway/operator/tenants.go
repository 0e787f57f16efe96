package operator

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"github.com/shardy-network/orchestrator/events"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// maxTenants bounds one half of what is remembered of whose job is whose.
const maxTenants = 1 << 16

// tenantBook remembers whose job is whose, for clients that watch all of their jobs: else each verdict of everybody
// would cost each of them a look into the log. It learns only while such a client is there, and forgets by halves.
type tenantBook struct {
	readers atomic.Int64 // watches that ask; without one nothing is learned

	mu       sync.Mutex
	now, old map[string]string // job to tenant; at most maxTenants each
}

// observe learns from the facts of a job.
func (b *tenantBook) observe(job string, facts []events.Fact) {
	if b.readers.Load() == 0 {
		return
	}
	for _, f := range facts {
		if s, ok := f.(*eventv1.JobSubmitted); ok {
			b.learn(job, s.GetSpec().GetTenant())
		}
	}
}

func (b *tenantBook) learn(job, tenant string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.now) >= maxTenants {
		b.old, b.now = b.now, nil
	}
	if b.now == nil {
		b.now = make(map[string]string)
	}
	b.now[job] = tenant
}

func (b *tenantBook) find(job string) (tenant string, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if tenant, ok = b.now[job]; !ok {
		tenant, ok = b.old[job]
	}
	return tenant, ok
}

// ownsJob reports whether a job is of one of the caller's tenants.
func (a *API) ownsJob(ctx context.Context, c *caller, job string) (bool, error) {
	tenant, ok := a.tenants.find(job)
	if !ok {
		spec, err := a.jobSpec(ctx, &caller{role: Admin}, job)
		if errors.Is(err, errNotFound) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		tenant = spec.Tenant
		a.tenants.learn(job, tenant)
	}
	return c.sees(tenant), nil
}
