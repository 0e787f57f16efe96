package settlement

import (
	"context"
	"runtime"
	"sync"
	"time"
)

// What may be worked without a rest, and what is remembered of long work.
const (
	burst   = 2 * time.Millisecond
	maxDebt = 2 * time.Second
)

// pacer holds work to a share of the processors: who has worked rests until the time worked is no more than the share of
// the time gone by.
type pacer struct {
	cores float64 // that may be kept busy
	now   func() time.Time
	spent func() time.Duration // by the calling thread, so far

	mu     sync.Mutex // guards what follows
	debt   time.Duration
	at     time.Time
	worked time.Duration // ever
}

// newPacer counts what spent says. Nil: the time of the clock, as on systems that do not tell threads apart.
func newPacer(cores float64, now func() time.Time, spent func() time.Duration) *pacer {
	if spent == nil {
		begin := now()
		spent = func() time.Duration { return now().Sub(begin) }
	}
	return &pacer{cores: cores, now: now, spent: spent, at: now()}
}

// work begins a piece of work of the calling goroutine, which MUST call the end of it.
func (p *pacer) work() (end func()) {
	runtime.LockOSThread()
	from := p.spent()
	return func() {
		d := p.spent() - from
		runtime.UnlockOSThread()
		p.mu.Lock()
		defer p.mu.Unlock()
		p.settle()
		p.worked += d
		p.debt = min(p.debt+d, maxDebt)
	}
}

// settle takes off the debt what time has paid. It must be called with the lock held.
func (p *pacer) settle() {
	now := p.now()
	p.debt = max(0, p.debt-time.Duration(float64(max(0, now.Sub(p.at)))*p.cores))
	p.at = now
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
