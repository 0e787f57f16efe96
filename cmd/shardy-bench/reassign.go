package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/shardy-network/orchestrator/cmd/shardy/relay"
	"github.com/shardy-network/orchestrator/events"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

const (
	taskTime   = 400 * time.Millisecond // that a worker holds a task, so that a dropped socket has some
	standing   = time.Second            // that a connection must have stood before it is cut
	betweenCut = 250 * time.Millisecond // more than the goal, so that every reassignment belongs to one cut
)

// measureReassign cuts sockets of workers that hold tasks and measures how long it takes until the log has the next
// attempt of each of those slots.
func measureReassign(ctx context.Context, cfg config) (f figures, err error) {
	d, err := deploy(ctx, cfg, roster{3, cfg.agents, true})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, d.close()) }()
	net, err := relay.Start(d.addr)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, net.Close()) }()
	for _, addr := range []string{d.addr, d.addr, net.Addr()} {
		if err := d.startWorker(addr, taskTime); err != nil {
			return nil, err
		}
	}
	if err := d.awaitWorkers(ctx, 3*cfg.agents); err != nil {
		return nil, err
	}
	l, err := d.newLoad(ctx)
	if err != nil {
		return nil, err
	}
	moves := &moves{stripped: make(map[string]int64)}
	if err := d.follow(ctx, moves.see, "AssignmentStripped", "AssignmentDispatched"); err != nil {
		return nil, err
	}
	stop := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() { l.open(ctx, cfg.rate, cfg.uniform, stop) })
	err = cutAll(ctx, net, moves, cfg.n)
	close(stop)
	running.Wait()
	if err != nil {
		return nil, err
	}
	l.drain(cfg.drain)
	return moves.figures(cfg, l)
}

// cutAll cuts so many sockets, one after the other.
func cutAll(ctx context.Context, net *relay.Relay, m *moves, n int) error {
	if err := pause(ctx, standing+taskTime); err != nil {
		return err
	}
	idle := time.Now()
	for done := 0; done < n; {
		link := net.Oldest(standing)
		if link == nil {
			if time.Since(idle) > readyLimit {
				return errors.New("workers whose sockets were cut do not come back")
			}
			if err := pause(ctx, betweenCut/10); err != nil {
				return err
			}
			continue
		}
		m.cut(link.Cut())
		done++
		idle = time.Now()
		if err := pause(ctx, betweenCut); err != nil {
			return err
		}
	}
	return pause(ctx, standing)
}

// moves matches cuts of sockets with what the log says of the slots that were lost by them.
type moves struct {
	mu       sync.Mutex // guards what follows
	last     int64      // time of the last cut, in µs since 1970
	cuts     int
	stripped map[string]int64 // by stream: the cut that took the slot away
	strip    []float64        // ms from the cut to AssignmentStripped
	next     []float64        // ms from the cut to the next AssignmentDispatched
	bad      error
}

func (m *moves) cut(at time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.last = at.UnixMicro()
	m.cuts++
}

func (m *moves) see(e *operatorv1.Event) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f, err := events.Decode(events.Record{Draft: events.Draft{Type: e.GetType(), Data: e.GetData()}, Stream: e.GetStream(), Rev: e.GetRevision()})
	if err != nil {
		m.bad = err
		return
	}
	switch f := f.(type) {
	case *eventv1.AssignmentStripped:
		if f.GetReason() == eventv1.StripReason_STRIP_REASON_SOCKET_DROPPED && m.last > 0 {
			m.stripped[e.GetStream()] = m.last
			m.strip = append(m.strip, float64(e.GetTimeUs()-m.last)/1000)
		}
	case *eventv1.AssignmentDispatched:
		if cut, ok := m.stripped[e.GetStream()]; ok {
			m.next = append(m.next, float64(e.GetTimeUs()-cut)/1000)
			delete(m.stripped, e.GetStream())
		}
	}
}

func (m *moves) figures(cfg config, l *load) (figures, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.bad != nil {
		return nil, m.bad
	}
	f := figures{
		"peer": "shardy", "variant": cfg.label(), "mode": cfg.mode, "rate": cfg.rate, "cuts": m.cuts, "slots_lost": len(m.strip),
		"slots_reassigned": len(m.next), "slots_not_reassigned": len(m.stripped),
		"submitted": l.submitted.Load(), "verified": l.done.Load(), "errors": l.failures.Load(), "dups": l.dups.Load(),
	}
	if text := l.lastErr.Load(); text != nil {
		f["last_err"] = text
	}
	f.percentiles(m.next)
	stripped := figures{}
	stripped.percentiles(m.strip)
	f["strip_p50_ms"], f["strip_p99_ms"] = stripped["p50_ms"], stripped["p99_ms"]
	return f, nil
}

// follow hears of events of some types from now on, until ctx ends.
func (d *deployment) follow(ctx context.Context, see func(*operatorv1.Event), types ...string) error {
	st, err := d.client.system.GetStatus(ctx, &operatorv1.GetStatusRequest{})
	if err != nil {
		return fmt.Errorf("get status: %w", err)
	}
	return d.followFrom(ctx, st.GetHead(), see, types...)
}

// followFrom hears of events of some types after a position, until ctx ends.
func (d *deployment) followFrom(ctx context.Context, after uint64, see func(*operatorv1.Event), types ...string) error {
	stream, err := d.client.events.ReadEvents(ctx, &operatorv1.ReadEventsRequest{After: after, Follow: true, Types: types})
	if err != nil {
		return fmt.Errorf("read events: %w", err)
	}
	go func() {
		for stream.Receive() {
			for _, e := range stream.Msg().GetEvents() {
				see(e)
			}
		}
		_ = stream.Close()
	}()
	return nil
}
