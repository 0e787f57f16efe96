package gateway

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/actors/dispatch"
	"github.com/shardy-network/orchestrator/gateway/socket"
	"github.com/shardy-network/orchestrator/gateway/wire"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	workerv1 "github.com/shardy-network/orchestrator/proto/shardy/worker/v1"
)

// session is one WebSocket of a worker. One goroutine reads; everything else may be called from any.
type session struct {
	door   *Door
	conn   *socket.Conn
	ip     netip.Addr
	reader *wire.Reader[*workerv1.FromWorker] // owned by the reading goroutine
	window messageWindow                      // owned by the reading goroutine

	// Set by the handshake before the session is in the table, then fixed.
	key     [32]byte
	owner   []byte
	group   string
	id      []byte           // 16 bytes
	proven  bool             // a proof on record is still valid
	profile *eventv1.Profile // the claim; set before the test goroutine

	phase    atomic.Uint32 // wire.Phase
	maxFrame atomic.Uint64
	working  atomic.Bool  // was given a task since it was quiet last: keeps its reading goroutine
	awaiting atomic.Int64 // when the meta of a payload that is still to come arrived, nanoseconds; 0: none
	answers  chan *workerv1.BenchmarkAnswer

	mu       sync.Mutex
	ended    bool                    // guarded by mu; nothing is put into the maps afterwards
	welcomed bool                    // guarded by mu
	tasks    map[uint64]*task        // in flight; nil until needed; guarded by mu
	settling map[uint64]struct{}     // results on their way to the log; nil until needed; guarded by mu
	settled  []*workerv1.TaskSettled // answers that have not been sent; guarded by mu
	owed     []*batch                // receipts to be signed; results are added to the last one; guarded by mu
	due      *time.Timer             // of owed; nil until needed; guarded by mu
	ready    dispatch.Worker         // what the dispatcher was told, or will be; Tier 0: not admitted; guarded by mu
	credits  uint32                  // what the worker asked for last; guarded by mu
	drained  bool                    // takes no new tasks; guarded by mu
	testing  bool                    // a test goroutine is there; guarded by mu
	inFlight uint64                  // bytes of results being checked and staged; guarded by mu
	freed    *sync.Cond              // of mu: inFlight fell; nil until needed
}

// task is an attempt in this worker's hands.
type task struct {
	actors.Task
	acked bool // guarded by the session's mu
}

// begin is the session's first goroutine: the handshake, on a stack that may grow. The reading goes on in others, so
// that an idle session has a small one, or none. The door waits until finish.
func (s *session) begin() {
	s.door.jobs.Add(1)
	s.conn.Ping()
	stop := context.AfterFunc(s.door.ctx, func() {
		s.close(wire.Errorf(workerv1.ErrorCode_ERROR_CODE_DRAINING, "the orchestrator is closing"))
	})
	err := s.handshake()
	stop()
	if s.hasEnded() { // the handshake may have taken back the deadline of the end
		s.conn.SetReadDeadline(time.Now().Add(s.door.cfg.CloseLinger))
	}
	if err != nil {
		s.failed(err)
		s.finish()
		return
	}
	if !s.conn.Rest(s.listen) {
		go s.listen()
	}
}

// listen is the goroutine that reads. A session that has nothing to do rests without one.
func (s *session) listen() {
	if err := s.read(); err != errRests {
		s.failed(err)
		s.finish()
	}
}

// errRests means that the session has not ended: listen is called again.
var errRests = errors.New("gateway: session rests")

// finish waits for the peer to take our last words, then frees what the connection held.
func (s *session) finish() {
	defer s.door.jobs.Done()
	s.conn.Discard()
	s.door.guard.leave(s.ip)
}

// failed ends the session for the error that reading or the handshake ended with.
func (s *session) failed(err error) {
	var rejected *rejection
	if errors.As(err, &rejected) {
		s.reject(rejected)
		return
	}
	var breach *wire.Error
	if errors.As(err, &breach) {
		s.close(breach)
		return
	}
	if end := s.reader.End(); end != nil && errors.As(end, &breach) {
		s.close(breach)
		return
	}
	s.drop(err)
}

// read takes messages until the session rests, or the connection or the protocol breaks. Its frame is all of ours that
// stays on the stack of a session that waits, so it is kept small: everything else is behind step.
func (s *session) read() error {
	for {
		if s.conn.Await() {
			binary, body, err := s.conn.Next()
			if err == nil {
				err = s.step(binary, body)
			}
			if err != nil {
				return err
			}
		} else if s.working.Load() {
			s.calm()
		}
		if !s.working.Load() && s.conn.Rest(s.listen) {
			return errRests
		}
	}
}

// calm lets a session rest that has no tasks, and from which nothing but answers to pings has come for a while.
func (s *session) calm() {
	const while = 2 // seconds
	if s.conn.Heard().Unix()-s.window.second < while {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.tasks)+len(s.settling) == 0 {
		s.tasks, s.settling = nil, nil // they stay as large as they ever were
		s.working.Store(false)
	}
}

// step acts on one WebSocket message.
//
//go:noinline
func (s *session) step(binary bool, body io.Reader) error {
	in, buf, done, err := s.take(binary, body)
	switch {
	case err != nil:
		s.misfit(in, err)
		return err
	case !done:
		return nil
	}
	if err := wire.Phase(s.phase.Load()).Check(in.Message); err != nil {
		releaseBuffer(buf)
		return err
	}
	return s.handle(in, buf)
}

// take reads one WebSocket message. done says that in is whole; then buf holds the payload, if it carries one, and
// belongs to the caller.
func (s *session) take(binary bool, body io.Reader) (in wire.Incoming[*workerv1.FromWorker], buf *buffer, done bool, err error) {
	if !s.window.take(s.conn.Heard(), s.door.cfg.MessagesPerSecond) {
		return in, nil, false, wire.Errorf(workerv1.ErrorCode_ERROR_CODE_RATE, "more than %d messages a second", s.door.cfg.MessagesPerSecond)
	}
	s.reader.SetMaxPayload(s.maxFrame.Load())
	size, payload := s.reader.Pending()
	limit := wire.MaxMeta
	if payload {
		limit = int(size)
	}
	data, buf, err := s.body(body, limit, payload)
	switch {
	case errors.Is(err, socket.ErrTooLong) && !payload:
		return in, nil, false, wire.Errorf(workerv1.ErrorCode_ERROR_CODE_TOO_LARGE, "message above %d bytes", wire.MaxMeta)
	case errors.Is(err, socket.ErrTooLong):
		// What is longer than any meta cannot be one: the reader sees a byte too many and calls it what it is.
		data = make([]byte, size+1)
	case err != nil:
		return in, nil, false, err
	}
	in, done, err = s.reader.Feed(binary, data)
	if done && err == nil {
		s.awaiting.Store(0)
		if in.Carries {
			return in, buf, true, nil
		}
	} else if err == nil {
		s.awaiting.Store(time.Now().UnixNano())
	}
	releaseBuffer(buf)
	return in, nil, done, err
}

func (s *session) body(body io.Reader, limit int, payload bool) ([]byte, *buffer, error) {
	first := limit
	if !payload {
		first = metaBuffer
	}
	buf := takeBuffer(first)
	n, next, err := s.conn.Read(body, buf.b[:first])
	if err == nil {
		return buf.b[:n], buf, nil
	}
	defer releaseBuffer(buf)
	if !errors.Is(err, socket.ErrTooLong) || limit >= wire.MaxMeta && payload {
		return nil, nil, err
	}
	limit = wire.MaxMeta
	long := takeBuffer(limit) // a rare long meta, or something else than the announced payload
	copy(long.b, buf.b[:n])
	long.b[n] = next
	k, _, err := s.conn.Read(body, long.b[n+1:limit])
	if err != nil {
		releaseBuffer(long)
		return nil, nil, err
	}
	return long.b[:n+1+k], long, nil
}

// handle acts on one message of the phases PhaseTest and PhaseWork.
func (s *session) handle(in wire.Incoming[*workerv1.FromWorker], buf *buffer) error {
	switch m := in.Message.GetKind().(type) {
	case *workerv1.FromWorker_TaskResult:
		return s.result(m.TaskResult, in, buf)
	case *workerv1.FromWorker_TaskAck:
		s.ack(m.TaskAck.GetTokens())
	case *workerv1.FromWorker_TaskProgress:
		s.progress(m.TaskProgress)
	case *workerv1.FromWorker_TaskFailed:
		s.taskFailed(m.TaskFailed)
	case *workerv1.FromWorker_Credits:
		s.setCredits(m.Credits.GetCredits())
	case *workerv1.FromWorker_Drain:
		s.drainFromThere()
	case *workerv1.FromWorker_BenchmarkAnswer:
		select {
		case s.answers <- m.BenchmarkAnswer:
		default:
			return wire.Errorf(workerv1.ErrorCode_ERROR_CODE_OUT_OF_ORDER, "an answer that nobody waits for")
		}
	}
	return nil
}

// close ends the session for a typed reason. The first end counts.
func (s *session) close(why *wire.Error) {
	reason := eventv1.StripReason_STRIP_REASON_PROTOCOL
	switch why.Code {
	case workerv1.ErrorCode_ERROR_CODE_BANNED:
		reason = eventv1.StripReason_STRIP_REASON_BANNED
	case workerv1.ErrorCode_ERROR_CODE_TIMEOUT, workerv1.ErrorCode_ERROR_CODE_SLOW_READER:
		reason = eventv1.StripReason_STRIP_REASON_SOCKET_DROPPED
	case workerv1.ErrorCode_ERROR_CODE_DRAINING, workerv1.ErrorCode_ERROR_CODE_UNAVAILABLE:
		reason = keepTasks
	}
	if !s.leave(reason, why.Error()) {
		return
	}
	s.door.count.closed[min(int(why.Code), len(s.door.count.closed)-1)].Add(1)
	var words [][]byte
	if reason != eventv1.StripReason_STRIP_REASON_SOCKET_DROPPED { // such a peer does not read
		words = s.lastReceipts()
	}
	last, err := wire.AppendFromOrchestrator(nil, &workerv1.FromOrchestrator{Kind: &workerv1.FromOrchestrator_Error{
		Error: &workerv1.Error{Code: why.Code, Detail: clip(why.Detail)},
	}})
	if err == nil {
		words = append(words, last)
	}
	s.end(wire.CloseCode(why.Code), why.Error(), words...)
	s.keepOwed()
}

// drop ends the session because its socket is gone, or was closed by the worker.
func (s *session) drop(err error) {
	if s.leave(eventv1.StripReason_STRIP_REASON_SOCKET_DROPPED, "") {
		s.door.log.Debug("worker gone", "worker", s.short(), "cause", err)
		s.keepOwed()
	}
	_ = s.conn.Close()
}

func (s *session) end(code int, reason string, last ...[]byte) {
	s.conn.End(code, reason, s.door.cfg.CloseLinger, last...)
}

// keepTasks stands for no strip at all: the tasks stay assigned.
const keepTasks = eventv1.StripReason_STRIP_REASON_UNSPECIFIED

// leave takes the session out of the table, once, and has its tasks stripped. It reports whether it was this call.
func (s *session) leave(reason eventv1.StripReason, why string) bool {
	tasks, ok := s.seal()
	if !ok {
		return false
	}
	in := s.door.table.remove(s)
	if reason != keepTasks {
		for _, t := range tasks { // also when a session that came just now found this one sealed, and took nothing over
			s.door.strip(t.Task, reason, why)
		}
	}
	if !in {
		return true // never got in, or was replaced: the new session speaks for the worker
	}
	s.door.deps.Orchestrator.WorkerGone(s.key[:])
	s.door.tell(actors.WorkerAddress(s.key[:]), &eventv1.Command{Kind: &eventv1.Command_DisconnectWorker{
		DisconnectWorker: &eventv1.DisconnectWorker{Session: s.id, Why: clip(why)},
	}}, 0)
	return true
}

// seal marks the session as ended and takes its tasks.
func (s *session) seal() (map[uint64]*task, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return nil, false
	}
	s.ended = true
	tasks := s.tasks
	s.tasks = nil
	if s.due != nil {
		s.due.Stop()
	}
	if s.freed != nil {
		s.freed.Broadcast()
	}
	return tasks, true
}

// busy counts tasks in flight and in settlement.
func (s *session) busy() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.tasks) + len(s.settling)
}

func (s *session) hasEnded() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ended
}

// say queues one message.
func (s *session) say(m *workerv1.FromOrchestrator) {
	buf := takeBuffer(metaBuffer)
	b, err := wire.AppendFromOrchestrator(buf.b[:0], m)
	if err == nil {
		err = s.conn.Send(b)
	}
	releaseBuffer(buf)
	if err != nil {
		s.unsaid(err)
	}
}

// unsaid ends the session for a message that could not be queued.
func (s *session) unsaid(err error) {
	switch {
	case errors.Is(err, socket.ErrQueueFull):
		s.close(wire.Errorf(workerv1.ErrorCode_ERROR_CODE_SLOW_READER, "%d bytes wait to be read", s.conn.Queued()))
	case !s.hasEnded():
		s.drop(err)
	}
}

func (s *session) short() string { return shortKey(s.key[:]) }
