package dashboard

import (
	"fmt"
	"slices"
	"time"

	"github.com/shardy-network/orchestrator/actors"
	"github.com/shardy-network/orchestrator/projections/readmodel"
	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

// timeline is a job's attempts on one axis. Places along the axis are in percent, so that the drawing has any width and
// its letters keep their size; places across are in pixels.
type timeline struct {
	Height  int
	Top     int // where the lanes begin
	Foot    int // where they end
	Marks   []timeMark
	Lanes   []lane
	Ticks   []axisTick
	Omitted int // attempts that are not drawn: the oldest
	Summary string
}

// timeMark is a moment of the whole job: a wave opened, the verdict.
type timeMark struct {
	At   float64
	Y    int // of its text
	Text string
	Tone tone
	End  bool // the text lies before the mark
}

// lane is one attempt.
type lane struct {
	Y       int // of its text
	Key     string
	Name    string // slot and attempt
	Worker  string
	Href    string
	Outcome badge
	Waiting timeBar // from the hand-over to the acknowledgement, or to the end without one
	Running timeBar // from the acknowledgement to the end
	Title   string  // read aloud, and on hover
}

// timeBar is a while; without width it did not happen.
type timeBar struct{ X, Y, W float64 }

const (
	laneHeight = 40
	markHeight = 15
	maxLanes   = 40
	leastBar   = 0.6 // percent: what happened is seen, however short it was
)

// attemptOf is an attempt with the round and wave of its slot.
type attemptOf struct {
	readmodel.Attempt
	Round, Wave uint32
}

func attemptsOf(j *readmodel.Job) []attemptOf {
	var all []attemptOf
	for _, s := range j.Assignments {
		for _, a := range s.Attempts {
			all = append(all, attemptOf{a, s.Round, s.Wave})
		}
	}
	slices.SortStableFunc(all, func(a, b attemptOf) int { return a.Dispatched.Compare(b.Dispatched) })
	return all
}

// newTimeline draws a job as it stands at a time.
func newTimeline(j *readmodel.Job, now time.Time) timeline {
	all := attemptsOf(j)
	var t timeline
	if len(all) > maxLanes {
		t.Omitted = len(all) - maxLanes
		all = all[t.Omitted:]
	}
	marks := timeMarks(j, all, t.Omitted > 0)
	var busy []interval
	for _, m := range marks {
		busy = append(busy, interval{m.us, m.us})
	}
	for _, a := range all {
		busy = append(busy, interval{a.Dispatched.UnixMicro(), endOf(a, now).UnixMicro()})
	}
	if j.State == operatorv1.JobState_JOB_STATE_OPEN && len(busy) > 0 {
		busy = append(busy, interval{now.UnixMicro(), now.UnixMicro()})
	}
	x := newAxis(busy)
	rows := t.placeMarks(marks, x)
	t.Top = rows*markHeight + 8
	for i, a := range all {
		t.Lanes = append(t.Lanes, newLane(a, x, t.Top+i*laneHeight, now))
	}
	t.Foot = t.Top + len(all)*laneHeight
	t.Height = t.Foot + 22
	t.Ticks = x.ticks()
	t.Summary = timelineSummary(j, all)
	return t
}

func timelineSummary(j *readmodel.Job, all []attemptOf) string {
	lost := 0
	for _, a := range all {
		if a.Outcome.Lost() {
			lost++
		}
	}
	s := fmt.Sprintf("%s in %s, %d lost", plural(int(j.Attempts), "attempt"), plural(max(len(j.Waves), 1), "wave"), lost)
	if !j.Decided.IsZero() {
		s += fmt.Sprintf("; %s after %s", enumText(j.State), lasting(j.Decided.Sub(j.Submitted)))
	}
	return s + ". The table of attempts says the same."
}

// endOf is when an attempt ended, or now.
func endOf(a attemptOf, now time.Time) time.Time {
	if !a.Ended.IsZero() {
		return a.Ended
	}
	if now.Before(a.Dispatched) {
		return a.Dispatched
	}
	return now
}

type momentMark struct {
	us   int64
	text string
	tone tone
}

// timeMarks are the moments of the job: those before the first attempt that is drawn are left out with it.
func timeMarks(j *readmodel.Job, drawn []attemptOf, cut bool) []momentMark {
	marks := []momentMark{{j.Submitted.UnixMicro(), "submitted", toneQuiet}}
	for i, w := range j.Waves {
		switch {
		case i == 0:
		case w.Wave == 1:
			marks = append(marks, momentMark{w.Opened.UnixMicro(), fmt.Sprintf("round %d", w.Round), toneRunning})
		default:
			marks = append(marks, momentMark{w.Opened.UnixMicro(), fmt.Sprintf("wave %d", w.Wave), toneMismatch})
		}
	}
	if !j.Decided.IsZero() {
		b := jobBadge(j.State)
		marks = append(marks, momentMark{j.Decided.UnixMicro(), enumText(j.State), b.Tone})
	}
	if !cut || len(drawn) == 0 {
		return marks
	}
	from := drawn[0].Dispatched.UnixMicro()
	return slices.DeleteFunc(marks, func(m momentMark) bool { return m.us < from })
}

// placeMarks puts the texts of marks that lie close to each other into rows of their own.
func (t *timeline) placeMarks(marks []momentMark, x axis) (rows int) {
	const room, most = 26.0, 4 // percent that a text needs where the page is narrow; rows
	type span struct{ from, to float64 }
	var taken [most][]span
	for _, m := range marks {
		at := x.at(m.us)
		mark := timeMark{At: at, Text: m.text, Tone: m.tone, End: at > 60}
		s := span{at, at + room}
		if mark.End {
			s = span{at - room, at}
		}
		row := 0
		for row < most-1 && slices.ContainsFunc(taken[row], func(o span) bool { return s.from < o.to && o.from < s.to }) {
			row++
		}
		taken[row] = append(taken[row], s)
		rows = max(rows, row+1)
		mark.Y = row*markHeight + 11
		t.Marks = append(t.Marks, mark)
	}
	return rows
}

func newLane(a attemptOf, x axis, top int, now time.Time) lane {
	l := lane{
		Y: top + 14, Key: fmt.Sprintf("%d-%d", a.Slot, a.Attempt.Attempt), Name: fmt.Sprintf("slot %d · attempt %d", a.Slot, a.Attempt.Attempt),
		Worker: shortHex(a.Worker), Href: linkWorker(a.Worker), Outcome: outcomeBadge(&a.Attempt),
	}
	end := endOf(a, now)
	ran := a.Acked
	if ran.IsZero() {
		ran = end
	}
	l.Waiting, l.Running = barBetween(x, a.Dispatched, ran, top+20), barBetween(x, ran, end, top+20)
	if a.Acked.IsZero() {
		l.Running = timeBar{}
	}
	l.Title = fmt.Sprintf("%s, worker %s: %s after %s", l.Name, l.Worker, l.Outcome.Text, lasting(end.Sub(a.Dispatched)))
	return l
}

func barBetween(x axis, from, to time.Time, y int) timeBar {
	b := timeBar{X: x.at(from.UnixMicro()), Y: float64(y)}
	b.W = max(x.at(to.UnixMicro())-b.X, leastBar)
	b.X = min(b.X, 100-b.W)
	return b
}

// outcomeBadge says what became of an attempt.
func outcomeBadge(a *readmodel.Attempt) badge {
	switch {
	case a.Contradicted:
		return badge{toneMismatch, "contradicted"}
	case a.Outcome == readmodel.OutcomeReturned && a.Status == eventv1.ResultStatus_RESULT_STATUS_OK:
		return badge{toneVerified, "returned"}
	case a.Outcome == readmodel.OutcomeReturned:
		return badge{toneVerified, "returned " + enumText(a.Status)}
	case a.Outcome == readmodel.OutcomeRejected && a.Rejected != 0:
		return badge{toneDead, "rejected: " + enumText(a.Rejected)}
	case a.Outcome.Lost():
		return badge{toneDead, words(a.Outcome.String())}
	case a.Outcome == readmodel.OutcomeRunning:
		return badge{toneRunning, "running"}
	}
	return badge{toneWaiting, words(a.Outcome.String())}
}

// attemptsTable says in words what the timeline draws.
func attemptsTable(j *readmodel.Job, staff bool) table {
	t := table{
		Caption: "Attempts", Columns: columns("Slot", "Worker", "Outcome", "Handed over#", "Acknowledged#", "Ended#"),
		Empty: empty{Title: "No worker has it yet", Text: "An attempt begins when the dispatcher hands a slot to a worker.", Command: "shardy job explain " + j.ID},
	}
	all := attemptsOf(j)
	slices.Reverse(all)
	if len(all) > maxShownAttempts {
		all = all[:maxShownAttempts]
	}
	for i := range all {
		a := &all[i]
		who := workerCell(a.Worker)
		if !staff {
			who.Href = ""
		}
		b := outcomeBadge(&a.Attempt)
		slot := text(fmt.Sprintf("%d · attempt %d", a.Slot, a.Attempt.Attempt)).with(fmt.Sprintf("round %d, wave %d", a.Round, a.Wave))
		if staff {
			slot.Href = linkStream(actors.SlotAddress(j.ID, a.Slot).Stream())
		}
		t.add(fmt.Sprintf("attempt-%d-%d", a.Slot, a.Attempt.Attempt),
			slot, who,
			cell{Badge: &b}.with(a.Detail), sinceCell(j.Submitted, a.Dispatched), sinceCell(a.Dispatched, a.Acked), sinceCell(a.Dispatched, a.Ended))
	}
	return t
}

const maxShownAttempts = 200

// sinceCell is how long after another time something was.
func sinceCell(from, at time.Time) cell {
	if at.IsZero() {
		return none()
	}
	c := cell{Text: "+" + lasting(at.Sub(from)), Title: exact(at)}
	return c
}
