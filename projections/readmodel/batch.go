package readmodel

import (
	"context"
	"errors"
	"strings"
	"unicode/utf8"

	"github.com/shardy-network/orchestrator/events"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// maxDetail bounds the explanations kept in rows, in bytes.
const maxDetail = 512

// batch folds some records in memory, so that each row they touch is written once. What it touches it takes from the
// caches of its store, or reads back.
type batch struct {
	ctx context.Context
	s   *store

	rec     *events.Record // that is being folded
	ordinal int64          // of it
	at      int64          // when it was appended, microseconds since 1970
	err     error          // the first one of a read-back: the batch is worth nothing then

	jobs      []*job // touched, in the order in which they were
	attempts  []*attempt
	turns     []turn
	pipelines []*pipeline
	holes     []holeTurn
	workers   []*worker
	sessions  []sessionTurn
	modules   []module
	counts    map[counter]int64
	series    map[int64]*Point // by second
	malformed int
	packed    []byte // the body written last
}

func newBatch(ctx context.Context, s *store) *batch {
	return &batch{ctx: ctx, s: s, ordinal: s.place.ordinal, counts: make(map[counter]int64), series: make(map[int64]*Point)}
}

// take folds one record. A record that does not decode changes nothing: it is the audit that names it.
func (b *batch) take(r *events.Record) {
	b.rec, b.at = r, r.Time.UnixMicro()
	b.ordinal++
	p := b.point()
	p.Events++
	room, id, ok := strings.Cut(r.Stream, "-")
	if !ok || !utf8.ValidString(id) {
		return
	}
	switch room {
	case "job", "assignment", "pipeline", "worker", "module":
	default:
		return
	}
	fact, err := events.Decode(*r)
	if err != nil {
		if errors.Is(err, events.ErrMalformed) {
			b.malformed++
		}
		return
	}
	switch room {
	case "job":
		b.foldJob(id, fact, p)
	case "assignment":
		b.foldSlot(id, fact, p)
	case "pipeline":
		b.foldPipeline(id, fact)
	case "worker":
		b.foldWorker(id, fact)
	case "module":
		b.foldModule(fact)
	}
}

// point is the second of the series that the record belongs to.
func (b *batch) point() *Point {
	second := b.rec.Time.Unix()
	p := b.series[second]
	if p == nil {
		p = new(Point)
		b.series[second] = p
	}
	return p
}

// moment is when a fact says that it happened, or else when it was appended.
func (b *batch) moment(us int64) int64 {
	if us != 0 {
		return us
	}
	return b.at
}

func (b *batch) fail(err error) {
	if b.err == nil {
		b.err = err
	}
}

func brief(s string) string {
	if len(s) <= maxDetail {
		return s
	}
	return strings.ToValidUTF8(s[:maxDetail], "")
}

// module is the last word about one.
type module struct {
	seq, position, at int64
	original          []byte
	admitted          bool
	fact              []byte
}

func (b *batch) foldModule(fact events.Fact) {
	m := module{seq: b.ordinal, position: int64(b.rec.Pos), at: b.at, fact: b.rec.Data}
	switch f := fact.(type) {
	case *eventv1.ModuleAdmitted:
		m.original, m.admitted = f.GetOriginal(), true
	case *eventv1.ModuleRefused:
		m.original = f.GetOriginal()
	default:
		return
	}
	b.modules = append(b.modules, m)
}
