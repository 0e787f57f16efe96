package esdbserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/shardy-network/orchestrator/events"
)

// parked is what a group has put aside: links in a stream of its own. Those below the metadata's $tb were replayed and
// settled since.
type parked struct {
	next   uint64 // the first link that waits
	end    uint64 // after the last link
	until  uint64 // links below are to be replayed
	places outstanding
	kept   uint64 // $tb as it is in the log
}

const maxReason = 512 // bytes of why an event was parked

func (g *group) parkedStream() string {
	return groupStreams + groupKey(sourceName(g.source), g.name) + "-parked"
}

func (g *group) checkpointStream() string {
	return groupStreams + groupKey(sourceName(g.source), g.name) + "-checkpoint"
}

func isGroupStream(stream string) bool { return strings.HasPrefix(stream, groupStreams) }

func (p *parked) load(ctx context.Context, s *Server, stream string) error {
	last, ok, err := s.last(ctx, stream)
	if err != nil {
		return err
	}
	if ok {
		p.end = last + 1
		for r, err := range s.log.Read(ctx, stream, events.Span{Limit: 1}) {
			if err != nil {
				return err
			}
			p.next = r.Rev
		}
		w, err := s.window(ctx, stream)
		if err != nil {
			return err
		}
		p.next = min(max(p.next, w.first), p.end)
	}
	p.kept, p.places.bound, p.until = p.next, p.next, p.next
	return nil
}

func (p *parked) dirty() bool { return p.places.low() > p.kept }

// replay has the parked events below a place dealt again.
func (g *group) replay(limit uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.parked.until = max(g.parked.until, min(limit, g.parked.end))
	g.poke()
}

// link is what a parked event's link says, beside where it is.
type link struct {
	Reason string    `json:"reason"`
	Added  time.Time `json:"added"`
}

// parkAll writes the links of what is to be parked. What cannot be written is tried again.
func (g *group) parkAll() error {
	g.mu.Lock()
	orders := g.toPark
	g.toPark = nil
	g.mu.Unlock()
	for i, o := range orders {
		if err := g.park(o); err != nil {
			g.mu.Lock()
			g.toPark = append(orders[i:], g.toPark...)
			g.mu.Unlock()
			return err
		}
	}
	return nil
}

func (g *group) park(o parking) error {
	ctx, cancel := context.WithTimeout(g.s.end, groupPatience)
	defer cancel()
	meta, err := json.Marshal(link{Reason: strings.ToValidUTF8(o.reason[:min(len(o.reason), maxReason)], "?"), Added: time.Now().UTC()})
	if err != nil {
		return err
	}
	r := o.f.record
	got, err := g.s.log.Append(ctx, g.parkedStream(), events.Any, events.Draft{
		ID: newUUID(), Type: typeLink, Data: fmt.Appendf(nil, "%d@%s", r.Rev, r.Stream), Meta: meta,
	})
	if err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.parked.end == 0 && got.Rev > 0 || g.parked.next > got.Rev { // the stream was begun again
		g.parked.next, g.parked.until = got.Rev, got.Rev
	}
	g.parked.end = got.Rev + 1
	g.settle(o.f)
	return nil
}

// unpark takes in parked events that are to be replayed.
func (g *group) unpark(ctx context.Context) (more bool, err error) {
	g.mu.Lock()
	from, until := g.parked.next, g.parked.until
	g.mu.Unlock()
	if from >= until {
		return false, nil
	}
	var p page
	if _, err := g.s.pageStream(ctx, &p, g.parkedStream(), from); err != nil {
		return false, err
	}
	var found []*flight
	next := until // if there is nothing left of the stream
	for _, l := range p.records {
		if l.Rev >= until {
			break
		}
		next = l.Rev + 1
		r, err := g.s.resolve(ctx, l)
		if err != nil {
			return false, err
		}
		found = append(found, &flight{record: r, replay: true, number: l.Rev})
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, f := range found {
		f.number = g.parked.places.add(f.number)
		if f.record == nil { // what was parked is gone
			g.parked.places.settle(f.number)
			continue
		}
		g.again = append(g.again, f)
	}
	g.parked.next = next
	g.parked.places.bound = max(g.parked.places.bound, next)
	return true, nil
}

// resolve finds what a link links to, or nothing.
func (s *Server) resolve(ctx context.Context, l *events.Record) (*events.Record, error) {
	number, stream, ok := strings.Cut(string(l.Data), "@")
	rev, err := strconv.ParseUint(number, 10, 64)
	if !ok || err != nil || events.CheckStream(stream) != nil {
		return nil, nil
	}
	for r, err := range s.log.Read(ctx, stream, events.Span{From: rev, Limit: 1}) {
		switch {
		case errors.Is(err, events.ErrNotFound), errors.Is(err, events.ErrDeleted):
			return nil, nil
		case err != nil:
			return nil, err
		case r.Rev == rev:
			return &r, nil
		}
	}
	return nil, nil
}

// passedOver is how many places a group passes over, because its filter does, before it notes that in a checkpoint.
const passedOver = 10_000

type checkpoint struct {
	Settled uint64 `json:"settled"` // everything below
}

func (g *group) loadCheckpoint(ctx context.Context) (uint64, error) {
	for r, err := range g.s.log.Read(ctx, g.checkpointStream(), events.Span{Back: true, Limit: 1}) {
		if errors.Is(err, events.ErrNotFound) {
			break
		}
		if err != nil {
			return 0, err
		}
		var c checkpoint
		if err := json.Unmarshal(r.Data, &c); err != nil {
			return 0, errors.Join(events.ErrCorrupt, err)
		}
		return c.Settled, nil
	}
	return g.cfg.GetStart(), nil
}

// keep writes how far the group has come, when that is due, or at the end.
func (g *group) keep(last bool) error {
	g.mu.Lock()
	t := g.cfg.GetSettings()
	low, replayed := g.places.low(), g.parked.places.low()
	least, most := int(t.GetMinCheckpointCount()), int(t.GetMaxCheckpointCount())
	late := time.Since(g.writtenAt) >= checkpointAfter(t)
	due := last || late && g.settled >= max(least, 1) || most > 0 && g.settled >= most
	passed := late && low > g.written+passedOver
	write, mark := due && low > g.written && g.settled > 0 || passed, (last || late) && replayed > g.parked.kept
	g.mu.Unlock()
	if write {
		if err := g.write(g.checkpointStream(), typeCheckpoint, checkpoint{Settled: low}); err != nil {
			return err
		}
	}
	if mark {
		if err := g.write(metadataPrefix+g.parkedStream(), typeMetadata, map[string]uint64{"$tb": min(replayed, math.MaxInt64-1)}); err != nil {
			return err
		}
	}
	if write || mark {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.writtenAt = time.Now()
		if write {
			g.written, g.settled = low, 0
		}
		if mark {
			g.parked.kept = replayed
		}
	}
	return nil
}

// write appends what the group keeps, also while the server closes.
func (g *group) write(stream, typ string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(g.s.end), groupPatience)
	defer cancel()
	_, err = g.s.log.Append(ctx, stream, events.Any, events.Draft{ID: newUUID(), Type: typ, JSON: true, Data: data})
	return err
}

// forget hides what is kept of the group, so that one of the same name begins anew.
func (g *group) forget(ctx context.Context) error {
	for _, stream := range []string{g.checkpointStream(), metadataPrefix + g.parkedStream(), g.parkedStream()} {
		if err := g.s.log.Delete(ctx, stream, events.Any); err != nil && !errors.Is(err, events.ErrNotFound) {
			return err
		}
	}
	return nil
}

// erase forgets a dropped group. If that fails the next group of this name does it.
func (g *group) erase() {
	ctx, cancel := context.WithTimeout(g.s.end, groupPatience)
	defer cancel()
	if err := g.forget(ctx); err != nil && g.s.end.Err() == nil {
		g.s.cfg.Logger.Warn("dropped group left traces", "source", sourceName(g.source), "group", g.name, "error", err)
	}
}

// sortFlights puts events back into their order.
func sortFlights(fs []*flight) {
	slices.SortFunc(fs, func(a, b *flight) int {
		switch {
		case a.record.Pos < b.record.Pos:
			return -1
		case a.record.Pos > b.record.Pos:
			return 1
		}
		return 0
	})
}
