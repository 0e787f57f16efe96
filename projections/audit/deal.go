package audit

import (
	"context"
	"hash/maphash"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/events"
)

const (
	handRecords = 256 // records that travel to a player at once
	handsAhead  = 8   // hands that wait for one player
)

// player judges the records of the streams that are dealt to it, in the order of the log. It belongs to one goroutine.
type player interface {
	take(ctx context.Context, r *events.Record) error
	end(ctx context.Context) error
}

// deal reads the log once, in order, and deals its records to the players. A job and its assignments go to the same
// player. It reports positions that do not ascend.
func deal[P player](ctx context.Context, log Log, f events.Filter, players []P, order *findings) error {
	table, ctx := errgroup.WithContext(ctx)
	hands := make([]chan []events.Record, len(players))
	used := make(chan []events.Record, len(players)*handsAhead)
	for i, p := range players {
		hands[i] = make(chan []events.Record, handsAhead)
		table.Go(func() error { return play(ctx, p, hands[i], used) })
	}
	table.Go(func() error {
		defer func() {
			for _, h := range hands {
				close(h)
			}
		}()
		return dealer{hands, used}.run(ctx, log, f, order)
	})
	return table.Wait()
}

func play(ctx context.Context, p player, hands <-chan []events.Record, used chan<- []events.Record) error {
	for hand := range hands {
		for i := range hand {
			if err := p.take(ctx, &hand[i]); err != nil {
				return err
			}
		}
		clear(hand)
		select {
		case used <- hand[:0]:
		default:
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return p.end(ctx)
}

type dealer struct {
	hands []chan []events.Record
	used  chan []events.Record
}

func (d dealer) run(ctx context.Context, log Log, f events.Filter, order *findings) error {
	seed := maphash.MakeSeed()
	open := make([][]events.Record, len(d.hands))
	send := func(i int) error {
		select {
		case d.hands[i] <- open[i]:
			open[i] = nil
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	var last events.Position
	for r, err := range log.ReadAll(ctx, 0, f) {
		if err != nil {
			return err
		}
		if r.Pos <= last {
			order.add(&r, Order, "position %d follows %d", r.Pos, last)
		}
		last = r.Pos
		i := int(maphash.String(seed, family(r.Stream)) % uint64(len(d.hands)))
		if open[i] == nil {
			open[i] = d.hand()
		}
		if open[i] = append(open[i], r); len(open[i]) == handRecords {
			if err := send(i); err != nil {
				return err
			}
		}
	}
	for i := range open {
		if len(open[i]) > 0 {
			if err := send(i); err != nil {
				return err
			}
		}
	}
	return nil
}

func (d dealer) hand() []events.Record {
	select {
	case h := <-d.used:
		return h
	default:
		return make([]events.Record, 0, handRecords)
	}
}

const (
	jobPrefix        = actors.JobRoom + "-"
	assignmentPrefix = actors.AssignmentRoom + "-"
)

// family is what a job's stream and the streams of its assignments have in common: the job's id. Other streams are a
// family of their own.
func family(stream string) string {
	if id, ok := strings.CutPrefix(stream, jobPrefix); ok {
		return id
	}
	if id, ok := strings.CutPrefix(stream, assignmentPrefix); ok {
		if i := strings.LastIndexByte(id, '-'); i >= 0 {
			return id[:i]
		}
	}
	return stream
}
