package dashboard

import (
	"fmt"
	"strconv"

	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
)

// supplyBar shows where all the money is, as parts of one bar with a legend.
type supplyBar struct {
	Total    string
	Micro    string // micro-units
	Parts    []supplyPart
	Balanced bool // the parts make up the whole
	Said     string
}

// supplyPart is one place where money is.
type supplyPart struct {
	Name, Class, Amount, Micro, Share, Meaning string
	X, Width                                   float64 // of the bar, in percent
}

// leastWidth makes every part that is not empty visible.
const leastWidth = 1.2

func newSupplyBar(s *ledgerv1.Supply) supplyBar {
	b := supplyBar{Total: money(s.GetTotal()), Micro: thousands(s.GetTotal())}
	parts := []struct {
		name, class, meaning string
		n                    uint64
	}{
		{"Balances", "balances", "free to be spent", s.GetBalances()},
		{"Stakes", "stakes", "bound as surety, unbonding included", s.GetStakes()},
		{"Escrows", "escrows", "locked for jobs", s.GetEscrows()},
		{"Frozen", "frozen", "penalties within their appeal", s.GetPenalties()},
		{"Treasury", "treasury", "fees and its part of payments", s.GetTreasury()},
		{"Burned", "burned", "gone for good", s.GetBurned()},
	}
	sum, wide := uint64(0), 0.0
	total := float64(max(s.GetTotal(), 1))
	for _, p := range parts {
		sum += p.n
		part := supplyPart{Name: p.name, Class: p.class, Meaning: p.meaning, Amount: money(p.n), Micro: thousands(p.n), Share: shareText(float64(p.n) / total)}
		if p.n > 0 {
			part.Width = max(leastWidth, 100*float64(p.n)/total)
		}
		wide += part.Width
		b.Parts = append(b.Parts, part)
	}
	x := 0.0
	for i := range b.Parts {
		p := &b.Parts[i]
		if wide > 0 {
			p.Width *= 100 / wide
		}
		p.X = x
		x += p.Width
		if p.Width > 0 {
			b.Said += fmt.Sprintf("%s %s. ", p.Name, p.Share)
		}
	}
	b.Balanced = sum == s.GetTotal()
	return b
}

// shareText writes a part of one in percent, with as many digits as it takes to be more than nothing.
func shareText(part float64) string {
	switch p := 100 * part; {
	case p == 0:
		return "0 %"
	case p < 0.01:
		return "< 0.01 %"
	case p < 1:
		return strconv.FormatFloat(p, 'f', 2, 64) + " %"
	default:
		return strconv.FormatFloat(p, 'f', 1, 64) + " %"
	}
}
