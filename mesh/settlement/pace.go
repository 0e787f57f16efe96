package settlement

import (
	"context"
	"sync"
	"time"
)

// What may be worked without a rest, and what is remembered of long work: a call that hangs is not work.
const (
	burst   = 20 * time.Millisecond
	maxDebt = 2 * time.Second
)

// pacer holds work to a share of the processors: who has worked rests until the time worked is no more than the share of
// the time gone by.
type pacer struct {
	cores float64 // that may be kept busy
	now   func() time.Time

	mu     sync.Mutex // guards what follows
	debt   time.Duration
	at     time.Time
	worked time.Duration // ever
}

func newPacer(cores float64, now func() time.Time) *pacer {
	return &pacer{cores: cores, now: now, at: now()}
}

// work notes what was worked since a moment.
func (p *pacer) work(since time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	d := p.settle().Sub(since)
	p.worked += d
	p.debt = min(p.debt+d, maxDebt)
}

// settle takes off the debt what time has paid. It must be called with the lock held.
func (p *pacer) settle() time.Time {
	now := p.now()
	p.debt = max(0, p.debt-time.Duration(float64(max(0, now.Sub(p.at)))*p.cores))
	p.at = now
	return now
}

// due is how long to rest.
func (p *pacer) due() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.settle()
	if p.debt <= burst {
		return 0
	}
	return time.Duration(float64(p.debt-burst) / p.cores)
}

// rest waits until there is work to be done again, or ctx ends.
func (p *pacer) rest(ctx context.Context) {
	for d := p.due(); d > 0 && ctx.Err() == nil; d = p.due() {
		sleep(ctx, d)
	}
}

func (p *pacer) total() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.worked
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
