package kurrent

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/EventStore/EventStore-Client-Go/v4/protos/streams"

	"github.com/shardy-network/orchestrator/events"
)

// lane is one long call of BatchAppend that carries the appends of the whole process: a third of the work of a call
// for each append, and one stream of the connection however many append. A lane that breaks fails what is on it; the
// next append opens another.
type lane struct {
	cc     *grpc.ClientConn
	call   streams.Streams_BatchAppendClient
	ctx    context.Context // of the call; ends with the lane
	cancel context.CancelFunc
	queue  chan *streams.BatchAppendReq // to the one goroutine that may send
	heard  atomic.Int64                 // when the server last answered, unix ns

	mu      sync.Mutex // guards what follows
	waiting map[uint64]*parcel
	last    uint64 // number given to a parcel
	err     error  // not nil: the lane has ended
}

// parcel is an append under way.
type parcel struct {
	stream string
	want   events.Expect
	answer chan answer // has room for the one answer
}

type answer struct {
	at  events.Appended
	err error
}

// lanes are the lane of now.
type lanes struct {
	mu      sync.Mutex // guards current
	current *lane
	work    sync.WaitGroup // goroutines of all lanes; they end with the log's life
}

// on returns a lane over this connection.
func (ls *lanes) on(life context.Context, cc *grpc.ClientConn) (*lane, error) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if ln := ls.current; ln != nil && ln.cc == cc && ln.ctx.Err() == nil {
		return ln, nil
	}
	ctx, cancel := context.WithCancel(life)
	call, err := streams.NewStreamsClient(cc).BatchAppend(leaderOnly(ctx))
	if err != nil {
		cancel()
		return nil, typed(err, nil, "")
	}
	if ls.current != nil {
		ls.current.cancel()
	}
	ln := &lane{cc: cc, call: call, ctx: ctx, cancel: cancel, queue: make(chan *streams.BatchAppendReq), waiting: make(map[uint64]*parcel)}
	ln.heard.Store(time.Now().UnixNano())
	ls.current = ln
	ls.work.Go(ln.send)
	ls.work.Go(ln.receive)
	return ln, nil
}

// take gives a parcel its place on a lane.
func (ls *lanes) take(life context.Context, cc *grpc.ClientConn, p *parcel) (*lane, uint64, error) {
	for attempt := 0; ; attempt++ {
		ln, err := ls.on(life, cc)
		if err != nil {
			return nil, 0, err
		}
		n, err := ln.add(p)
		if err == nil || attempt == 2 {
			return ln, n, err
		}
	}
}

func (ln *lane) send() {
	for {
		select {
		case req := <-ln.queue:
			if ln.call.Send(req) != nil {
				return // the reason comes to the receiver
			}
		case <-ln.ctx.Done():
			return
		}
	}
}

func (ln *lane) receive() {
	for {
		resp, err := ln.call.Recv()
		if err != nil {
			ln.cancel() // nobody else may come onto it
			ln.fail(typed(err, ln.call.Trailer(), ""))
			return
		}
		ln.heard.Store(time.Now().UnixNano())
		id, err := parseUUID(resp.GetCorrelationId())
		if err != nil {
			ln.cancel()
			ln.fail(unavailable("the server answered nobody"))
			return
		}
		if p := ln.take(id); p != nil {
			p.answer <- p.read(resp)
		}
	}
}

func (ln *lane) fail(err error) {
	ln.mu.Lock()
	defer ln.mu.Unlock()
	ln.err = err
	for n, p := range ln.waiting {
		p.answer <- answer{err: err}
		delete(ln.waiting, n)
	}
}

// add gives a parcel its number.
func (ln *lane) add(p *parcel) (uint64, error) {
	ln.mu.Lock()
	defer ln.mu.Unlock()
	if ln.err != nil {
		return 0, ln.err
	}
	ln.last++
	ln.waiting[ln.last] = p
	return ln.last, nil
}

// take returns the parcel of an answer, if somebody still waits for it.
func (ln *lane) take(id events.ID) *parcel {
	n := number(id)
	ln.mu.Lock()
	defer ln.mu.Unlock()
	p := ln.waiting[n]
	delete(ln.waiting, n)
	return p
}

// giveUp forgets a parcel. A lane on which the server has said nothing for longer than patience is ended.
func (ln *lane) giveUp(n uint64, patience time.Duration) {
	ln.mu.Lock()
	delete(ln.waiting, n)
	ln.mu.Unlock()
	if time.Since(time.Unix(0, ln.heard.Load())) > patience {
		ln.cancel()
	}
}

// post makes one append over the lane. A broken expectation is a *events.Conflict.
func (l *Log) post(ctx context.Context, cc *grpc.ClientConn, stream string, want events.Expect, evs []events.Draft) (events.Appended, error) {
	p := &parcel{stream: stream, want: want, answer: make(chan answer, 1)}
	ln, n, err := l.lanes.take(l.life, cc, p)
	if err != nil {
		return events.Appended{}, err
	}
	req := batchRequest(n, stream, want, evs)
	if end, ok := ctx.Deadline(); ok {
		req.Options.DeadlineOption = &streams.BatchAppendReq_Options_Deadline{Deadline: durationpb.New(max(time.Until(end), 0))}
	}
	queue := ln.queue
	for {
		select {
		case queue <- req:
			queue = nil
		case a := <-p.answer:
			return a.at, a.err
		case <-ctx.Done():
			ln.giveUp(n, l.opts.Patience)
			return events.Appended{}, unavailable("no answer to an append in time")
		}
	}
}

// put makes one append, in a call of its own when the server knows no other.
func (l *Log) put(ctx context.Context, cc *grpc.ClientConn, stream string, want events.Expect, evs []events.Draft) (events.Appended, error) {
	if !l.single.Load() {
		got, err := l.post(ctx, cc, stream, want, evs)
		if !errors.Is(err, events.ErrUnsupported) {
			return got, err
		}
		l.single.Store(true)
		l.log.Info("the log's server takes no batches")
	}
	return send(ctx, cc, stream, want, evs)
}
