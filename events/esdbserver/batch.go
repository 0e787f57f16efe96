package esdbserver

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/events"
	esdbv1 "github.com/shardy-network/orchestrator/proto/shardy/esdb/v1"
)

type batchStream = grpc.GenericServerStream[esdbv1.BatchAppendRequest, esdbv1.BatchAppendResponse]

// Bounds of one call of BatchAppend.
const (
	openBatches = 64                        // begun and not yet final
	batchBytes  = 4 * events.MaxAppendBytes // held by open batches, and as much again by those on their way to the log
	batchWeight = 1 << 10                   // what a batch counts for beside its bytes
)

// batches is one call of BatchAppend: many appends, answered as they are done. Appends to one stream are done in the
// order in which they came.
type batches struct {
	s    *Server
	ss   *batchStream
	ctx  context.Context
	open map[events.ID]*batch
	held int // bytes of open batches
	room *semaphore.Weighted

	work sync.WaitGroup
	last map[string]chan struct{} // of each stream with appends under way: closed when the last one is done

	mu       sync.Mutex // guards last, sending and what follows
	broken   error      // why sending failed
	finished bool       // no more appends begin
}

// batch is one append as it comes in.
type batch struct {
	stream  string
	options *esdbv1.BatchAppendRequest_Options
	want    events.Expect
	load    load
	err     error // why it will not be appended
	until   time.Time
}

func (s *Server) batchAppend(ss *batchStream) error {
	ctx, cancel := s.ending(ss.Context())
	defer cancel()
	b := &batches{
		s: s, ss: ss, ctx: ctx, open: make(map[events.ID]*batch),
		room: semaphore.NewWeighted(batchBytes + batchWeight), last: make(map[string]chan struct{}),
	}
	defer b.finish()
	heard := make(chan error, 1)
	s.work.Go(func() { heard <- b.listen() }) // ends with the call
	select {
	case err := <-heard:
		b.finish()
		if err == nil {
			err = b.failure()
		}
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// listen takes batches until there are no more.
func (b *batches) listen() error {
	for {
		m, err := b.ss.Recv()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if err := b.take(m); err != nil {
			return err
		}
		if err := b.failure(); err != nil {
			return err
		}
	}
}

// finish begins no more appends and waits for those under way.
func (b *batches) finish() {
	b.mu.Lock()
	b.finished = true
	b.mu.Unlock()
	b.work.Wait()
}

// take adds a message to its batch, and sends the batch on its way when that is complete.
func (b *batches) take(m *esdbv1.BatchAppendRequest) error {
	id, err := uuidOf(m.GetCorrelationId())
	if err != nil {
		return err
	}
	t := b.open[id]
	if t == nil {
		if len(b.open) >= openBatches {
			return refuse(codes.ResourceExhausted, "too many batches without an end")
		}
		t = b.begin(m.GetOptions())
		b.open[id] = t
	}
	b.held -= t.load.bytes
	for _, p := range m.GetProposedMessages() {
		if t.err == nil {
			t.err = t.load.add(p)
		}
	}
	if t.err == nil && b.held+t.load.bytes > batchBytes {
		t.err = tooLarge()
	}
	if t.err != nil { // its bytes are not needed any more
		t.load = load{}
	}
	if !m.GetIsFinal() {
		b.held += t.load.bytes
		return nil
	}
	delete(b.open, id)
	return b.start(m.GetCorrelationId(), t)
}

func (b *batches) begin(o *esdbv1.BatchAppendRequest_Options) *batch {
	t := &batch{stream: nameOf(o.GetStreamIdentifier()), options: o}
	switch v := o.GetExpected().(type) {
	case *esdbv1.BatchAppendRequest_Options_StreamPosition:
		t.want = events.At(v.StreamPosition)
	case *esdbv1.BatchAppendRequest_Options_NoStream:
		t.want = events.Absent
	case *esdbv1.BatchAppendRequest_Options_StreamExists:
		t.want = events.Exists
	case *esdbv1.BatchAppendRequest_Options_Any:
		t.want = events.Any
	default:
		t.err = invalid("no expected revision")
		return t
	}
	t.until = time.Now().Add(b.s.cfg.CallTimeout)
	if d := o.GetDeadline(); d.IsValid() && d.AsDuration() < b.s.cfg.CallTimeout {
		t.until = time.Now().Add(d.AsDuration())
	} else if at := o.GetDeadlineAt(); at.IsValid() && at.AsTime().Before(t.until) {
		t.until = at.AsTime()
	}
	t.err = b.s.mayAppend(b.ctx, t.stream)
	return t
}

// start appends a complete batch, after the one before it in the same stream. It waits for room, so that a client that
// does not read its answers is not read either.
func (b *batches) start(id *esdbv1.UUID, t *batch) error {
	weight := int64(min(t.load.bytes, batchBytes) + batchWeight)
	if err := b.room.Acquire(b.ctx, weight); err != nil {
		return err
	}
	done := make(chan struct{})
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.finished {
		return context.Canceled
	}
	before := b.last[t.stream]
	b.last[t.stream] = done
	b.work.Go(func() {
		defer b.room.Release(weight)
		if before != nil {
			<-before
		}
		a := b.append(t)
		b.mu.Lock()
		if b.last[t.stream] == done {
			delete(b.last, t.stream)
		}
		b.mu.Unlock()
		close(done)
		a.CorrelationId = id
		b.answer(a)
	})
	return nil
}

func (b *batches) append(t *batch) *esdbv1.BatchAppendResponse {
	a := &esdbv1.BatchAppendResponse{StreamIdentifier: identifier(t.stream)}
	switch v := t.options.GetExpected().(type) {
	case *esdbv1.BatchAppendRequest_Options_StreamPosition:
		a.Expected = &esdbv1.BatchAppendResponse_StreamPosition{StreamPosition: v.StreamPosition}
	case *esdbv1.BatchAppendRequest_Options_NoStream:
		a.Expected = &esdbv1.BatchAppendResponse_NoStream{NoStream: v.NoStream}
	case *esdbv1.BatchAppendRequest_Options_StreamExists:
		a.Expected = &esdbv1.BatchAppendResponse_StreamExists{StreamExists: v.StreamExists}
	case *esdbv1.BatchAppendRequest_Options_Any:
		a.Expected = &esdbv1.BatchAppendResponse_Any{Any: v.Any}
	}
	err := t.err
	if err == nil {
		ctx, cancel := context.WithDeadline(b.ctx, t.until)
		defer cancel()
		var got *esdbv1.AppendResponse_Success
		if got, err = b.s.write(ctx, t.stream, t.want, t.load.drafts); err == nil {
			a.Result = &esdbv1.BatchAppendResponse_Success{Success: got}
			return a
		}
	}
	a.Result = &esdbv1.BatchAppendResponse_Error{Error: b.s.batchStatus(b.ctx, t, err)}
	return a
}

// answer sends what became of a batch.
func (b *batches) answer(a *esdbv1.BatchAppendResponse) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.broken == nil {
		b.broken = b.ss.Send(a)
	}
}

func (b *batches) failure() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.broken
}

// batchStatus writes a refusal as clients of BatchAppend look for it: by the type of its detail.
func (s *Server) batchStatus(ctx context.Context, t *batch, err error) *esdbv1.Status {
	var conflict *events.Conflict
	if errors.As(err, &conflict) {
		return withDetail(codes.FailedPrecondition, "WrongExpectedVersion", "WrongExpectedVersion", conflictDetail(conflict))
	}
	if errors.Is(err, events.ErrDeleted) {
		return withDetail(codes.FailedPrecondition, "StreamDeleted", "StreamDeleted", &esdbv1.StreamDeleted{StreamIdentifier: identifier(t.stream)})
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return withDetail(codes.DeadlineExceeded, "Timeout", "Timeout", &esdbv1.Empty{})
	}
	st, trailers := s.refused(ctx, "BatchAppend", t.stream, err)
	exception := ""
	if e := trailers.Get("exception"); len(e) > 0 {
		exception = e[0]
	}
	switch {
	case exception == "maximum-append-size-exceeded":
		return withDetail(st.Code(), st.Message(), "MaximumAppendSizeExceeded", &esdbv1.MaximumAppendSizeExceeded{MaxAppendSize: events.MaxAppendBytes})
	case exception == "access-denied":
		return withDetail(st.Code(), st.Message(), "AccessDenied", &esdbv1.Empty{})
	case st.Code() == codes.InvalidArgument:
		return withDetail(st.Code(), st.Message(), "BadRequest", &esdbv1.BadRequest{Message: st.Message()})
	default:
		return withDetail(st.Code(), st.Message(), "Unknown", &esdbv1.Empty{})
	}
}

func withDetail(code codes.Code, text, name string, m proto.Message) *esdbv1.Status {
	b, err := proto.Marshal(m)
	if err != nil { // the messages are made here and are sound
		b = nil
	}
	return &esdbv1.Status{Code: int32(code), Message: text, Details: []*esdbv1.Status_Detail{
		{TypeUrl: "type.googleapis.com/event_store.client." + name, Value: b},
	}}
}

func conflictDetail(c *events.Conflict) *esdbv1.WrongExpectedVersion {
	d := &esdbv1.WrongExpectedVersion{Current: &esdbv1.WrongExpectedVersion_CurrentNoStream{CurrentNoStream: &esdbv1.Empty{}}}
	if rev, ok := c.Got.Rev(); ok {
		d.Current = &esdbv1.WrongExpectedVersion_CurrentStreamRevision{CurrentStreamRevision: rev}
	}
	rev, ok := c.Want.Rev()
	switch {
	case ok:
		d.Expected = &esdbv1.WrongExpectedVersion_ExpectedStreamPosition{ExpectedStreamPosition: rev}
	case c.Want == events.Absent:
		d.Expected = &esdbv1.WrongExpectedVersion_ExpectedNoStream{ExpectedNoStream: &esdbv1.Empty{}}
	case c.Want == events.Exists:
		d.Expected = &esdbv1.WrongExpectedVersion_ExpectedStreamExists{ExpectedStreamExists: &esdbv1.Empty{}}
	default:
		d.Expected = &esdbv1.WrongExpectedVersion_ExpectedAny{ExpectedAny: &esdbv1.Empty{}}
	}
	return d
}
