package esdbserver

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/shardy-network/orchestrator/events"
	esdbv1 "github.com/shardy-network/orchestrator/proto/shardy/esdb/v1"
)

// Bounds of one group in memory.
const (
	maxOutstanding = 10_000           // events handed out and not settled, in front of which the group waits
	groupPatience  = 10 * time.Second // for what a group writes
	groupPause     = time.Second      // before it tries again when the log fails
)

var errGroupDropped = errors.New("group was dropped")

// group deals the events of one source out to its readers, each event to one of them, until one acknowledges it. One
// goroutine reads the log, writes what must be kept and deals; calls change the state under the lock and kick it.
//
// What is kept: everything below the checkpoint is settled, by an acknowledgement or because it was parked. After a
// restart events behind the checkpoint come again.
type group struct {
	s            *Server
	source, name string
	filter       *filter

	kick    chan struct{} // capacity 1: there is something to do
	dropped chan struct{} // closed when the group was removed

	starting sync.Mutex // guards started
	started  bool

	cursor cursor // belongs to the goroutine alone

	mu      sync.Mutex // guards what follows
	cfg     *esdbv1.GroupConfig
	gone    bool
	readers []*groupReader
	turn    int       // whose turn it is
	ready   []*flight // read and not yet dealt
	again   []*flight // to be dealt first
	flying  map[events.ID][]*flight
	expiry  []expiry // in order
	toPark  []parking

	places    outstanding // of the source: revisions or positions
	dealt     int64
	written   uint64 // checkpoint as it is in the log
	writtenAt time.Time
	settled   int // events since the last checkpoint

	parked parked
}

// flight is an event on its way to being settled.
type flight struct {
	record  *events.Record
	number  uint64 // in group.places, or in parked.places if replayed
	replay  bool
	tries   int32
	reader  *groupReader // who has it; nil: nobody
	hand    int          // counts the times it was dealt
	settled bool
}

type expiry struct {
	f    *flight
	hand int
	at   time.Time
}

type parking struct {
	f      *flight
	reason string
}

// groupReader is one call that reads the group.
type groupReader struct {
	who, from string
	ch        chan *dealt // as large as the buffer that the client asked for
	size      int
	free      int
	total     int64
	left      bool
}

// dealt is what a reader's call sends.
type dealt struct {
	record *events.Record
	tries  int32
}

func newGroup(s *Server, c *esdbv1.GroupConfig) (*group, error) {
	f, err := filterOf(c.GetFilter())
	if err != nil {
		return nil, err
	}
	return &group{
		s: s, source: c.GetSource(), name: c.GetName(), filter: f, cfg: c,
		kick: make(chan struct{}, 1), dropped: make(chan struct{}), flying: make(map[events.ID][]*flight),
	}, nil
}

func (g *group) config() *esdbv1.GroupConfig {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.cfg
}

func (g *group) configure(c *esdbv1.GroupConfig) {
	g.mu.Lock()
	g.cfg = c
	g.mu.Unlock()
	g.poke()
}

func (g *group) poke() {
	select {
	case g.kick <- struct{}{}:
	default:
	}
}

// start reads what is kept of the group and sets it going, once.
func (g *group) start(ctx context.Context) error {
	g.starting.Lock()
	defer g.starting.Unlock()
	if g.started {
		return nil
	}
	low, err := g.loadCheckpoint(ctx)
	if err != nil {
		return err
	}
	if err := g.parked.load(ctx, g.s, g.parkedStream()); err != nil {
		return err
	}
	if err := g.s.hub.start(); err != nil {
		return err
	}
	g.places.bound, g.written, g.writtenAt = low, low, time.Now()
	g.cursor = cursor{s: g.s, stream: g.source, next: low}
	if g.source == "" {
		g.cursor.pos = events.Position(max(low, 1) - 1)
	}
	g.started = true
	g.s.work.Go(g.run)
	return nil
}

// drop ends the group and its readers' calls.
func (g *group) drop() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.gone {
		g.gone = true
		close(g.dropped)
	}
}

// run is the group's goroutine. It ends when the group is dropped or the server closes.
func (g *group) run() {
	var p page
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		g.expire(time.Now()) // what it takes back may have to be parked or dealt
		parkErr := g.parkAll()
		keepErr := g.keep(false)
		wait := g.deal()
		var news <-chan struct{}
		var readErr error
		if g.wantsMore() {
			var more bool
			if more, news, readErr = g.readMore(&p); more {
				continue
			}
		}
		if err := errors.Join(parkErr, keepErr, readErr); err != nil {
			if g.s.end.Err() == nil && !errors.Is(err, events.ErrUnavailable) && !errors.Is(err, events.ErrClosed) {
				g.s.cfg.Logger.Warn("group waits for the log", "source", sourceName(g.source), "group", g.name, "error", err)
			}
			news, wait = nil, groupPause
		}
		timer.Reset(wait)
		select {
		case <-g.kick:
		case <-news:
		case <-timer.C:
		case <-g.dropped:
			g.erase()
			return
		case <-g.s.end.Done():
			_ = g.keep(true) // what is not kept comes again
			return
		}
	}
}

// wantsMore reports whether a reader could take an event that was not read yet.
func (g *group) wantsMore() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.ready) > 0 || len(g.again) > 0 || len(g.places.items) >= maxOutstanding {
		return false
	}
	return g.roomy()
}

func (g *group) roomy() bool {
	for _, r := range g.readers {
		if r.free > 0 {
			return true
		}
	}
	return false
}

// readMore takes in the next events: those to be replayed first.
func (g *group) readMore(p *page) (more bool, news <-chan struct{}, err error) {
	ctx, cancel := context.WithTimeout(g.s.end, groupPatience)
	defer cancel()
	if more, err = g.unpark(ctx); more || err != nil {
		return more, nil, err
	}
	news, err = g.cursor.read(ctx, p)
	var r *refusal
	if errors.As(err, &r) {
		return false, nil, nil // the stream has ended for good: there is nothing more
	}
	if err != nil {
		return false, nil, errors.Join(err, g.s.hub.start())
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, e := range p.records {
		if !g.filter.passes(e) || g.own(e) {
			continue
		}
		key := e.Rev
		if g.source == "" {
			key = uint64(e.Pos)
		}
		g.ready = append(g.ready, &flight{record: e, number: g.places.add(key)})
	}
	bound := g.cursor.next
	if g.source == "" {
		bound = uint64(g.cursor.pos) + 1
	}
	g.places.bound = max(g.places.bound, bound)
	return news == nil, news, nil
}

// own tells what groups write themselves, which must not keep them busy.
func (g *group) own(e *events.Record) bool {
	return g.source == "" && (e.Type == typeCheckpoint || e.Type == typeConfig || e.Type == typeLink && isGroupStream(e.Stream))
}
