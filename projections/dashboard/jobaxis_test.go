package dashboard

import (
	"testing"

	"pgregory.net/rapid"
)

// TestAxisKeepsTheOrderOfTime: later is never further left, all places are on the axis, and no text is drawn over another.
func TestAxisKeepsTheOrderOfTime(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		us := rapid.Int64Range(0, 1<<50)
		busy := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) interval {
			return interval{us.Draw(t, "from"), us.Draw(t, "to")}
		}), 0, 12).Draw(t, "busy")
		a := newAxis(busy)
		times := rapid.SliceOfN(us, 2, 20).Draw(t, "times")
		for _, x := range times {
			for _, y := range times {
				if x < y && a.at(x) > a.at(y) {
					t.Fatalf("%d at %v, %d at %v", x, a.at(x), y, a.at(y))
				}
			}
			if p := a.at(x); p < 0 || p > 100 {
				t.Fatalf("%d lies at %v", x, p)
			}
		}
		last := -tickRoom
		for _, k := range a.ticks() {
			if k.At < 0 || k.At > 100 || k.At-last < tickRoom {
				t.Fatalf("tick %v after %v", k, last)
			}
			last = k.At
		}
	})
}

// TestAxisCutsLongWhiles: two attempts of 100 ms, two days apart, both stay wide enough to be seen.
func TestAxisCutsLongWhiles(t *testing.T) {
	const ms, day = 1000, 24 * 3600 * 1e6
	a := newAxis([]interval{{0, 100 * ms}, {2 * day, 2*day + 100*ms}})
	for _, b := range []interval{{0, 100 * ms}, {2 * day, 2*day + 100*ms}} {
		if width := a.at(b.toUs) - a.at(b.fromUs); width < 40 {
			t.Errorf("%v is %v wide", b, width)
		}
	}
	broken := false
	for _, k := range a.ticks() {
		broken = broken || k.Break && k.Text == "1 d 23 h"
	}
	if !broken {
		t.Errorf("no break in %v", a.ticks())
	}
}

// TestAxisDrawsShortWhilesToScale: what is comparable is not cut.
func TestAxisDrawsShortWhilesToScale(t *testing.T) {
	a := newAxis([]interval{{0, 10_000}, {20_000, 40_000}})
	if got := a.at(20_000); got != 50 {
		t.Errorf("the middle lies at %v", got)
	}
}
