package esdbserver

import (
	"context"
	"errors"
	"slices"

	"github.com/shardy-network/orchestrator/events"
)

// cursor is a follower's place, in the whole log or in one stream. It hands over from history to live and back without
// gap or repeat: a stream's history is read to its end after the log's head was noted, and what the hub has seen since
// then is compared with the next revision.
type cursor struct {
	s      *Server
	stream string // empty: the whole log
	next   uint64 // revision to be seen next
	pos    events.Position
	live   bool // in a stream: its history was seen up to pos
}

// read fills a page with what comes next, which may be nothing. When there is nothing more for now it returns a channel
// that is closed when there may be.
func (c *cursor) read(ctx context.Context, p *page) (news <-chan struct{}, err error) {
	if c.stream != "" && !c.live {
		return nil, c.history(ctx, p)
	}
	seen, news, err := c.s.hub.after(p, c.pos)
	if errors.Is(err, errBehind) {
		if c.stream != "" {
			c.live = false
			return nil, nil
		}
		seen, err = c.s.pageAll(ctx, p, c.pos)
	}
	if err != nil {
		return nil, err
	}
	c.pos = seen
	if c.stream != "" {
		return news, c.own(p)
	}
	return news, nil
}

// history fills a page from the stream.
func (c *cursor) history(ctx context.Context, p *page) error {
	head, err := c.s.log.Head(ctx)
	if err != nil {
		return err
	}
	w, err := c.s.window(ctx, c.stream)
	if err != nil {
		return err
	}
	c.next = max(c.next, w.first)
	atEnd, err := c.s.pageStream(ctx, p, c.stream, c.next)
	if err != nil {
		return err
	}
	if n := len(p.records); n > 0 {
		c.next = p.records[n-1].Rev + 1
	}
	p.keep(func(e *events.Record) bool { return w.shows(e) })
	if atEnd {
		c.live, c.pos = true, head
	}
	return nil
}

// own leaves in a page of the whole log what is the stream's and new.
func (c *cursor) own(p *page) error {
	var ended error
	p.keep(func(e *events.Record) bool {
		if e.Stream != c.stream || e.Rev < c.next || ended != nil {
			return false
		}
		if e.Type == typeTombstone {
			ended = streamDeleted(c.stream)
			return false
		}
		c.next = e.Rev + 1
		return true
	})
	return ended
}

// keep drops the records that are not wanted.
func (p *page) keep(wanted func(*events.Record) bool) {
	p.records = slices.DeleteFunc(p.records, func(e *events.Record) bool { return !wanted(e) })
}
