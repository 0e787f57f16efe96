package dashboard

import (
	"bytes"
	"cmp"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode/utf16"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/events"
	"github.com/shardy-network/orchestrator/projections/readmodel"
)

// The bounds of a history on a page; the download has its own.
const (
	maxHistory      = 200 // lines
	maxHistorySlots = 32  // slots whose streams are read: those opened last
	maxSlotRecords  = 64  // of one slot: the newest
	maxHistoryJSON  = 64  // records shown as JSON
	maxDownload     = 50_000
)

// history is what became of a job, told in one of three ways.
type history struct {
	How     string // compact, feed or json
	Choices []choice
	Order   choice
	Lines   []historyLine
	JSON    string
	More    string // what is not shown
	Stream  string // link to all of it; empty: the viewer may not read streams
	File    string // link to the download
}

// historyLine is one record.
type historyLine struct {
	Key   string
	At    time.Time
	Since string // after the submission
	Where string // "job" or "slot 2"
	Type  string
	Tone  tone
	Words saying
	Href  string // of the record; empty: the viewer may not read streams
}

// Glyph shows the tone without colour.
func (l historyLine) Glyph() string { return glyphs[l.Tone] }

// readHistory reads a job's stream, and with slots those of its slots, in the order of the log. It returns how many
// older records of the job's own stream there are.
func (d *Dashboard) readHistory(ctx context.Context, j *readmodel.Job, slots bool, limit int) (all []decoded, older uint64, err error) {
	all, err = d.readBack(ctx, actors.JobAddress(j.ID).Stream(), limit)
	if err != nil {
		return nil, 0, err
	}
	if len(all) > 0 {
		older = all[0].Rev
	}
	if slots {
		from := max(0, len(j.Assignments)-maxHistorySlots)
		for _, s := range j.Assignments[from:] {
			more, err := d.readBack(ctx, actors.SlotAddress(j.ID, s.Slot).Stream(), maxSlotRecords)
			if err != nil {
				return nil, 0, err
			}
			all = append(all, more...)
		}
		slices.SortFunc(all, func(a, b decoded) int { return cmp.Compare(a.Pos, b.Pos) })
	}
	return all, older, nil
}

// readBack reads the newest records of a stream and returns them oldest first. A stream that is not there has none.
func (d *Dashboard) readBack(ctx context.Context, stream string, limit int) ([]decoded, error) {
	var all []decoded
	for r, err := range d.deps.Log.Read(ctx, stream, events.Span{Back: true, Limit: limit}) {
		if errors.Is(err, events.ErrNotFound) || errors.Is(err, events.ErrDeleted) {
			return nil, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", stream, err)
		}
		all = append(all, decodeRecord(r))
	}
	slices.Reverse(all)
	return all, nil
}

// historyWays are the ways to tell a history.
var historyWays = []string{"compact", "Compact", "feed", "Feed", "json", "JSON"}

func (d *Dashboard) jobHistory(ctx context.Context, q *ask, j *readmodel.Job) (history, error) {
	h := history{How: "compact", File: linkJob(j.ID) + "/history.json"}
	if how := q.Query.Get("history"); how == "feed" || how == "json" {
		h.How = how
	}
	h.Choices = choices(q, "history", "Compact", historyWays[2:]...)
	oldest := q.Query.Get("order") == "oldest"
	h.Order = choice{Text: "Oldest first", Href: q.with("order", "oldest")}
	if oldest {
		h.Order = choice{Text: "Newest first", Href: q.with("order", "")}
	}
	if q.Viewer.Staff() {
		h.Stream = linkStream(actors.JobAddress(j.ID).Stream())
	}
	limit := maxHistory
	if h.How == "json" {
		limit = maxHistoryJSON
	}
	all, older, err := d.readHistory(ctx, j, h.How != "compact", limit)
	if err != nil {
		return h, err
	}
	if len(all) > limit {
		all = all[len(all)-limit:]
	}
	if older > 0 || len(j.Assignments) > maxHistorySlots && h.How != "compact" {
		h.More = fmt.Sprintf("The newest %d records are shown; the download holds all of them.", len(all))
	}
	cut := redactorOf(q.Viewer, j.ID, j.State)
	decisions := map[events.CommandID]time.Time{}
	for i := range all {
		if at := decidedAt(&all[i]); !at.IsZero() {
			decisions[all[i].ID.Command()] = at
		}
	}
	if !oldest {
		slices.Reverse(all)
	}
	var records []json.RawMessage
	for i := range all {
		cut.cut(&all[i])
		if h.How == "json" {
			records = append(records, recordJSON(&all[i]))
			continue
		}
		h.Lines = append(h.Lines, newHistoryLine(&all[i], decisions[all[i].ID.Command()], j.Submitted, q.Viewer.Staff()))
	}
	if h.How == "json" {
		h.JSON = indentJSON(records)
	}
	return h, nil
}

// newHistoryLine tells one record. At is when its decision was taken; zero: the record does not say.
func newHistoryLine(d *decoded, at, begin time.Time, staff bool) historyLine {
	if at.IsZero() {
		at = d.Time
	}
	l := historyLine{
		Key: fmt.Sprintf("%d", uint64(d.Pos)), At: at, Since: "+" + lasting(max(0, at.Sub(begin))), Where: "job", Type: d.Type, Tone: toneQuiet,
		Words: saying{say("bytes that this version cannot read")},
	}
	if _, slot, ok := slotOfStream(d.Stream); ok {
		l.Where = fmt.Sprintf("slot %d", slot)
	}
	if d.Fact != nil {
		l.Tone, l.Words = factTone(d.Fact), tell(d.Fact)
	}
	if staff {
		l.Href = linkRecord(d.Stream, d.Rev)
		return l
	}
	for i := range l.Words {
		if strings.HasPrefix(l.Words[i].Href, linkWorkers()) {
			l.Words[i].Href = ""
		}
	}
	return l
}

// decidedAt is when the decision was taken, as its command says; zero for records after the first of a decision.
func decidedAt(d *decoded) time.Time {
	if us := d.Env.GetCommand().GetAtUs(); us > 0 {
		return time.UnixMicro(us)
	}
	return time.Time{}
}

// shownRecord is a record as JSON.
type shownRecord struct {
	Position uint64          `json:"position"`
	Stream   string          `json:"stream"`
	Revision uint64          `json:"revision"`
	ID       string          `json:"id"`
	Type     string          `json:"type"`
	TimeUs   int64           `json:"time_us"`
	Data     json.RawMessage `json:"data"`
	Meta     json.RawMessage `json:"meta"`
}

func recordJSON(d *decoded) json.RawMessage {
	r := shownRecord{uint64(d.Pos), d.Stream, d.Rev, hex.EncodeToString(d.ID[:]), d.Type, d.Time.UnixMicro(), factJSON(d.Fact), nil}
	if d.Env != nil {
		r.Meta = factJSON(d.Env)
	}
	out, err := json.Marshal(r)
	if err != nil {
		return json.RawMessage("null")
	}
	return out
}

// factJSON is protobuf's JSON without the blanks that protojson strews in on purpose.
func factJSON(m proto.Message) json.RawMessage {
	if m == nil {
		return json.RawMessage("null")
	}
	text, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(m)
	if err != nil {
		return json.RawMessage("null")
	}
	var out bytes.Buffer
	if json.Compact(&out, text) != nil {
		return json.RawMessage("null")
	}
	return out.Bytes()
}

func indentJSON(records []json.RawMessage) string {
	if records == nil {
		records = []json.RawMessage{}
	}
	out, err := json.MarshalIndent(records, "", "  ")
	if err != nil {
		return "[]"
	}
	return showEscapes(string(out))
}

// showEscapes writes the characters of a JSON text that cannot be seen, or turn the direction of writing, as escapes:
// it stays the same JSON.
func showEscapes(text string) string {
	if !strings.ContainsFunc(text, func(r rune) bool { return r != '\n' && hidden(r) }) {
		return text
	}
	var b strings.Builder
	for _, r := range text {
		switch {
		case r == '\n' || !hidden(r):
			b.WriteRune(r)
		default:
			for _, u := range utf16.Encode([]rune{r}) {
				fmt.Fprintf(&b, "\\u%04x", u)
			}
		}
	}
	return b.String()
}

// downloadHistory sends all records of a job and of its slots: a JSON array, a stream after the other.
func (d *Dashboard) downloadHistory(w http.ResponseWriter, r *http.Request, q *ask) error {
	ctx := r.Context()
	j, err := d.seenJob(ctx, q)
	if err != nil {
		return err
	}
	streams := []string{actors.JobAddress(j.ID).Stream()}
	for _, s := range j.Assignments {
		streams = append(streams, actors.SlotAddress(j.ID, s.Slot).Stream())
	}
	cut := redactorOf(q.Viewer, j.ID, j.State)
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Disposition", `attachment; filename="job-`+j.ID+`.json"`)
	sent := 0
	separator := "[\n"
	for _, stream := range streams {
		for rec, err := range d.deps.Log.Read(ctx, stream, events.Span{Limit: maxDownload - sent}) {
			if errors.Is(err, events.ErrNotFound) || errors.Is(err, events.ErrDeleted) {
				break
			}
			if err != nil && sent == 0 {
				return err
			}
			if err != nil { // the answer has begun: it must not look whole
				panic(http.ErrAbortHandler)
			}
			x := decodeRecord(rec)
			cut.cut(&x)
			if _, err := fmt.Fprintf(w, "%s%s", separator, recordJSON(&x)); err != nil {
				return nil // the reader is gone
			}
			separator = ",\n"
			sent++
		}
		if sent >= maxDownload {
			break
		}
	}
	if sent == 0 {
		_, _ = w.Write([]byte("["))
	}
	_, _ = w.Write([]byte("\n]\n"))
	return nil
}

func prettyJSON(raw json.RawMessage) string {
	var out bytes.Buffer
	if json.Indent(&out, raw, "", "  ") != nil {
		return string(raw)
	}
	return out.String()
}
