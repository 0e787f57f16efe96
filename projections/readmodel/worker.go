package readmodel

import (
	"bytes"
	"encoding/hex"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/events"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

const (
	flagConnected = 1 << iota
	flagDrained
	flagBanned
	flagRejected
)

// worker is a worker's row in memory.
type worker struct {
	seq, position  int64
	key            []byte
	tier           uint32
	flags          uint8
	owner, session []byte
	group, node    string
	claim          *eventv1.Profile
	proven         *eventv1.Proven
	record         *eventv1.Tally
	chunkBytes     uint64
	rejection      eventv1.RejectionReason
	detail         string
	registered     int64
	seen           int64
	sessions       uint64

	stored, touched bool
	was             uint8 // state as stored
	wasTier         uint32
}

// sessionTurn is a session that began, or the end of those of a worker that still stand.
type sessionTurn struct {
	worker      *worker
	seq, at     int64
	began       bool
	id          []byte
	group, node string
	why         string
}

// state is the index in WorkerStates of the strongest reason.
func (w *worker) state() uint8 {
	s := WorkerDisconnected
	switch {
	case w.flags&flagBanned != 0:
		s = WorkerBanned
	case w.flags&flagRejected != 0:
		s = WorkerRejected
	case w.flags&flagDrained != 0:
		s = WorkerDraining
	case w.flags&flagConnected != 0:
		s = WorkerConnected
	}
	return uint8(slices.Index(WorkerStates, s))
}

func (b *batch) worker(id string, key []byte) *worker {
	if w, ok := b.s.workers.get(id); ok {
		return w
	}
	if b.err != nil {
		return nil
	}
	w, err := b.s.readWorker(b.ctx, key)
	if err != nil {
		b.fail(err)
		return nil
	}
	if w == nil {
		w = &worker{
			seq: b.ordinal, position: int64(b.rec.Pos), key: key, registered: b.at, record: new(eventv1.Tally),
		}
	}
	return w
}

func (b *batch) foldWorker(id string, fact events.Fact) {
	key, err := hex.DecodeString(id)
	if err != nil || hex.EncodeToString(key) != id {
		return
	}
	w := b.worker(id, key)
	if w == nil {
		return
	}
	stood := w.flags&flagConnected != 0
	if !w.evolve(fact) {
		return
	}
	b.s.workers.put(id, w)
	switch f := fact.(type) {
	case *eventv1.WorkerConnected:
		if stood {
			b.endSessions(w, "")
		}
		b.sessions = append(b.sessions, sessionTurn{
			worker: w, seq: b.ordinal, at: b.at, began: true, id: f.GetSession(), group: f.GetGroup(), node: f.GetNode(),
		})
	case *eventv1.WorkerDisconnected:
		if stood {
			b.endSessions(w, f.GetWhy())
		}
	}
	w.seen = b.at
	if !w.touched {
		w.touched = true
		b.workers = append(b.workers, w)
	}
}

// endSessions ends what stands: a worker has one session at a time.
func (b *batch) endSessions(w *worker, why string) {
	b.sessions = append(b.sessions, sessionTurn{worker: w, at: b.at, why: brief(why)})
}

// evolve takes in a worker's fact, and tells whether it knows it.
func (w *worker) evolve(fact events.Fact) bool {
	switch f := fact.(type) {
	case *eventv1.WorkerRegistered:
		w.owner = f.GetOwner()
	case *eventv1.WorkerConnected:
		w.flags |= flagConnected
		w.group, w.node, w.session = f.GetGroup(), f.GetNode(), f.GetSession()
		w.sessions++
	case *eventv1.WorkerDisconnected:
		w.flags &^= flagConnected
	case *eventv1.ProfileReported:
		w.claim = f.GetProfile()
		w.flags &^= flagRejected
	case *eventv1.ChallengePassed:
		w.proven = f.GetProven()
		w.flags &^= flagRejected
	case *eventv1.ChallengeFailed:
		w.detail = brief(f.GetDetail())
		if f.GetReason() == eventv1.RejectionReason_REJECTION_REASON_CHALLENGE_FAILED {
			w.proven = nil
		}
	case *eventv1.WorkerAdmitted:
		w.tier, w.proven, w.chunkBytes, w.detail, w.rejection = f.GetTier(), f.GetProven(), f.GetChunkBytes(), "", 0
		w.flags &^= flagRejected
	case *eventv1.AdmissionRejected:
		w.tier, w.chunkBytes, w.detail, w.rejection = 0, 0, brief(f.GetDetail()), f.GetReason()
		w.flags |= flagRejected
	case *eventv1.TierChanged:
		w.tier, w.detail = f.GetTo(), brief(f.GetWhy())
		if f.GetTo() == 0 {
			w.proven, w.chunkBytes = nil, 0
		}
	case *eventv1.ReliabilityChanged:
		addTally(w.record, f.GetDelta())
	case *eventv1.WorkerDrained:
		w.detail = brief(f.GetReason())
		w.flags |= flagDrained
	case *eventv1.WorkerBanned:
		w.tier, w.chunkBytes, w.detail = 0, 0, brief(f.GetReason())
		w.flags |= flagBanned
	case *eventv1.WorkerReinstated:
		w.detail, w.rejection = "", 0
		w.flags &^= flagDrained | flagBanned | flagRejected
	default:
		return false
	}
	return true
}

func addTally(t, d *eventv1.Tally) {
	t.Agreed += d.GetAgreed()
	t.Contradicted += d.GetContradicted()
	t.Rejected += d.GetRejected()
	t.TimedOut += d.GetTimedOut()
	t.Dropped += d.GetDropped()
	t.Failed += d.GetFailed()
	t.Fuel += d.GetFuel()
	t.RingersPassed += d.GetRingersPassed()
	t.RingersFailed += d.GetRingersFailed()
}

// message encodes a message for a column; nil stays nil.
func message[M interface {
	comparable
	proto.Message
}](m M) any {
	var none M
	if m == none {
		return nil
	}
	data, err := proto.Marshal(m)
	if err != nil {
		return nil
	}
	return data
}

// readMessage decodes a column; nil stays nil.
func readMessage[T any, M interface {
	*T
	proto.Message
}](data []byte) M {
	if data == nil {
		return nil
	}
	m := M(new(T))
	if proto.Unmarshal(bytes.Clone(data), m) != nil {
		return nil
	}
	return m
}
