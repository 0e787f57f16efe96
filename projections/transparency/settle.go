package transparency

import (
	"cmp"
	"fmt"
	"slices"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/shardy-network/orchestrator/events"
)

// maxClues bounds the records whose former bytes are searched for.
const maxClues = 3

// settle says what kind of difference lies at the beginning of the window, and compares the rest of the window anew.
func (c *comparer) settle() {
	for c.window != nil {
		w := c.window
		c.window = nil
		was := c.recordedFrom(w.first+c.shift, windowLeaves)
		skip := c.judge(w, was)
		for i := skip; i < len(w.hashes); i++ {
			index := w.first + int64(i)
			if want, ok := c.recorded(index + c.shift); ok && want != w.hashes[i] {
				c.window = &window{first: index, records: w.records[i:], hashes: w.hashes[i:]}
				break
			}
		}
		if c.window != nil && len(c.window.hashes) < windowLeaves && !c.ended {
			return // more of the log will tell more
		}
	}
}

// recordedFrom is a run of recorded leaves, as far as they are known.
func (c *comparer) recordedFrom(index int64, n int) []tlog.Hash {
	out := make([]tlog.Hash, 0, n)
	for range n {
		h, ok := c.recorded(index + int64(len(out)))
		if !ok {
			break
		}
		out = append(out, h)
	}
	return out
}

// judge names the difference between what is there and what was recorded, which begins with the first leaf of both. It
// returns how many leaves of what is there it has dealt with.
func (c *comparer) judge(w *window, was []tlog.Hash) int {
	r := &w.records[0]
	is := w.hashes
	goneTo := slices.Index(is, was[0])   // where the recorded leaf lies now
	cameFrom := slices.Index(was, is[0]) // where the leaf that is there was recorded
	c.leafs++
	switch {
	case goneTo > 0 && cameFrom > 0:
		n := resync(is, was, max(goneTo, cameFrom)+1)
		c.found.add(at(Reordered, w.first, int64(n), r, "was recorded as leaf %d; the record of this leaf is now %s", w.first+c.shift+int64(cameFrom),
			name(&w.records[goneTo])))
		return n
	case cameFrom > 0:
		c.found.add(at(Removed, w.first, int64(cameFrom), r, "%s before this one %s removed", count(cameFrom, "record"), wasWere(cameFrom)))
		c.shift += int64(cameFrom)
		return 0
	case goneTo > 0:
		c.found.add(at(Inserted, w.first, int64(goneTo), r, "%s %s inserted here", count(goneTo, "record"), wasWere(goneTo)))
		c.shift -= int64(goneTo)
		return goneTo
	}
	n := resync(is, was, 1)
	detail := "nothing that was recorded follows"
	if c.clues++; c.clues <= maxClues {
		detail = clue(*r, was[0])
	} else if n < len(is) {
		detail = "the record is another"
	}
	if n > 1 {
		detail += fmt.Sprintf(" (and so on for %s)", count(n, "record"))
	}
	c.found.add(at(Changed, w.first, int64(n), r, "%s", detail))
	return n
}

// resync is the first place, not before from, where both are the same again, or the end of what is there.
func resync(is, was []tlog.Hash, from int) int {
	for i := from; i < min(len(is), len(was)); i++ {
		if is[i] == was[i] {
			return i
		}
	}
	return len(is)
}

// finish says what the end of the log says. Nothing more comes; broken is what the log itself says about its end.
func (c *comparer) finish(broken error) {
	c.passMarks()
	c.ended = true
	c.settle()
	size := c.now.size
	last := "it is empty"
	if size > 0 {
		last = "its last record is " + name(&c.last)
	}
	switch {
	case broken != nil:
		c.leafs++
		c.found.add(at(Unreadable, size, 1, nil, "%v; %s", broken, last))
	case size+c.shift < c.tiles.edge.size:
		c.leafs++
		c.found.add(at(Truncated, size, c.tiles.edge.size-c.shift-size, nil, "%s missing at the end of the log; %s",
			count(int(c.tiles.edge.size-c.shift-size), "record"), last))
	}
	var good, outside int64 // below these everything leads to a kept checkpoint, or to one from outside
	for _, m := range c.marks {
		switch {
		case m.matches && m.outside >= 0:
			outside = m.checkpoint.Size
		case m.matches:
			good = m.checkpoint.Size
		case m.outside >= 0:
			c.outsideFinding(m, outside, last)
		case c.leafs > 0: // said already
		case !m.reached:
			c.leafs++
			c.found.add(at(Truncated, size, m.checkpoint.Size-size, nil, "a checkpoint covers %d records; %s", m.checkpoint.Size, last))
		default:
			c.leafs++
			c.found.add(at(History, good, m.checkpoint.Size-good, nil, "one or more of these records changed: the log does not lead to the "+
				"checkpoint of %d leaves, and the tiles were changed with it", m.checkpoint.Size))
		}
	}
	slices.SortStableFunc(c.found.kept, func(a, b Finding) int { return cmp.Compare(a.Index, b.Index) })
}

func (c *comparer) outsideFinding(m mark, good int64, last string) {
	if !m.reached {
		c.found.add(at(Outside, c.now.size, m.checkpoint.Size-c.now.size, nil, "the checkpoint covers %d records, the log has %d; %s",
			m.checkpoint.Size, c.now.size, last))
		return
	}
	c.found.add(at(Outside, good, m.checkpoint.Size-good, nil, "the log does not lead to the checkpoint of %d leaves: one or more of these "+
		"records differ, or it is the checkpoint of another log", m.checkpoint.Size))
}

func sortMarks(m []mark) {
	slices.SortStableFunc(m, func(a, b mark) int { return cmp.Compare(a.checkpoint.Size, b.checkpoint.Size) })
}

func name(r *events.Record) string {
	return fmt.Sprintf("%s revision %d at position %d", r.Stream, r.Rev, r.Pos)
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func wasWere(n int) string {
	if n == 1 {
		return "was"
	}
	return "were"
}
