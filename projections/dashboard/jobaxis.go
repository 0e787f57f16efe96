package dashboard

import (
	"cmp"
	"slices"
	"time"
)

// axis maps times to places from 0 to 100. Time is drawn to scale, but for long whiles in which nothing happened: these
// are cut, so that a job that was requeued after two days still shows what its attempts did.
type axis struct {
	pieces  []axisPiece // in the order of time, without holes
	beginUs int64
}

type axisPiece struct {
	fromUs, toUs int64
	from, to     float64
	cut          bool
}

// interval is a while in which something happened; a moment has no length.
type interval struct{ fromUs, toUs int64 }

const (
	cutWidth  = 6.0  // of a while that was cut
	cutsWidth = 40.0 // of all of them together
)

// newAxis draws an axis over everything that happened.
func newAxis(busy []interval) axis {
	merged := mergeIntervals(busy)
	if len(merged) == 0 {
		return axis{pieces: []axisPiece{{0, 1, 0, 100, false}}}
	}
	pieces := make([]axisPiece, 0, 2*len(merged))
	for i, b := range merged {
		if i > 0 {
			pieces = append(pieces, axisPiece{fromUs: merged[i-1].toUs, toUs: b.fromUs})
		}
		pieces = append(pieces, axisPiece{fromUs: b.fromUs, toUs: b.toUs})
	}
	cutGaps(pieces)
	a := axis{pieces: joinPieces(pieces), beginUs: merged[0].fromUs}
	a.spread()
	return a
}

func mergeIntervals(busy []interval) []interval {
	all := slices.Clone(busy)
	slices.SortFunc(all, func(a, b interval) int {
		return cmp.Or(cmp.Compare(a.fromUs, b.fromUs), cmp.Compare(a.toUs, b.toUs))
	})
	var merged []interval
	for _, b := range all {
		b.toUs = max(b.fromUs, b.toUs)
		if n := len(merged); n > 0 && b.fromUs <= merged[n-1].toUs {
			merged[n-1].toUs = max(merged[n-1].toUs, b.toUs)
			continue
		}
		merged = append(merged, b)
	}
	return merged
}

// cutGaps marks the gaps (every second piece) that are longer than all that is drawn without them. Short gaps are
// looked at first: what is drawn grows with them.
func cutGaps(pieces []axisPiece) {
	drawn := int64(1000)
	var gaps []int
	for i, p := range pieces {
		if i%2 == 1 {
			gaps = append(gaps, i)
			continue
		}
		drawn += p.toUs - p.fromUs
	}
	slices.SortStableFunc(gaps, func(a, b int) int {
		return cmp.Compare(pieces[a].toUs-pieces[a].fromUs, pieces[b].toUs-pieces[b].fromUs)
	})
	for _, i := range gaps {
		length := pieces[i].toUs - pieces[i].fromUs
		if length > 2*drawn {
			pieces[i].cut = true
			continue
		}
		drawn += length
	}
}

// joinPieces makes one piece of neighbours that are drawn to scale.
func joinPieces(pieces []axisPiece) []axisPiece {
	var joined []axisPiece
	for _, p := range pieces {
		if n := len(joined); n > 0 && !p.cut && !joined[n-1].cut {
			joined[n-1].toUs = p.toUs
			continue
		}
		joined = append(joined, p)
	}
	return joined
}

// spread gives every piece its place.
func (a *axis) spread() {
	cuts, drawn := 0, int64(0)
	for _, p := range a.pieces {
		if p.cut {
			cuts++
		} else {
			drawn += max(p.toUs-p.fromUs, 1)
		}
	}
	cut := 0.0
	if cuts > 0 {
		cut = min(cutWidth, cutsWidth/float64(cuts))
	}
	scale := (100 - cut*float64(cuts)) / float64(drawn)
	at := 0.0
	for i := range a.pieces {
		p := &a.pieces[i]
		p.from = at
		if p.cut {
			at += cut
		} else {
			at += float64(max(p.toUs-p.fromUs, 1)) * scale
		}
		p.to = at
	}
	a.pieces[len(a.pieces)-1].to = 100
}

// at is the place of a time; times outside the axis lie at its ends.
func (a axis) at(us int64) float64 {
	i, _ := slices.BinarySearchFunc(a.pieces, us, func(p axisPiece, us int64) int { return cmp.Compare(p.toUs, us) })
	if i == len(a.pieces) {
		return 100
	}
	p := a.pieces[i]
	if us <= p.fromUs {
		return p.from
	}
	return min(p.from+(p.to-p.from)*float64(us-p.fromUs)/float64(max(p.toUs-p.fromUs, 1)), p.to)
}

// axisTick is a mark on the axis, or the break where a while was cut.
type axisTick struct {
	At    float64
	Text  string
	Break bool
}

// End says that the text lies before the mark: behind it is no room.
func (t axisTick) End() bool { return t.At > 82 }

// tickSteps are round lengths of time.
var tickSteps = []time.Duration{
	time.Microsecond, 2 * time.Microsecond, 5 * time.Microsecond, 10 * time.Microsecond, 20 * time.Microsecond, 50 * time.Microsecond,
	100 * time.Microsecond, 200 * time.Microsecond, 500 * time.Microsecond,
	time.Millisecond, 2 * time.Millisecond, 5 * time.Millisecond, 10 * time.Millisecond, 20 * time.Millisecond, 50 * time.Millisecond,
	100 * time.Millisecond, 200 * time.Millisecond, 500 * time.Millisecond,
	time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second, 30 * time.Second,
	time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute, 30 * time.Minute,
	time.Hour, 2 * time.Hour, 6 * time.Hour, 12 * time.Hour, 24 * time.Hour, 7 * 24 * time.Hour, 30 * 24 * time.Hour, 365 * 24 * time.Hour,
}

const (
	wantTicks = 4
	tickRoom  = 18.0 // that a tick's text needs
)

// ticks are the marks to draw: round times since the beginning, and the breaks.
func (a axis) ticks() []axisTick {
	drawn := int64(0)
	for _, p := range a.pieces {
		if !p.cut {
			drawn += p.toUs - p.fromUs
		}
	}
	step := tickSteps[len(tickSteps)-1]
	for _, s := range tickSteps {
		if s.Microseconds()*wantTicks >= drawn {
			step = s
			break
		}
	}
	var ticks []axisTick
	add := func(t axisTick) {
		room := tickRoom
		if t.End() {
			room = 2 * tickRoom // two texts lie between the marks
		}
		if n := len(ticks); (t.Break || t.At <= 100-tickRoom/2) && (n == 0 || t.At-ticks[n-1].At >= room) {
			ticks = append(ticks, t)
		}
	}
	for _, p := range a.pieces {
		if p.cut {
			middle := (p.from + p.to) / 2
			for n := len(ticks); n > 0 && !ticks[n-1].Break && middle-ticks[n-1].At < 2*tickRoom; n-- {
				ticks = ticks[:n-1]
			}
			add(axisTick{middle, lasting(microsecondsLong(p.toUs - p.fromUs)), true})
			continue
		}
		size := step.Microseconds()
		for n, us := 0, (p.fromUs-a.beginUs+size-1)/size*size; us <= p.toUs-a.beginUs && n <= 4*wantTicks; n, us = n+1, us+size {
			add(axisTick{At: a.at(a.beginUs + us), Text: "+" + lasting(microsecondsLong(us))})
		}
	}
	return ticks
}

func microsecondsLong(us int64) time.Duration { return time.Duration(us) * time.Microsecond }
