package pebblelog

import (
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/shardy-network/orchestrator/events"
)

// head is where a stream ends.
type head struct {
	next   uint64    // revision of the next event; 0: the stream never existed
	hidden uint64    // revisions below are deleted; buried: for good
	pos    uint64    // position of the last event
	id     events.ID // of the last event
}

func (h *head) exists() bool { return h.next > h.hidden }

func (h *head) expect() events.Expect {
	if !h.exists() {
		return events.Absent
	}
	return events.At(h.next - 1)
}

func (h *head) conflict(p *part) error {
	if h.hidden == buried {
		return events.ErrDeleted
	}
	got := h.expect()
	if p.want == events.Any || p.want == got || p.want == events.Exists && h.exists() {
		return nil
	}
	return &events.Conflict{Stream: p.stream, Want: p.want, Got: got}
}

// heads remembers the ends of the streams used last. It forgets by halves: when the young half is full, the old half
// is dropped and the young one becomes old. A head that is used moves to the young half.
type heads struct {
	young, old map[string]head
	half       int
}

func (c *heads) init(limit int) {
	c.half = limit / 2
	c.young = make(map[string]head)
}

func (c *heads) get(stream string) (head, bool) {
	if h, ok := c.young[stream]; ok {
		return h, true
	}
	h, ok := c.old[stream]
	if ok {
		c.put(stream, h)
	}
	return h, ok
}

func (c *heads) put(stream string, h head) {
	if len(c.young) >= c.half {
		if _, ok := c.young[stream]; !ok {
			c.old, c.young = c.young, make(map[string]head, c.half/4)
		}
	}
	c.young[stream] = h
}

// head returns a stream's end, from memory or from disk. Streams of the open group are always in memory.
func (l *Log) head(stream string) (head, error) {
	if h, ok := l.c.heads.get(stream); ok {
		return h, nil
	}
	var h head
	if !l.c.seen.never(stream) {
		var err error
		if h, err = l.readHead(stream); err != nil {
			return head{}, fmt.Errorf("event log: stream %q: %w", stream, err)
		}
	}
	l.c.seen.add(stream)
	l.c.heads.put(stream, h)
	return h, nil
}

func (l *Log) readHead(stream string) (h head, err error) {
	// The filter of the first revision's key tells almost always that a new stream is new.
	_, h.hidden, err = l.streamEntry(stream, 0)
	if errors.Is(err, events.ErrNotFound) {
		return head{}, nil
	}
	if err != nil {
		return head{}, err
	}
	it, err := l.db.NewIter(&pebble.IterOptions{LowerBound: streamKey(nil, stream, 0), UpperBound: streamEnd(nil, stream)})
	if err != nil {
		return head{}, typed(err)
	}
	defer it.Close()
	if !it.Last() {
		return head{}, errors.Join(events.ErrCorrupt, typed(it.Error()))
	}
	_, rev, err := parseStreamKey(it.Key())
	if err != nil {
		return head{}, err
	}
	h.pos, _, err = parseStreamValue(rev, it.Value())
	if err != nil {
		return head{}, err
	}
	h.next = rev + 1
	h.id, err = l.eventID(h.pos, stream, rev)
	return h, err
}

// streamEntry reads the position of one revision, and on revision 0 how many are hidden.
func (l *Log) streamEntry(stream string, rev uint64) (pos, hidden uint64, err error) {
	v, closer, err := l.db.Get(streamKey(make([]byte, 0, 2+events.MaxStreamName+9), stream, rev))
	if errors.Is(err, pebble.ErrNotFound) {
		return 0, 0, events.ErrNotFound
	}
	if err != nil {
		return 0, 0, typed(err)
	}
	defer closer.Close()
	return parseStreamValue(rev, v)
}

// eventID reads the id of the record at a position, which must be this one of the stream.
func (l *Log) eventID(pos uint64, stream string, rev uint64) (events.ID, error) {
	v, closer, err := l.db.Get(eventKey(make([]byte, 0, eventKeyLen), pos))
	if errors.Is(err, pebble.ErrNotFound) {
		return events.ID{}, damaged(pos, "is missing")
	}
	if err != nil {
		return events.ID{}, typed(err)
	}
	defer closer.Close()
	r, err := parseRecord(pos, v)
	if err != nil {
		return events.ID{}, err
	}
	if string(r.stream) != stream || r.rev != rev {
		return events.ID{}, damaged(pos, "is not the one that its stream names")
	}
	return r.id, nil
}

// isRepeat looks for a part's events where its expectation would have put them. For Any and Exists, which always
// hold, it looks at the stream's end.
func (l *Log) isRepeat(r *request, p *part, h head) (bool, error) {
	from, n := h.hidden, uint64(p.n)
	switch rev, ok := p.want.Rev(); {
	case ok:
		from = rev + 1
		if from == 0 { // overflow
			return false, nil
		}
	case p.want != events.Absent:
		if h.next < n || r.recs[p.first+p.n-1].id != h.id {
			return false, nil
		}
		from = h.next - n
	}
	if !h.exists() || from < h.hidden || from >= h.next || h.next-from < n {
		return false, nil
	}
	if h.pos > l.durable.Load() {
		return false, errOpenGroup
	}
	var pos uint64
	for i := range n {
		var err error
		if pos, _, err = l.streamEntry(p.stream, from+i); err != nil {
			return false, err
		}
		id, err := l.eventID(pos, p.stream, from+i)
		if err != nil {
			return false, err
		}
		if id != r.recs[p.first+int(i)].id {
			return false, nil
		}
	}
	p.got = events.Appended{Rev: from + n - 1, Pos: events.Position(pos)}
	return true, nil
}
