package dashboard

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/events"
)

func (d *Dashboard) eventPages() []page {
	return []page{
		{name: "events", route: "/events", title: "Events", nav: "events", needs: staff, live: true, view: d.events},
		{name: "eventstream", route: "/events/streams/{stream}", title: "Stream", nav: "events", needs: staff, live: true, view: d.eventStream},
		{name: "event", route: "/events/streams/{stream}/{rev}", title: "Event", nav: "events", needs: staff, live: true, view: d.eventOfStream},
	}
}

const (
	eventsPage = 50
	// eventsScan is how many records one page looks through for those that a filter passes. What lies beyond is a link.
	eventsScan = 5000
)

type eventsView struct {
	Filter filterForm
	Types  []string
	Order  []choice
	Table  table
	Note   string
	First  string // link to the list's beginning
	Next   string
	Newer  bool // the list begins with the oldest
}

// eventFilter is what the list of all events is narrowed to.
type eventFilter struct {
	types, stream string // prefixes
}

func (f eventFilter) passes(r *events.Record) bool {
	return strings.HasPrefix(r.Stream, f.stream) && strings.HasPrefix(r.Type, f.types)
}

// eventRooms are the kinds of streams.
var eventRooms = []string{
	actors.JobRoom + "-", "Jobs", actors.AssignmentRoom + "-", "Assignments", actors.PipelineRoom + "-", "Pipelines",
	actors.WorkerRoom + "-", "Workers", actors.ModuleRoom + "-", "Modules", actors.PolicyRoom + "-", "Policy", actors.ShardRoom + "-", "Shards",
}

func (d *Dashboard) events(ctx context.Context, q *ask) (any, error) {
	f := eventFilter{types: strings.TrimSpace(q.Query.Get("type")), stream: strings.TrimSpace(q.Query.Get("stream"))}
	v := &eventsView{Types: events.Types(), Table: eventTable(q)}
	v.Filter = filterForm{
		Path: q.URL.Path, Hidden: map[string]string{},
		Fields: []field{{Name: "type", Label: "Type begins with", Value: f.types, Max: events.MaxTypeName}, {Name: "stream", Label: "Stream begins with", Value: f.stream, Max: events.MaxStreamName}},
		Picks:  []pick{{"Streams of", choices(q, "stream", "All", eventRooms...)}},
	}
	back, canBack := d.deps.Log.(events.Backward)
	v.Newer = q.Query.Get("order") == "oldest" || !canBack
	v.Order = []choice{{Text: "Newest first", Href: q.with("order", ""), On: !v.Newer}, {Text: "Oldest first", Href: q.with("order", "oldest"), On: v.Newer}}
	if !canBack {
		v.Order = nil
		v.Note = "This log is read from its beginning only. "
	}
	if v.Newer {
		v.Filter.Hidden["order"] = "oldest"
	}
	place, err := placeOf(q)
	if err != nil {
		return nil, err
	}
	var read recordSeq
	switch {
	case v.Newer:
		read = d.deps.Log.ReadAll(ctx, events.Position(place), events.Filter{})
	case place == 0:
		read = back.ReadAllBack(ctx, math.MaxUint64, events.Filter{})
	default:
		read = back.ReadAllBack(ctx, events.Position(place), events.Filter{})
	}
	all, last, more, err := pickRecords(read, f)
	if err != nil {
		return nil, err
	}
	cut := d.redactor(ctx, q.Viewer)
	for i := range all {
		cut.cut(&all[i])
		v.Table.add(fmt.Sprintf("event-%d", uint64(all[i].Pos)), eventCells(&all[i], true)...)
	}
	if place != 0 {
		v.First = q.with()
	}
	if more {
		v.Next = q.with("after", strconv.FormatUint(uint64(last), 10))
		if len(all) < eventsPage {
			v.Note += fmt.Sprintf("Looked through %s events. ", thousands(eventsScan))
		}
	}
	return v, nil
}

// placeOf reads where a part of a list begins; 0: at its beginning.
func placeOf(q *ask) (uint64, error) {
	text := q.Query.Get("after")
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, badRequest("the address names a place that no list has given out")
	}
	return n, nil
}

type recordSeq = func(yield func(events.Record, error) bool)

// pickRecords takes a page of records that pass, and looks through no more than it may. Last is the place of the last
// one that it looked at; more says that there may be others behind it.
func pickRecords(read recordSeq, f eventFilter) (all []decoded, last events.Position, more bool, err error) {
	seen := 0
	for r, err := range read {
		if err != nil {
			return nil, 0, false, err
		}
		if len(all) == eventsPage || seen == eventsScan {
			return all, last, true, nil
		}
		seen++
		last = r.Pos
		if f.passes(&r) {
			all = append(all, decodeRecord(r))
		}
	}
	return all, last, false, nil
}

func eventTable(q *ask) table {
	t := table{Caption: "Events", Columns: columns("Event", "Stream", "Position#", "When")}
	t.Empty = empty{Title: "No events yet", Text: "Everything that is decided here becomes an event.", Command: "shardy event tail"}
	if q.Query.Get("type") != "" || q.Query.Get("stream") != "" {
		t.Empty = empty{Title: "No event matches", Text: "Types and streams are matched from their beginning: Task, job-01k."}
	}
	return t
}

// eventCells are an event's columns in lists.
func eventCells(d *decoded, stream bool) []cell {
	b := badge{toneQuiet, d.Type}
	said := "bytes that this version cannot read"
	if d.Fact != nil {
		b.Tone, said = factTone(d.Fact), tell(d.Fact).String()
	}
	b.Text = clip(plain(d.Type), maxCell)
	what := cell{Badge: &b, Href: linkRecord(d.Stream, d.Rev)}.with(said)
	at := cell{At: d.Time}
	if !stream {
		return []cell{{Text: thousands(d.Rev), Href: linkRecord(d.Stream, d.Rev)}, what, count(uint64(d.Pos)), at}
	}
	where := cell{Text: shortStream(d.Stream), Title: plain(d.Stream), Href: linkStream(d.Stream), Mono: true}.with("revision " + thousands(d.Rev))
	return []cell{what, where, count(uint64(d.Pos)), at}
}

// shortStream shows a stream's room and enough of its id.
func shortStream(stream string) string {
	room, id, ok := strings.Cut(stream, "-")
	if !ok {
		return shortID(stream)
	}
	if job, slot, found := strings.Cut(id, "-"); found {
		return clip(plain(room), 20) + "-" + shortID(job) + "-" + clip(plain(slot), 12)
	}
	return clip(plain(room), 20) + "-" + shortID(id)
}

type streamView struct {
	Stream string
	What   string
	Where  word
	Order  []choice
	Table  table
	First  string
	Next   string
	Newer  bool
}

// PageTitle names the stream.
func (v *streamView) PageTitle() string { return shortStream(v.Stream) }

func (d *Dashboard) eventStream(ctx context.Context, q *ask) (any, error) {
	v := &streamView{Stream: q.Path["stream"], Newer: q.Query.Get("order") == "oldest"}
	if err := events.CheckStream(v.Stream); err != nil {
		return nil, errNotFound
	}
	v.What, v.Where = streamWords(v.Stream)
	v.Order = []choice{{Text: "Newest first", Href: q.with("order", ""), On: !v.Newer}, {Text: "Oldest first", Href: q.with("order", "oldest"), On: v.Newer}}
	v.Table = table{Caption: "Events of the stream", Columns: columns("Revision#", "Event", "Position#", "When")}
	place, err := placeOf(q)
	if err != nil {
		return nil, err
	}
	all, err := d.streamPage(ctx, v.Stream, place, v.Newer)
	if err != nil {
		return nil, err
	}
	if place != 0 {
		v.First = q.with()
	}
	if n := len(all); n > 0 {
		if v.Newer && n == eventsPage {
			v.Next = q.with("after", strconv.FormatUint(all[n-1].Rev+1, 10))
		}
		if !v.Newer && all[n-1].Rev > 0 {
			v.Next = q.with("after", strconv.FormatUint(all[n-1].Rev, 10))
		}
	}
	cut := d.redactor(ctx, q.Viewer)
	for i := range all {
		cut.cut(&all[i])
		v.Table.add(fmt.Sprintf("event-%d", all[i].Rev), eventCells(&all[i], false)...)
	}
	return v, nil
}

// streamPage reads a part of a stream: with newer the records from a revision on, else those before it, newest first;
// before 0 means from the end.
func (d *Dashboard) streamPage(ctx context.Context, stream string, rev uint64, newer bool) ([]decoded, error) {
	span := events.Span{From: rev, Limit: eventsPage}
	switch {
	case newer:
	case rev == 0:
		span = events.Span{Back: true, Limit: eventsPage}
	default: // a stream's revisions have no holes
		span.From = rev - min(rev, eventsPage)
		span.Limit = int(rev - span.From)
	}
	var all []decoded
	for r, err := range d.deps.Log.Read(ctx, stream, span) {
		if err != nil {
			return nil, err
		}
		all = append(all, decodeRecord(r))
	}
	if !newer && rev != 0 {
		slices.Reverse(all)
	}
	return all, nil
}
