package host

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/shardy-network/orchestrator/events"
)

// gate is what the host knows of its log: whether it is there. While it is away, commands of those who wait for an
// answer are refused at once; all others are kept where they are and go on when it is back, so that nobody has to
// remember what was under way. An outage begins with the first call that finds the log unavailable, and ends when the
// log tells its head.
type gate struct {
	host    *Host
	closing chan struct{} // closed when the host begins to close
	shut    atomic.Bool   // there is an outage: a look without mu

	mu     sync.Mutex
	back   chan struct{} // not nil during an outage; closed at its end
	closed bool
	// The last outage and the time after it that deadlines are not fired: what fell in there was not the workers' doing.
	since, grace time.Time
	outages      int64
}

// Pauses of those who wait for the log.
const (
	minProbe     = 20 * time.Millisecond
	maxProbe     = time.Second
	probeTimeout = 5 * time.Second
	minGrace     = time.Second // behind the shortest outage
)

func newGate(h *Host) *gate { return &gate{host: h, closing: make(chan struct{})} }

// unavailable reports whether an error leaves open what became of a call.
func unavailable(err error) bool {
	return errors.Is(err, events.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded)
}

// errAway is what those hear who come during an outage.
var errAway = fmt.Errorf("%w: waiting for it to come back", events.ErrUnavailable)

// lost begins an outage, unless there is one.
func (g *gate) lost(cause error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.back != nil || g.closed {
		return
	}
	g.back, g.since = make(chan struct{}), time.Now()
	g.outages++
	g.shut.Store(true)
	g.host.wg.Go(func() { g.probe(cause) })
}

// probe waits for the log to come back.
func (g *gate) probe(cause error) {
	told := false
	for pause := minProbe; g.host.ctx.Err() == nil; pause = min(2*pause, maxProbe) {
		ctx, cancel := context.WithTimeout(g.host.ctx, probeTimeout)
		_, err := g.host.cfg.Log.Head(ctx)
		cancel()
		if err == nil {
			g.over(told)
			return
		}
		if !told { // a call that failed by itself is not worth a line
			told = true
			g.host.cfg.Logger.Warn("log is away; work waits for it", "error", cause)
		}
		select {
		case <-time.After(pause):
		case <-g.host.ctx.Done():
		}
	}
}

func (g *gate) over(told bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	took := now.Sub(g.since)
	g.grace = now.Add(min(max(took, minGrace), g.host.cfg.ReconnectGrace))
	if told {
		g.host.cfg.Logger.Info("log is back", "after_ms", took.Milliseconds())
	}
	g.shut.Store(false)
	close(g.back)
	g.back = nil
}

// away reports whether there is an outage.
func (g *gate) away() bool { return g.shut.Load() }

// wait returns when there is no outage. Who comes again waits longer. It reports false when the host closes.
func (g *gate) wait(try int) bool {
	if try > 0 {
		d := min(minProbe<<min(try, 10), maxProbe)
		select {
		case <-time.After(d/2 + rand.N(d/2+1)):
		case <-g.closing:
			return false
		}
	}
	g.mu.Lock()
	back := g.back
	g.mu.Unlock()
	if back != nil {
		select {
		case <-back:
		case <-g.closing:
		}
	}
	select {
	case <-g.closing:
		return false
	default:
		return true
	}
}

// postponed returns when a deadline may be fired that fell into the last outage or its grace, or is to be looked at
// again while there is one; nothing otherwise.
func (g *gate) postponed(due, now time.Time) (time.Time, bool) {
	if g.away() {
		return now.Add(maxProbe), true
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if now.Before(g.grace) && !due.Before(g.since) {
		return g.grace, true
	}
	return time.Time{}, false
}

// graceUntil is the end of the time after the last outage in which nothing is taken from workers.
func (g *gate) graceUntil() time.Time {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.grace
}

// close lets go of everybody who waits. When the log is away it reports so: there is nothing to finish then.
func (g *gate) close() (away bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.closed {
		g.closed = true
		close(g.closing)
	}
	return g.back != nil
}

// awaySince is when the outage began, if there is one.
func (g *gate) awaySince() (time.Time, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.since, g.back != nil
}

func (g *gate) count() int64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.outages
}
