package orchestrator

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/shardy-network/orchestrator/events"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

// ErrRecovering says that work from before the start is still being reopened.
var ErrRecovering = errors.New("open work is still being read")

// status is what only the process knows.
func (o *Orchestrator) status(ctx context.Context) (*operatorv1.GetStatusResponse, error) {
	head, err := o.log.Head(ctx)
	if err != nil {
		return nil, err
	}
	stats, err := o.host.Stats(ctx)
	if err != nil {
		return nil, err
	}
	counts, door := o.open.Counts(), o.door.Stats()
	totals, err := o.model.Totals(ctx)
	if err != nil {
		return nil, err
	}
	letters := int64(0)
	for _, n := range totals.DeadLetters {
		letters += n
	}
	res := &operatorv1.GetStatusResponse{
		Version: o.cfg.Version, Node: o.cfg.Node, ServerKey: o.key.Public().(ed25519.PublicKey), Head: uint64(head),
		OpenJobs: uint64(counts.OpenJobs), DeadLetters: uint64(letters),
		WaitingSlots: uint64(stats.Dispatch.WaitingSlots), InFlight: uint64(stats.Dispatch.InFlight),
		StartedUs: o.begin.UnixMicro(), Recovering: stats.Recovering > 0, Draining: o.draining.Load(),
	}
	if at := o.open.Position(); head > at {
		res.Lag = uint64(head - at)
	}
	for _, t := range stats.Dispatch.Tiers {
		res.Workers = append(res.Workers, &operatorv1.TierCount{Tier: t.Tier, Connected: uint32(t.Workers), Idle: uint32(t.Idle)})
	}
	res.Counters = []*operatorv1.Counter{
		{Name: "entities", Value: uint64(stats.Entities)},
		{Name: "deadlines", Value: uint64(stats.Deadlines)},
		{Name: "events_appended", Value: uint64(stats.Events)},
		{Name: "conflicts", Value: uint64(stats.Conflicts)},
		{Name: "entity_failures", Value: uint64(stats.Panics)},
		{Name: "dispatch_failures", Value: uint64(stats.DispatchFailed)},
		{Name: "slots_abandoned", Value: uint64(stats.Abandoned)},
		{Name: "ringers_issued", Value: uint64(stats.Ringers)},
		{Name: "ringers_skipped", Value: uint64(stats.RingersSkipped)},
		{Name: "sessions", Value: uint64(door.Sessions)},
		{Name: "handshakes_refused", Value: door.Refused},
		{Name: "tasks_delivered", Value: door.Delivered},
		{Name: "tasks_stripped", Value: door.Stripped},
		{Name: "results_recorded", Value: door.Recorded},
		{Name: "results_rejected", Value: door.Rejected},
		{Name: "stale_messages", Value: door.Stale},
		{Name: "sessions_replaced", Value: door.Replaced},
		{Name: "workers_tested", Value: door.Tested},
	}
	for _, code := range slices.Sorted(maps.Keys(door.Closed)) {
		res.Counters = append(res.Counters, &operatorv1.Counter{Name: "closed_" + strings.ToLower(code), Value: door.Closed[code]})
	}
	return res, nil
}

// ready reports why the process cannot serve yet, or no longer.
func (o *Orchestrator) ready(ctx context.Context) error {
	stats, err := o.host.Stats(ctx)
	if err != nil {
		return err
	}
	switch {
	case stats.LogAway:
		return fmt.Errorf("%w: the event log is away", events.ErrUnavailable)
	case stats.Recovering > 0:
		return ErrRecovering
	}
	return nil
}
