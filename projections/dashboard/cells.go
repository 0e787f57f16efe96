package dashboard

import (
	"encoding/hex"
	"strings"
	"time"
)

// tone is the colour of a badge or a bar. Its text always says the same.
type tone string

// The tones.
const (
	toneVerified tone = "verified"
	toneMismatch tone = "mismatch"
	toneDead     tone = "dead"
	toneWaiting  tone = "waiting"
	toneRunning  tone = "running"
	toneQuiet    tone = "quiet"
)

// glyphs show a badge's tone without colour.
var glyphs = map[tone]string{
	toneVerified: "●", toneMismatch: "▲", toneDead: "✕", toneWaiting: "○", toneRunning: "◐", toneQuiet: "·",
}

// badge is a state: a colour, a glyph and a word.
type badge struct {
	Tone tone
	Text string
}

// Glyph is the badge's sign.
func (b badge) Glyph() string { return glyphs[b.Tone] }

// cell is one value of a table or of facts. Exactly one of Text, At and Badge is what it shows.
type cell struct {
	Text  string
	Title string // on hover
	Href  string
	At    time.Time
	Badge *badge
	Mono  bool   // an id, a hash, a number of fixed width
	More  string // second line, less important
	Faint bool   // nothing to look at: a zero among others
}

// maxCell bounds the characters of a cell in a table.
const maxCell = 160

func text(s string) cell {
	c := cell{Text: clip(plain(s), maxCell)}
	if c.Text == "" {
		c.Text = "–"
	}
	return c
}

func linked(s, href string) cell { c := text(s); c.Href = href; return c }
func count[T int | int32 | int64 | uint | uint32 | uint64](n T) cell {
	return cell{Text: thousands(n)}
}

func bytesCell(n uint64) cell        { return cell{Text: sizeOf(n), Title: thousands(n) + " bytes"} }
func duration(d time.Duration) cell  { return cell{Text: lasting(d)} }
func state(t tone, text string) cell { return cell{Badge: &badge{t, text}} }
func idCell(id, href string) cell {
	return cell{Text: shortID(id), Title: plain(clip(id, 256)), Href: href, Mono: true}
}
func none() cell                       { return cell{Text: "–"} }
func (c cell) with(second string) cell { c.More = clip(plain(second), maxCell); return c }

// hexCell shows a key or a hash, and the whole of it on hover.
func hexCell(b []byte, href string) cell {
	if len(b) == 0 {
		return none()
	}
	return idCell(hex.EncodeToString(b), href)
}

func workerCell(key []byte) cell {
	if len(key) == 0 {
		return none()
	}
	return hexCell(key, linkWorker(key))
}

// when shows a time as how long ago it was.
func when(t time.Time) cell {
	if t.IsZero() {
		return none()
	}
	return cell{At: t}
}

// column is a table's column. Numbers are set to the right. What is roomy is left out of compact tables on narrow screens.
type column struct {
	Title  string
	Number bool
	Roomy  bool
}

// Class is how the column is set.
func (c column) Class() string {
	switch {
	case c.Number && c.Roomy:
		return "num roomy"
	case c.Number:
		return "num"
	case c.Roomy:
		return "roomy"
	}
	return ""
}

// row is a line of a table. Its key is unique in the table and keeps the line in its place when the page is morphed.
type row struct {
	Key   string
	Cells []cell
}

// table is a list. Its caption is read aloud and not shown. A compact one has few and short columns: it stays a table on
// narrow screens, where each line of the others becomes a card.
type table struct {
	Caption string
	Compact bool
	Columns []column
	Rows    []row
	Empty   empty // when there are no rows
}

// add appends a line.
func (t *table) add(key string, cells ...cell) { t.Rows = append(t.Rows, row{key, cells}) }

// labelled is a cell under its column's title: on narrow screens each line becomes a card.
type labelled struct {
	cell
	Label string
	Class string
}

// Labelled pairs a row's cells with the columns.
func (t table) Labelled(r row) []labelled {
	out := make([]labelled, 0, len(r.Cells))
	for i, c := range r.Cells {
		if i >= len(t.Columns) {
			break
		}
		out = append(out, labelled{cell: c, Label: t.Columns[i].Title, Class: t.Columns[i].Class()})
	}
	return out
}

// columns makes plain columns; a title that ends in "#" is one of numbers, and one that ends in "~" (or "#~") is roomy.
func columns(titles ...string) []column {
	out := make([]column, len(titles))
	for i, t := range titles {
		t = clip(plain(t), 40)
		t, out[i].Roomy = strings.CutSuffix(t, "~")
		out[i].Title, out[i].Number = strings.CutSuffix(t, "#")
	}
	return out
}

// empty is what stands where nothing is yet. It teaches the next command.
type empty struct {
	Title   string
	Text    string
	Command string // may be empty
}

// fact is a name with its value, on a page about one thing.
type fact struct {
	Name string
	cell
}

// pager leads to the rest of a list.
type pager struct {
	First string // link to the list's beginning; empty: it is shown
	Next  string // link to the next part; empty: there is none
}

// pagerOf makes the pager of a list that was asked for with q and went on at next.
func pagerOf(q *ask, next string) pager {
	var p pager
	if q.Query.Get("after") != "" {
		p.First = q.with()
	}
	if next != "" {
		p.Next = q.with("after", next)
	}
	return p
}

// choice is a filter's value as a link.
type choice struct {
	Text  string
	Href  string
	Count string // may be empty
	Tone  tone   // may be empty
	On    bool
}

// choices makes the links of a filter that has one value or none. Values and texts come in pairs.
func choices(q *ask, param, all string, pairs ...string) []choice {
	now := q.Query.Get(param)
	out := []choice{{Text: all, Href: q.with(param, ""), On: now == ""}}
	for i := 0; i+1 < len(pairs); i += 2 {
		out = append(out, choice{Text: pairs[i+1], Href: q.with(param, pairs[i]), On: now == pairs[i]})
	}
	return out
}

// form posts to an action. With Ask the form hides behind its button, which makes sending it a second step.
type form struct {
	Action string
	Button string
	Ask    string // the sentence over the button: what will happen
	Danger bool
	Reason bool              // asks for a reason
	Fields []field           // beside the reason
	Hidden map[string]string //
	Back   string            // page to go to afterwards
}

// field is an input of a form.
type field struct {
	Name, Label, Value, Hint string
	Number                   bool
	Max                      int // characters
}
