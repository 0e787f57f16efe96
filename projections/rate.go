package projections

import "time"

// rateWindow is the time over which a rate is taken, in seconds.
const rateWindow = 10

// rate counts records by the second. The zero rate has seen none.
type rate struct {
	begin   time.Time // of the first record
	seconds [rateWindow + 1]struct {
		second int64
		n      uint64
	}
}

func (r *rate) add(now time.Time, n int) {
	if r.begin.IsZero() {
		r.begin = now
	}
	s := now.Unix()
	slot := &r.seconds[s%int64(len(r.seconds))]
	if slot.second != s {
		slot.second, slot.n = s, 0
	}
	slot.n += uint64(n)
}

// at is the mean over the last seconds, in records a second.
func (r *rate) at(now time.Time) float64 {
	if r.begin.IsZero() {
		return 0
	}
	sum := uint64(0)
	for _, s := range r.seconds {
		if age := now.Unix() - s.second; age >= 0 && age <= rateWindow {
			sum += s.n
		}
	}
	seen := min(max(now.Sub(r.begin).Seconds(), 1), rateWindow)
	return float64(sum) / seen
}
