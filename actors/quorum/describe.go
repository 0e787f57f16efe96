package quorum

import (
	"fmt"
	"strings"

	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
)

// Describe draws the vote, one line per group of identical results: a bar of identity groups, the margin it would need
// as a mark, the checksum's first bytes and the slots. For example:
//
//	xxx|   ba7816bf  ok            slots 0 2 3
//	x      cb8379ac  ok            slots 1
//	lead 2 of 2: verified
func (v *Verdict) Describe() string {
	var b strings.Builder
	width := v.width()
	for i := range v.Votes {
		vote := &v.Votes[i]
		fmt.Fprintf(&b, "%s  %x  %-13s slots%s\n", v.bar(i, width), vote.Checksum[:4], statusName(vote.Status), list(vote.Slots))
	}
	if len(v.Votes) == 0 {
		b.WriteString("no results\n")
	}
	if v.Failed > 0 {
		fmt.Fprintf(&b, "slots given up: %d\n", v.Failed)
	}
	fmt.Fprintf(&b, "lead %d of %d: %s", v.Lead, v.Rule.Margin, v.Outcome)
	switch v.Outcome {
	case NeedMore:
		fmt.Fprintf(&b, ", needs %d more", v.Need)
	case Exhausted:
		fmt.Fprintf(&b, " of %d", v.Rule.MaxReplicas)
	}
	b.WriteByte('\n')
	return b.String()
}

// width leaves room for the longest bar and for the mark that the leader has to reach.
func (v *Verdict) width() int {
	w := int(v.goal()) + 1
	for i := range v.Votes {
		w = max(w, int(v.Votes[i].Groups)+1)
	}
	return w
}

// goal is how many groups the leader needs: the runner-up's and the margin.
func (v *Verdict) goal() uint32 {
	if len(v.Votes) > 1 {
		return v.Votes[1].Groups + v.Rule.Margin
	}
	return v.Rule.Margin
}

// bar draws a vote's groups; the leader's bar shows the mark that decides.
func (v *Verdict) bar(i, width int) string {
	bar := strings.Repeat("x", int(v.Votes[i].Groups))
	if i == 0 {
		goal := int(v.goal())
		bar += strings.Repeat(" ", max(0, goal-len(bar)))
		bar = bar[:goal] + "|" + bar[goal:]
	}
	return bar + strings.Repeat(" ", width-min(width, len(bar)))
}

func statusName(s eventv1.ResultStatus) string {
	name := strings.TrimPrefix(s.String(), "RESULT_STATUS_")
	return strings.ReplaceAll(strings.ToLower(name), "_", " ")
}

func list(slots []uint32) string {
	var b strings.Builder
	for _, s := range slots {
		fmt.Fprintf(&b, " %d", s)
	}
	return b.String()
}
