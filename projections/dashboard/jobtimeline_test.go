package dashboard

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/shardy-network/orchestrator/projections/readmodel"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

// TestTimelineStaysOnItsAxis: whatever attempts a job has had, no bar leaves the axis, no lane lies on another, and what
// is not drawn is counted.
func TestTimelineStaysOnItsAxis(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		begin := time.UnixMicro(1_790_000_000_000_000)
		moment := func(name string) time.Time {
			if rapid.IntRange(0, 4).Draw(t, name+" never") == 0 {
				return time.Time{}
			}
			return begin.Add(time.Duration(rapid.Int64Range(0, int64(72*time.Hour)).Draw(t, name)))
		}
		j := &readmodel.Job{JobRow: readmodel.JobRow{Submitted: begin, Decided: moment("decided"), State: operatorv1.JobState_JOB_STATE_OPEN}}
		total := 0
		for slot := range rapid.IntRange(0, 9).Draw(t, "slots") {
			a := readmodel.Assignment{Slot: uint32(slot), Round: 1, Wave: 1}
			for n := range rapid.IntRange(0, 9).Draw(t, "attempts") {
				at := moment("dispatched")
				if at.IsZero() {
					at = begin
				}
				a.Attempts = append(a.Attempts, readmodel.Attempt{
					Slot: uint32(slot), Attempt: uint32(n + 1), Worker: make([]byte, 32), Dispatched: at, Acked: moment("acked"), Ended: moment("ended"),
					Outcome: rapid.SampledFrom(readmodel.Outcomes()).Draw(t, "outcome"),
				})
				total++
			}
			j.Assignments = append(j.Assignments, a)
		}
		line := newTimeline(j, begin.Add(time.Hour))
		if len(line.Lanes)+line.Omitted != total || len(line.Lanes) > maxLanes {
			t.Fatalf("%d lanes and %d omitted of %d", len(line.Lanes), line.Omitted, total)
		}
		last := line.Top - laneHeight
		for _, l := range line.Lanes {
			if l.Y-last < laneHeight || l.Y > line.Foot {
				t.Fatalf("a lane at %d after %d, foot %d", l.Y, last, line.Foot)
			}
			last = l.Y
			for _, b := range []timeBar{l.Waiting, l.Running} {
				if b.X < 0 || b.W < 0 || b.X+b.W > 100.001 {
					t.Fatalf("a bar from %v, %v wide", b.X, b.W)
				}
			}
		}
		for _, m := range line.Marks {
			if m.At < 0 || m.At > 100 || m.Y > line.Top {
				t.Fatalf("mark %+v", m)
			}
		}
	})
}

// TestTimelineOfARequeuedJob marks the rounds, and what is new in each.
func TestTimelineOfARequeuedJob(t *testing.T) {
	begin := time.UnixMicro(1_790_000_000_000_000)
	at := func(s int) time.Time { return begin.Add(time.Duration(s) * time.Second) }
	j := &readmodel.Job{
		JobRow: readmodel.JobRow{Submitted: begin, Decided: at(90), State: operatorv1.JobState_JOB_STATE_VERIFIED, Attempts: 2},
		Waves:  []readmodel.Wave{{Round: 1, Wave: 1, Opened: begin}, {Round: 1, Wave: 2, Opened: at(20)}, {Round: 2, Wave: 1, Opened: at(60)}},
		Assignments: []readmodel.Assignment{
			{Slot: 0, Attempts: []readmodel.Attempt{{Slot: 0, Attempt: 1, Dispatched: at(1), Ended: at(11), Outcome: readmodel.OutcomeAckTimeout}}},
			{Slot: 4, Attempts: []readmodel.Attempt{{Slot: 4, Attempt: 1, Dispatched: at(61), Acked: at(62), Ended: at(90), Outcome: readmodel.OutcomeReturned, Contradicted: true}}},
		},
	}
	line := newTimeline(j, at(100))
	var marks []string
	for _, m := range line.Marks {
		marks = append(marks, m.Text)
	}
	if got := strings.Join(marks, ", "); got != "submitted, wave 2, round 2, verified" {
		t.Errorf("marks: %s", got)
	}
	if l := line.Lanes[0]; l.Outcome.Text != "ack timeout" || l.Running.W != 0 || l.Waiting.W == 0 {
		t.Errorf("the lost attempt: %+v", l)
	}
	if l := line.Lanes[1]; l.Outcome.Text != "contradicted" || l.Outcome.Tone != toneMismatch || l.Running.W < 5*l.Waiting.W {
		t.Errorf("the liar's attempt: %+v", l)
	}
	if !strings.Contains(line.Summary, "2 attempts in 3 waves, 1 lost; verified after 1 min 30 s") {
		t.Errorf("summary: %s", line.Summary)
	}
}
