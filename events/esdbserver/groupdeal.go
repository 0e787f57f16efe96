package esdbserver

import (
	"time"

	"google.golang.org/grpc/codes"

	esdbv1 "github.com/shardy-network/orchestrator/proto/shardy/esdb/v1"
)

// deal hands events to readers with room, and returns how long nothing can happen by itself.
func (g *group) deal() time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	for _, queue := range []*[]*flight{&g.again, &g.ready} {
		n := 0
		for n < len(*queue) && g.give((*queue)[n], now) {
			n++
		}
		clear((*queue)[:n])
		*queue = (*queue)[n:]
	}
	wait := time.Hour
	if len(g.expiry) > 0 {
		wait = min(wait, g.expiry[0].at.Sub(now))
	}
	if g.places.low() > g.written || g.parked.dirty() {
		wait = min(wait, max(checkpointAfter(g.cfg.GetSettings()), 10*time.Millisecond))
	}
	return max(wait, time.Millisecond)
}

// give hands one event to a reader, in turn, or to the first who has room if there is to be one.
func (g *group) give(f *flight, now time.Time) bool {
	single := g.cfg.GetSettings().GetStrategy() == esdbv1.GroupSettings_STRATEGY_UNSPECIFIED && g.cfg.GetSettings().GetConsumerStrategy() != "RoundRobin"
	for i := range g.readers {
		at := i
		if !single {
			at = (g.turn + i) % len(g.readers)
		}
		r := g.readers[at]
		if r.free == 0 {
			continue
		}
		g.turn = at + 1
		r.free--
		r.total++
		g.dealt++
		f.reader, f.hand = r, f.hand+1
		g.flying[f.record.ID] = append(g.flying[f.record.ID], f)
		if t := messageTimeout(g.cfg.GetSettings()); t > 0 {
			g.expiry = append(g.expiry, expiry{f: f, hand: f.hand, at: now.Add(t)})
		}
		r.ch <- &dealt{record: f.record, tries: f.tries} // never blocks: free counts its room
		return true
	}
	return false
}

// expire takes back what readers have kept for too long.
func (g *group) expire(now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := 0
	for ; n < len(g.expiry); n++ {
		x := g.expiry[n]
		if x.f.reader == nil || x.f.hand != x.hand {
			continue // settled or dealt again since
		}
		if x.at.After(now) {
			break
		}
		g.takeBack(x.f)
		g.retry(x.f, "no answer in time")
	}
	clear(g.expiry[:n])
	g.expiry = g.expiry[n:]
}

// takeBack ends a reader's hold on an event.
func (g *group) takeBack(f *flight) {
	id := f.record.ID
	rest := g.flying[id][:0]
	for _, o := range g.flying[id] {
		if o != f {
			rest = append(rest, o)
		}
	}
	if len(rest) == 0 {
		delete(g.flying, id)
	} else {
		g.flying[id] = rest
	}
	f.reader.free++
	f.reader = nil
}

// retry deals an event again, or parks it when that was done too often.
func (g *group) retry(f *flight, reason string) {
	if f.tries++; f.tries > g.cfg.GetSettings().GetMaxRetryCount() {
		g.toPark = append(g.toPark, parking{f, "tried too often: " + reason})
		return
	}
	g.again = append(g.again, f)
}

// settle is the end of an event.
func (g *group) settle(f *flight) {
	if f.settled {
		return
	}
	f.settled = true
	if f.replay {
		g.parked.places.settle(f.number)
		return
	}
	g.places.settle(f.number)
	g.settled++
}

// join adds a reader.
func (g *group) join(r *groupReader) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.gone {
		return errGroupDropped
	}
	if most := int(g.cfg.GetSettings().GetMaxSubscriberCount()); most > 0 && len(g.readers) >= most {
		return refuse(codes.FailedPrecondition, "Maximum subscriptions reached for subscription group "+g.name+" on stream "+sourceName(g.source)+".",
			groupTrailers("maximum-subscribers-reached", g.source, g.name)...)
	}
	g.readers = append(g.readers, r)
	g.poke()
	return nil
}

// part removes a reader. What it had is dealt again, with no try counted.
func (g *group) part(r *groupReader) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for i := range g.readers {
		if g.readers[i] == r {
			g.readers = append(g.readers[:i], g.readers[i+1:]...)
			break
		}
	}
	r.left = true
	var back []*flight
	for _, fs := range g.flying {
		for _, f := range fs {
			if f.reader == r {
				back = append(back, f)
			}
		}
	}
	for _, f := range back {
		g.takeBack(f)
	}
	sortFlights(back)
	g.again = append(back, g.again...)
	g.poke()
}

// ack settles what a reader names, if the reader has it.
func (g *group) ack(r *groupReader, ids []*esdbv1.UUID) error {
	return g.answered(r, ids, g.settle)
}

// nack does with an event what the reader asks for.
func (g *group) nack(r *groupReader, n *esdbv1.GroupReadRequest_Nack) error {
	return g.answered(r, n.GetIds(), func(f *flight) {
		switch n.GetAction() {
		case esdbv1.GroupReadRequest_Nack_ACTION_PARK:
			g.toPark = append(g.toPark, parking{f, n.GetReason()})
		case esdbv1.GroupReadRequest_Nack_ACTION_SKIP:
			g.settle(f)
		case esdbv1.GroupReadRequest_Nack_ACTION_STOP:
			g.again = append(g.again, f)
		default:
			g.retry(f, n.GetReason())
		}
	})
}

func (g *group) answered(r *groupReader, ids []*esdbv1.UUID, do func(*flight)) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, u := range ids {
		id, err := uuidOf(u)
		if err != nil {
			return err
		}
		for _, f := range g.flying[id] {
			if f.reader == r {
				g.takeBack(f)
				do(f)
				break
			}
		}
	}
	g.poke()
	return nil
}
