package main

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// prompt verifies every job after a while.
type prompt struct {
	l     *load
	after time.Duration
	in    atomic.Int64
	most  atomic.Int64
}

func (p *prompt) submit(_ context.Context, j *job, _ []byte) error {
	n := p.in.Add(1)
	for m := p.most.Load(); n > m && !p.most.CompareAndSwap(m, n); m = p.most.Load() {
	}
	go func() {
		time.Sleep(p.after)
		p.in.Add(-1)
		p.l.verified(j, time.Now().UnixNano())
	}()
	return nil
}

func TestClosedLoopKeepsItsWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &prompt{after: 10 * time.Millisecond}
		p.l = newLoad(p)
		stop := make(chan struct{})
		from := time.Now().UnixNano()
		var done sync.WaitGroup
		done.Go(func() { p.l.closed(t.Context(), 8, stop) })
		time.Sleep(time.Second)
		to := time.Now().UnixNano()
		close(stop)
		done.Wait()
		jobs, ms := p.l.latencies(from, to, false)
		if p.most.Load() != 8 || jobs < 790 || jobs > 800 || len(ms) != jobs || ms[0] != 10 {
			t.Errorf("window %d, %d jobs in a second, latency %v ms; want 8, 800, 10", p.most.Load(), jobs, ms[0])
		}
		if p.l.behind() != 0 || p.l.failures.Load() != 0 {
			t.Errorf("%d jobs are out after the end, %d failed", p.l.behind(), p.l.failures.Load())
		}
	})
}

func TestOpenLoopHoldsItsRateAndCountsFromTheSchedule(t *testing.T) {
	for _, uniform := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			p := &prompt{after: 50 * time.Millisecond}
			p.l = newLoad(p)
			stop := make(chan struct{})
			from := time.Now().UnixNano()
			var done sync.WaitGroup
			done.Go(func() { p.l.open(t.Context(), 1000, uniform, stop) })
			time.Sleep(10 * time.Second)
			close(stop)
			done.Wait()
			p.l.drain(time.Second)
			_, ms := p.l.latencies(from, time.Now().UnixNano(), true)
			if n := len(ms); n < 9_500 || n > 10_500 {
				t.Errorf("uniform %t: %d jobs in 10 s at 1,000 a second", uniform, n)
			}
			for _, v := range ms {
				if v < 50 || v > 52 {
					t.Fatalf("uniform %t: latency %v ms, want 50", uniform, v)
				}
			}
		})
	}
}

type refuser struct{ err error }

func (r refuser) submit(context.Context, *job, []byte) error { return r.err }

func TestFailuresAndDuplicatesAreCounted(t *testing.T) {
	l := newLoad(refuser{errors.New("full")})
	l.one(t.Context(), time.Now(), true)
	if l.failures.Load() != 1 || l.behind() != 0 || l.lastErr.Load() != "full" {
		t.Errorf("failures %d, behind %d, last %v", l.failures.Load(), l.behind(), l.lastErr.Load())
	}
	j := &job{}
	l.verified(j, 1)
	l.verified(j, 2)
	if l.done.Load() != 1 || l.dups.Load() != 1 || j.verified.Load() != 1 {
		t.Errorf("done %d, dups %d, at %d", l.done.Load(), l.dups.Load(), j.verified.Load())
	}
}

func TestPayloadsDiffer(t *testing.T) {
	a, b, again := make([]byte, payloadSize), make([]byte, payloadSize), make([]byte, payloadSize)
	fillPayload(1, a)
	fillPayload(2, b)
	fillPayload(1, again)
	if bytes.Equal(a, b) || !bytes.Equal(a, again) {
		t.Error("a payload is a function of its number, and of nothing else")
	}
}

func TestFlags(t *testing.T) {
	if c, err := parse([]string{"-mode", "open", "-rate", "1000", "-attest=false"}, t.Output()); err != nil || c.rate != 1000 || c.attest {
		t.Errorf("got %+v, %v", c, err)
	}
	for _, bad := range [][]string{
		{"-mode", "fast"},
		{"-window", "0"},
		{"-rate", "-1"},
		{"-dur", "0s"},
		{"-agents", "0"},
		{"-n", "0"},
		{"stray"},
		{"-mode", "idle", "-compare", "x"},
		{"-pairs", "0"},
		{"-open", "0"},
	} {
		if _, err := parse(bad, t.Output()); !errors.Is(err, errFlag) {
			t.Errorf("%v: %v", bad, err)
		}
	}
}
