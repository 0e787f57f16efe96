package esdbserver

import (
	"context"
	"errors"
	"iter"

	"github.com/shardy-network/orchestrator/events"
)

// A page is what a follower or a reader holds in memory while its client takes its time.
const (
	pageRecords = 128
	pageBytes   = 64 << 10 // checked after each record
)

// page is a part of the log, in order.
type page struct {
	records []*events.Record
	bytes   int
}

func (p *page) reset() {
	clear(p.records)
	p.records, p.bytes = p.records[:0], 0
}

func (p *page) add(r *events.Record) {
	p.records = append(p.records, r)
	p.bytes += len(r.Data) + len(r.Meta)
}

func (p *page) full() bool { return len(p.records) >= pageRecords || p.bytes >= pageBytes }

// fill takes records until the page is full, and says whether the log ended before that.
func (p *page) fill(records iter.Seq2[events.Record, error]) (atEnd bool, err error) {
	for r, err := range records {
		if err != nil {
			return false, err
		}
		p.add(&r)
		if p.full() {
			return false, nil
		}
	}
	return true, nil
}

// pageAll fills a page with what comes after a position, and says up to where the log has been seen.
func (s *Server) pageAll(ctx context.Context, p *page, after events.Position) (events.Position, error) {
	p.reset()
	head, err := s.log.Head(ctx)
	if err != nil {
		return after, err
	}
	atEnd, err := p.fill(s.log.ReadAll(ctx, after, everything))
	if err != nil {
		return after, err
	}
	if n := len(p.records); n > 0 {
		after = p.records[n-1].Pos
	}
	if atEnd { // what was there before the read began is in the page or was passed over
		after = max(after, head)
	}
	return after, nil
}

// pageStream fills a page with a stream's events from a revision on, and says whether that was all. A stream that is
// not there is empty.
func (s *Server) pageStream(ctx context.Context, p *page, stream string, from uint64) (atEnd bool, err error) {
	p.reset()
	atEnd, err = p.fill(s.log.Read(ctx, stream, events.Span{From: from, Limit: pageRecords}))
	if errors.Is(err, events.ErrNotFound) {
		return true, nil
	}
	return atEnd && len(p.records) < pageRecords, err
}
