package kurrent

import (
	"context"
	"errors"
	"sort"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/shared"
	"github.com/EventStore/EventStore-Client-Go/v4/protos/streams"

	"github.com/shardy-network/orchestrator/events"
)

// feedBytes bounds the data and metadata of the events that the feed keeps.
const feedBytes = 32 << 20

// feed follows the whole log once, for all tails of the process, and keeps the newest events for them. It never waits
// for a tail: one that is too slow reads history. Its goroutine begins with the first tail and ends with the log.
type feed struct {
	l    *Log
	once sync.Once
	done chan struct{} // closed when the goroutine has ended

	mu      sync.Mutex      // guards what follows
	ring    []events.Record // the events after from and up to upto, in order, as a circle
	first   int             // index of the oldest
	count   int
	bytes   int
	begun   bool            // from and upto are known
	from    events.Position // an event's, or 0
	upto    events.Position
	broken  error         // not nil: the server has been away for longer than a call may take
	news    chan struct{} // closed and replaced when any of this changes and somebody waits
	waiting bool
}

func newFeed(l *Log) *feed {
	return &feed{l: l, done: make(chan struct{}), ring: make([]events.Record, l.opts.Window), news: make(chan struct{})}
}

// start makes sure that the feed runs. The caller is a call in flight.
func (f *feed) start() { f.once.Do(func() { go f.run() }) }

// wait returns when the feed has ended; no call is in flight, and none can begin.
func (f *feed) wait() {
	f.once.Do(func() { close(f.done) })
	<-f.done
}

func (f *feed) run() {
	defer close(f.done)
	ctx := f.l.life
	var since time.Time // of the outage
	for ctx.Err() == nil {
		up, err := f.follow(ctx)
		if ctx.Err() != nil {
			return
		}
		if up || since.IsZero() {
			since = time.Now()
			f.l.log.Debug("log's subscription ended", "error", err)
		}
		if time.Since(since) >= f.l.opts.CallTimeout || !errors.Is(err, events.ErrUnavailable) {
			f.change(func() { f.broken = err })
		}
		_ = pause(ctx, retryPause)
	}
}

// change changes the feed and wakes those who wait.
func (f *feed) change(do func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	do()
	f.wake()
}

// wake runs under mu.
func (f *feed) wake() {
	if f.waiting {
		close(f.news)
		f.news = make(chan struct{})
		f.waiting = false
	}
}

var errSilent = errors.New("the subscription has fallen silent")

// follow subscribes behind the last event that the feed has and takes events until the subscription ends. It says
// whether there was one.
func (f *feed) follow(ctx context.Context) (up bool, err error) {
	after, err := f.place(ctx)
	if err != nil {
		return false, err
	}
	cc, err := f.l.reads.conn(ctx)
	if err != nil {
		return false, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var trailer metadata.MD
	early := time.AfterFunc(f.l.opts.CallTimeout, func() { cancel(errSilent) })
	defer early.Stop()
	s, err := streams.NewStreamsClient(cc).Read(f.l.preferring(ctx), subscription(after), grpc.Trailer(&trailer))
	for err == nil {
		var resp *streams.ReadResp
		if resp, err = s.Recv(); err != nil {
			break
		}
		if !up && resp.GetConfirmation() != nil {
			up = true
			early.Stop()
			f.change(func() { f.broken = nil })
			var watch sync.WaitGroup
			watch.Go(func() { f.watch(ctx, cancel) })
			defer watch.Wait()
			defer cancel(nil)
		}
		if err := f.take(resp); err != nil {
			return up, err
		}
	}
	if errors.Is(context.Cause(ctx), errSilent) {
		return up, unavailable("%v", errSilent)
	}
	err = typed(err, trailer, "")
	var no *notLeader
	if errors.As(err, &no) {
		err = errors.Join(err, f.l.reads.follow(cc, no.addr))
	}
	return up, err
}

// place is where the next subscription begins: at the log's end the first time.
func (f *feed) place(ctx context.Context) (events.Position, error) {
	f.mu.Lock()
	begun, upto := f.begun, f.upto
	f.mu.Unlock()
	if begun {
		return upto, nil
	}
	head, err := f.l.head(ctx)
	if err != nil {
		return 0, err
	}
	f.change(func() { f.begun, f.from, f.upto = true, head, head })
	return head, nil
}

func subscription(after events.Position) *streams.ReadReq {
	return &streams.ReadReq{Options: &streams.ReadReq_Options{
		StreamOption: allFrom(after, false),
		CountOption:  &streams.ReadReq_Options_Subscription{Subscription: &streams.ReadReq_Options_SubscriptionOptions{}},
		FilterOption: &streams.ReadReq_Options_NoFilter{NoFilter: &shared.Empty{}},
		UuidOption:   &streams.ReadReq_Options_UUIDOption{Content: &streams.ReadReq_Options_UUIDOption_Structured{Structured: &shared.Empty{}}},
	}}
}

// take keeps what the subscription sent.
func (f *feed) take(resp *streams.ReadResp) error {
	if c := resp.GetCheckpoint(); c != nil {
		f.change(func() { f.upto = max(f.upto, events.Position(c.GetCommitPosition())) })
		return nil
	}
	if resp.GetEvent() == nil {
		return nil
	}
	r, err := record(resp.GetEvent())
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if r.Pos <= f.upto {
		return nil // a server that begins with the event it was asked from
	}
	size := len(r.Data) + len(r.Meta)
	for f.count == len(f.ring) || f.count > 0 && f.bytes+size > feedBytes {
		old := &f.ring[f.first]
		f.from = old.Pos
		f.bytes -= len(old.Data) + len(old.Meta)
		*old = events.Record{}
		f.first = (f.first + 1) % len(f.ring)
		f.count--
	}
	f.ring[(f.first+f.count)%len(f.ring)] = r
	f.count++
	f.bytes += size
	f.upto = r.Pos
	f.wake()
	return nil
}

// glance is what a tail sees of the feed.
type glance struct {
	ready  bool            // the tail may take events from the feed
	from   events.Position // when not ready: read history until here
	upto   events.Position
	news   <-chan struct{} // closed at the next change; not nil when there was nothing to take
	broken error
}

// look copies some events after a place into buf. They share their bytes with other tails.
func (f *feed) look(at events.Position, buf []events.Record) ([]events.Record, glance) {
	f.mu.Lock()
	defer f.mu.Unlock()
	g := glance{ready: f.begun && at >= f.from, from: f.from, upto: f.upto, broken: f.broken}
	if g.ready {
		i := sort.Search(f.count, func(i int) bool { return f.ring[(f.first+i)%len(f.ring)].Pos > at })
		for ; i < f.count && len(buf) < cap(buf); i++ {
			buf = append(buf, f.ring[(f.first+i)%len(f.ring)])
		}
	}
	if !f.begun || g.ready && len(buf) == 0 {
		f.waiting = true
		g.news = f.news
	}
	return buf, g
}

// watch ends a subscription that is silent although there is news: servers and networks are known to drop one without
// a word.
func (f *feed) watch(ctx context.Context, cancel context.CancelCauseFunc) {
	var place, head events.Position
	for pause(ctx, f.l.opts.Watch) == nil {
		_, g := f.look(0, nil)
		if g.upto == place && head > place {
			cancel(errSilent)
			return
		}
		h, err := f.l.head(ctx)
		if err != nil {
			h = 0 // the outage is not the watchdog's to judge
		}
		place, head = g.upto, h
	}
}
