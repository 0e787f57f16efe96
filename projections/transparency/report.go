package transparency

import (
	"fmt"

	"github.com/shardy-network/orchestrator/events"
)

// Kind names what a finding is about.
type Kind string

// The kinds of finding.
const (
	Changed    Kind = "changed"    // another record lies where this leaf was recorded
	Removed    Kind = "removed"    // recorded leaves are no longer in the log
	Inserted   Kind = "inserted"   // records lie between those that were recorded
	Reordered  Kind = "reordered"  // a record lies elsewhere than where it was recorded
	Truncated  Kind = "truncated"  // the log ends before the tree does
	Unreadable Kind = "unreadable" // the log itself says that it is corrupt
	History    Kind = "history"    // records below a checkpoint differ, and no tile tells which
	Tile       Kind = "tile"       // a file of the tree is damaged; the log is as it was signed
	Signature  Kind = "signature"  // a kept checkpoint is malformed, or signed by another key
	Outside    Kind = "outside"    // a checkpoint from outside contradicts the log
)

// Finding is one place where log, tiles and checkpoints do not agree. The record is the one that lies there in the log
// now; its fields are empty where there is none.
type Finding struct {
	Kind     Kind            `json:"kind"`
	Index    int64           `json:"index"` // of the leaf, from 0
	Count    int64           `json:"count"` // of leaves concerned
	Stream   string          `json:"stream"`
	Revision uint64          `json:"revision"`
	Position events.Position `json:"position"`
	Type     string          `json:"type"`
	Detail   string          `json:"detail"`
}

// String is the finding as one line for people.
func (f Finding) String() string {
	where := fmt.Sprintf("leaf %d", f.Index)
	if f.Stream != "" {
		where = fmt.Sprintf("%s revision %d (%s, position %d, leaf %d)", f.Stream, f.Revision, f.Type, f.Position, f.Index)
	}
	return fmt.Sprintf("%s: %s: %s", where, f.Kind, f.Detail)
}

// Compared is what became of a checkpoint from outside.
type Compared struct {
	Origin  string `json:"origin"`
	Size    int64  `json:"size"`
	Root    string `json:"root"` // base 64
	Matches bool   `json:"matches"`
}

// Report is what Verify found. Its JSON is a documented contract.
type Report struct {
	Events      int64      `json:"events"`      // leaves that the log has now
	Root        string     `json:"root"`        // base 64, of all of them
	TreeSize    int64      `json:"tree_size"`   // leaves that the tiles cover
	Signed      int64      `json:"signed"`      // leaves below the last good checkpoint
	Checkpoints int64      `json:"checkpoints"` // kept ones with a good signature
	Matched     int64      `json:"matched"`     // of those, the ones that the log still leads to
	Outside     []Compared `json:"outside"`
	Findings    int64      `json:"findings"` // all of them, those not listed included
	Found       []Finding  `json:"found"`    // the first ones, in the order of the log
	Seconds     float64    `json:"seconds"`
	EventsPerS  float64    `json:"events_per_s"`
}

// Clean says that log, tiles and checkpoints agree.
func (r Report) Clean() bool { return r.Findings == 0 }

// First is the first finding.
func (r Report) First() (Finding, bool) {
	if len(r.Found) == 0 {
		return Finding{}, false
	}
	return r.Found[0], true
}

// findings counts all and keeps the first.
type findings struct {
	count int64
	max   int
	kept  []Finding
}

func (f *findings) add(found Finding) {
	f.count++
	if len(f.kept) < f.max {
		f.kept = append(f.kept, found)
	}
}

// at makes a finding about a record.
func at(kind Kind, index, count int64, r *events.Record, format string, args ...any) Finding {
	f := Finding{Kind: kind, Index: index, Count: count, Detail: fmt.Sprintf(format, args...)}
	if r != nil {
		f.Stream, f.Revision, f.Position, f.Type = r.Stream, r.Rev, r.Pos, r.Type
	}
	return f
}
