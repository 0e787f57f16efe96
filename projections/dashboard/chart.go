package dashboard

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/shardy-network/orchestrator/projections/readmodel"
)

// span is a stretch of time that a chart can show, in steps that make 60 to 72 points of it.
type span struct {
	name, text string
	long, step time.Duration
}

var spans = []span{
	{"5m", "5 min", 5 * time.Minute, 5 * time.Second},
	{"1h", "1 h", time.Hour, time.Minute},
	{"6h", "6 h", 6 * time.Hour, 5 * time.Minute},
	{"24h", "24 h", 24 * time.Hour, 20 * time.Minute},
}

// spanOf finds a span by its name; the first one is shown unless another is asked for.
func spanOf(name string) span {
	for _, s := range spans {
		if s.name == name {
			return s
		}
	}
	return spans[0]
}

// bounds are the last whole steps before now.
func (s span) bounds(now time.Time) (since, until time.Time) {
	until = now.Truncate(s.step)
	return until.Add(-s.long), until
}

// The size of a chart's plot, in its own units. The picture is stretched to the width of the page; strokes are not.
const (
	plotWidth  = 600
	plotHeight = 160
)

// chart is a throughput chart, ready to be drawn: the labels are text around a plot that holds shapes only, so that
// they stay readable at every width.
type chart struct {
	Title, Description      string
	Area, Verified, Planned string // paths
	Grid                    []float64
	YLabels                 []string // from the top
	XLabels                 []string // from the left
	Columns                 []chartColumn
}

// chartColumn is one step: a band that tells its figures on hover, and marks below the plot.
type chartColumn struct {
	X, Width       float64
	Title          string
	Mismatch, Dead bool
}

// throughputChart draws points that lie a step apart.
func throughputChart(points []readmodel.Point, s span) chart {
	c := chart{Title: "Verified jobs per second, last " + s.text}
	perSecond := func(n uint64) float64 { return float64(n) / s.step.Seconds() }
	var peak, top float64
	var peakAt time.Time
	var mismatches, dead uint64
	for _, p := range points {
		if v := perSecond(p.Verified); v > peak {
			peak, peakAt = v, p.At
		}
		top = max(top, perSecond(p.Verified), perSecond(p.Submitted))
		mismatches += p.Mismatches
		dead += p.DeadLettered
	}
	top = niceTop(top)
	for i := range 5 {
		c.YLabels = append(c.YLabels, tick(top*float64(4-i)/4))
		c.Grid = append(c.Grid, plotHeight*float64(i)/4)
	}
	if len(points) == 0 {
		c.Description = "No figures yet."
		return c
	}
	width := plotWidth / float64(len(points))
	at := func(i int, v float64) (x, y float64) {
		return width * (float64(i) + .5), plotHeight * (1 - v/top)
	}
	var verified, planned strings.Builder
	for i, p := range points {
		verb := "L"
		if i == 0 {
			verb = "M"
		}
		x, y := at(i, perSecond(p.Verified))
		fmt.Fprintf(&verified, "%s%.1f %.1f", verb, x, y)
		_, y = at(i, perSecond(p.Submitted))
		fmt.Fprintf(&planned, "%s%.1f %.1f", verb, x, y)
		c.Columns = append(c.Columns, chartColumn{
			X: width * float64(i), Width: width, Title: columnTitle(p, s), Mismatch: p.Mismatches > 0, Dead: p.DeadLettered > 0,
		})
	}
	c.Verified, c.Planned = verified.String(), planned.String()
	first, _ := at(0, 0)
	last, _ := at(len(points)-1, 0)
	c.Area = fmt.Sprintf("%sL%.1f %dL%.1f %dZ", c.Verified, last, plotHeight, first, plotHeight)
	layout := "15:04"
	if s.step < time.Minute {
		layout = "15:04:05"
	}
	for i := range 5 {
		c.XLabels = append(c.XLabels, points[0].At.Add(s.long*time.Duration(i)/4).UTC().Format(layout))
	}
	c.Description = "Now " + rateOf(perSecond(points[len(points)-1].Verified)) + " a second"
	if peak > 0 {
		c.Description += fmt.Sprintf(", peak %s at %s", rateOf(peak), peakAt.UTC().Format(layout))
	}
	c.Description += fmt.Sprintf("; %s mismatches, %s dead letters (UTC).", thousands(mismatches), thousands(dead))
	return c
}

func columnTitle(p readmodel.Point, s span) string {
	parts := []string{
		fmt.Sprintf("%s UTC", p.At.UTC().Format("15:04:05")),
		fmt.Sprintf("%s: %s verified (%s/s)", lasting(s.step), thousands(p.Verified), rateOf(float64(p.Verified)/s.step.Seconds())),
		fmt.Sprintf("%s submitted", thousands(p.Submitted)),
	}
	for _, n := range []struct {
		n    uint64
		what string
	}{{p.Mismatches, "mismatches"}, {p.DeadLettered, "dead letters"}, {p.Stripped, "hand-overs lost"}, {p.Rejected, "results refused"}} {
		if n.n > 0 {
			parts = append(parts, thousands(n.n)+" "+n.what)
		}
	}
	return strings.Join(parts, ", ")
}

// tick writes a number of an axis.
func tick(v float64) string {
	if v >= 1000 {
		return thousands(int64(math.Round(v)))
	}
	return strconv.FormatFloat(math.Round(v*1000)/1000, 'f', -1, 64)
}

// niceTop rounds up to a number that divides by four well.
func niceTop(v float64) float64 {
	if v <= 0 || math.IsNaN(v) || math.IsInf(v, 0) {
		return 4
	}
	unit := math.Pow(10, math.Floor(math.Log10(v)))
	for _, m := range []float64{1, 1.2, 1.6, 2, 2.4, 3.2, 4, 6, 8, 10} {
		if v <= m*unit {
			return m * unit
		}
	}
	return 10 * unit
}

// share is a part of a bar, in percent of its width.
type share struct {
	Tone     tone
	X, Width float64
}

// shares lays parts of a whole side by side. Nothing at all is an empty bar.
func shares(parts map[tone]uint64, order ...tone) []share {
	var sum float64
	for _, n := range parts {
		sum += float64(n)
	}
	if sum == 0 {
		return nil
	}
	var out []share
	x := 0.0
	for _, t := range order {
		w := 100 * float64(parts[t]) / sum
		if w > 0 {
			out = append(out, share{t, x, w})
		}
		x += w
	}
	return out
}
