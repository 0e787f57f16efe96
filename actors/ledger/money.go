package ledger

import (
	"math"
	"math/bits"
)

// move takes money out of one pot and puts it into another. It does nothing if there is too little, or too much.
func move(from, to *uint64, amount uint64) bool {
	if *from < amount || *to > math.MaxUint64-amount && from != to {
		return false
	}
	*from -= amount
	*to += amount
	return true
}

// scale is floor(a*b/c). It fails for what does not fit, and for c = 0.
func scale(a, b, c uint64) (uint64, bool) {
	hi, lo := bits.Mul64(a, b)
	if hi >= c {
		return 0, false
	}
	q, _ := bits.Div64(hi, lo, c)
	return q, true
}

// part is floor(amount*ppm/1e6) for at most a million ppm, which always fits.
func part(amount, ppm uint64) uint64 {
	q, _ := scale(amount, min(ppm, million), million)
	return q
}

// count adds to a number that is only shown, never spent.
func count(n *uint64, by uint64) {
	sum, carry := bits.Add64(*n, by, 0)
	if carry != 0 {
		sum = math.MaxUint64
	}
	*n = sum
}

// later is a height some blocks on. Heights and periods are bounded, so it fits.
func later(height, blocks uint64) uint64 { return height + blocks }

// judged is the moving average of a reputation after one more result: a thirty-second of the way, toward zero.
func judged(ppm uint64, right bool) uint64 {
	if right {
		return ppm + (million-min(ppm, million))/32
	}
	return ppm - ppm/32
}

// reward is what a replica earns: floor(price * (1 + bonus*stake/(stake+half))), the factor in millionths, floored.
// Stakes are at most MaxSupply and so is half of the bonus.
func reward(price, stake, bonusPpm, half uint64) (uint64, bool) {
	var bonus uint64
	if stake > 0 && bonusPpm > 0 {
		bonus, _ = scale(bonusPpm, stake, stake+half)
	}
	return scale(price, million+bonus, million)
}

// penalty is what a fault costs out of a stake: the basic part, and a multiple of the part of all stake that was slashed
// in the window. Ethereum's correlation penalty: one fault is an accident, many at once are a plot.
func penalty(stake, basicPpm, factor, inWindow, all uint64) uint64 {
	ppm := uint64(million)
	if all == 0 || inWindow == 0 {
		ppm = basicPpm
	} else if related, ok := scale(inWindow, factor*million, all); ok && related < million {
		ppm = basicPpm + related
	}
	return part(stake, ppm)
}
